"""Write the page of the repeated experiments from the figures that they left behind."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from plan import FIGURES

# Modules that each hold a section(figures), in the order of the page.
PARTS = ("resaatt_page", "air_page", "ablations_page", "trainings_page")

_ABOUT = """# The papers' experiments, repeated

Made by `make papers`; do not edit. The trainings are small: what is found here holds for these sizes and these data,
and says little about the papers' own. `make papers` measures again with the weights at hand; the tables of trainings
are made from the figures in `papers/*.json`, which `make papers-train` writes.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page; return 0."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--figures", type=Path, default=FIGURES)
    parser.add_argument("--page", type=Path, default=FIGURES.parent / "papers.md")
    options = parser.parse_args(arguments)
    options.page.write_text(page(options.figures), encoding="utf-8")
    print(f"written: {options.page}")
    return 0


def page(figures: Path) -> str:
    """Return the whole page.

    Args:
        figures: the folder of the JSON files.
    """
    sections = [importlib.import_module(part).section(figures).strip() for part in PARTS]
    return "\n\n".join([_ABOUT.strip(), *sections]) + "\n"


if __name__ == "__main__":
    sys.exit(main())
