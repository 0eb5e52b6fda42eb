"""The worker with networks that fail, print or take their time; started as a program."""

import contextlib
import os
import sys

from regcore.worker.pipes import take_over

SOURCE, SINK = take_over()

import torch  # noqa: E402

from regcore.models._registry import ModelInfo, register_model  # noqa: E402
from regcore.models.base import Prediction, RegistrationModel  # noqa: E402
from regcore.worker.server import serve  # noqa: E402


class Fault(RegistrationModel):
    """Does ``act`` and then moves nothing."""

    def __init__(self, act):
        super().__init__(3, 1)
        self.act = act

    def predict(self, fixed, moving):
        self.act()
        return Prediction(fixed.new_zeros(len(fixed), 3, *fixed.shape[2:]), {})


def once_no_gpu_memory():
    if not hasattr(once_no_gpu_memory, "raised"):
        once_no_gpu_memory.raised = True
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")


def no_memory():
    raise MemoryError


def no_memory_in_torch():
    raise RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried")


def breaks():
    raise KeyError("an inner matter")


def prints():
    sys.stdout.write("from Python\n")
    sys.stdout.flush()
    os.write(1, b"from a library\n")
    os.system("echo from a child")


def takes_its_time():
    for _ in range(10_000_000):
        torch.ones(10).sum()


def crashes():
    with contextlib.suppress(OSError):
        os.abort()


for act in (once_no_gpu_memory, no_memory, no_memory_in_torch, breaks, prints, takes_its_time, crashes):
    name = act.__name__.replace("_", "-")
    register_model(ModelInfo(name, "deformable", (3,), "A test: a fault, 2026", 1.0, 1))(lambda act=act: Fault(act))

sys.exit(serve(SOURCE, SINK))
