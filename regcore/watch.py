"""Progress inside a network, and cancelling anywhere, whatever the work is made of."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from torch import nn

from regcore.progress import CancelCheck, Cancelled

_PAIRED = ("__enter__", "__exit__")  # what has begun to be set up or put away is not left half done


@contextmanager
def watched(model: nn.Module, report: Callable[[float, str], None], message: str) -> Iterator[None]:
    """Tell ``report`` whenever a layer of ``model`` begins; what it raises ends the network's work.

    How often layers come up is not known before, so the fraction rises ever more slowly: to one half once there were
    as many calls as layers, to two thirds at twice as many.
    """
    layers = [module for module in model.modules() if not list(module.children())]
    calls = 0

    def begin(*_: object) -> None:
        nonlocal calls
        report(calls / (calls + len(layers)), message)
        calls += 1

    hooks = [layer.register_forward_pre_hook(begin) for layer in layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def asking(cancelled: CancelCheck) -> Iterator[None]:
    """Ask whether to stop whenever this thread calls a function or comes back from one, torch's own among them.

    Work in many small calls can then be stopped within the longest of them, without a question in each loop, and its
    numbers stay the same. Nothing is asked while a profiler runs, or inside of work that asks like this already.

    Args:
        cancelled: quick, as it is asked very often.

    Raises:
        Cancelled: it returned true, from wherever the work is.
    """

    def ask(frame: FrameType, event: str, argument: object) -> None:
        if cancelled() and not _is_paired(frame):
            raise Cancelled

    if sys.getprofile() is not None:
        yield
        return
    sys.setprofile(ask)
    try:
        yield
    finally:
        sys.setprofile(None)


def _is_paired(frame: FrameType | None) -> bool:
    """Whether a context is being entered or left."""
    while frame is not None:
        if frame.f_code.co_name in _PAIRED:
            return True
        frame = frame.f_back
    return False
