"""Rows of metrics.csv: from a report, to a file and back, and read off by pair and label."""

from __future__ import annotations

import pytest

from regcore.cohort.figures import FIGURES, by_label, by_pair, read_metrics, rows_of, start_of, write_metrics

REPORT = {
    "dsc": {"before": {"2": 0.5, "10": 0.25}, "after": {"2": 0.75, "10": None}, "mean_after": 0.75},
    "hd95_mm": {"2": 3.0, "10": None},
    "assd_mm": {"2": 1.5, "10": None},
    "tre_mm": {"before": {"mean": 5.0, "max": 9.0}, "after": {"mean": 0.1, "max": 2.0}},
    "sre_mm": {"before": 8.0, "initial": 4.0, "after": 2.0},
    "folding_percent": 0.0,
    "sdlogj": None,
    "seconds": 1.25,
}
BARE = {"folding_percent": 0.5, "sdlogj": 0.1, "seconds": 2.0}


def test_a_row_for_each_label_with_the_pairs_figures_in_all():
    first, second = rows_of("p", REPORT)
    assert (first["label"], second["label"]) == ("2", "10")
    assert (first["DSC before"], first["DSC"], first["HD95 [mm]"], first["ASSD [mm]"]) == (0.5, 0.75, 3.0, 1.5)
    assert (second["DSC before"], second["DSC"]) == (0.25, None)
    for row in (first, second):
        assert (row["TRE [mm] before"], row["TRE [mm]"], row["SRE [mm] before"], row["SRE [mm]"]) == (5, 0.1, 8, 2)
        assert (row["|J|<=0 [%]"], row["SDlogJ"], row["seconds"]) == (0, None, 1.25)


def test_a_pair_without_labels_has_one_row():
    (row,) = rows_of("q", BARE)
    assert row["label"] == ""
    assert row["DSC"] is row["TRE [mm]"] is row["SRE [mm]"] is None


def test_what_is_written_is_read_again(tmp_path):
    rows = [*rows_of("p", REPORT), *rows_of("q", BARE)]
    write_metrics(rows, tmp_path / "metrics.csv")
    assert read_metrics(tmp_path / "metrics.csv") == rows
    assert (tmp_path / "metrics.csv").read_text().splitlines()[0].split(",") == ["pair", "label", *FIGURES]


def test_figures_by_pair_leave_out_what_is_not_known_and_count_a_pair_once():
    rows = [*rows_of("p", REPORT), *rows_of("q", BARE)]
    assert by_pair(rows, "DSC") == {"p": 0.75}
    assert by_pair(rows, "DSC before") == {"p": 0.375}
    assert by_pair(rows, "TRE [mm]") == {"p": 0.1}
    assert by_pair(rows, "seconds") == {"p": 1.25, "q": 2.0}
    assert by_label(rows, "DSC before") == {"2": {"p": 0.5}, "10": {"p": 0.25}}


def test_starts_are_known_where_there_are_any():
    assert start_of("DSC") == "DSC before"
    assert start_of("SDlogJ") is None


@pytest.mark.parametrize("text", ["", "pair,label\np,1\n", ",".join(["pair", "label", *FIGURES]) + "\np,1,much\n"])
def test_other_tables_are_refused(tmp_path, text):
    (tmp_path / "metrics.csv").write_text(text)
    with pytest.raises(ValueError, match=r"compare: metrics\.csv is not as regcore evaluate writes it"):
        read_metrics(tmp_path / "metrics.csv")
