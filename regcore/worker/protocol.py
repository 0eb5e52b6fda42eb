"""The messages between client and worker, version 1: one JSON object per line, UTF-8, in both directions.

The client sends ``register``, ``cancel``, ``ping`` and ``shutdown``; the worker ``hello`` once, then ``progress``,
``result``, ``error`` and ``pong``. Geometry is that of ITK: millimetres, LPS; transforms lead from fixed to moving
points. What comes in is not trusted.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

VERSION = 1

Code = Literal["bad_input", "memory", "device", "cancelled", "protocol", "internal"]


class Refused(Exception):  # noqa: N818 (an answer, not a fault)
    """A message that cannot be worked on.

    Attributes:
        sentence: what is wrong, in one sentence.
        code: ``bad_input``: what it asks for; ``protocol``: the message itself.
        id: of the registration it was about; None: it named none.
    """

    def __init__(self, sentence: str, code: Code = "bad_input", id: str | None = None) -> None:
        super().__init__(sentence)
        self.sentence, self.code, self.id = sentence, code, id


@dataclass(frozen=True)
class Volume:
    """An array in the folder of a request, and where its voxels lie.

    Attributes:
        array: name of a .npy file, C order, axes k, j, i (or j, i).
        spacing: along i, j, k (mm).
        origin: of the first voxel (mm, LPS).
        direction: row by row; columns are the directions of i, j, k.
    """

    array: str
    spacing: tuple[float, ...]
    origin: tuple[float, ...]
    direction: tuple[float, ...]


@dataclass(frozen=True)
class Outputs:
    """What is wanted besides transform, warped volume and report.

    ``motion`` adds `regcore.motion.Motion.figures` to the report: the moving image is a frame of a series, the fixed
    one its reference, with labels or without.
    """

    inverse: bool = False
    jacobian: bool = False
    attention: bool = False
    motion: bool = False


@dataclass(frozen=True)
class Register:
    """A registration that is asked for; see `regcore.worker.choices` for ``settings``."""

    id: str
    folder: Path
    fixed: Volume
    moving: Volume
    fixed_mask: Volume | None = None
    moving_mask: Volume | None = None
    fixed_labels: Volume | None = None
    moving_labels: Volume | None = None
    fixed_landmarks: tuple[tuple[float, ...], ...] | None = None
    moving_landmarks: tuple[tuple[float, ...], ...] | None = None
    start: tuple[tuple[float, ...], ...] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    outputs: Outputs = Outputs()


@dataclass(frozen=True)
class Cancel:
    """Stop the registration ``id``; of one that is not running nothing comes."""

    id: str


@dataclass(frozen=True)
class Ping:
    """Answered by `Pong`."""


@dataclass(frozen=True)
class Shutdown:
    """Leave within a second, whatever is going on."""


Incoming = Register | Cancel | Ping | Shutdown


@dataclass(frozen=True)
class Hello:
    """The worker's first message."""

    type: ClassVar = "hello"
    version: str
    torch: str
    devices: Sequence[Mapping[str, object]]
    device_note: str
    models: Sequence[Mapping[str, object]]
    presets: Sequence[Mapping[str, object]]
    protocol: int = VERSION


@dataclass(frozen=True)
class Progress:
    """How far a registration is: ``fraction`` of the whole, 0 to 1, never falling, and the memory it has in use."""

    type: ClassVar = "progress"
    id: str
    fraction: float
    stage: str
    message: str
    memory_mb: int | None


@dataclass(frozen=True)
class Result:
    """What a registration found; arrays are files in the request's folder."""

    type: ClassVar = "result"
    id: str
    transform: Mapping[str, object]
    inverse: Mapping[str, object] | None
    warped: Mapping[str, object]
    jacobian: Mapping[str, object] | None
    attention: Sequence[Mapping[str, object]]
    report: Mapping[str, object]
    notes: Sequence[str]
    seconds: float
    device: str


@dataclass(frozen=True)
class Error:
    """Why something was not done, in one sentence, and what a developer wants to know."""

    type: ClassVar = "error"
    id: str | None
    code: Code
    sentence: str
    details: str = ""


@dataclass(frozen=True)
class Pong:
    """The worker is there."""

    type: ClassVar = "pong"
    busy: bool


Outgoing = Hello | Progress | Result | Error | Pong


def encode(message: Outgoing) -> bytes:
    """Return a message as its line; numbers that JSON does not know become null."""
    content = {"type": message.type, **asdict(message)}
    return json.dumps(_plain(content), ensure_ascii=False, allow_nan=False).encode("utf-8", "replace") + b"\n"


