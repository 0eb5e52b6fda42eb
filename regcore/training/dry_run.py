"""A look at a run before it is begun: data, size of the network, and what a step costs."""

from __future__ import annotations

import platform
import resource
import time

import torch

from regcore.checks import choose_device
from regcore.training.build import build
from regcore.training.config import Config

_MEBI = 2**20


def dry_run(config: Config) -> str:
    """Build everything, make two steps forth and back, and return lines of text.

    Raises:
        ValueError: as a real run.
    """
    device = choose_device(config.run.device)
    if config.run.threads:
        torch.set_num_threads(config.run.threads)
    task, data = build(config)
    model = task.model.to(device).train()
    seconds, drawing = [], []
    half = torch.float16 if config.run.precision == "16" else torch.bfloat16
    with torch.autocast(device.type, half, enabled=config.run.precision != "32"):
        for step in range(2):
            began = time.perf_counter()
            numbers = list(range(step * config.run.batch, (step + 1) * config.run.batch))
            loss, parts, spent = task.goal.loss(model, numbers, device)
            loss.backward()  # type: ignore[no-untyped-call]
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            seconds.append(time.perf_counter() - began)
            drawing.append(spent)
    one = min(seconds) * config.run.accumulate
    rows = [
        ("data", ", ".join(f"{key} {value}" for key, value in data.items())),
        ("network", f"{config.model.name}, {sum(p.numel() for p in model.parameters()):,} parameters"),
        (
            "loss",
            ", ".join([f"{float(loss.detach()):.4g}", *(f"{name} {float(part):.4g}" for name, part in parts.items())]),
        ),
        ("a step", f"{one:.2f} s on {device}, {100 * min(drawing) / min(seconds):.0f} % of it for drawing samples"),
        ("the run", f"{one * config.run.steps / 3600:.2f} h for {config.run.steps} steps, held-out pairs left out"),
        ("memory", f"{_peak_mib(device):.0f} MiB at most so far"),
    ]
    return "".join(f"{name:10}{text}\n" for name, text in rows)


def _peak_mib(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / _MEBI
    unit = _MEBI if platform.system() == "Darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
