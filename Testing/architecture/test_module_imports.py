"""The Slicer module is a thin shell: at file scope it imports next to nothing, and torch nowhere."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

MODULE = Path(__file__).resolve().parents[2] / "AttentionRegistration"
ALLOWED = {"slicer", "vtk", "numpy", "qt", "ctk", "AttentionRegistrationLib", *sys.stdlib_module_names}
NEVER = {"torch", "regcore", "SimpleITK"}


def _at_file_scope(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield every statement that runs, or may run, when the file is imported."""
    for node in ast.iter_child_nodes(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield node
            yield from _at_file_scope(node)


def _names(nodes: Iterator[ast.AST]) -> Iterator[tuple[str, int]]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from ((alias.name.split(".")[0], node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield ("." if node.level else (node.module or "").split(".")[0]), node.lineno


def problems(folder: Path) -> list[str]:
    """Return one sentence for each import that is not allowed."""
    found = []
    for path in sorted(folder.rglob("*.py")):
        tree, where = ast.parse(path.read_text(encoding="utf-8")), path.relative_to(folder).as_posix()
        outside = [(name, line) for name, line in _names(_at_file_scope(tree)) if name not in ALLOWED]
        found += [f"{where}:{line} imports {name} at file scope" for name, line in outside]
        anywhere = [(name, line) for name, line in _names(ast.walk(tree)) if name in NEVER]
        found += [f"{where}:{line} imports {name}; the worker does that" for name, line in anywhere]
    return found


def test_the_module_imports_only_what_slicer_has() -> None:
    assert len(list(MODULE.rglob("*.py"))) > 5
    assert problems(MODULE) == []


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("import torch", "a.py:1 imports torch at file scope"),
        ("def f():\n    import torch.nn", "a.py:2 imports torch; the worker does that"),
        ("try:\n    import psutil\nexcept ImportError:\n    pass", "a.py:2 imports psutil at file scope"),
        ("class A:\n    from scipy import ndimage", "a.py:2 imports scipy at file scope"),
        ("from . import nodes", "a.py:1 imports . at file scope"),
        ("def f():\n    from regcore.io import read_image", "a.py:2 imports regcore; the worker does that"),
    ],
)
def test_the_checker_sees_each_kind_of_import(tmp_path: Path, source: str, complaint: str) -> None:
    (tmp_path / "a.py").write_text(source)
    assert complaint in problems(tmp_path)


def test_the_checker_lets_pass_what_is_allowed(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("import vtk, numpy\nfrom slicer import util\ndef f():\n    import PyTorchUtils\n")
    assert problems(tmp_path) == []