def parse(line: bytes | None) -> Incoming:
    """Return the message of a line.

    Raises:
        Refused: it is none, or a part of it is missing or not what it must be.
    """
    try:
        content = json.loads((line or b"").decode("utf-8"))
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise Refused("The line is no JSON object.", "protocol")
    kind = content.get("type")
    if kind == "ping":
        return Ping()
    if kind == "shutdown":
        return Shutdown()
    if kind not in ("register", "cancel"):
        raise Refused("The type is none of register, cancel, ping and shutdown.", "protocol")
    identifier = content.get("id")
    if not isinstance(identifier, str) or not 0 < len(identifier) <= 200:
        raise Refused(f"{kind}: expected a text as id.", "protocol")
    if kind == "cancel":
        return Cancel(identifier)
    try:
        return _register(identifier, content)
    except Refused as refused:
        raise Refused(refused.sentence, refused.code, identifier) from None


def _register(identifier: str, content: Mapping[str, Any]) -> Register:
    known = Register.__dataclass_fields__.keys() | {"type"}
    if unknown := sorted(content.keys() - known):
        raise Refused(f"{_short(unknown[0])}: register has no such part.", "protocol")
    folder = content.get("folder")
    if not isinstance(folder, str) or "\0" in folder or not Path(folder).is_absolute() or not Path(folder).is_dir():
        raise Refused("folder: there is no such folder; expected the whole path of one.")
    settings, outputs = ({} if content.get(name) is None else content[name] for name in ("settings", "outputs"))
    if not isinstance(settings, dict):
        raise Refused("settings: expected an object.", "protocol")
    optional = ("fixed_mask", "moving_mask", "fixed_labels", "moving_labels")
    masks = {name: None if content.get(name) is None else _volume(content[name], name) for name in optional}
    return Register(
        identifier,
        Path(folder),
        _volume(content.get("fixed"), "fixed"),
        _volume(content.get("moving"), "moving"),
        **masks,
        fixed_landmarks=_points(content.get("fixed_landmarks"), "fixed_landmarks"),
        moving_landmarks=_points(content.get("moving_landmarks"), "moving_landmarks"),
        start=_matrix(content.get("start")),
        settings=settings,
        outputs=_outputs(outputs),
    )


def _outputs(content: object) -> Outputs:
    if (
        not isinstance(content, dict)
        or not content.keys() <= Outputs.__dataclass_fields__.keys()
        or not all(isinstance(wanted, bool) for wanted in content.values())
    ):
        raise Refused("outputs: expected inverse, jacobian, attention and motion, each true or false.", "protocol")
    return Outputs(**content)


def _volume(content: object, name: str) -> Volume:
    if not isinstance(content, dict):
        raise Refused(f"{name}: expected a volume with array, spacing, origin and direction.")
    array = content.get("array")
    if not isinstance(array, str) or not is_plain_name(array):
        raise Refused(f"{name}: expected as array the name of a .npy file in the folder, without a path.")
    parts = [_numbers(content.get(part), f"{name}: {part}") for part in ("spacing", "origin", "direction")]
    dim = len(parts[0])
    if dim not in (2, 3) or [len(part) for part in parts] != [dim, dim, dim * dim]:
        raise Refused(f"{name}: expected 3 numbers as spacing, 3 as origin and 9 as direction (2, 2 and 4 in 2D).")
    return Volume(array, *parts)


def is_plain_name(name: str) -> bool:
    """Whether ``name`` is that of a .npy file and cannot lead out of its folder, on any platform."""
    stem = name.removesuffix(".npy")
    return stem != name and 0 < len(stem) <= 100 and all(c.isascii() and (c.isalnum() or c in "-_") for c in stem)


def _points(content: object, name: str) -> tuple[tuple[float, ...], ...] | None:
    if content is None:
        return None
    if not isinstance(content, list) or not content:
        raise Refused(f"{name}: expected a list of points (mm, LPS), or null.")
    points = tuple(_numbers(point, name) for point in content)
    if len({len(point) for point in points}) != 1:
        raise Refused(f"{name}: expected as many coordinates of every point.")
    return points


def _matrix(content: object) -> tuple[tuple[float, ...], ...] | None:
    rows = _points(content, "start")
    if rows is None:
        return None
    size = len(rows[0])
    last = (*[0.0] * (size - 1), 1.0)
    if size not in (3, 4) or len(rows) != size or any(abs(a - b) > 1e-6 for a, b in zip(rows[-1], last, strict=True)):
        raise Refused("start: expected a matrix of 4 rows with 4 numbers, the last row 0, 0, 0, 1.")
    return rows


def _numbers(content: object, name: str) -> tuple[float, ...]:
    if not isinstance(content, list) or not all(_is_finite(value) for value in content):
        raise Refused(f"{name}: expected a list of finite numbers.")
    return tuple(float(value) for value in content)


def _is_finite(value: object) -> bool:
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # a whole number too large for a float
        return False


def _short(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:40]}.."


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
