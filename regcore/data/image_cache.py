"""Prepared images, kept in memory and, if wanted, in a folder that later runs find them in."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from regcore.atomic import replacing

Tensors = dict[str, Tensor]

_VERSION = 1  # of how images are prepared; another one makes other names


def fingerprint(paths: Sequence[Path | None], options: Mapping[str, object]) -> str:
    """Return a name for what comes out of some files, as they are now, under some options.

    Files count by where they are, their size and when they were changed; of a folder, each file in it.
    """
    stamps = [None if path is None else [_stamp(file) for file in _files(path)] for path in paths]
    text = json.dumps([_VERSION, stamps, options], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


class ImageCache:
    """See the module.

    Args:
        folder: made if need be; None: memory only.

    Raises:
        ValueError: the folder cannot be made.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self._held: dict[str, Tensors] = {}
        if folder is not None:
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise ValueError(f"cache: the folder {folder} cannot be made: {error.strerror or error}") from error

    def get(self, name: str, make: Callable[[], Tensors]) -> Tensors:
        """Return what is kept under a name; if there is nothing, or it is damaged, make it and keep it."""
        if name not in self._held:
            self._held[name] = self._read(name) or self._written(name, make())
        return self._held[name]

    def _read(self, name: str) -> Tensors | None:
        path = self._path(name)
        if path is None or not path.is_file():
            return None
        try:
            with safe_open(path, "pt") as file:
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (it is no mapping)
                expected = (file.metadata() or {}).get("crc32")
        except (SafetensorError, OSError):
            return None
        return tensors if expected == _checksum(tensors) else None

    def _written(self, name: str, tensors: Tensors) -> Tensors:
        path = self._path(name)
        if path is not None:
            with replacing(path) as temporary:
                safetensors.torch.save_file(tensors, temporary, {"crc32": _checksum(tensors)})
        return tensors

    def _path(self, name: str) -> Path | None:
        return None if self.folder is None else self.folder / f"{name}.safetensors"


def _checksum(tensors: Tensors) -> str:
    total = 0
    for name in sorted(tensors):
        total = zlib.crc32(tensors[name].contiguous().numpy().tobytes(), zlib.crc32(name.encode(), total))
    return str(total)


def _files(path: Path) -> list[Path]:
    return sorted(path.iterdir()) if path.is_dir() else [path]


def _stamp(path: Path) -> tuple[str, int, int]:
    known = path.stat()
    return str(path.resolve()), known.st_size, known.st_mtime_ns
