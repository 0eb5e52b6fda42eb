"""How threads wait for one another."""

from __future__ import annotations

import os


def sleep_while_waiting() -> None:
    """Let torch's threads sleep between two tasks, unless the environment says otherwise; before torch is imported.

    By default they wait busily: a tenth of the processor time of a registration on two cores, and many times as long
    once something else, Slicer say, needs a core.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
