"""The stages of a registration as the user chained them: what each is called, what it runs, what comes before all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from regcore.deformable_step import runs_slicewise
from regcore.preprocess import Inputs
from regcore.progress import CancelCheck
from regcore.rigid_step import is_rigid
from regcore.settings import REFINE, Settings
from regcore.start import StartKind, usual_start
from regcore.steps import Found, Report, Work, deformable_network, refined, refined_rigid, rigid_network

Step = Callable[[Found, Work, Report, CancelCheck], Found]


def start_for(inputs: Inputs, settings: Settings) -> tuple[StartKind, ...]:
    """Return the steps of the initial transform that suit the first network of the chain.

    A stack that is registered slice by slice stays where it is: both come from one scanner, and a turn out of the
    plane would mix slices.
    """
    networks, fixed = settings.networks, inputs.fixed.grid
    if networks and is_rigid(networks[0]):
        return usual_start(inputs, rigid=True)
    slicewise = bool(settings.slicewise)
    if networks:
        slicewise = runs_slicewise(networks[0], fixed, settings.slicewise, settings.weights)
    return ("none",) if slicewise and fixed.overlaps(inputs.moving.grid) else usual_start(inputs, rigid=False)


def stage_names(chain: Sequence[str]) -> list[str]:
    """Return what the stages are called where they are timed; a second one of a kind gets a number."""
    names = ["refinement" if name == REFINE else name for name in chain]
    times = [names[: place + 1].count(name) for place, name in enumerate(names)]
    return [name if time == 1 else f"{name} {time}" for name, time in zip(names, times, strict=True)]


def step_for(name: str, found: Found) -> Step:
    """Return what runs as stage ``name`` after ``found``: refinement is rigid as long as what was found is."""
    if name == REFINE:
        return refined_rigid if found.network is not None and found.dense is None else refined
    return partial(rigid_network if is_rigid(name) else deformable_network, name)
