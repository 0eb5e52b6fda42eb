"""What a training run is made of, as dataclasses: a YAML file fills them in, ``--section.key value`` overrides it.

Data and losses have sections of their own, see `regcore.training.data` and `regcore.losses`.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Literal, get_type_hints

from regcore.training.data import DataConfig


@dataclass(frozen=True)
class ModelConfig:
    """The network.

    Attributes:
        name: a registered name, see ``regcore models``.
        options: of the network, such as ``{channels: 4}``.
        fine_tune: trained weights to begin with: a model by the name ``regcore models`` lists, a model file, or the
            output folder of an earlier run; null: new weights.
        fine_tune_stage: which network of that model, from 1; a file holds one.
    """

    name: str = "pan"
    options: dict[str, Any] = field(default_factory=dict)
    fine_tune: str | None = None
    fine_tune_stage: int = 1


@dataclass(frozen=True)
class LossTerm:
    """One part of the loss.

    Attributes:
        name: a loss (`regcore.losses`), or a penalty of the network.
        weight: what it is multiplied by.
        options: of the loss, such as ``{window: 9}``.
    """

    name: str = "mse"
    weight: float = 1.0
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class OptimiserConfig:
    """How weights are updated.

    Attributes:
        name: of the optimiser.
        rate: highest learning rate.
        weight_decay: pull towards 0.
        amsgrad: of adam and adamw.
        schedule: of the rate after the warm-up: ``constant``, ``cosine`` to 0, ``polynomial`` to 0, or ``drops``.
        power: of the polynomial.
        drops: at which shares of the run the rate drops.
        drop_factor: to which part of itself.
        warm_up: steps over which the rate rises from 0.
        clip: longest gradient; longer ones are shortened; 0: never.
        ema: share of the running average of the weights that is kept at each step; 0: no average, the last weights
            count.
    """

    name: Literal["adam", "adamw", "sgd"] = "adam"
    rate: float = 1e-4
    weight_decay: float = 0.0
    amsgrad: bool = False
    schedule: Literal["constant", "cosine", "polynomial", "drops"] = "constant"
    power: float = 0.9
    drops: tuple[float, ...] = (0.4, 0.57, 0.83)
    drop_factor: float = 0.3
    warm_up: int = 0
    clip: float = 0.0
    ema: float = 0.0


@dataclass(frozen=True)
class RunConfig:
    """How long, how often, on what.

    Attributes:
        steps: updates of the weights.
        batch: samples per step, process and accumulated part.
        accumulate: parts a step's batch is computed in.
        precision: ``32``, or ``bf16`` and, on GPUs alone, ``16`` for the layers that stand it. With ``16`` the loss is
            scaled, and a step whose gradients overflow is left out; its tests run such steps on the CPU.
        validate_every: steps between looks at the held-out pairs; 0: only at the end.
        checkpoint_every: steps between checkpoints to go on from.
        log_every: steps between lines of the log.
        patience: looks without a better figure after which the run ends; 0: it runs to the last step.
        keep: which weights end up in the model file: the ``best`` by the held-out pairs, or the ``last``.
        device: auto, cpu or cuda.
        processes: processes per node, one per GPU; torchrun and srun say so themselves, see `regcore.training.launch`.
        nodes: machines; likewise.
        threads: of the processor, per process; 0: as torch decides.
        pictures: show held-out pairs in TensorBoard.
        half: store the model's weights in float16, for a file of half the size.
    """

    steps: int = 1000
    batch: int = 1
    accumulate: int = 1
    precision: Literal["32", "bf16", "16"] = "32"
    validate_every: int = 200
    checkpoint_every: int = 100
    log_every: int = 10
    patience: int = 0
    keep: Literal["best", "last"] = "best"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    processes: int = 1
    nodes: int = 1
    threads: int = 0
    pictures: bool = True
    half: bool = False


@dataclass(frozen=True)
class Config:
    """A training run.

    Attributes:
        seed: of weights and samples.
        model: the network.
        data: what it learns from.
        loss: its parts; empty for rigid networks, whose loss ``data.rigid`` names.
        optimiser: how weights are updated.
        run: how long, how often, on what.
        about: a sentence for the model file.
    """

    seed: int = 0
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    loss: list[LossTerm] = field(default_factory=list)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    run: RunConfig = field(default_factory=RunConfig)
    about: str = ""


_POSITIVE = ("steps", "batch", "accumulate", "checkpoint_every", "log_every", "processes", "nodes")
_NOT_NEGATIVE = ("validate_every", "patience", "threads")


def check_config(config: Config) -> None:
    """Refuse numbers that make no sense.

    Raises:
        ValueError: naming the key, what was expected and what came.
    """
    for names, least in ((_POSITIVE, 1), (_NOT_NEGATIVE, 0)):
        for name in names:
            if getattr(config.run, name) < least:
                raise ValueError(f"run.{name}: expected {least} or more, got {getattr(config.run, name)}")
    if not config.optimiser.rate > 0:
        raise ValueError(f"optimiser.rate: expected a positive rate such as 1e-4, got {config.optimiser.rate}")
    if not 0 <= config.optimiser.ema < 1:
        raise ValueError(f"optimiser.ema: expected a share from 0 to below 1, got {config.optimiser.ema}")
    for name in ("weight_decay", "clip", "warm_up"):
        if getattr(config.optimiser, name) < 0:
            raise ValueError(f"optimiser.{name}: expected 0 or more, got {getattr(config.optimiser, name)}")
    if config.seed < 0:
        raise ValueError(f"seed: expected 0 or more, got {config.seed}")


def check_keys(content: object, kind: type = Config, path: str = "") -> None:
    """Refuse keys that `Config` does not have, with the nearest one that it has.

    Args:
        content: what a YAML file held.
        kind: the dataclass of this part of it.
        path: of this part.

    Raises:
        ValueError: an unknown key, or no mapping where one is expected.
    """
    if not isinstance(content, Mapping):
        raise ValueError(f"{path or 'config'}: expected keys and values, got {type(content).__name__}")
    hints = get_type_hints(kind)
    known = {part.name: hints[part.name] for part in fields(kind)}
    for key, value in content.items():
        where = f"{path}.{key}" if path else str(key)
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.5)
            advice = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
            raise ValueError(f"{where}: no such key; {advice}")
        if is_dataclass(known[key]) and isinstance(known[key], type) and value is not None:
            check_keys(value, known[key], where)
    for number, term in enumerate(content.get("loss") or []) if kind is Config else []:
        check_keys(term, LossTerm, f"loss[{number}]")
