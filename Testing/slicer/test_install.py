"""PyTorch on demand, with stand-ins for the PyTorch extension and for pip."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed: it has no wheel for this platform")

from AttentionRegistrationLib import compat, install


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Versions of what Slicer's Python has."""
    packages = {"SimpleITK": "2.5.7"}
    monkeypatch.setattr(install, "version", packages.get)
    return packages


class Recent:
    """PyTorchUtils as it is now."""

    def __init__(self, installed: dict[str, str], version: str = "2.13.0+cu128") -> None:
        self.installed, self.version, self.asked = installed, version, {}

    def installTorch(  # noqa: N802
        self,
        askConfirmation: bool = False,  # noqa: N803
        forceComputationBackend: str | None = None,  # noqa: N803
        torchVersionRequirement: str | None = None,  # noqa: N803
    ) -> object:
        self.asked = {"ask": askConfirmation, "torch": torchVersionRequirement, "backend": forceComputationBackend}
        self.installed["torch"] = self.version
        return object()


class Old:
    """PyTorchUtils as it was."""

    def __init__(self, installed: dict[str, str]) -> None:
        self.installed = installed

    def installTorch(self, askConfirmation: bool = False) -> object:  # noqa: N802, N803
        self.installed["torch"] = "2.6.0"
        return object()


class Refusing:
    """The user said no, or there is no network."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error

    def installTorch(self, **_: Any) -> None:  # noqa: N802
        if self.error is not None:
            raise self.error


def test_torch_comes_from_the_extension_and_nothing_else_is_replaced(installed: dict[str, str]) -> None:
    extension, packages = Recent(installed), []

    def pip(requirements: list[str]) -> None:
        packages.extend(requirements)
        installed["safetensors"] = "0.8.0"

    install.ensure(torch_installer=extension, install_packages=pip)
    assert extension.asked == {"ask": True, "torch": ">=2.6", "backend": None}
    assert packages == ["safetensors>=0.5"]
    assert install.missing() == []
    packages.clear()
    install.ensure(torch_installer=Refusing(RuntimeError("asked again")), install_packages=pip)
    assert packages == []


def test_an_older_extension_is_asked_in_its_own_words(installed: dict[str, str]) -> None:
    installed["safetensors"] = "0.8.0"
    install.ensure(torch_installer=Old(installed))
    assert installed["torch"] == "2.6.0"


@pytest.mark.parametrize(
    ("extension", "sentence"),
    [
        (Refusing(), "PyTorch was not installed"),
        (Refusing(RuntimeError("no route to host")), r"could not be installed: no route to host .*--no-index"),
    ],
)
def test_no_torch_is_a_sentence(installed: dict[str, str], extension: Refusing, sentence: str) -> None:
    with pytest.raises(install.InstallError, match=sentence):
        install.ensure(torch_installer=extension)


def test_an_old_torch_is_not_enough(installed: dict[str, str]) -> None:
    installed |= {"safetensors": "0.8.0", "torch": "2.5.1+cpu"}
    assert install.missing() == ["torch"]
    with pytest.raises(install.InstallError, match="Still missing after the installation: torch"):
        install.ensure(torch_installer=Recent(installed, "2.5.1"))


def test_a_failing_pip_explains_the_way_without_network(installed: dict[str, str]) -> None:
    installed["torch"] = "2.13.0"

    def pip(requirements: list[str]) -> None:
        raise RuntimeError("offline")

    with pytest.raises(install.InstallError, match=r"safetensors could not be installed.*cannot reach the network"):
        install.ensure(install_packages=pip)


def test_a_lost_simpleitk_is_never_installed_by_us(installed: dict[str, str]) -> None:
    installed.clear()
    with pytest.raises(install.InstallError, match="SimpleITK, which comes with Slicer, cannot be found"):
        install.ensure(torch_installer=Refusing(RuntimeError("not to be called")))


def test_without_the_extension_it_says_which_to_install(installed: dict[str, str]) -> None:
    with pytest.raises(install.InstallError, match="install the extension PyTorch in the Extensions Manager"):
        install.ensure()


def test_this_python_has_all_of_it() -> None:
    assert install.missing() == []
    install.ensure(torch_installer=Refusing(RuntimeError("not to be called")))


def test_pip_is_told_to_leave_the_rest_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    monkeypatch.setattr(slicer.util, "pip_install", told.append)
    compat.install_packages(["safetensors>=0.5"])
    assert told == [["--no-deps", "safetensors>=0.5"]]

    def fail(_: object) -> None:
        raise subprocess.CalledProcessError(1, "pip")

    monkeypatch.setattr(slicer.util, "pip_install", fail)
    with pytest.raises(RuntimeError, match="returned non-zero"):
        compat.install_packages(["safetensors>=0.5"])


def test_our_engine_comes_first_on_the_workers_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "regcore").mkdir()
    (tmp_path / "regcore" / "__init__.py").write_text("raise RuntimeError('the other regcore')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    command = [compat.python(), "-c", "import regcore; print(regcore.__file__)"]
    done = subprocess.run(command, env=compat.worker_environment(), capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()).parents[1] == compat.engine_folder()
    assert compat.worker_command()[0] == compat.python() == sys.executable


def test_an_installed_extension_has_its_engine_beside_the_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tmp_path / "qt-scripted-modules"
    library = module / "AttentionRegistrationLib"
    monkeypatch.setattr(compat, "__file__", str(library / "compat.py"))
    with pytest.raises(ValueError, match="The registration engine is missing from the extension"):
        compat.engine_folder()
    (module / "regcore").mkdir(parents=True)
    (module / "regcore" / "__init__.py").touch()
    assert compat.engine_folder() == module


def test_a_sample_data_category_is_registered_where_slicer_can() -> None:
    class Now:
        names: ClassVar[list[str]] = []

        @classmethod
        def registerCustomSampleDataCategory(cls, name: str) -> None:  # noqa: N802
            cls.names.append(name)

    compat.register_sample_category(Now, "AttentionRegistration")
    compat.register_sample_category(object, "AttentionRegistration")
    assert Now.names == ["AttentionRegistration"]
