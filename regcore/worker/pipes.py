"""The two pipes to the client, kept apart from what libraries print."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

_CHUNK = 1 << 16
_LONGEST = 1 << 24  # bytes of a line: landmarks are the longest part of one


def take_over() -> tuple[int, int]:
    """Return descriptors of standard input and output, and turn the process' own ones away from the client.

    Whatever is printed from now on, by Python or by a library, goes to standard error.
    """
    sys.stdout.flush()
    source, sink = os.dup(sys.stdin.fileno()), os.dup(sys.stdout.fileno())
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, sys.stdin.fileno())
    os.close(nothing)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return source, sink


def lines(source: int) -> Iterator[bytes | None]:
    """Yield the lines that come until the other side closes; None for one that is too long to be a message."""
    held, too_long = bytearray(), False
    while chunk := _read(source):
        first, *others = chunk.split(b"\n")
        held += first
        for part in others:
            yield None if too_long else bytes(held)
            held, too_long = bytearray(part), False
        if len(held) > _LONGEST:
            held, too_long = bytearray(), True


def write_all(sink: int, data: bytes) -> None:
    """Write all of ``data``.

    Raises:
        OSError: nobody reads any more.
    """
    view = memoryview(data)
    while view:
        view = view[os.write(sink, view) :]


def _read(source: int) -> bytes:
    try:
        return os.read(source, _CHUNK)
    except OSError:  # Windows' word for a closed pipe
        return b""
