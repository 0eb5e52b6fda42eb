"""The Python examples of the README and the tutorials, run as they stand, with the engine's own worker."""

from __future__ import annotations

import contextlib
import io
import os
import re
from pathlib import Path
from typing import Any

import pytest
import SimpleITK as sitk

from .bench import MODULE, PROJECT, QTest, add_ball, slicer
from .test_series_panel import add_beat

TUTORIALS = PROJECT / "Resources" / "tutorials"
SAMPLES = MODULE.parent / "Resources" / "SampleData"
pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of Unix")


def examples(path: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def load(kind: str, name: str) -> Any:
    """Add a volume of the sample data under the name that Sample Data gives it."""
    labels = name.endswith("labels")
    title = f"{kind} {name.replace('_', ' ')}"
    node = slicer.mrmlScene.AddNewNodeByClass(f"vtkMRML{'LabelMap' if labels else 'Scalar'}VolumeNode", title)
    storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
    storage.SetFileName(str(SAMPLES / kind / f"{name}.nii.gz"))
    assert storage.ReadData(node)
    return node


@pytest.fixture
def samples(scene: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for kind, names in (("brain", ("fixed", "moving")), ("prostate", ("fixed", "moving", "fixed_labels"))):
        for name in names:
            load(kind, name)
    add_beat()


@pytest.mark.slow
def test_every_example_of_the_page_on_scripting_runs(samples: None) -> None:
    names: dict[str, Any] = {}
    said = io.StringIO()
    parts = examples(TUTORIALS / "scripting.md")
    assert len(parts) == 6
    try:
        with contextlib.redirect_stdout(said):
            for part in parts:
                exec(compile(part, "scripting.md", "exec"), names)
            while names["logic"].engine.busy:
                QTest.qWait(10)
        names["timer"].stop()
    finally:
        if "logic" in names:
            names["logic"].engine.close()
    lines = said.getvalue()
    assert "brain moving to brain fixed warped" in lines
    assert "in the fixed one" in lines
    assert "vtkMRMLLinearTransformNode" in lines
    assert "Cine motion transforms has 5 transforms" in lines
    assert "bad_input" in lines
    assert "nobody-knows-it" in lines
    assert "done:" in lines
    assert "failed:" not in lines


def test_the_examples_of_the_readme_run(scene: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    in_slicer, alone = examples(PROJECT / "README.md")
    nodes = {"fixed": add_ball("Fixed"), "moving": add_ball("Moving", 5.0)}
    for name, node in nodes.items():
        image = sitk.GetImageFromArray(slicer.util.arrayFromVolume(node))
        image.SetSpacing(node.GetSpacing())
        sitk.WriteImage(image, f"{name}.nii.gz")
    exec(compile(in_slicer, "README.md", "exec"), names := dict(nodes))
    assert names["outcome"].inverse is not None
    exec(compile(alone, "README.md", "exec"), {})
    assert Path("transform.h5").is_file()


def pages() -> list[Path]:
    return [PROJECT / name for name in ("README.md", "CONTRIBUTING.md")] + sorted(TUTORIALS.glob("*.md"))


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (page.parent / target).exists(), target


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_every_python_example_is_python(page: Path) -> None:
    for part in examples(page):
        compile(part, page.name, "exec")
