"""`python -m regcore.worker`: the worker without the command line's packages, as Slicer starts it."""

from __future__ import annotations

import os
import sys

from regcore.waiting import sleep_while_waiting
from regcore.worker.pipes import take_over

NICENESS = 5

if __name__ == "__main__":
    sleep_while_waiting()
    # Slicer's window comes first: threads made from here on are as modest.
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    # Before torch is imported: what libraries print while loading must not be taken for messages.
    source, sink = take_over()
    from regcore.worker.server import serve

    sys.exit(serve(source, sink))
