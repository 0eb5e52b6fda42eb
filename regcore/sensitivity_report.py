"""explain.html of a deformable network: how much each place of both images counts, over the images, in one file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from regcore.deformable_explanation import DeformableExplanation
from regcore.explain_pictures import OUTLINE, Cut, cross, cuts, marked, outline, over, plane, veiled, view
from regcore.grid import Matrix
from regcore.image import Image
from regcore.page import write_page
from regcore.png import HEAT, Picture
from regcore.preprocess import Inputs, normalise
from regcore.report_pictures import PlaneViews

_BARS_MM = (1, 2, 5, 10, 20, 50, 100)
_MIDDLE = "the image's"
_CROSS = "#35c9ff"  # in neither the images nor the maps


def write_sensitivity(
    folder: Path, summary: Mapping[str, Any], found: DeformableExplanation, inputs: Inputs, point: Matrix | None
) -> None:
    """Write ``explain.html`` into ``folder``.

    Args:
        folder: where to; it must exist.
        summary: the content of explain.json.
        found: the maps.
        inputs: the pair they belong to.
        point: the place in the fixed image whose displacement was asked for (mm); None: all were.

    Raises:
        ValueError: the file cannot be written.
    """
    write_page(
        folder / "explain.html",
        "sensitivity.html",
        summary=summary,
        maps=list(draw_sensitivity(found, inputs, point)),
        colours=", ".join(HEAT),
        outline_colour=None if inputs.fixed_gland is None else OUTLINE,
    )


def draw_sensitivity(found: DeformableExplanation, inputs: Inputs, point: Matrix | None) -> Iterator[PlaneViews]:
    """Yield both maps over their images, in three planes through ``point`` or that show most of both."""
    images = [image.with_data(normalise(image), "float32") for image in (inputs.fixed, inputs.moving)]
    maps = found.scaled("fixed"), found.scaled("moving")
    for cut in cuts(found.grid, _telling(found) if point is None else point, _MIDDLE):
        shown = cut.of(images[0]), cut.of(images[1], found.start)

        def drawn(picture: Picture, cut: Cut = cut) -> Picture:
            return picture if point is None else marked(picture, cross(cut, point), _CROSS)

        plain = [_outlined(over(image), cut, inputs.fixed_gland) for image in shown]
        coloured = [veiled(image, cut.of(share)) for image, share in zip(shown, maps, strict=True)]
        caption = "the image that stays" if point is None else "the cross: the voxel chosen"
        views = (
            view("Fixed", drawn(plain[0]), caption),
            view("Fixed, sensitivity", drawn(coloured[0]), "what the displacement rests on"),
            view("Moving", drawn(plain[1]), "where the start puts it"),
            view("Moving, sensitivity", drawn(coloured[1]), "what the displacement rests on"),
        )
        bar = max((bar for bar in _BARS_MM if bar <= cut.grid.extent[0] / 3), default=1)
        yield plane(cut, views, bar)


def _outlined(picture: Picture, cut: Cut, region: Image | None) -> Picture:
    return picture if region is None else marked(picture, outline(cut, region))


def _telling(found: DeformableExplanation) -> Matrix:
    """Return the point (mm) where the planes meet in which the squared maps add up to most.

    Planes through the strongest place alone often show the rim of what there is to see.
    """
    both = found.fixed.data.square() + found.moving.data.square()
    if not bool(both.any()):
        return found.grid.centre
    axes = range(both.ndim)
    index = [int(both.sum(dim=[other for other in axes if other != axis]).argmax()) for axis in axes]
    return found.grid.to_world(index[::-1])
