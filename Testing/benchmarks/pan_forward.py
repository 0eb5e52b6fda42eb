"""Time and peak memory of one PAN forward pass: ours against the plain form with unfolded keys.

Each variant runs in a process of its own, whose resident high-water mark is the peak memory, interpreter and
libraries included. With ``--backward`` a pass forth and back is measured instead.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path

VARIANTS = ("plain", "ours")


def measure(variant: str, size: list[int], threads: int, repeats: int, backward: bool) -> dict[str, float]:
    """Run one variant in this process and return seconds of the fastest pass and peak GiB."""
    import torch

    sys.path.insert(0, str(Path(__file__).parents[1] / "regcore" / "models"))
    from plain_pan import plain_forward, shake

    from regcore.models import create_model

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model = shake(create_model("pan"))
    fixed, moving = torch.rand(2, 1, 1, *size)
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        with torch.set_grad_enabled(backward):
            if variant == "plain":
                displacement = plain_forward(model, fixed, moving)
            else:
                displacement = model(fixed, moving).displacement
            if backward:
                displacement.square().mean().backward()
        seconds.append(time.perf_counter() - begin)
        checksum = float(displacement.detach().abs().mean())
        del displacement
    unit = 2**30 if platform.system() == "Darwin" else 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    return {"seconds": min(seconds), "gibibytes": peak, "mean_displacement": checksum}


def main() -> None:
    """Measure all variants and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--size", type=int, nargs=3, default=[160, 192, 224], help="voxels per axis")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=1, help="the fastest counts")
    parser.add_argument("--backward", action="store_true", help="forward and backward")
    parser.add_argument("--variant", choices=VARIANTS, help="run one of them alone and print JSON")
    arguments = parser.parse_args()
    options = (arguments.size, arguments.threads, arguments.repeats, arguments.backward)
    if arguments.variant:
        print(json.dumps(measure(arguments.variant, *options)))
        return
    results = {}
    for variant in VARIANTS:
        command = [sys.executable, __file__, "--variant", variant, *sys.argv[1:]]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        results[variant] = json.loads(done.stdout.splitlines()[-1])
    plain, ours = results["plain"], results["ours"]
    print(f"PAN {'forward and backward' if arguments.backward else 'forward'}, {arguments.size}, CPU")
    print(f"{'':8}{'seconds':>10}{'peak GiB':>10}{'mean |u|':>12}")
    for name, result in results.items():
        figures = f"{result['seconds']:10.2f}{result['gibibytes']:10.2f}{result['mean_displacement']:12.6f}"
        print(f"{name:8}{figures}")
    time_ratio = plain["seconds"] / ours["seconds"]
    print(f"{'ratio':8}{time_ratio:10.2f}{plain['gibibytes'] / ours['gibibytes']:10.2f}")


if __name__ == "__main__":
    main()
