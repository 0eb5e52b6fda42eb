"""Time and peak memory of one forward pass of the CAML networks, without gradients.

Each variant runs in a process of its own, whose resident high-water mark is the peak memory, interpreter and libraries
included. ``xmorpher`` is CAML without its three parts, ``caml-fast`` has windows of 4 and a magnification of 2.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import time

VARIANTS: dict[str, tuple[str, dict[str, object]]] = {
    "caml": ("caml", {}),
    "caml-small": ("caml-small", {}),
    "caml-half": ("caml-half", {}),
    "caml-fast": ("caml", {"window": 4, "magnification": 2}),
    "xmorpher": ("caml", {"cross_levels": "none", "residual_skips": False, "cascade": False}),
}


def measure(variant: str, size: list[int], threads: int, repeats: int) -> dict[str, float]:
    """Run one variant in this process and return wall and CPU seconds of the fastest pass and peak GiB."""
    import torch

    from regcore.models import create_model

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    name, options = VARIANTS[variant]
    model = create_model(name, **options).eval()
    fixed, moving = torch.rand(2, 1, 1, *size)
    seconds, cpu_seconds = [], []
    for _ in range(repeats):
        begin, cpu_begin = time.perf_counter(), time.process_time()
        with torch.inference_mode():
            displacement = model(fixed, moving).displacement
        seconds.append(time.perf_counter() - begin)
        cpu_seconds.append(time.process_time() - cpu_begin)
        checksum = float(displacement.abs().mean())
        del displacement
    unit = 2**30 if platform.system() == "Darwin" else 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    return {
        "seconds": min(seconds),
        "cpu_seconds": min(cpu_seconds),
        "gibibytes": peak,
        "mean_displacement": checksum,
    }


def main() -> None:
    """Measure the variants and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--size", type=int, nargs=3, default=[160, 192, 160], help="voxels per axis")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=1, help="the fastest counts")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--alone", action="store_true", help="run the one variant in this process and print JSON")
    arguments = parser.parse_args()
    options = (arguments.size, arguments.threads, arguments.repeats)
    if arguments.alone:
        print(json.dumps(measure(arguments.variants[0], *options)))
        return
    print(f"forward, {arguments.size}, CPU, {arguments.threads} threads")
    print(f"{'':12}{'seconds':>10}{'CPU s':>10}{'peak GiB':>10}{'mean |u|':>12}")
    shared = ["--size", *map(str, arguments.size), "--threads", str(arguments.threads)]
    for variant in arguments.variants:
        command = [sys.executable, __file__, "--alone", "--variants", variant, "--repeats", str(arguments.repeats)]
        done = subprocess.run([*command, *shared], stdout=subprocess.PIPE, text=True, check=True)
        result = json.loads(done.stdout.splitlines()[-1])
        times = f"{result['seconds']:10.2f}{result['cpu_seconds']:10.2f}"
        print(f"{variant:12}{times}{result['gibibytes']:10.2f}{result['mean_displacement']:12.6f}", flush=True)


if __name__ == "__main__":
    main()
