"""Landmark files: every form gives the same LPS points, and bad files say what is wrong."""

import json

import numpy as np
import pytest

from regcore.landmarks import Landmarks, read_landmarks, write_landmarks

LPS = np.array([[1.5, -2.25, 30.0], [4.0, 5.0, -6.125]])
RAS = LPS * [-1, -1, 1]


def _csv(rows, header=None) -> str:
    lines = [",".join(map(str, row)) for row in rows]
    return "\n".join([header, *lines] if header else lines) + "\n"


def _fcsv(system: str, points) -> str:
    head = "# Markups fiducial file version = 4.11\n"
    if system:
        head += f"# CoordinateSystem = {system}\n"
    head += "# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID\n"
    rows = [[f"id{n}", *point, 0, 0, 0, 1, 1, 1, 0, f"F-{n}", "", ""] for n, point in enumerate(points)]
    return head + _csv(rows)


def _json(system: str | None, points) -> str:
    controls = [{"label": f"F-{n}", "position": list(point)} for n, point in enumerate(points)]
    controls.append({"label": "later", "position": [0, 0, 0], "positionStatus": "undefined"})
    markup = {"type": "Fiducial", "controlPoints": controls}
    return json.dumps({"markups": [markup | ({"coordinateSystem": system} if system else {})]})


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("header.csv", _csv([["a", *LPS[0]], ["b", *LPS[1]]], "label,x,y,z")),
        ("bare.csv", _csv(LPS)),
        ("xyz.csv", _csv(LPS, "x,y,z")),
        ("named.csv", _csv([["a", *LPS[0]], ["b", *LPS[1]]])),
        ("numbered.csv", _csv([[7, *LPS[0]], [8, *LPS[1]]])),
        ("shuffled.csv", _csv(LPS[:, ::-1], "Z, Y, X")),
        ("bom.csv", "\ufeff# a comment\n\n" + _csv(LPS, "x,y,z")),
        ("slicer_table.csv", _csv([["F-1", *RAS[0], 1], ["F-2", *RAS[1], 1]], "label,r,a,s,defined")),
        ("lps.fcsv", _fcsv("LPS", LPS)),
        ("one.fcsv", _fcsv("1", LPS)),
        ("ras.fcsv", _fcsv("RAS", RAS)),
        ("zero.fcsv", _fcsv("0", RAS)),
        ("old.fcsv", _fcsv("", RAS)),
        ("lps.mrk.json", _json("LPS", LPS)),
        ("ras.mrk.json", _json("RAS", RAS)),
        ("unsaid.mrk.json", _json(None, LPS)),
    ],
)
def test_every_form_gives_the_same_points(tmp_path, file, text):
    (tmp_path / file).write_text(text, encoding="utf-8")
    landmarks = read_landmarks(tmp_path / file)
    np.testing.assert_array_equal(landmarks.points, LPS)
    assert len(landmarks.labels) == 2


@pytest.mark.parametrize("file", ["a.csv", "a.fcsv", "a.mrk.json"])
def test_written_points_come_back_exactly(tmp_path, file):
    landmarks = Landmarks.of(np.random.default_rng(0).normal(size=(5, 3)) * 80, ["apex", "a,b", 'say "x"', "é", "5"])
    write_landmarks(landmarks, tmp_path / file)
    back = read_landmarks(tmp_path / file)
    np.testing.assert_array_equal(back.points, landmarks.points)
    assert back.labels == landmarks.labels
    assert [path.name for path in tmp_path.iterdir()] == [file]


def test_two_dimensions_are_for_csv_only(tmp_path):
    flat = Landmarks.of([(1.0, 2.0), (3.0, 4.0)])
    write_landmarks(flat, tmp_path / "flat.csv")
    np.testing.assert_array_equal(read_landmarks(tmp_path / "flat.csv").points, flat.points)
    with pytest.raises(ValueError, match="3D points"):
        write_landmarks(flat, tmp_path / "flat.fcsv")


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("empty.csv", "", "found none"),
        ("empty.mrk.json", '{"markups": []}', "found none"),
        ("words.csv", "hello\nworld\n", "rows of numbers"),
        ("word.csv", "x,y,z\n1,2,three\n", "expected a number, got 'three'"),
        ("nan.csv", "x,y,z\n1,2,nan\n", "finite"),
        ("uneven.csv", "1,2,3\n1,2\n", "row 2 has 2"),
        ("missing.csv", "x,z\n1,2\n", "columns x,y,z"),
        ("wide.csv", "1,2,3,4,5\n", "shape"),
        ("odd.fcsv", "# CoordinateSystem = MNI\na,1,2,3\n", "LPS or RAS"),
        ("short.fcsv", "# CoordinateSystem = LPS\na,1,2\n", "point 1 has 3"),
        ("broken.mrk.json", '{"markups": [', "error in line 1"),
        ("list.mrk.json", "[]", "no list called markups"),
        ("null.mrk.json", '{"markups": [{"controlPoints": [{"position": null}]}]}', "position of 3 numbers"),
        ("points.txt", "1,2,3\n", "expected the ending"),
    ],
)
def test_bad_files_are_explained(tmp_path, file, text, message):
    (tmp_path / file).write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        read_landmarks(tmp_path / file, "fixed-landmarks")
    assert str(error.value).startswith(f"fixed-landmarks: {file}: ")
    assert "\n" not in str(error.value)


def test_a_missing_and_a_binary_file_are_explained(tmp_path):
    with pytest.raises(ValueError, match="no such file"):
        read_landmarks(tmp_path / "none.csv")
    (tmp_path / "image.csv").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(ValueError, match="not text"):
        read_landmarks(tmp_path / "image.csv")


def test_nothing_half_written_stays(tmp_path):
    with pytest.raises(ValueError, match="cannot be written"):
        write_landmarks(Landmarks.of(LPS), tmp_path / "absent" / "a.csv")


def test_names_must_fit_the_points():
    with pytest.raises(ValueError, match="2 labels"):
        Landmarks.of(LPS, ["only one"])
