"""What differs between Slicer 5.10, Slicer 5.12 and Python without Slicer."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import slicer


def python() -> str:
    """Return the Python to run programs with: inside Slicer ``sys.executable`` lacks Slicer's libraries."""
    return shutil.which("PythonSlicer") or sys.executable


def engine_folder() -> Path:
    """Return the folder that holds ``regcore``: beside the module when installed, above it in a checkout.

    Raises:
        ValueError: there is none.
    """
    module = Path(__file__).resolve().parents[1]
    for folder in (module, module.parent):
        if (folder / "regcore" / "__init__.py").is_file():
            return folder
    raise ValueError("The registration engine is missing from the extension; install AttentionRegistration again.")


def worker_command() -> list[str]:
    """Return the program that registers."""
    return [python(), "-m", "regcore.worker"]


def worker_environment() -> dict[str, str]:
    """Return the worker's environment: the engine comes first, whatever else is called regcore."""
    try:
        environment = dict(slicer.util.startupEnvironment())
    except (AttributeError, ImportError):  # Python without the application
        environment = dict(os.environ)
    before = environment.get("PYTHONPATH")
    environment["PYTHONPATH"] = os.pathsep.join([str(engine_folder()), *([before] if before else [])])
    environment |= {"PYTHONIOENCODING": "utf-8", "PYTHONUNBUFFERED": "1"}
    return environment


def install_packages(requirements: list[str]) -> None:
    """Install packages into Slicer's Python and nothing that they ask for, so that none of Slicer's is replaced.

    Raises:
        RuntimeError: pip failed.
    """
    arguments = ["--no-deps", *requirements]
    try:
        slicer.util.pip_install(arguments)
    except (AttributeError, ImportError):  # Python without the application
        command = [python(), "-m", "pip", "install", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr[-2000:]) from None
    except subprocess.CalledProcessError as error:
        raise RuntimeError(str(error)) from error


def register_sample_category(sample_data: type, category: str) -> None:
    """Give sample data a category of its own where Slicer can (5.12)."""
    register = getattr(sample_data, "registerCustomSampleDataCategory", None)
    if register is not None:
        register(category)
