"""The checker of a cohort's table."""

from __future__ import annotations

from pathlib import Path

import pytest

from regcore.cohort.table import Case, read_cohort


@pytest.fixture
def folder(tmp_path) -> Path:
    for name in ("a.nii", "b.nii", "l.nii", "t.h5"):
        (tmp_path / name).touch()
    return tmp_path


def table(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "pairs.csv"
    path.write_text(text, encoding=encoding)
    return path


def refused(folder: Path, text: str) -> str:
    with pytest.raises(ValueError, match=r"^pairs") as caught:
        read_cohort(table(folder, text))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_reads_what_is_there_relative_to_the_table(folder):
    text = "moving, id,fixed,initial_transform,fixed_mask\nb.nii,x.1,a.nii,t.h5,\n\nb.nii,y,a.nii,,l.nii\n"
    first, second = read_cohort(table(folder, text, "utf-8-sig"))
    assert first.id == "x.1"
    assert first.files == {"fixed": folder / "a.nii", "moving": folder / "b.nii", "initial_transform": folder / "t.h5"}
    assert set(second.files) == {"fixed", "moving", "fixed_mask"}


def test_a_start_is_a_file_the_word_identity_or_not_known(folder):
    text = "id,fixed,moving,initial_transform\nx,a.nii,b.nii,t.h5\ny,a.nii,b.nii,identity\nz,a.nii,b.nii,\n"
    cases = read_cohort(table(folder, text + "w,a.nii,b.nii,Identity\n"))
    assert [case.still for case in cases] == [False, True, False, True]
    assert [case.files.get("initial_transform") for case in cases] == [folder / "t.h5", None, None, None]
    said = refused(folder, text + "w,a.nii,b.nii,none\n")
    assert said.startswith(
        "pairs.csv: row 5: initial_transform: no such file: none; expected a transform file, the word"
    )


def test_every_bad_row_is_named_at_once_by_its_number(folder):
    rows = [
        "id,fixed,moving,fixed_labels",
        "good,a.nii,b.nii,",
        "GOOD,a.nii,b.nii,",
        "../up,a.nii,b.nii,",
        "p4,gone.nii,b.nii,lost.nii",
        ",a.nii,b.nii,",
        "p6,a.nii,,",
        "p7,a.nii,b.nii",
        "summary.json,a.nii,b.nii,",
    ]
    said = refused(folder, "\n".join(rows))
    assert said.removeprefix("pairs.csv: ").split("; row ") == [
        "row 3: id GOOD is that of row 2 already",
        "4: id '../up' is no safe folder name; use letters, digits, '.', '_' and '-'",
        "5: fixed: no such file: gone.nii",
        "5: fixed_labels: no such file: lost.nii",
        "6: no id",
        "7: no moving",
        "8: expected 4 cells, got 3",
        "9: id 'summary.json' is no safe folder name; use letters, digits, '.', '_' and '-'",
    ]


@pytest.mark.parametrize("name", ["a/b", ".hidden", "ends.", "a b", "-o", "NUL", "x" * 101, "a\\b"])
def test_names_that_make_no_folder_are_refused(folder, name):
    assert "row 2: id" in refused(folder, f"id,fixed,moving\n{name},a.nii,b.nii\n")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "found no id, fixed, moving"),
        ("id,fixed\n", "found no moving"),
        ("id,fixed,moving\n\n", "no pairs below the header"),
        ("id,fixed,moving,fixed_label\nx,a.nii,b.nii,l.nii\n", "unknown column fixed_label"),
        ("id,fixed,moving,fixed\nx,a.nii,b.nii,a.nii\n", "column fixed comes twice"),
        ('id,fixed,moving\nx,"a.nii,b.nii\n', "no CSV table"),
        ("id,fixed,moving,fixed_labels\nx,a.nii,b.nii,l.nii\n", "row 2: labels of the fixed image alone"),
        ("id,fixed,moving,moving_landmarks\nx,a.nii,b.nii,l.nii\n", "row 2: landmarks of the moving image alone"),
    ],
)
def test_other_mistakes(folder, text, sentence):
    assert sentence in refused(folder, text)


def test_no_table_and_no_text(tmp_path):
    with pytest.raises(ValueError, match=r"no such file: none\.csv"):
        read_cohort(tmp_path / "none.csv")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(ValueError, match=r"binary.csv is no CSV table"):
        read_cohort(tmp_path / "binary.csv")


def test_fixed_labels_may_come_alone_where_they_are_of_use(folder):
    path = table(folder, "id,fixed,moving,fixed_labels\nx,a.nii,b.nii,l.nii\n")
    assert "fixed_labels" in read_cohort(path, fixed_labels_alone=True)[0].files


def test_sentences_lose_their_folders():
    case = Case("x", {"fixed": Path("/home/Jane Doe/a.nii"), "moving": Path("/home/Jane Doe/old/b.nii")})
    said = case.anonymous("/home/Jane Doe/a.nii and /home/Jane Doe/old/b.nii, and /home/Jane Doe/old/c")
    assert said == "a.nii and b.nii, and the folder/c"
