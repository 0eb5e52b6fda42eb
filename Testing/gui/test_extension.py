"""The extension's files agree with one another, and the module loads without what it must not need."""

from __future__ import annotations

import ast
import hashlib
import json
import re
import struct
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from .bench import MODULE, PROJECT

FOLDER = MODULE.parent
LIBRARY = sorted((FOLDER / "AttentionRegistrationLib").glob("*.py"))
AT_LOAD = {"slicer", "vtk", "numpy", "qt", "ctk", "AttentionRegistrationLib"} | sys.stdlib_module_names


def cmake_list(name: str) -> list[str]:
    text = (FOLDER / "CMakeLists.txt").read_text(encoding="utf-8")
    inside = re.search(rf"set\({name}\n(.*?)\n\s*\)", text, re.DOTALL)
    assert inside
    return [line.strip().replace("${MODULE_NAME}", "AttentionRegistration") for line in inside[1].splitlines()]


def cmake_value(name: str) -> str:
    text = (PROJECT / "CMakeLists.txt").read_text(encoding="utf-8")
    found = re.search(rf'^set\({name} "?(.*?)"?\)$', text, re.MULTILINE)
    assert found, f"{name} is not set"
    value = found[1]
    for inner in re.findall(r"\$\{(REPOSITORY|PICTURES)\}", value):
        value = value.replace(f"${{{inner}}}", cmake_value(inner))
    return value


def test_cmake_lists_every_script() -> None:
    there = [path.relative_to(FOLDER).as_posix() for path in [MODULE, *LIBRARY]]
    assert sorted(cmake_list("MODULE_PYTHON_SCRIPTS")) == sorted(there)


def test_cmake_lists_every_resource() -> None:
    there = [path.relative_to(FOLDER).as_posix() for path in (FOLDER / "Resources").rglob("*") if path.is_file()]
    assert sorted(cmake_list("MODULE_PYTHON_RESOURCES")) == sorted(there)


def test_index_entry_and_cmake_agree() -> None:
    entry = json.loads((PROJECT / "Resources" / "AttentionRegistration.json").read_text(encoding="utf-8"))
    text = (PROJECT / "CMakeLists.txt").read_text(encoding="utf-8")
    assert f"project({MODULE.stem})" in text
    assert entry["category"] == cmake_value("EXTENSION_CATEGORY")
    assert " ".join(entry["build_dependencies"]) == cmake_value("EXTENSION_DEPENDS")
    assert entry["scm_url"] == f"https://github.com/{cmake_value('REPOSITORY')}.git"
    # What the schema 1.0.2 of the extension index knows.
    known = {"category", "scm_url", "scm_revision", "scm_type", "build_dependencies", "dicom_support_rule"}
    assert entry.keys() <= known | {"$schema", "build_subdirectory", "enabled", "tier"}


def test_pictures_that_cmake_names_are_there() -> None:
    for address in [cmake_value("EXTENSION_ICONURL"), *cmake_value("EXTENSION_SCREENSHOTURLS").split()]:
        picture = PROJECT / address.removeprefix(f"{cmake_value('PICTURES')}/")
        assert picture.is_file(), f"{picture} is missing"


def test_the_icon_is_128_pixels_wide_and_high() -> None:
    header = (FOLDER / "Resources" / "Icons" / "AttentionRegistration.png").read_bytes()[:24]
    assert struct.unpack(">II", header[16:24]) == (128, 128)


@pytest.mark.parametrize("path", [MODULE, *LIBRARY], ids=lambda path: path.name)
def test_nothing_else_is_imported_at_load(path: Path) -> None:
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert {name.split(".")[0] for name in names} <= AT_LOAD


def test_loading_the_module_imports_no_torch() -> None:
    script = (
        "import sys, importlib, pathlib\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import standins\n"
        f"standins.install(pathlib.Path({str(MODULE)!r}))\n"
        f"importlib.import_module({MODULE.stem!r})\n"
        "sys.exit(' '.join(name for name in ('torch', 'SimpleITK', 'regcore') if name in sys.modules) or 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_checksums_of_the_sample_data() -> None:
    from AttentionRegistrationLib.sample_data import SAMPLES

    for sample in SAMPLES:
        for name, digest in sample.checksums.items():
            content = (FOLDER / "Resources" / "SampleData" / sample.kind / name).read_bytes()
            assert hashlib.sha256(content).hexdigest() == digest, f"{sample.kind}/{name}"


def _widgets() -> list[ElementTree.Element]:
    return list(ElementTree.parse(FOLDER / "Resources" / "UI" / "AttentionRegistration.ui").iter("widget"))


def _text(widget: ElementTree.Element, name: str) -> str:
    found = widget.find(f"property[@name='{name}']/string")
    return (found.text or "") if found is not None else ""


def test_every_widget_that_takes_input_has_a_tooltip() -> None:
    plain = {"QLabel", "QWidget", "QTabWidget", "qMRMLWidget"}
    without = [w.get("name") for w in _widgets() if w.get("class") not in plain and not _text(w, "toolTip")]
    assert without == []


def test_every_letter_for_the_keyboard_is_used_once_and_not_by_slicers_menus() -> None:
    texts = [_text(widget, "text").replace("&&", "") for widget in _widgets()]
    letters = [text[text.index("&") + 1].lower() for text in texts if "&" in text]
    assert len(letters) == len(set(letters)), sorted(letters)
    assert not {"f", "e", "v", "h", "c"} & set(letters), "File, Edit, View, Help, and Cancel while it runs"


def test_the_tab_key_visits_everything_in_reading_order() -> None:
    root = ElementTree.parse(FOLDER / "Resources" / "UI" / "AttentionRegistration.ui").getroot()
    stops = [stop.text for stop in root.iter("tabstop")]
    plain = {"QLabel", "QWidget", "QTabWidget", "qMRMLWidget", "QProgressBar"}
    assert stops == [widget.get("name") for widget in _widgets() if widget.get("class") not in plain]
