"""Time and peak memory of the sensitivity of deformable networks, against a forward pass without slopes.

Each network runs in a process of its own, whose resident high-water mark is the peak memory, interpreter and libraries
included.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import time
from typing import cast


def measure(name: str, size: list[int], threads: int, draws: int) -> dict[str, float]:
    """Run one network in this process and return CPU seconds, in all and of a forward pass, and peak GiB."""
    import torch

    from regcore.models import RegistrationModel
    from regcore.sensitivity import sensitivity
    from regcore.weights import load_trained

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model = cast(RegistrationModel, load_trained(name, dimensions=len(size)).networks[0])
    fixed, moving = torch.rand(2, 1, 1, *size)
    with torch.inference_mode():
        begin = time.process_time()
        model(fixed, moving)
        forward = time.process_time() - begin
    begin, wall = time.process_time(), time.perf_counter()
    sensitivity(model, fixed, moving, [1.0] * len(size), draws=draws)
    seconds, wall = time.process_time() - begin, time.perf_counter() - wall
    unit = 2**30 if platform.system() == "Darwin" else 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    return {"forward": forward, "seconds": seconds, "wall": wall, "gibibytes": peak}


def main() -> None:
    """Measure the networks and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["pan", "caml", "caml-small", "air", "unet", "resaatt"])
    parser.add_argument("--size", type=int, nargs="+", default=[96, 96, 96], help="voxels per axis")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--draws", type=int, default=8)
    parser.add_argument("--alone", action="store_true", help="run the one network in this process and print JSON")
    arguments = parser.parse_args()
    options = (arguments.size, arguments.threads, arguments.draws)
    if arguments.alone:
        print(json.dumps(measure(arguments.models[0], *options)))
        return
    print(f"sensitivity, {arguments.size}, {arguments.draws} draws, CPU, {arguments.threads} threads")
    print(f"{'':12}{'seconds':>10}{'CPU s':>10}{'forward CPU s':>15}{'peak GiB':>10}", flush=True)
    rest = ["--threads", str(arguments.threads), "--draws", str(arguments.draws), "--size", *map(str, arguments.size)]
    for name in arguments.models:
        command = [sys.executable, __file__, "--alone", "--models", name, *rest]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
        print(
            f"{name:12}{found['wall']:10.1f}{found['seconds']:10.1f}{found['forward']:15.1f}{found['gibibytes']:10.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
