"""Progress and cancelling inside a network, whatever it is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import nn


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
