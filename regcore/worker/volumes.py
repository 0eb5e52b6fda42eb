"""Arrays in a request's folder become images, and results become arrays there."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from regcore.atomic import replacing
from regcore.grid import Grid
from regcore.image import Image
from regcore.worker.protocol import Refused, Volume, is_plain_name

_WIDER = {"uint16": np.int32, "uint32": np.int64, "uint64": np.int64, "float64": np.float32, "float16": np.float32}
_SLAB_BYTES = 1 << 24


def read_image(folder: Path, volume: Volume, name: str) -> Image:
    """Read a volume of a request.

    Args:
        folder: of the request.
        volume: array and geometry.
        name: what to call it in messages.

    Raises:
        Refused: the file leads out of the folder, is no array of numbers, ends too early, or does not fit its geometry.
        ValueError: a geometry that no grid has.
    """
    array = _mapped(folder, volume.array, name)
    if array.ndim != len(volume.spacing) or min(array.shape) < 2:
        raise Refused(
            f"{name}: expected an array of {len(volume.spacing)} axes, each of 2 voxels or more, "
            f"got {' x '.join(map(str, array.shape)) or 'one number'}."
        )
    try:
        grid = Grid.of(array.shape[::-1], volume.spacing, volume.origin, _square(volume.direction))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    kind = "uint8" if array.dtype == bool else array.dtype.name
    # A copy: the client may remove the file as soon as the result is there.
    data = np.array(array, dtype=_WIDER.get(kind, kind), order="C")
    return Image(torch.from_numpy(data), grid, kind)


def read_labels(folder: Path, volume: Volume, name: str) -> Image:
    """Read a label map; see `read_image`.

    Raises:
        Refused: also for labels that are no whole numbers.
    """
    image = read_image(folder, volume, name)
    if image.data.is_floating_point():
        whole = image.data.round()
        if not bool(torch.equal(whole, image.data)):
            raise Refused(f"{name}: expected whole numbers, found fractions; pass a label map.")
        image = image.with_data(whole, "int32")
    return image.with_data(image.data.to(torch.int64))


def read_mask(folder: Path, volume: Volume, name: str) -> Image:
    """Read a mask, 1 where the volume is above 0; see `read_image`."""
    image = read_image(folder, volume, name)
    return image.with_data((image.data > 0).to(torch.uint8), "uint8")


class Results:
    """Writes arrays into the folder of a request, each whole or not at all.

    Args:
        folder: of the request.
        check: called now and then; may raise to cancel.
    """

    def __init__(self, folder: Path, check: Callable[[], None]) -> None:
        self._folder, self._check = folder, check

    def array(self, name: str, data: Tensor | NDArray) -> dict[str, object]:
        """Write ``data`` as ``NAME.npy``, floating point as float32; return how a message names it.

        Raises:
            ValueError: it cannot be written.
        """
        array = np.asarray(data)
        array = array.astype(np.float32, copy=False) if array.dtype.kind == "f" else array
        file_name = f"{name}.npy"
        if not is_plain_name(file_name):
            raise ValueError(f"array: {name} is no name of a file")
        rows = max(1, _SLAB_BYTES * len(array) // max(1, array.nbytes))
        header = {"descr": np.lib.format.dtype_to_descr(array.dtype), "fortran_order": False, "shape": array.shape}
        with replacing(self._folder / file_name) as temporary, unfinished.holding(temporary):
            with temporary.open("wb") as file:
                np.lib.format.write_array_header_1_0(file, header)
                for start in range(0, len(array), rows):
                    self._check()
                    file.write(np.ascontiguousarray(array[start : start + rows]).data)
            self._check()
        return {"array": file_name}


class _Unfinished:
    """Files that are being written; a process that has to leave at once removes them first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._paths: set[Path] = set()

    @contextmanager
    def holding(self, path: Path) -> Iterator[None]:
        """Count ``path`` as being written."""
        with self._lock:
            self._paths.add(path)
        try:
            yield
        finally:
            with self._lock:
                self._paths.discard(path)

    def remove(self) -> None:
        """Remove them all; whoever begins a file afterwards waits for ever."""
        self._lock.acquire()
        for path in self._paths:
            with suppress(OSError):
                path.unlink()


unfinished = _Unfinished()


def _mapped(folder: Path, name: str, side: str) -> NDArray:
    path = folder / name
    if path.is_symlink() or not path.is_file():
        raise Refused(f"{side}: the folder has no such file.")
    try:
        array = np.lib.format.open_memmap(path, mode="r")
    except (ValueError, OSError, OverflowError, SyntaxError, MemoryError, EOFError):
        # One sentence for all: numpy's own would show what the file holds.
        array = None
    if array is None or array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        raise Refused(f"{side}: expected a whole .npy file of real numbers, without pickled objects.")
    return array


def _square(values: tuple[float, ...]) -> NDArray[np.float64]:
    dim = round(len(values) ** 0.5)
    return np.asarray(values, dtype=np.float64).reshape(dim, dim)
