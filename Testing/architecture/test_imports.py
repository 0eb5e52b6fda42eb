"""Imports go one way (design, section 2): read from the source of every module there is, so none can escape."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]

# A module may import from its own layer and those above it in this list.
LAYERS = [
    {"__init__", "ops", "grid", "progress", "atomic", "integrity", "png", "page", "watch", "heap", "waiting"},
    {"image", "field", "slices"},
    {"transform", "warp", "io", "landmarks", "inverse", "procrustes", "frames", "sparse"},
    {"losses", "metrics", "models", "forces"},
    {"preprocess", "affine", "refine", "greedy", "padding", "crop", "weights"},
    {"gland_surface", "gland_fit", "gland_alignment", "gland_deformation"},
    {"rigid", "organ_search", "rigid_step", "rigid_view", "rigid_fit", "rigid_refine", "start"},
    {
        "settings",
        "steps",
        "deformable_step",
        "chain",
        "pipeline",
        "series",
        "series_layout",
        "motion",
        "data",
        "training",
        "checks",
        "stages",
        "presets",
    },
    {"report", "report_pictures", "summary", "outputs", "given"},
    {"explain", "explanation", "explain_pictures", "explain_report"},
    {"sensitivity", "network_grid", "deformable_explanation", "sensitivity_report"},
    {"cohort", "motion_report"},
    {"cli", "worker"},
]
ONLY_THESE = {
    "SimpleITK": ("io.py", "affine.py", "metrics/surface.py"),
    "lightning": ("training/", "cli/train"),
    "tensorboard": ("training/", "cli/train"),
    "jsonargparse": ("cli/", "training/"),
}
NUMERICS = {"torch", "numpy", "SimpleITK", "lightning", "matplotlib", "jinja2", "rich", "jsonargparse"}


def _modules(package: Path) -> list[Path]:
    return sorted(package.rglob("*.py"))


def _imports(path: Path) -> Iterator[tuple[str, int]]:
    """Yield every absolute module name imported anywhere in a file, inside functions too, and its line."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            # `from regcore import field` names a module too.
            names = [f"{base}.{alias.name}" for alias in node.names] if base == "regcore" else [base]
            yield from ((name, node.lineno) for name in names)


def _layer(top: str) -> int | None:
    return next((number for number, names in enumerate(LAYERS) if top in names), None)


def _top(path: Path, package: Path) -> str:
    return path.relative_to(package).parts[0].removesuffix(".py")


def problems(package: Path) -> list[str]:
    """Return one sentence for each import or call that breaks the order."""
    found = []
    for path in _modules(package):
        where, top = path.relative_to(package).as_posix(), _top(path, package)
        if _layer(top) is None:
            found.append(f"{where}: '{top}' has no layer; give it its place in LAYERS of {Path(__file__).name}")
            continue
        for name, line in _imports(path):
            found += [f"{where}:{line} {sentence}" for sentence in _complaints(name, where, top)]
        if top != "cli":
            found += [f"{where}:{line} prints; only cli may" for line in _prints(path)]
    return found


def _complaints(name: str, where: str, top: str) -> Iterator[str]:
    first, *rest = name.split(".")
    if first == "":
        yield f"imports '{name}' relatively; name it in full"
    allowed = ONLY_THESE.get(first)
    if allowed and not where.startswith(allowed):
        yield f"imports {first}; only {', '.join(allowed)} may"
    if first == "regcore" and rest and rest[0] != top:
        here, there = _layer(top), _layer(rest[0])
        if there is not None and here is not None and there > here:
            yield f"imports regcore.{rest[0]}, which lies above it"


def _prints(path: Path) -> list[int]:
    calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    return [call.lineno for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"]


def _edges(package: Path) -> dict[str, set[str]]:
    """Which top-level module imports which."""
    edges: dict[str, set[str]] = {}
    for path in _modules(package):
        top = _top(path, package)
        names = {name.split(".")[1] for name, _ in _imports(path) if name.startswith("regcore.")}
        edges.setdefault(top, set()).update(names - {top})
    return edges


def circle(edges: dict[str, set[str]]) -> list[str]:
    """Return modules that import one another in a ring, or nothing."""
    left = {top: set(names) & set(edges) for top, names in edges.items()}
    while True:
        imported = set().union(*left.values())
        ends = {top for top, names in left.items() if not names or top not in imported}
        if not ends:
            return sorted(left)
        left = {top: names - ends for top, names in left.items() if top not in ends}


def test_every_module_keeps_to_its_layer() -> None:
    package = PROJECT / "regcore"
    assert len(_modules(package)) > 20
    assert problems(package) == []


def test_modules_of_one_layer_import_each_other_in_no_circle() -> None:
    assert circle(_edges(PROJECT / "regcore")) == []


def test_ops_and_grid_stand_alone() -> None:
    edges = _edges(PROJECT / "regcore")
    assert edges["ops"] == set()
    assert edges["grid"] == set()


@pytest.mark.parametrize(
    ("path", "source", "complaint"),
    [
        ("newcomer.py", "x = 1", "newcomer.py: 'newcomer' has no layer"),
        ("newcomer/__init__.py", "", "'newcomer' has no layer"),
        ("grid.py", "import regcore.image", "grid.py:1 imports regcore.image, which lies above it"),
        ("ops/a.py", "def f():\n    from regcore import warp", "ops/a.py:2 imports regcore.warp"),
        ("field.py", "from regcore.transform import Transform", "imports regcore.transform"),
        ("models/pan.py", "from regcore.refine import refine", "imports regcore.refine"),
        ("pipeline.py", "from regcore.cli.main import main", "imports regcore.cli"),
        ("metrics/overlap.py", "import SimpleITK as sitk", "imports SimpleITK"),
        ("metrics/surface.py", "from .overlap import dsc", "relatively"),
        ("models/base.py", "import lightning.pytorch as pl", "imports lightning"),
        ("warp.py", "print(1)", "warp.py:1 prints"),
    ],
)
def test_the_checker_sees_each_kind_of_breach(tmp_path: Path, path: str, source: str, complaint: str) -> None:
    file = tmp_path / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(source)
    (found,) = problems(tmp_path)
    assert complaint in found


def test_the_checker_sees_a_circle() -> None:
    assert circle({"image": {"field", "grid"}, "field": {"image"}, "grid": set(), "io": {"image"}}) == [
        "field",
        "image",
    ]
