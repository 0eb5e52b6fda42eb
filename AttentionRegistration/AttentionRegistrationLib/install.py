"""PyTorch at the first registration, never at load; SimpleITK, numpy and the rest of Slicer's are never replaced."""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
from collections.abc import Callable
from typing import Any, Protocol

from AttentionRegistrationLib import compat

_LEAST_TORCH = (2, 6)
_TORCH = ">=2.6"
_SAFETENSORS = "safetensors>=0.5"
_OFFLINE = (
    "Where this computer cannot reach the network: download the wheels of torch and safetensors for Slicer's Python "
    "elsewhere, and install them in Slicer's Python console with slicer.util.pip_install('--no-index --find-links "
    "FOLDER torch safetensors')."
)


class TorchInstaller(Protocol):
    """The part of the PyTorch extension's ``PyTorchUtilsLogic`` that is used."""

    installTorch: Callable[..., Any]  # noqa: N815


class InstallError(RuntimeError):
    """Something that is needed is not there; the text says what to do."""


def missing() -> list[str]:
    """Return what the engine needs and Slicer's Python has not; nothing is imported."""
    found = version("torch")
    lacking = [] if found is not None and _numbers(found) >= _LEAST_TORCH else ["torch"]
    return lacking + [name for name in ("safetensors", "SimpleITK") if version(name) is None]


def ensure(
    ask: bool = True,
    torch_installer: TorchInstaller | None = None,
    install_packages: Callable[[list[str]], None] = compat.install_packages,
) -> None:
    """Install what `missing` says; takes minutes, and nothing at all when all is there.

    Args:
        ask: let the PyTorch extension ask first.
        torch_installer: in the place of the PyTorch extension's.
        install_packages: in the place of pip.

    Raises:
        InstallError: it could not be installed.
    """
    lacking = missing()
    if "SimpleITK" in lacking:
        raise InstallError("SimpleITK, which comes with Slicer, cannot be found; install Slicer again.")
    if "torch" in lacking:
        _install_torch(torch_installer or _pytorch_extension(), ask)
    if "safetensors" in lacking:
        try:
            install_packages([_SAFETENSORS])
        except RuntimeError as error:
            raise InstallError(f"The package safetensors could not be installed. {_OFFLINE}") from error
    importlib.invalidate_caches()
    left = missing()
    if left:
        raise InstallError(f"Still missing after the installation: {', '.join(left)}. Start Slicer anew and try again.")


def version(name: str) -> str | None:
    """Return the installed version of a package, or None."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _numbers(text: str) -> tuple[int, ...]:
    parts = text.split("+")[0].split(".")[:2]
    return tuple(int(part) if part.isdigit() else 0 for part in parts)


def _pytorch_extension() -> TorchInstaller:
    try:
        module = importlib.import_module("PyTorchUtils")
    except ImportError:
        raise InstallError(
            "Registration needs PyTorch: install the extension PyTorch in the Extensions Manager, start Slicer anew, "
            "and try again."
        ) from None
    return module.PyTorchUtilsLogic()


def _install_torch(installer: TorchInstaller, ask: bool) -> None:
    """Call ``installTorch`` with those of our wishes that its version knows."""
    wishes = {"askConfirmation": ask, "torchVersionRequirement": _TORCH}
    known = inspect.signature(installer.installTorch).parameters
    try:
        done = installer.installTorch(**{name: value for name, value in wishes.items() if name in known})
    except Exception as error:
        raise InstallError(f"PyTorch could not be installed: {error} {_OFFLINE}") from error
    if done is None:
        raise InstallError("PyTorch was not installed, so nothing can be registered yet.")
