"""What a model file holds: weights, how the network is made and was trained, and a hash over all of it.

It is a safetensors file. Its metadata are ``format``, ``format_version``, ``model``, ``normalisation``, ``sha256`` and,
as JSON, ``options``, ``dimensions``, ``spacing_mm``, ``size``, ``training``, ``data``, ``metrics``, ``licence`` and
``notes``.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from regcore.models.base import Recipe

FORMAT = "attention-registration"
VERSION = 2

_HASH = "sha256"
_LENGTH_BYTES = 8  # at the beginning of a safetensors file: how long its JSON header is


@dataclass(frozen=True)
class Provenance:
    """What a network learned from and how well; each part may be unknown.

    Attributes:
        spacing_mm: voxel size of the images it was trained on; it is shown images of this voxel size.
        size: voxels of these images along each axis of the array.
        training: summary of the run, such as steps, seed and device.
        data: what the images were.
        metrics: figures on held-out data.
        licence: of the weights, as SPDX identifier.

    Raises:
        ValueError: a spacing or size that is none.
    """

    spacing_mm: float | None = None
    size: tuple[int, ...] | None = None
    training: Mapping[str, object] = field(default_factory=dict)
    data: Mapping[str, object] = field(default_factory=dict)
    metrics: Mapping[str, object] = field(default_factory=dict)
    licence: str | None = None

    def __post_init__(self) -> None:
        if self.spacing_mm is not None and not (math.isfinite(self.spacing_mm) and self.spacing_mm > 0):
            raise ValueError(f"spacing_mm: expected a positive length in mm, got {self.spacing_mm}")
        if self.size is not None and not (self.size and all(isinstance(n, int) and n > 0 for n in self.size)):
            raise ValueError(f"size: expected positive numbers of voxels, got {self.size}")


@dataclass(frozen=True)
class Description:
    """What a model file says of its network.

    Attributes:
        recipe: name and options.
        dimensions: number of spatial axes.
        normalisation: how intensities are scaled before the network sees them, in one word.
        provenance: what it learned from and how well.
        notes: what the writer added.
    """

    recipe: Recipe
    dimensions: int
    normalisation: str
    provenance: Provenance
    notes: Mapping[str, str]


@dataclass(frozen=True)
class Checkpoint(Description):
    """A model file's whole content.

    Attributes:
        tensors: weights by name.
    """

    tensors: Mapping[str, Tensor]


def packed(description: Description, tensors: Mapping[str, Tensor]) -> bytes:
    """Return a model file's bytes, the same ones for the same content.

    Raises:
        ValueError: part of the description has no place in JSON.
    """
    metadata = {
        "format": FORMAT,
        "format_version": str(VERSION),
        "model": description.recipe.name,
        "normalisation": description.normalisation,
        "options": _json(description.recipe.options, "options"),
        "dimensions": _json(description.dimensions, "dimensions"),
        "notes": _json(description.notes, "notes"),
    }
    for part in fields(Provenance):
        metadata[part.name] = _json(getattr(description.provenance, part.name), part.name)
    metadata[_HASH] = fingerprint(metadata, tensors)
    return _in_order(safetensors.torch.save(dict(tensors), metadata))


def fingerprint(metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of all metadata but the hash itself, and of each tensor's name, type, shape and bytes."""
    names = sorted(tensors)
    said = {key: value for key, value in metadata.items() if key != _HASH}
    kinds = [[name, str(tensors[name].dtype), list(tensors[name].shape)] for name in names]
    digest = hashlib.sha256(json.dumps([said, kinds], sort_keys=True).encode())
    for name in names:
        digest.update(tensors[name].contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def read_description(path: Path | str) -> Description:
    """Read what a model file says of its network; neither its weights nor its hash are looked at.

    Raises:
        ValueError: as `read_checkpoint`, as far as can be told.
        FileNotFoundError: there is no such file.
    """
    metadata, _ = _content(Path(path), with_tensors=False)
    return _description(metadata, Path(path))


def read_checkpoint(path: Path | str) -> Checkpoint:
    """Read a file written by `save_model`; weights stored in half precision become float32.

    Raises:
        ValueError: the file is truncated, damaged, edited, of another format version or of another program.
        FileNotFoundError: there is no such file.
    """
    path = Path(path)
    metadata, tensors = _content(path, with_tensors=True)
    if metadata.get(_HASH) != fingerprint(metadata, tensors):
        raise ValueError(f"weights {path} were damaged or edited after they were saved: their hash is another")
    whole = {name: value.float() if value.dtype == torch.float16 else value for name, value in tensors.items()}
    said = _description(metadata, path)
    return Checkpoint(said.recipe, said.dimensions, said.normalisation, said.provenance, said.notes, whole)


def _content(path: Path, with_tensors: bool) -> tuple[dict[str, str], dict[str, Tensor]]:
    tensors: dict[str, Tensor] = {}
    try:
        if not path.is_file():
            raise FileNotFoundError(f"there is no file {path}")
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            _check_format(metadata, path)
            if with_tensors:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except FileNotFoundError:
        raise
    except PermissionError as error:
        raise ValueError(f"weights {path} cannot be read: {error.strerror or error}") from error
    except (SafetensorError, OSError) as error:
        raise ValueError(f"weights {path} are damaged or not in safetensors format: {error}") from error
    return metadata, tensors


def _check_format(metadata: Mapping[str, str], path: Path) -> None:
    if metadata.get("format") != FORMAT:
        raise ValueError(f"weights {path} were not written by save_model: format is {metadata.get('format')!r}")
    version = metadata.get("format_version", "none")
    if version.isdecimal() and int(version) > VERSION:
        raise ValueError(
            f"weights {path} have format version {version}, newer than {VERSION}, the one this version reads; "
            "update attention-registration"
        )
    if version != str(VERSION):
        raise ValueError(f"weights {path} have format version {version}, which is no longer read; save them anew")


def _description(metadata: Mapping[str, str], path: Path) -> Description:
    try:
        parts = {part.name: json.loads(metadata[part.name]) for part in fields(Provenance)}
        size = parts.pop("size")
        return Description(
            Recipe(metadata["model"], dict(json.loads(metadata["options"]))),
            int(metadata["dimensions"]),
            metadata["normalisation"],
            Provenance(size=size and tuple(size), **parts),
            {str(key): str(value) for key, value in json.loads(metadata["notes"]).items()},
        )
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"weights {path} do not say which model they belong to and how it runs: {error!r}") from error


def _json(value: object, name: str) -> str:
    """Return ``value`` as JSON; figures that are not finite, which JSON does not know, become null."""
    try:
        text = json.dumps(value, default=dict)
        return json.dumps(json.loads(text, parse_constant=lambda _: None), sort_keys=True)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: expected numbers, texts, lists and mappings to write as JSON: {error}") from error


def _in_order(content: bytes) -> bytes:
    """Return a safetensors file with its metadata sorted: as the library writes them, they lie in random order."""
    end = _LENGTH_BYTES + int.from_bytes(content[:_LENGTH_BYTES], "little")
    header = json.loads(content[_LENGTH_BYTES:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _LENGTH_BYTES)
    return len(text).to_bytes(_LENGTH_BYTES, "little") + text + content[end:]
