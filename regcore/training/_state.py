"""All that a training run goes on from, and the file that keeps it."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from regcore.atomic import replacing
from regcore.models.base import RigidModel


@dataclass
class State:
    """A run between two steps.

    Attributes:
        model: what is fitted.
        average: the running average of its weights.
        optimiser: with its moments.
        schedule: of the learning rate.
        step: updates done.
        seconds: spent on them, interruptions left out.
    """

    model: RigidModel
    average: AveragedModel
    optimiser: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    step: int = 0
    seconds: float = 0.0

    @property
    def averaged(self) -> RigidModel:
        """The network with the averaged weights."""
        return cast(RigidModel, self.average.module)

    def save(self, path: Path, settings: Mapping[str, object]) -> None:
        """Write the state and the settings of its run; ``path`` is replaced in one step.

        Raises:
            ValueError: the file cannot be written.
        """
        content: dict[str, object] = {name: part.state_dict() for name, part in self._parts().items()}
        content |= {"step": self.step, "seconds": self.seconds, "settings": dict(settings)}
        with replacing(path) as temporary:
            torch.save(content, temporary)

    def load(self, path: Path, settings: Mapping[str, object]) -> None:
        """Take over the state written by `save`.

        Raises:
            ValueError: the file is damaged, or belongs to a run with other settings.
        """
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
            made_with = content.get("settings", settings)
            different = [name for name, value in settings.items() if made_with.get(name) != value]
            if not different:
                for name, part in self._parts().items():
                    part.load_state_dict(content[name])
                self.step, self.seconds = int(content["step"]), float(content.get("seconds", 0.0))
        except (RuntimeError, KeyError, AttributeError, EOFError, OSError, pickle.UnpicklingError) as error:
            raise ValueError(
                f"checkpoint: {path.name} is damaged or belongs to another network; remove it to begin anew"
            ) from error
        if different:
            raise ValueError(
                f"checkpoint: {path.name} belongs to a run with other settings ({', '.join(different)}); "
                "give the same ones to go on, or write to another folder"
            )

    def _parts(self) -> dict[str, _Part]:
        return {"model": self.model, "average": self.average, "optimiser": self.optimiser, "schedule": self.schedule}


_Part = nn.Module | torch.optim.Optimizer | torch.optim.lr_scheduler.LRScheduler


def averaged(model: RigidModel, decay: float) -> AveragedModel:
    """Return the running average of a network's weights and buffers, ``decay`` of it kept at each step."""
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)  # type: ignore[no-untyped-call]
