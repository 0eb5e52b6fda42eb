"""The command that fits Attention-Reg on a folder of cases: ``python -m regcore.training.attention_reg --help``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from regcore.checks import DeviceError, choose_device
from regcore.data.rigid_cases import read_cases
from regcore.io import silence_itk
from regcore.models import list_models
from regcore.training.two_stages import Job, fit_stages

_BAD_INPUT, _NO_DEVICE, _CANCELLED = 2, 3, 4  # exit codes, as of `regcore`
_LARGEST_NUMBER = 9999  # of a case: beyond it a range is a slip of the finger


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    made = argparse.ArgumentParser(
        prog="python -m regcore.training.attention_reg",
        description="Fit the two stages of Attention-Reg. The same command goes on where a stopped run was.",
    )
    made.add_argument("--data", type=Path, required=True, help="folder of caseNN_mri.nii.gz and so on")
    made.add_argument("--output", type=Path, required=True, help="folder for weights and checkpoints")
    made.add_argument("--model", choices=list_models(kind="rigid"), default="attention-reg-small")
    made.add_argument("--cases", default="0-15", help="numbers to learn from (default: %(default)s)")
    made.add_argument("--validation", default="16-19", help="numbers to look at, or none (default: %(default)s)")
    made.add_argument("--steps", default="3000,1500", help="of stage 1 and stage 2 (default: %(default)s)")
    made.add_argument("--start", choices=list_models(kind="rigid"), help="trained model to begin with; default: none")
    made.add_argument("--seed", type=int, default=1, help="of weights and samples (default: %(default)s)")
    made.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
    made.add_argument("--threads", type=int, default=None, help="of the processor (default: as torch decides)")
    return made


def read_job(chosen: argparse.Namespace) -> Job:
    """Check the command line and read the cases.

    Raises:
        ValueError: naming what is wrong.
        DeviceError: there is no such device here.
    """
    cases, validation = _numbers("cases", chosen.cases), _numbers("validation", chosen.validation)
    if not cases:
        raise ValueError("cases: expected at least one case to learn from, got none")
    both = sorted(set(cases) & set(validation))
    if both:
        raise ValueError(f"validation: case {both[0]} is among the training cases too; take it out of one of them")
    steps, device = _steps(chosen.steps), choose_device(chosen.device)
    if chosen.threads is not None and chosen.threads < 1:
        raise ValueError(f"threads: expected 1 or more, got {chosen.threads}")
    read, looked_at = (read_cases(chosen.data, [f"case{n:02d}" for n in group]) for group in (cases, validation))
    return Job(chosen.model, read, looked_at, steps, chosen.seed, chosen.output, device, chosen.start)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code: 0 done, 2 bad input, 3 no memory or device, 4 cancelled."""
    chosen = parser().parse_args(arguments)
    silence_itk()
    try:
        job = read_job(chosen)
        if chosen.threads is not None:
            torch.set_num_threads(chosen.threads)
        for path in fit_stages(job, _say):
            _say(f"wrote {path}")
    except ValueError as error:
        return _complain(str(error), _BAD_INPUT)
    except (DeviceError, MemoryError, torch.OutOfMemoryError) as error:
        return _complain(str(error) or "out of memory; try a smaller model or --device cpu", _NO_DEVICE)
    except KeyboardInterrupt:
        return _complain(f"cancelled; the same command goes on from the last checkpoint in {chosen.output}", _CANCELLED)
    return 0


def _numbers(name: str, text: str) -> list[int]:
    """Turn ``0-3,7`` into 0, 1, 2, 3, 7, and ``none`` into nothing."""
    if text == "none":
        return []
    found: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        ends = (first, last if dash else first)
        if not all(end.isascii() and end.isdigit() and int(end) <= _LARGEST_NUMBER for end in ends):
            raise ValueError(f"{name}: expected numbers and ranges such as 0-15 or 0,2,5-7, got {text!r}")
        if int(ends[1]) < int(ends[0]):
            raise ValueError(f"{name}: the range {part.strip()} runs backwards; write {ends[1]}-{ends[0]}")
        found += range(int(ends[0]), int(ends[1]) + 1)
    return sorted(set(found))


def _steps(text: str) -> tuple[int, int]:
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != 2 or not all(part.isascii() and part.isdigit() and int(part) > 0 for part in parts):
        raise ValueError(f"steps: expected two numbers such as 3000,1500 for the two stages, got {text!r}")
    return int(parts[0]), int(parts[1])


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _complain(sentence: str, code: int) -> int:
    sys.stderr.write(f"regcore.training.attention_reg: {' '.join(sentence.split())}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
