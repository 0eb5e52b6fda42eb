"""`regcore apply`: carry an image, a label map or landmarks through a transform."""

from __future__ import annotations

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from regcore.inverse import invert
from regcore.io import read_image, read_labels, read_transform, write_image
from regcore.landmarks import Landmarks, read_landmarks, write_landmarks
from regcore.preprocess import intensity_floor
from regcore.warp import warp

HELP = "carry an image, labels or landmarks through a transform"
_POINT_FILES = (".csv", ".fcsv", ".json")


def parser() -> ArgumentParser:
    """Describe the command line."""
    made = ArgumentParser(
        description="Apply a transform that maps fixed to moving points. Images and labels come from the moving space "
        "onto the grid of --reference; landmarks go the way the points go, from fixed to moving."
    )
    made.add_argument("transform", type=Path, help="ITK transform (.h5, .tfm)")
    made.add_argument("input", type=Path, help="image, label map, or landmarks (.csv, .fcsv, .mrk.json)")
    made.add_argument("output", type=Path, help="file to write")
    made.add_argument("--reference", type=Path, required=True, help="image whose grid the result lies on")
    made.add_argument("--labels", action="store_true", help="the input is a label map: keep its values")
    made.add_argument("--invert", action="store_true", help="apply the transform the other way round")
    return made


def run(chosen: Namespace) -> None:
    """Do it; raises what `regcore.cli.main` turns into exit codes."""
    grid = read_image(chosen.reference, "reference").grid
    transform = read_transform(chosen.transform, grid)
    if chosen.invert:
        transform = invert(transform, grid).transform
    if not chosen.output.parent.is_dir():
        raise ValueError(f"output: no such folder: {chosen.output.parent}")
    if chosen.input.suffix.lower() in _POINT_FILES:
        landmarks = read_landmarks(chosen.input)
        if landmarks.points.shape[1] != grid.dim:
            raise ValueError(f"input: expected {grid.dim}D points, got {landmarks.points.shape[1]}D")
        write_landmarks(Landmarks(transform(landmarks.points), landmarks.labels), chosen.output)
    elif chosen.labels:
        write_image(warp(read_labels(chosen.input, "input"), transform, grid, "nearest"), chosen.output)
    else:
        image = read_image(chosen.input, "input")
        write_image(warp(image, transform, grid, outside=intensity_floor(image)), chosen.output)
