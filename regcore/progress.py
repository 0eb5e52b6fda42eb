"""How long-running steps report where they are, and how they are stopped."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[float, str, str], None]
"""Called with the fraction done (0 to 1, never falling), the stage's name and a message for people."""

CancelCheck = Callable[[], bool]
"""Asked now and then; true means: stop."""


class Cancelled(Exception):  # noqa: N818 (not an error: the user asked for it)
    """Raised by a step whose cancel check returned true; nothing has been written by then."""
