"""PNG pictures and colour tables from arrays, without a plotting library: a report must not cost seconds."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]

# Black over violet and orange to pale yellow: lightness rises evenly, so it reads in grey and for colour-blind eyes.
HEAT = ("#000004", "#1b0c41", "#4a0c6b", "#781c6d", "#a52c60", "#cf4446", "#ed6925", "#fb9b06", "#f7d13d", "#fcffa4")
# Blue below, white in the middle, red above.
DIVERGING = ("#2166ac", "#4393c3", "#92c5de", "#d1e5f0", "#f7f7f7", "#fddbc7", "#f4a582", "#d6604d", "#b2182b")


def grey(share: NDArray) -> Picture:
    """Turn ``(H, W)`` from 0 (black) to 1 (white) into bytes; values outside are clipped."""
    return np.asarray(np.clip(share * 255 + 0.5, 0, 255), dtype=np.uint8)


def coloured(share: NDArray, colours: Sequence[str]) -> Picture:
    """Colour ``(H, W)`` from 0 to 1 along a list of ``#rrggbb``, giving ``(H, W, 3)``."""
    anchors = np.array([rgb(colour) for colour in colours], dtype=np.float64)
    places = np.linspace(0, 255, len(anchors))
    table = np.stack([np.interp(np.arange(256), places, channel) for channel in anchors.T], axis=-1)
    return np.asarray(np.rint(table).astype(np.uint8)[grey(share)])


def rgb(colour: str) -> tuple[int, int, int]:
    """Return the three bytes of ``#rrggbb``."""
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return red, green, blue


def png(picture: Picture) -> bytes:
    """Encode ``(H, W)`` grey or ``(H, W, 3)`` colour bytes as a PNG file."""
    height, width = picture.shape[:2]
    rows = picture.reshape(height, -1)
    # Each row is stored as its difference to the one above (filter 2), which packs smooth pictures well.
    lines = np.full((height, rows.shape[1] + 1), 2, dtype=np.uint8)
    lines[0, 1:], lines[1:, 1:] = rows[0], rows[1:] - rows[:-1]
    header = struct.pack(">IIBBBBB", width, height, 8, 2 if picture.ndim == 3 else 0, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), 5)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, data) for name, data in chunks)


def data_uri(picture: Picture) -> str:
    """Return the picture as the address of an HTML image."""
    return "data:image/png;base64," + base64.b64encode(png(picture)).decode("ascii")


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
