"""The network step of a deformable registration: the grid it sees, volumes or slices, what it adds to what is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from regcore.field import from_voxels
from regcore.grid import Grid
from regcore.metrics.similarity import ncc
from regcore.models import RegistrationModel
from regcore.ops.contrast import matched
from regcore.ops.fields import compose
from regcore.ops.unfolding import unfold
from regcore.preprocess import Inputs, Pair, displacement_from, make_pair, registration_grid
from regcore.settings import Settings
from regcore.slices import Stack
from regcore.transform import CompositeTransform, DenseTransform, Transform
from regcore.watch import watched
from regcore.weights import Trained, find_model, is_trained, load_trained, stand_in

Report = Callable[[float, str], None]

_SLICES_AT_ONCE = 8
_IN_COMMON = 0.5  # least correlation of images whose contrast was matched: 0.35 for MRI and ultrasound, 0.9 for brains


def runs_slicewise(name: str, grid: Grid, slicewise: bool | None, weights: Path | None = None) -> bool:
    """Whether the network ``name`` registers images on ``grid`` slice by slice.

    Args:
        name: of a deformable network.
        grid: of the fixed image.
        slicewise: what the user asked for; None: nothing. What there are weights for then decides, or else whether
            the slices are thick.
        weights: folder of weights, see `load_trained`.

    Raises:
        ValueError: it was asked for what it cannot do.
    """
    able = find_model(name).dimensions
    if grid.dim == 2:
        return False
    if slicewise is not None and (2 if slicewise else 3) not in able:
        raise ValueError(
            f"slicewise: {name} registers {' or '.join(f'{d}D' for d in able)} images only; "
            f"leave {'--slicewise' if slicewise else '--slicewise false'} out or choose another model"
        )
    if slicewise is not None:
        return slicewise
    trained = [dimensions for dimensions in able if is_trained(name, dimensions, weights)]
    usable = trained or able
    return 3 not in usable or (2 in usable and Stack.of(grid).thick)


def network_displacement(
    inputs: Inputs,
    name: str,
    known: Transform,
    settings: Settings,
    device: torch.device,
    report: Report,
) -> tuple[Tensor, Grid, Trained]:
    """Return what a network adds to what is known: a displacement in voxels of its own grid, that grid, its weights.

    Networks leave a few voxels folded. They are smoothed here: sampled on a finer grid, each would be many.

    Args:
        inputs: the pair, in canonical order.
        name: of a deformable network.
        known: fixed to moving points; the network sees the moving image through it.
        settings: seed, folder of weights, slice-wise or not.
        device: where it runs.
        report: told the fraction done and a message; what it raises ends the work.
    """
    fixed = inputs.fixed.grid
    slicewise = runs_slicewise(name, fixed, settings.slicewise, settings.weights)
    dimensions = 2 if slicewise else fixed.dim
    runs = name if settings.weights else stand_in(name) or name
    spacing = find_model(runs, settings.weights, dimensions).default_spacing_mm
    stack = Stack.of(fixed).in_plane(spacing) if slicewise else None
    grid = stack.grid if stack else registration_grid(fixed, max(spacing, min(fixed.spacing)))
    pair = make_pair(inputs, known, grid)
    torch.manual_seed(settings.seed)
    trained = load_trained(name, settings.weights, dimensions)
    model = cast(RegistrationModel, trained.networks[0]).to(device)
    if getattr(model, "match_contrast", False) and not have_contrast_in_common(pair):
        return torch.zeros_like(pair.fixed).repeat(1, fixed.dim, *[1] * fixed.dim), grid, _left_out(trained)
    with torch.inference_mode():
        if stack is None:
            with watched(model, report, "network"):
                found = model(pair.fixed.to(device), pair.moving.to(device)).displacement.cpu()
            displacement = unfold(found, near=1)
        else:
            displacement = stack.join(_slices(model, stack.cut(pair.fixed), stack.cut(pair.moving), device, report))
    return displacement.clone(), grid, trained


def have_contrast_in_common(pair: Pair) -> bool:
    """Whether the images are alike once their contrast is matched; if not, a deformation of one is guesswork."""
    fixed, moving = pair.sparse()
    return ncc(fixed, matched(moving, fixed), (fixed > 0) | (moving > 0)) >= _IN_COMMON


def _left_out(trained: Trained) -> Trained:
    sentence = (
        f"The model {trained.name} was left out: the images are too unlike for it, even with their contrast matched."
    )
    return replace(trained, files={}, warning=sentence)


def dense_transform(dense: Tensor, grid: Grid, linear: Transform) -> CompositeTransform:
    """Return ``x -> linear(x + dense(x))`` for a displacement ``(1, D, *shape)`` in voxels of ``grid``."""
    return CompositeTransform((DenseTransform(from_voxels(dense, grid)), linear))


def added(found: Tensor, own: Grid, dense: Tensor | None, grid: Grid) -> Tensor:
    """Return the displacement, in voxels of ``grid``, that goes through ``found`` and then on through ``dense``.

    Args:
        found: ``(1, D, *own.shape)``, voxels of ``own``.
        own: the grid of ``found``.
        dense: ``(1, D, *grid.shape)``, what was known before, voxels of ``grid``; None: nothing.
        grid: the registration grid.
    """
    there = found if own.same_as(grid) else displacement_from(from_voxels(found, own), grid)
    return there if dense is None else compose(there, dense)


def _slices(model: RegistrationModel, fixed: Tensor, moving: Tensor, device: torch.device, report: Report) -> Tensor:
    found = []
    for first in range(0, len(fixed), _SLICES_AT_ONCE):

        def share(fraction: float, message: str, first: int = first) -> None:
            report((first + fraction * _SLICES_AT_ONCE) / (len(fixed) + _SLICES_AT_ONCE), message)

        part = slice(first, first + _SLICES_AT_ONCE)
        with watched(model, share, f"slice {first + 1} of {len(fixed)}"):
            displacements = model(fixed[part].to(device), moving[part].to(device)).displacement.cpu()
        found += [unfold(displacement[None], near=1) for displacement in displacements]
    return torch.cat(found)
