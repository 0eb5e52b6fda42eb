"""Tasks for `test_workers`: processes of their own must be able to import them."""

from __future__ import annotations

import os
import time

from regcore.cohort.table import Case
from regcore.cohort.workers import Outcome
from regcore.progress import CancelCheck, Cancelled


def deadly(case: Case, cancelled: CancelCheck) -> Outcome:
    """Take the process down for one case."""
    if case.id == "killer":
        os._exit(9)
    return Outcome(case.id, {"by": os.getpid()})


def endless(case: Case, cancelled: CancelCheck) -> Outcome:
    """Touch a file again and again until stopped."""
    while not cancelled():
        case.files["fixed"].touch()
        time.sleep(0.01)
    raise Cancelled
