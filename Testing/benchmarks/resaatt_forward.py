"""Time and peak memory of a stack of slices through the ReSAAtt U-Net: ours against forms that store the scores.

``convolutions`` correlates and convolves with all patches, as the paper writes it; ``stored`` multiplies unfolded
patches as whole matrices; ``products`` makes the two matrix products of the attention and nothing else of it, which no
form can do without; ``unet`` is the network without attention. Each runs in a process of its own, whose
resident high-water mark is the peak memory, interpreter and libraries included. With ``--backward`` a training
step is measured instead.
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
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from regcore.models.layers.patch_attention import PatchOptions

_BLOCK = 784  # pixels
VARIANTS = ("ours", "stored", "products", "convolutions", "unet")


def convolutions(query: Tensor, key: Tensor, value: Tensor, options: PatchOptions, chosen: None) -> Tensor:
    """Attend with one score map per patch."""
    from plain_resaatt import plain_attention

    return plain_attention(query, key, value, options.kernel, options.stride, options.scaled, options.overlap_norm)


def stored(query: Tensor, key: Tensor, value: Tensor, options: PatchOptions, chosen: None) -> Tensor:
    """Attend with all patches unfolded and all scores held at once."""
    import torch
    import torch.nn.functional as F

    from regcore.models.layers.patch_attention import overlap

    half = options.kernel // 2
    queries = F.unfold(query, options.kernel, padding=half)
    keys, values = (F.unfold(data, options.kernel, padding=half, stride=options.stride) for data in (key, value))
    weights = torch.softmax(queries.mT @ keys * keys.shape[1] ** -0.5, dim=-1)
    found = F.fold((weights @ values.mT).mT, query.shape[2:], options.kernel, padding=half)
    return found / overlap(query.shape[2:], options.kernel)


def products(query: Tensor, key: Tensor, value: Tensor, options: PatchOptions, chosen: None) -> Tensor:
    """Multiply patches with patches and the result with patches again, block by block, without a softmax."""
    import torch.nn.functional as F

    half = options.kernel // 2
    queries = F.unfold(query, options.kernel, padding=half).mT
    keys, values = (F.unfold(data, options.kernel, padding=half, stride=options.stride) for data in (key, value))
    values = values.mT.contiguous()
    for start in range(0, queries.shape[1], _BLOCK):
        block = queries[:, start : start + _BLOCK] @ keys
        block @ values
    return query


def measure(variant: str, slices: int, side: int, threads: int, repeats: int, backward: bool) -> dict[str, float]:
    """Run one variant in this process and return seconds, by clock and by processor, of the fastest pass and GiB."""
    import torch

    sys.path.insert(0, str(Path(__file__).parents[1] / "regcore" / "models"))

    from regcore.models import create_model
    from regcore.models.layers import residual_attention

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model = create_model("unet" if variant == "unet" else "resaatt").train(backward)
    forms = {"convolutions": convolutions, "stored": stored, "products": products}
    if variant in forms:
        residual_attention.patch_attention = forms[variant]
    fixed, moving = torch.rand(2, slices, 1, side, side)
    seconds, processor = [], []
    for _ in range(repeats):
        begin = time.perf_counter(), time.process_time()
        with torch.set_grad_enabled(backward):
            displacement = model(fixed, moving).displacement
            if backward:
                displacement.square().mean().backward()
        seconds.append(time.perf_counter() - begin[0])
        processor.append(time.process_time() - begin[1])
        checksum = float(displacement.detach().abs().mean())
        del displacement
    unit = 2**30 if platform.system() == "Darwin" else 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    return {
        "seconds": min(seconds),
        "processor_seconds": min(processor),
        "gibibytes": peak,
        "mean_displacement": checksum,
    }


def main() -> None:
    """Measure all variants and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--slices", type=int, help="by default 40, with --backward 2")
    parser.add_argument("--side", type=int, default=112, help="pixels per axis")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=1, help="the fastest counts")
    parser.add_argument("--backward", action="store_true", help="forward and backward")
    parser.add_argument("--variant", choices=VARIANTS, help="run one of them alone and print JSON")
    arguments = parser.parse_args()
    slices = arguments.slices or (2 if arguments.backward else 40)
    options = (slices, arguments.side, arguments.threads, arguments.repeats, arguments.backward)
    if arguments.variant:
        print(json.dumps(measure(arguments.variant, *options)))
        return
    what = "training step" if arguments.backward else "forward"
    print(f"ReSAAtt {what}, {slices} slices of {arguments.side} x {arguments.side}, CPU")
    print(f"{'':14}{'seconds':>10}{'ratio':>8}{'processor s':>14}{'ratio':>8}{'peak GiB':>10}{'mean |u|':>12}")
    results = {}
    for variant in VARIANTS:
        command = [sys.executable, __file__, "--variant", variant, *sys.argv[1:]]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        result = results[variant] = json.loads(done.stdout.splitlines()[-1])
        clock, processor = (
            f"{result[name]:{width}.2f}{result[name] / results['ours'][name]:8.2f}"
            for name, width in (("seconds", 10), ("processor_seconds", 14))
        )
        figures = f"{result['gibibytes']:10.2f}{result['mean_displacement']:12.3e}"
        print(f"{variant:14}{clock}{processor}{figures}", flush=True)


if __name__ == "__main__":
    main()
