"""Tables of a user's images: what they say, and every mistake in them named at once."""

from __future__ import annotations

import json
import re
import struct

import numpy as np
import pytest
import torch

from regcore.data.image_cache import ImageCache
from regcore.data.manifest import IDENTITY
from regcore.data.manifest_check import image_dimension, read_manifest
from regcore.grid import Grid
from regcore.image import Image
from regcore.io import read_image, write_image, write_transform
from regcore.landmarks import Landmarks, write_landmarks
from regcore.transform import AffineTransform


@pytest.fixture
def folder(tmp_path):
    grid = Grid.of((5, 4, 3))
    for name in "abcd":
        write_image(Image(torch.rand(grid.shape), grid), tmp_path / f"{name}.nii.gz")
        labels = torch.zeros(grid.shape, dtype=torch.int64)
        labels[1, 1:3] = torch.tensor([[1], [7]])
        write_image(Image(labels, grid, "uint8"), tmp_path / f"{name}_labels.nii.gz")
    flat = Grid.of((5, 4))
    write_image(Image(torch.rand(flat.shape), flat), tmp_path / "flat.nii.gz")
    return tmp_path


def table(folder, text, name="cohort.csv"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def complaint(path, **options) -> str:
    with pytest.raises(ValueError, match=re.escape(path.name)) as caught:
        read_manifest(path, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_rows_of_images_with_defaults_and_paths_beside_the_table(folder):
    text = (
        "id,image,subject,phase,labels,split\na,a.nii.gz,p1,ED,a_labels.nii.gz,\n\nb,b.nii.gz,,,b_labels.nii.gz,test\n"
    )
    manifest, values = read_manifest(table(folder, text))
    first, second = manifest.rows
    assert (manifest.name, manifest.pairs, values) == ("cohort.csv", False, (1, 7))
    assert (first.number, first.subject, first.phase, first.split) == (2, "p1", "ED", "train")
    # The empty line counts: numbers are those of a spreadsheet.
    assert (second.number, second.subject, second.split) == (4, "b", "test")
    assert first.images[0].image == folder / "a.nii.gz"
    assert first.images[0].labels == folder / "a_labels.nii.gz"
    assert first.images[0].mask is None


def test_csv_with_semicolons_and_json_say_the_same(folder):
    commas = read_manifest(table(folder, "id,image,split\na,a.nii.gz,\nb,b.nii.gz,test\n"))[0]
    semicolons = read_manifest(table(folder, "\ufeffid; image; split\na;a.nii.gz;\nb; b.nii.gz ;test\n"))[0]
    records = [{"id": "a", "image": "a.nii.gz"}, {"id": "b", "image": "b.nii.gz", "split": "test", "subject": None}]
    listed = read_manifest(table(folder, json.dumps(records), "cohort.json"))[0]
    assert commas == semicolons
    assert [(row.id, row.split, row.images) for row in listed.rows] == [
        (row.id, row.split, row.images) for row in commas.rows
    ]


def test_rows_of_pairs(folder):
    write_transform(AffineTransform.of(np.eye(3), [1, 2, 3]), folder / "start.tfm")
    write_landmarks(Landmarks.of([[1, 2, 3]]), folder / "points.csv")
    text = (
        "id,fixed,moving,fixed_labels,moving_labels,fixed_landmarks,moving_landmarks,initial_transform\n"
        "1,a.nii.gz,b.nii.gz,a_labels.nii.gz,b_labels.nii.gz,points.csv,points.csv,start.tfm\n"
        "2,b.nii.gz,a.nii.gz,b_labels.nii.gz,a_labels.nii.gz,,,identity\n"
        "3,b.nii.gz,a.nii.gz,b_labels.nii.gz,a_labels.nii.gz,,,Identity\n"
        "4,b.nii.gz,a.nii.gz,b_labels.nii.gz,a_labels.nii.gz,,,\n"
    )
    manifest, _ = read_manifest(table(folder, text), 3, {1, 7})
    assert manifest.pairs
    assert [row.initial_transform for row in manifest.rows] == [
        *(folder / "start.tfm", IDENTITY),
        *(IDENTITY, None),
    ]
    fixed, moving = manifest.rows[0].images
    assert (fixed.column, fixed.landmarks) == ("fixed", folder / "points.csv")
    assert (moving.column, moving.labels) == ("moving", folder / "b_labels.nii.gz")


def test_every_mistake_is_named_at_once_with_its_row(folder):
    (folder / "broken.nii.gz").write_bytes(b"no image")
    (folder / "broken.mha").write_bytes(b"no image")
    whole = (folder / "c.nii.gz").read_bytes()
    (folder / "short.nii.gz").write_bytes(whole[: len(whole) // 2])
    text = (
        "id,image,subject,labels,split,mask,landmarks,labls\n"
        "a,a.nii.gz,p1,a_labels.nii.gz,train,,,\n"
        "b,absent.nii.gz,p2,b_labels.nii.gz,train,,,\n"
        "c,broken.nii.gz,p3,b_labels.nii.gz,train,,,\n"
        "d,broken.mha,p4,b_labels.nii.gz,train,,,\n"
        "e,short.nii.gz,p5,b_labels.nii.gz,train,,,\n"
        "f,flat.nii.gz,p6,b_labels.nii.gz,train,,,\n"
        "a,b.nii.gz,p7,b_labels.nii.gz,validate,,,\n"
        "h,c.nii.gz,p1,c_labels.nii.gz,test,absent_mask.nii.gz,absent.csv,,too much\n"
        "i,a.nii.gz,p8,,train,,,\n"
        ",d.nii.gz,p9,d_labels.nii.gz,train,,,\n"
    )
    said = complaint(table(folder, text), dimensions=3, labels=(1, 2))
    expected = [
        "unknown column 'labls', did you mean labels?",
        "row 2: labels: unknown label 7 in a_labels.nii.gz",
        "row 3: image: no such file: absent.nii.gz",
        "row 4: image: broken.nii.gz is not a NIfTI file",
        "row 5: image: broken.mha is not an image",
        "row 6: image: short.nii.gz",
        "row 7: image: expected 3D, flat.nii.gz is 2D",
        "row 8: duplicate id 'a', as in row 2",
        "row 8: unknown split 'validate', expected train, validation, test",
        "row 9: has more cells than there are columns",
        "row 9: subject 'p1' is in two splits: here in test, in row 2 in train",
        "row 9: mask: no such file: absent_mask.nii.gz",
        "row 9: landmarks: no such file: absent.csv",
        "row 10: the same image as in row 2",
        "row 10: has no labels, but other rows have",
        "row 11: id is empty",
    ]
    assert [clause for clause in expected if clause not in said] == []
    rows = [int(number) for number in re.findall(r"(?:^|; |: )row (\d+):", said)]
    assert rows == sorted(rows)


def test_mistakes_in_pairs_name_the_column(folder):
    (folder / "start.tfm").write_text("nothing")
    text = (
        "id,fixed,moving,fixed_labels,moving_labels,moving_landmarks,initial_transform\n"
        "1,a.nii.gz,absent.nii.gz,a_labels.nii.gz,b_labels.nii.gz,,start.tfm\n"
        "2,a.nii.gz,b.nii.gz,a_labels.nii.gz,flat.nii.gz,a.nii.gz,absent.h5\n"
    )
    said = complaint(table(folder, text))
    for clause in (
        "row 2: moving: no such file",
        "row 2: initial_transform: start.tfm is not a transform",
        "row 3: moving_labels: expected whole numbers in flat.nii.gz",
        "row 3: moving_landmarks: a.nii.gz",
        "row 3: initial_transform: no such file: absent.h5; expected a transform file, the word identity, or nothing",
    ):
        assert clause in said


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("id,picture\na,a.nii.gz\n", "column image is missing"),
        ("fixed,id\na.nii.gz,1\n", "column moving is missing"),
        ("image,group\na.nii.gz,1\n", "unknown column 'group', there are id"),
        ("id,image,id\na,a.nii.gz,a\n", "column 'id' is there twice"),
        ("id,image\n", "found none"),
        ("", "column id is missing"),
    ],
)
def test_columns_that_make_no_table(folder, text, sentence):
    assert sentence in complaint(table(folder, text))


@pytest.mark.parametrize(("text", "sentence"), [("{", "error in line 1"), ('{"id": 1}', "a JSON list of objects")])
def test_json_that_is_no_table(folder, text, sentence):
    assert sentence in complaint(table(folder, text, "cohort.json"))


def test_a_table_that_is_not_there_or_not_text(folder):
    assert "no such file" in complaint(folder / "absent.csv")
    (folder / "cohort.csv").write_bytes(b"\xff\xfe\x00")
    assert "in UTF-8" in complaint(folder / "cohort.csv")


@pytest.mark.parametrize("name", ["image.nii", "image.nii.gz", "image.nrrd", "image.mha"])
@pytest.mark.parametrize("size", [(5, 4), (5, 4, 3)])
def test_the_dimension_is_that_of_the_whole_file(tmp_path, name, size):
    grid = Grid.of(size)
    write_image(Image(torch.rand(grid.shape), grid), tmp_path / name)
    assert image_dimension(tmp_path / name) == read_image(tmp_path / name).dim == len(size)


@pytest.mark.parametrize("values", [[0], [0, 3], [2, 70_000], [0, 5, 1 << 21]])
def test_all_label_values_are_found_kept_or_not(folder, values):
    labels = torch.tensor(values).repeat(24)[:24].reshape(2, 3, 4)
    write_image(Image(labels, Grid.of((4, 3, 2)), "int32"), folder / "labels.nii.gz")
    path = table(folder, "id,image,labels\na,a.nii.gz,labels.nii.gz\n")
    expected = tuple(value for value in values if value)
    for _ in range(2):
        assert read_manifest(path, cache=ImageCache(folder / "cache"))[1] == expected
    assert len(list((folder / "cache").iterdir())) == 1
    assert read_manifest(path)[1] == expected


def test_labels_below_zero_are_no_labels(folder):
    write_image(Image(-torch.ones(2, 3, 4, dtype=torch.int64), Grid.of((4, 3, 2)), "int16"), folder / "labels.nii.gz")
    path = table(folder, "id,image,labels\na,a.nii.gz,labels.nii.gz\n")
    assert "row 2: labels: unknown label -1 in labels.nii.gz" in complaint(path)


def test_a_truncated_header_is_no_image(tmp_path):
    (tmp_path / "image.nii").write_bytes(b"\x5c\x01\x00\x00")
    with pytest.raises(ValueError, match=r"image: image\.nii is not a NIfTI file"):
        image_dimension(tmp_path / "image.nii")


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("version", [1, 2])
def test_headers_of_both_versions_and_byte_orders(tmp_path, order, version):
    """Fields at their places in the two standards (nifti1.h, nifti2.h)."""
    counts = np.array([5, 4, 3, 2, 1, 1, 1, 1])
    header = bytearray(352 if version == 1 else 544)
    if version == 1:
        struct.pack_into(f"{order}i", header, 0, 348)
        struct.pack_into(f"{order}8h", header, 40, *counts)
        struct.pack_into(f"{order}2h", header, 70, 4, 16)  # int16
        struct.pack_into(f"{order}f", header, 108, 352)
    else:
        struct.pack_into(f"{order}i", header, 0, 540)
        struct.pack_into(f"{order}2h", header, 12, 4, 16)
        struct.pack_into(f"{order}8q", header, 16, *counts)
        struct.pack_into(f"{order}q", header, 168, 544)
    path = tmp_path / "image.nii"
    path.write_bytes(bytes(header) + bytes(2 * 24))
    # Axes of one voxel after the third are none, as ITK has it.
    assert image_dimension(path) == 3
    path.write_bytes(bytes(header) + bytes(2 * 24 - 1))
    with pytest.raises(ValueError, match="ends before its last voxel"):
        image_dimension(path)
