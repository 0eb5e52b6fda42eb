"""The generated pairs are offered in the module Sample Data."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any
from urllib.parse import urlparse
from urllib.request import url2pathname

import pytest

from .bench import MODULE


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What is registered with a stand-in for Slicer's module Sample Data."""
    from AttentionRegistrationLib import sample_data

    seen: list[dict[str, Any]] = []

    class SampleDataLogic:
        @staticmethod
        def registerCustomSampleDataSource(**source: Any) -> None:  # noqa: N802
            seen.append(source)

    module = types.ModuleType("SampleData")
    module.SampleDataLogic = SampleDataLogic  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "SampleData", module)
    sample_data.register(str(MODULE.parent / "Resources"))
    return seen


def test_every_file_is_there_and_has_all_that_slicer_asks_for(offered: list[dict[str, Any]]) -> None:
    assert len(offered) == 2
    for source in offered:
        lists = ("uris", "fileNames", "nodeNames", "loadFileType", "checksums")
        assert len({len(source[name]) for name in lists}) == 1
        assert all(Path(url2pathname(urlparse(uri).path)).is_file() for uri in source["uris"])
        assert Path(source["thumbnailFileName"]).is_file()


def test_names_of_files_and_nodes_are_not_shared(offered: list[dict[str, Any]]) -> None:
    for name in ("fileNames", "nodeNames"):
        values = [value for source in offered for value in source[name]]
        assert len(values) == len(set(values))


def test_outlines_are_loaded_as_segmentations(offered: list[dict[str, Any]]) -> None:
    kinds = dict(zip(offered[1]["nodeNames"], offered[1]["loadFileType"], strict=True))
    assert kinds["prostate fixed"] == "VolumeFile"
    assert kinds["prostate fixed labels"] == "SegmentationFile"
