"""Entry point of `regcore`: reads the command line, runs a command, turns mistakes into one sentence."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import torch
from jsonargparse import ArgumentParser

from regcore import __version__
from regcore.checks import DeviceError
from regcore.cli import apply, evaluate, explain, models, phantom, register, series, worker
from regcore.heap import keep_freed_memory
from regcore.io import silence_itk
from regcore.progress import Cancelled

_COMMANDS = {
    "register": register,
    "series": series,
    "apply": apply,
    "evaluate": evaluate,
    "explain": explain,
    "models": models,
    "phantom": phantom,
    "worker": worker,
}
_BAD_INPUT, _NO_DEVICE, _CANCELLED = 2, 3, 4


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code: 0 done, 2 bad input, 3 no memory or device, 4 cancelled."""
    parser = ArgumentParser(prog="regcore", description="Register medical images with attention models.")
    parser.add_argument("--version", action="version", version=f"regcore {__version__}")
    commands = parser.add_subcommands(dest="command")
    for name, command in _COMMANDS.items():
        commands.add_subcommand(name, command.parser(), help=command.HELP)
    chosen = parser.parse_args(arguments)
    keep_freed_memory()
    silence_itk()
    try:
        _COMMANDS[chosen.command].run(chosen[chosen.command])
    except ValueError as error:
        return _say(str(error), _BAD_INPUT)
    except (DeviceError, MemoryError, torch.OutOfMemoryError) as error:
        return _say(str(error) or "out of memory; try a smaller image or --device cpu", _NO_DEVICE)
    except (Cancelled, KeyboardInterrupt) as error:
        return _say(str(error) or "cancelled; nothing was written", _CANCELLED)
    return 0


def _say(sentence: str, code: int) -> int:
    sys.stderr.write(f"regcore: {' '.join(sentence.split())}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
