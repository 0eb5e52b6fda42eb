"""`regcore-train`: fit a network as a YAML file says."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import cast

import torch
import yaml
from jsonargparse import ArgumentError, ArgumentParser, Namespace
from lightning.pytorch.utilities import rank_zero_only

from regcore.checks import DeviceError
from regcore.heap import keep_freed_memory
from regcore.io import silence_itk
from regcore.training.build import build
from regcore.training.config import Config, check_config, check_keys
from regcore.training.dry_run import dry_run
from regcore.training.launch import launched
from regcore.training.model_file import MODEL, write_model
from regcore.training.run import CONFIG, fit, write_text

_BAD_INPUT, _NO_DEVICE, _CANCELLED = 2, 3, 4  # exit codes, as of `regcore`
_NOT_CONFIG = ("config", "output", "resume", "max_steps", "dry_run", "print_config", "quiet")
_MAY_CHANGE = ("run.", "about")  # keys that a resumed run may have other values of


def parser() -> ArgumentParser:
    """Describe the command line."""
    made = ArgumentParser(
        prog="regcore-train",
        usage="regcore-train CONFIG.yaml --output DIR [--resume] [--dry-run] [--section.key value ...]",
        description="Fit a registration network. What CONFIG.yaml does not name has the default below; an option of "
        "its own comes before both.",
        exit_on_error=False,
    )
    made.add_argument("--config", action="config", help="the YAML file, as the first word; see Resources/configs")
    made.add_argument("-o", "--output", type=Path | None, default=None, help="folder for model, checkpoints and logs")
    made.add_argument("--resume", action="store_true", help="go on from the folder's last checkpoint, if there is one")
    made.add_argument("--max-steps", type=int | None, default=None, help="in the place of run.steps")
    made.add_argument("--dry-run", action="store_true", help="read the data, try one step, estimate memory and time")
    made.add_argument("--print-config", action="store_true", help="show the whole configuration as YAML and stop")
    made.add_argument("-q", "--quiet", action="store_true", help="show nothing but errors")
    made.add_class_arguments(Config, nested_key=None, as_group=False)
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code: 0 done, 2 bad input, 3 no memory or device, 4 cancelled."""
    silence_itk()
    keep_freed_memory()
    try:
        _run(*_read(list(sys.argv[1:] if arguments is None else arguments)))
    except ValueError as error:
        return _complain(str(error), _BAD_INPUT)
    except (DeviceError, MemoryError, torch.OutOfMemoryError) as error:
        return _complain(str(error) or "out of memory; try a smaller data size or run.batch", _NO_DEVICE)
    except KeyboardInterrupt:
        return _complain("cancelled; the same command with --resume goes on from the last checkpoint", _CANCELLED)
    return 0


def _read(words: list[str]) -> tuple[Namespace, Config]:
    """Read the command line and the file it names.

    Raises:
        ValueError: naming what is wrong.
    """
    made = parser()
    if words and not words[0].startswith("-"):
        check_keys(_yaml(Path(words[0])))
        words = ["--config", *words]
    words = ["--print-config" if word == "--print_config" else word for word in words]
    _check_options(words, made)
    try:
        chosen = made.parse_args(words)
    except ArgumentError as error:
        raise ValueError(f"config: {error}") from error
    if chosen.max_steps is not None:
        chosen.run.steps = chosen.max_steps
    # What jsonargparse made of the YAML, as dataclasses.
    parts = {key: value for key, value in made.instantiate(chosen).items() if key not in _NOT_CONFIG}
    config = Config(**{key: value for key, value in parts.items() if "." not in key})
    check_config(config)
    return chosen, config


def _run(chosen: Namespace, config: Config) -> None:
    if chosen.print_config:
        sys.stdout.write(_dumped(chosen))
        return
    if chosen.dry_run:
        sys.stdout.write(dry_run(config))
        return
    if chosen.output is None:
        raise ValueError("output: expected a folder for model, checkpoints and logs; pass --output DIR")
    folder = cast(Path, chosen.output)
    config = launched(config)
    text = _dumped(chosen)
    first = (
        getattr(rank_zero_only, "rank", 0) == 0
    )  # of several processes; the others find the folder as this one left it
    if first:
        _check_folder(folder, text, chosen.resume)
    if config.run.threads:
        torch.set_num_threads(config.run.threads)
    task, source = build(config)
    if first:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(f"output: the folder {folder} cannot be made: {error.strerror or error}") from error
        write_text(folder / CONFIG, text)
    fit(task, folder, resume=chosen.resume, quiet=chosen.quiet or not first)
    if task.trainer.is_global_zero:
        figures = write_model(task, source, folder / MODEL)
        if not chosen.quiet:
            sys.stdout.write(figures)


def _dumped(chosen: Namespace) -> str:
    content = {key: value for key, value in chosen.clone().as_dict().items() if key not in _NOT_CONFIG}
    return str(yaml.safe_dump(_plain(content), sort_keys=False))


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, (list, tuple)) else value


def _check_folder(folder: Path, text: str, resume: bool) -> None:
    """Refuse to overwrite another run, and to go on with another configuration."""
    kept = folder / CONFIG
    if not kept.is_file():
        return
    if not resume:
        raise ValueError(f"output: {folder} holds a run already; pass --resume to go on, or choose another folder")
    before, now = _flat(_yaml(kept)), _flat(yaml.safe_load(text))
    changed = [
        key
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key) and not key.startswith(_MAY_CHANGE)
    ]
    if changed:
        raise ValueError(f"resume: the run in {folder} has another {', '.join(changed)}; give the same configuration")


def _flat(content: object, path: str = "") -> dict[str, object]:
    if not isinstance(content, dict) or not content:
        return {path: content}
    found: dict[str, object] = {}
    for key, value in content.items():
        found |= _flat(value, f"{path}.{key}" if path else str(key))
    return found


def _yaml(path: Path) -> object:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"config: cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    except yaml.YAMLError as error:
        raise ValueError(f"config: {path} is not YAML: {error}") from error


def _check_options(words: Sequence[str], made: ArgumentParser) -> None:
    """Refuse an option that does not exist, with the nearest one that does."""
    known = [option for action in made._actions for option in action.option_strings]
    sections = [part.name for part in fields(Config)]
    for word in words:
        name = word.split("=")[0].removesuffix("+")
        if not name.startswith("--") or name in known:
            continue
        first, *rest = name.removeprefix("--").split(".")
        if first in sections and rest:
            content: object = None
            for key in reversed(rest):
                content = {key: content}
            check_keys({first: content})
            continue
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        raise ValueError(f"{name}: no such option; " + (f"did you mean {near[0]}?" if near else "see --help"))


def _complain(sentence: str, code: int) -> int:
    sys.stderr.write(f"regcore-train: {' '.join(sentence.split())}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
