"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside ``path``, renamed to it at the end and removed on any error.

    Raises:
        ValueError: the file cannot be written.
    """
    temporary = path.with_name(f".{uuid.uuid4().hex[:8]}-{path.name}")
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        reason = error.strerror or str(error) or "is the folder writable, and the disk not full?"
        raise ValueError(f"{path.name}: cannot be written to {path.parent}: {reason}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
