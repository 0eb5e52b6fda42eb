"""The methods of the MRI-ultrasound benchmark: what each makes of a case and a start."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import SimpleITK as sitk

from regcore.crop import gland_crop
from regcore.data.rigid_cases import RigidCase
from regcore.gland_alignment import align_glands
from regcore.image import Image
from regcore.models import RigidModel, model_info
from regcore.rigid import register_rigid
from regcore.rigid_refine import keep_better, refine_rigid
from regcore.rigid_step import organ_start, usual_passes
from regcore.transform import AffineTransform, RigidTransform
from regcore.weights import load_trained

_MARGIN_MM = 5.0  # how much of the gland's surroundings the peers compare too
_PEER_REACH_MM = 60.0  # far enough for any of the starts


@dataclass(frozen=True)
class Case(RigidCase):
    """A case with the gland of its ultrasound too."""

    moving_gland: Image


@dataclass(frozen=True)
class Outcome:
    """What came of one start.

    Attributes:
        start_mm: surface registration error before.
        result_mm: and after.
        seconds: wall.
        spread_mm: of the ensemble; None without one.
        failed: the method gave up, and the start stands for its result.
        refined: whether the refinement was kept; None without one.
    """

    start_mm: float
    result_mm: float
    seconds: float
    spread_mm: float | None
    failed: bool
    refined: bool | None


class Result(NamedTuple):
    """What a method returns for one start; see `Outcome`."""

    transform: AffineTransform
    spread_mm: float | None = None
    failed: bool = False
    refined: bool | None = None


Registering = Callable[[AffineTransform], Result]
Method = Callable[[Case, int], Registering]


def find_methods(
    names: Sequence[str], ensemble: int, weights: Path | None, tell: Callable[[str], None]
) -> dict[str, Method]:
    """Return the methods by the name of their row; a network has one per number of stages and size of ensemble.

    Raises:
        ValueError: a name that is neither a peer's nor a rigid model's.
    """
    found: dict[str, Method] = {}
    for name in names:
        if name in PEERS:
            found[name] = PEERS[name]
            continue
        if model_info(name).kind != "rigid":
            raise ValueError(f"methods: {name} is no rigid model; expected one, or {', '.join(PEERS)}")
        networks = trained_networks(name, weights, tell)
        usual = usual_passes(networks)
        for stages in sorted({1, 2, usual}):
            found[f"{name} x{stages}"] = partial(_network, networks, stages, 1)
            found[f"{name} x{stages}, ensemble"] = partial(_network, networks, stages, ensemble)
        found[f"{name} x{usual}, ensemble, from centres"] = partial(_from_centres, networks, ensemble)
        if networks[0].convention.fixed_input == "image":
            found[f"{name} x{usual}, ensemble + refine"] = partial(_refined, networks, ensemble)
    return found


def trained_networks(name: str, weights: Path | None, tell: Callable[[str], None] = lambda _: None) -> list[RigidModel]:
    """Return a model's networks, one per stage, telling what stands in for missing weights."""
    trained = load_trained(name, weights)
    if trained.warning:
        tell(trained.warning)
    return [cast(RigidModel, network) for network in trained.networks]


def _start(case: Case, seed: int) -> Registering:
    return Result


def _centres(case: Case, seed: int) -> Registering:
    """The gland's centre in the middle of the ultrasound volume: no image, no start, and not bad at all."""
    return lambda _: Result(organ_start(case.gland, case.moving))


def _labels(case: Case, seed: int) -> Registering:
    return lambda _: Result(align_glands(case.gland, case.moving_gland).transform)


def _mind(case: Case, seed: int) -> Registering:
    """MIND-SSC as it is, wherever it leads: without the rule that keeps the better of start and result."""

    def register(start: AffineTransform) -> Result:
        try:
            refined = refine_rigid(
                case.fixed, case.moving, start, region=case.gland, margin_mm=_MARGIN_MM, reach_mm=_PEER_REACH_MM
            )
        except ValueError:
            return Result(start, failed=True)
        return Result(refined.found)

    return register


def _network(networks: Sequence[RigidModel], stages: int, ensemble: int, case: Case, seed: int) -> Registering:
    def register(start: AffineTransform) -> Result:
        found = register_rigid(
            networks, case.fixed, case.moving, case.gland, start, stages=stages, ensemble=ensemble, seed=seed
        )
        return Result(found.transform, found.spread_mm)

    return register


def _from_centres(networks: Sequence[RigidModel], ensemble: int, case: Case, seed: int) -> Registering:
    """As `regcore register` does when no start is known: it does not matter which start was given."""
    network = _network(networks, usual_passes(networks), ensemble, case, seed)
    return lambda _: network(organ_start(case.gland, case.moving))


def _refined(networks: Sequence[RigidModel], ensemble: int, case: Case, seed: int) -> Registering:
    network = _network(networks, usual_passes(networks), ensemble, case, seed)

    def register(start: AffineTransform) -> Result:
        found = network(start)
        refined = refine_rigid(case.fixed, case.moving, found.transform, region=case.gland)
        kept = keep_better(found.transform, refined, found.spread_mm)
        return Result(kept.transform, found.spread_mm, refined=kept.kept)

    return register


def _mutual_information(case: Case, seed: int) -> Registering:
    """Mattes mutual information as SimpleITK's users set it up: Euler angles, three levels, gradient descent."""
    fixed, moving = as_itk(case.fixed), as_itk(case.moving)
    radius = [round(_MARGIN_MM / spacing) for spacing in case.gland.grid.spacing]
    mask = sitk.BinaryDilate(sitk.Cast(as_itk(case.gland), sitk.sitkUInt8), radius)
    centre = gland_crop(case.gland, (1, 1, 1)).centre

    def register(start: AffineTransform) -> Result:
        about = AffineTransform.from_homogeneous(start.homogeneous, centre)
        euler = sitk.Euler3DTransform()
        euler.SetCenter(centre.tolist())
        euler.SetMatrix(about.matrix.ravel().tolist(), 1e-6)
        euler.SetTranslation(about.translation.tolist())
        method = sitk.ImageRegistrationMethod()
        method.SetMetricAsMattesMutualInformation(32)
        method.SetMetricSamplingStrategy(method.NONE)
        method.SetMetricFixedMask(mask)
        method.SetInterpolator(sitk.sitkLinear)
        method.SetShrinkFactorsPerLevel([4, 2, 1])
        method.SetSmoothingSigmasPerLevel([2.0, 1.0, 0.0])
        method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
        method.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-3, 200, 0.5)
        method.SetOptimizerScalesFromPhysicalShift()
        method.SetInitialTransform(euler, inPlace=True)
        try:
            method.Execute(fixed, moving)
        except RuntimeError:  # the volumes were driven apart
            return Result(start, failed=True)
        matrix = np.asarray(euler.GetMatrix()).reshape(3, 3)
        return Result(RigidTransform(matrix, np.asarray(euler.GetTranslation()), centre))

    return register


def as_itk(image: Image) -> sitk.Image:
    """Return SimpleITK's form of an image."""
    made = sitk.GetImageFromArray(image.data.float().numpy())
    made.SetSpacing(image.grid.spacing)
    made.SetOrigin(image.grid.origin)
    made.SetDirection(image.grid.direction)
    return made


PEERS: dict[str, Method] = {
    "start": _start,
    "centres": _centres,
    "simpleitk-mi": _mutual_information,
    "mind-rigid": _mind,
    "labels": _labels,
}
