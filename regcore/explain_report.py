"""explain.html: the maps of an explanation over the images, side by side as in the paper's figure 4, in one file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from regcore.explain_pictures import CROSS, OUTLINE, cross, cuts, marked, outline, over, plane, view
from regcore.explanation import Explanation
from regcore.grid import Matrix
from regcore.image import Image
from regcore.page import write_page
from regcore.png import HEAT
from regcore.preprocess import Inputs, normalise
from regcore.report_pictures import PlaneViews

_BAR_MM = 10
_MIDDLE = "the gland's"


def write_explanation(folder: Path, summary: Mapping[str, Any], found: Explanation, inputs: Inputs) -> None:
    """Write ``explain.html`` into ``folder``.

    Args:
        folder: where to; it must exist.
        summary: the content of explain.json.
        found: the maps.
        inputs: the pair they belong to, with the fixed gland.

    Raises:
        ValueError: the file cannot be written.
    """
    chosen = None if summary["voxel"] is None else inputs.fixed.grid.to_world(summary["voxel"])
    write_page(
        folder / "explain.html",
        "explain.html",
        summary=summary,
        maps=list(draw_maps(found, inputs)),
        attention=[] if chosen is None else list(draw_attention(found, inputs, chosen)),
        colours=", ".join(HEAT),
        gland_colour=OUTLINE,
    )


def draw_maps(found: Explanation, inputs: Inputs) -> Iterator[PlaneViews]:
    """Yield both Grad-CAM maps over their images in three planes that show much of both and of the gland."""
    assert inputs.fixed_gland is not None
    fixed, moving = _shown(inputs)
    for cut in cuts(found.crop, _telling(found), _MIDDLE):
        still, moved = cut.of(fixed), cut.of(moving, found.transform)
        edge = outline(cut, inputs.fixed_gland)
        yield plane(
            cut,
            (
                view("Fixed", marked(over(still), edge), "with the gland's outline"),
                view("Fixed, Grad-CAM", over(still, cut.of(found.fixed)), "what the fixed branch rests on"),
                view("Moving", marked(over(moved), edge), "through the current transform"),
                view("Moving, Grad-CAM", over(moved, cut.of(found.moving)), "what the moving branch rests on"),
            ),
            _BAR_MM,
        )


def draw_attention(found: Explanation, inputs: Inputs, chosen: Matrix) -> Iterator[PlaneViews]:
    """Yield the attention of the place ``chosen`` (mm) over three planes through it.

    Attention is narrow and seldom lies in one plane with its voxel, so each map is seen through from front to back.
    """
    assert found.over_fixed is not None
    assert found.over_moving is not None
    fixed, moving = _shown(inputs)
    for cut in cuts(found.crop, chosen, _MIDDLE):
        still, moved = cut.of(fixed), cut.of(moving, found.transform)
        where = cross(cut, chosen)
        views = (
            ("Fixed", still, None, "the cross: the voxel chosen"),
            ("Moving, attention", moved, cut.through(found.over_moving), "what the chosen voxel attends to"),
            ("Moving", moved, None, "the cross: what lies there now"),
            ("Fixed, attention", still, cut.through(found.over_fixed), "what the moving image's cross attends to"),
        )
        drawn = (view(title, marked(over(image, share), where, CROSS), text) for title, image, share, text in views)
        yield plane(cut, tuple(drawn), _BAR_MM)


def _shown(inputs: Inputs) -> tuple[Image, Image]:
    fixed, moving = (image.with_data(normalise(image), "float32") for image in (inputs.fixed, inputs.moving))
    return fixed, moving


def _telling(found: Explanation) -> Matrix:
    """Return the point (mm) where the axial, coronal and sagittal plane meet that show much of maps and gland.

    The strongest planes alone often lie at the crop's border, far from anything a reader knows.
    """
    both = found.fixed.data + found.moving.data
    if not bool(both.any()):
        return found.crop.centre
    lines = [
        [part.sum(dim=[a for a in range(3) if a != axis]) for part in (both, found.gland.data)] for axis in range(3)
    ]
    return found.crop.to_world([int((share * organ).argmax()) for share, organ in reversed(lines)])
