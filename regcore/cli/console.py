"""What a command shows while it works: a progress bar, JSON lines, or nothing; and Ctrl-C as a polite cancel."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from regcore.progress import CancelCheck, Progress


@contextmanager
def following(quiet: bool, as_json: bool, verbose: bool) -> Iterator[Progress]:
    """Yield the progress callback for one command.

    Args:
        quiet: show nothing.
        as_json: print one JSON object a line on standard output.
        verbose: show every message with its stage on its own line.
    """
    if as_json:
        yield _json_line
    elif quiet:
        yield lambda fraction, stage, message: None
    elif verbose or not sys.stderr.isatty():
        yield _Lines(verbose)
    else:
        from rich.console import Console
        from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bar

        columns = (TextColumn("{task.description:42}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
        with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("", total=1.0)
            yield lambda fraction, stage, message: bar.update(
                task, completed=fraction, description=f"{stage}: {message}" if message else stage
            )


@contextmanager
def cancel_on_interrupt() -> Iterator[CancelCheck]:
    """Yield a check that turns true at the first Ctrl-C; a second one interrupts at once."""
    asked = False

    def ask(signum: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    previous = signal.signal(signal.SIGINT, ask)
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, previous)


def _json_line(fraction: float, stage: str, message: str) -> None:
    line = {"progress": round(fraction, 4), "stage": stage, "message": message}
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


class _Lines:
    """One line per stage, or per message when verbose; for logs and pipes."""

    def __init__(self, verbose: bool) -> None:
        self._verbose, self._last = verbose, ""

    def __call__(self, fraction: float, stage: str, message: str) -> None:
        line = f"{stage}: {message}" if self._verbose and message else stage
        if line != self._last:
            sys.stderr.write(f"[{100 * fraction:3.0f} %] {line}\n")
            self._last = line
