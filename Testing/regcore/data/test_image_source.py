"""Pairs of a user's own images: where they lie, that they are read once, and a training run on them."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import numpy as np
import pytest
import torch

from regcore.data import prepared
from regcore.data.image_cache import fingerprint
from regcore.data.image_source import ImageOptions, ImageSource
from regcore.data.manifest import ImageFiles
from regcore.data.prepared import TrainingGrid
from regcore.grid import Grid
from regcore.image import Image
from regcore.io import write_image, write_transform
from regcore.models import load_model
from regcore.training.command import main
from regcore.transform import AffineTransform

CPU = torch.device("cpu")
MIDDLE = np.array([12.0, -20.0, 31.0])  # mm, of every image below


def about_middle(size, spacing, axes=None) -> Grid:
    matrix = np.eye(len(size)) if axes is None else np.asarray(axes, dtype=float)
    half = matrix @ ((np.asarray(size) - 1) / 2 * np.asarray(spacing))
    return Grid.of(size, spacing, (MIDDLE[: len(size)] - half).tolist(), matrix)


def blob(grid: Grid, shift=(0.0, 0.0, 0.0)):
    """Return a smooth image and a map of labels 4 and 9, both functions of the position in mm alone."""
    away = grid.points().numpy() - MIDDLE[: grid.dim] - np.asarray(shift)[: grid.dim]
    away = away * np.array([1.0, 1.2, 0.9])[: grid.dim]
    distance = np.linalg.norm(away, axis=-1)
    grey = np.exp(-((distance / 8) ** 2)) * (1 + 0.4 * np.tanh(away[..., 0] / 5))
    labels = 4 * (distance < 7) + 5 * ((distance < 7) & (away[..., 0] > 0))
    return Image(torch.as_tensor(grey).float(), grid), Image(torch.as_tensor(labels), grid, "uint8")


def write(folder, name, grid, shift=(0.0, 0.0, 0.0)) -> ImageFiles:
    image, labels = blob(grid, shift)
    write_image(image, folder / f"{name}.nii.gz")
    write_image(labels, folder / f"{name}_labels.nii.gz")
    return ImageFiles("image", folder / f"{name}.nii.gz", folder / f"{name}_labels.nii.gz")


@pytest.fixture
def cohort(tmp_path):
    """Four subjects, two of them held out, each stored in another way."""
    turned = [[-1, 0, 0], [0, 0, 1], [0, -1, 0]]
    grids = [
        about_middle((20, 20, 20), (1.5, 1.5, 1.5)),
        about_middle((30, 20, 12), (1.0, 1.5, 2.5), np.diag([-1, -1, 1])),
        about_middle((24, 20, 16), (1.2, 1.5, 2.0), turned),
        about_middle((20, 24, 20), (1.5, 1.25, 1.5), np.diag([1, -1, -1])),
    ]
    rows = ["id,image,labels,split"]
    for number, grid in enumerate(grids):
        write(tmp_path, f"s{number}", grid, (number, 0, -number / 2))
        split = "validation" if number > 1 else ""
        rows.append(f"s{number},s{number}.nii.gz,s{number}_labels.nii.gz,{split}")
    (tmp_path / "cohort.csv").write_text("\n".join(rows))
    return tmp_path


def options(folder, **changes) -> ImageOptions:
    given = ImageOptions(manifest=str(folder / "cohort.csv"), size=(12, 14, 16), spacing_mm=1.5)
    return replace(given, **changes)


def same(one, other) -> bool:
    return all((a is None and b is None) or torch.equal(a, b) for a, b in zip(one, other, strict=True))


STORED = {
    "upright": np.eye(3),
    "flipped": np.diag([-1, 1, -1]),
    "permuted": np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0]]),
    "both": np.array([[0, -1, 0], [0, 0, 1], [-1, 0, 0]]),
}


@pytest.mark.parametrize("stored", STORED.values(), ids=STORED)
def test_the_way_a_file_is_stored_changes_nothing(tmp_path, stored):
    # Voxels per world axis, brought into the file's order of axes.
    size, spacing = np.array([30, 24, 16]), np.array([1.0, 1.25, 2.0])
    order = np.abs(stored).argmax(axis=0)
    grid = TrainingGrid((12, 14, 16), 1.5, labels=(4, 9))
    reference = grid.image(write(tmp_path, "reference", about_middle(size, spacing)))
    turned = grid.image(write(tmp_path, "turned", about_middle(size[order], spacing[order], stored)))
    assert torch.equal(reference["labels"], turned["labels"])
    assert torch.allclose(reference["image"].float(), turned["image"].float(), atol=1e-3)
    assert reference["image"].dtype == torch.float16
    assert reference["image"].std() > 0.1


def test_voxels_lie_where_they_should_in_mm(tmp_path):
    """An image that is its own position, with voxels of other edges than the training grid's."""
    source = about_middle((40, 30, 16), (1.0, 1.25, 2.0), np.diag([-1, 1, -1]))
    for axis in range(3):
        position = source.points()[..., axis].float()
        write_image(Image(position, source), tmp_path / "position.nii.gz")
        seen = TrainingGrid((8, 10, 12), 2.0).image(ImageFiles("image", tmp_path / "position.nii.gz"))["image"].float()
        low, high = np.percentile(position.numpy(), (0.1, 99.8))
        count = (12, 10, 8)[axis]
        expected = MIDDLE[axis] + (torch.arange(count) - (count - 1) / 2) * 2.0
        shape = [count if a == 2 - axis else 1 for a in range(3)]
        # Half precision keeps 1/2048 of the range of about 40 mm.
        error = seen * (high - low) + low - expected.reshape(shape)
        assert error.abs().max() < 0.03


def test_the_grid_is_laid_about_labels_or_mask(tmp_path):
    grid = Grid.of((40, 40, 40))
    labels = torch.zeros(grid.shape, dtype=torch.int64)
    labels[4:12, 20:30, 26:38] = 4
    labels[30:, :3, :3] = 7  # not among the labels that count
    write_image(Image(torch.rand(grid.shape), grid), tmp_path / "a.nii.gz")
    write_image(Image(labels, grid, "uint8"), tmp_path / "labels.nii.gz")
    write_image(Image((labels == 4).to(torch.uint8), grid, "uint8"), tmp_path / "mask.nii.gz")
    files = ImageFiles("image", tmp_path / "a.nii.gz", tmp_path / "labels.nii.gz", tmp_path / "mask.nii.gz")
    expected = torch.zeros(10, 12, 14, dtype=torch.uint8)
    expected[1:9, 1:11, 1:13] = 1
    for centre in ("labels", "mask"):
        found = TrainingGrid((10, 12, 14), 1.0, centre, (4,)).image(files)
        assert torch.equal(found["labels"], expected)
        assert torch.equal(found["mask"], expected)


def test_coarser_voxels_hold_what_lies_around_them(tmp_path):
    """A pattern too fine for the training grid becomes its mean, and no coarse pattern that is not there."""
    grid = Grid.of((36, 36, 36))
    pattern = torch.stack(torch.meshgrid(*[torch.arange(36)] * 3, indexing="ij")).sum(0) % 2
    write_image(Image(pattern.float(), grid), tmp_path / "a.nii.gz")
    seen = TrainingGrid((10, 10, 10), 3.0).image(ImageFiles("image", tmp_path / "a.nii.gz"))["image"].float()
    assert (seen - 0.5).abs().max() < 0.05


def test_an_empty_middle_is_refused(tmp_path):
    files = write(tmp_path, "a", Grid.of((8, 8, 8)))  # far from the labels
    with pytest.raises(ValueError, match=r"centre: the labels of a\.nii\.gz are empty"):
        TrainingGrid((4, 4, 4), 1.0, "labels", (4, 9)).image(files)
    with pytest.raises(ValueError, match=r"expected mask for a\.nii\.gz, there are none"):
        TrainingGrid((4, 4, 4), 1.0, "mask").image(files)


def test_a_pair_is_looked_at_through_its_transform(tmp_path):
    grid = about_middle((32, 32, 32), (1.2, 1.2, 1.2))
    fixed, moving = write(tmp_path, "fixed", grid), write(tmp_path, "moving", grid, (3.0, -2.0, 4.0))
    write_transform(AffineTransform.of(np.eye(3), [3.0, -2.0, 4.0]), tmp_path / "start.tfm")
    training = TrainingGrid((12, 12, 12), 1.5, labels=(4, 9))

    def apart(pair) -> float:
        return float((pair["fixed_image"].float() - pair["moving_image"].float()).abs().mean())

    through = training.pair(fixed, moving, tmp_path / "start.tfm")
    still = training.pair(fixed, moving, "identity")
    assert apart(through) < 0.01 < 0.05 < apart(still)
    # The middles of these two volumes are one point, those of their labels are 5.4 mm apart.
    assert apart(training.pair(fixed, moving, None)) == apart(still)
    assert apart(replace(training, centre="labels").pair(fixed, moving, None)) < 0.03


def test_draws_are_on_one_grid_with_numbered_labels(cohort):
    source = ImageSource(options(cohort), 3)
    batch = source.draw([0, 1, 2], CPU)
    assert batch.fixed.shape == batch.moving.shape == (3, 1, 12, 14, 16)
    assert batch.fixed.dtype == torch.float32
    assert 0 <= float(batch.fixed.min()) < 0.1 < 0.9 < float(batch.fixed.max()) <= 1
    assert batch.fixed_labels.unique().tolist() == [0, 1, 2]
    assert batch.fixed_labels.dtype == torch.int64
    assert (source.labels, source.dimensions, source.size) == ((1, 2), 3, (12, 14, 16))
    # Label 9 lies towards +x: the last array axis rises that way.
    middles = [(batch.fixed_labels[0] == value).nonzero().float().mean(0) for value in (1, 2)]
    assert middles[1][2] > middles[0][2] + 2
    assert batch.mask is None


def test_a_draw_depends_on_its_numbers_alone(cohort):
    """What two processes draw together is what one draws."""
    one, first, second = (ImageSource(options(cohort), 3) for _ in range(3))
    whole = one.draw([4, 5, 6, 7], CPU)
    parts = [first.draw([4, 5], CPU), second.draw([6, 7], CPU)]
    for name in ("fixed", "moving", "fixed_labels", "moving_labels"):
        assert torch.equal(getattr(whole, name), torch.cat([getattr(part, name) for part in parts]))
    assert same(one.draw([5], CPU), first.draw([5], CPU))


def test_the_held_out_pairs_are_those_of_other_subjects_in_every_run(cohort):
    source, other = ImageSource(options(cohort), 3), ImageSource(options(cohort), 4)
    held, again = list(source.validation(CPU)), list(other.validation(CPU))
    assert len(held) == 2
    assert all(same(a, b) for a, b in zip(held, again, strict=True))
    drawn = source.draw(range(2), CPU).fixed
    assert not any(torch.equal(batch.fixed[0], image) for batch in held for image in drawn)
    assert len(list(ImageSource(options(cohort, pairs_held_out=1), 3).validation(CPU))) == 1
    folded = (cohort / "cohort.csv").read_text().replace("validation", "")
    (cohort / "cohort.csv").write_text(folded)
    names = [ImageSource(options(cohort, folds=2, fold=fold), 3).describe()["held_out"] for fold in range(2)]
    assert sorted(names[0] + names[1]) == [f"s{n}.nii.gz" for n in range(4)]
    assert not list(ImageSource(options(cohort), 3).validation(CPU))


def test_chosen_labels_are_numbered_in_their_order(cohort):
    every = ImageSource(options(cohort), 3).draw([0], CPU).fixed_labels
    turned = ImageSource(options(cohort, labels=(9, 4)), 3).draw([0], CPU).fixed_labels
    assert torch.equal(turned, torch.tensor([0, 2, 1])[every])
    only = ImageSource(options(cohort, labels=(9,), ignored=(4,)), 3)
    assert only.labels == (1,)
    assert torch.equal(only.draw([0], CPU).fixed_labels, (every == 2).long())
    with pytest.raises(ValueError, match=r"row 2: labels: unknown label 4 in s0_labels.*row 5: labels: unknown label"):
        ImageSource(options(cohort, labels=(9,)), 3)


def test_the_description_names_no_folder(cohort):
    said = json.dumps(ImageSource(options(cohort, cache=str(cohort / "cache")), 3).describe())
    assert "s0.nii.gz" in said
    assert str(cohort) not in said
    assert "/" not in said


def stacks(folder):
    """Write two phases of three subjects as short-axis stacks whose labels are the number of their slice."""
    rows = ["id,subject,phase,image,labels,split"]
    for number, count in enumerate((5, 7, 5)):
        for phase in ("ED", "ES"):
            name = f"p{number}{phase}"
            grid = about_middle((20, 18, count), (1.5, 1.5, 8.0))
            image, _ = blob(grid, (0, 0, number))
            write_image(image, folder / f"{name}.nii.gz")
            levels = torch.arange(1, count + 1).reshape(-1, 1, 1).expand(grid.shape)
            write_image(Image(levels.contiguous(), grid, "uint8"), folder / f"{name}_labels.nii.gz")
            split = "validation" if number == 2 else "train"
            rows.append(f"{name},p{number},{phase},{name}.nii.gz,{name}_labels.nii.gz,{split}")
    (folder / "cohort.csv").write_text("\n".join(rows))


def test_slices_of_two_phases_are_the_same_slice(tmp_path):
    stacks(tmp_path)
    source = ImageSource(options(tmp_path, size=(10, 12), pairs="phases", slices=(0.0, 1.0)), 3)
    batch = source.draw(range(40), CPU)
    assert batch.fixed.shape == (40, 1, 10, 12)
    assert torch.equal(batch.fixed_labels, batch.moving_labels)
    assert all(len(labels.unique()) == 1 for labels in batch.fixed_labels)
    assert set(batch.fixed_labels.unique().tolist()) == set(range(1, 8))
    held = list(source.validation(CPU))
    assert len(held) == 2
    assert [labels.unique().tolist() for labels in held[0].fixed_labels] == [[1], [2], [4], [5]]
    # Between subjects with 5 and 7 slices: the same share of the height.
    across = ImageSource(options(tmp_path, size=(10, 12), pairs="all", slices=(0.5, 0.5)), 3).draw(range(12), CPU)
    assert set(across.fixed_labels.unique().tolist()) == {3, 4}


def test_a_stack_keeps_its_slices_wherever_its_labels_lie(tmp_path):
    grid = Grid.of((30, 30, 6), (1.0, 1.0, 8.0))
    labels = torch.zeros(grid.shape, dtype=torch.int64)
    labels[:2, 4:10, 18:26] = 1
    write_image(Image(torch.rand(grid.shape), grid), tmp_path / "a.nii.gz")
    write_image(Image(labels, grid, "uint8"), tmp_path / "labels.nii.gz")
    files = ImageFiles("image", tmp_path / "a.nii.gz", tmp_path / "labels.nii.gz")
    seen = TrainingGrid((8, 10), 1.0, "labels", (1,)).image(files)["labels"]
    assert seen.shape == (6, 8, 10)
    assert torch.equal(seen[:2, 1:7, 1:9], torch.ones(2, 6, 8, dtype=torch.uint8))
    assert int(seen.sum()) == 2 * 6 * 8


def test_images_that_are_flat(tmp_path):
    rows = ["id,image"]
    for number in range(2):
        image, _ = blob(about_middle((20, 18), (1.5, 1.5)), (number, 0))
        write_image(image, tmp_path / f"{number}.nii.gz")
        rows.append(f"{number},{number}.nii.gz")
    (tmp_path / "cohort.csv").write_text("\n".join(rows))
    batch = ImageSource(options(tmp_path, size=(10, 12)), 3).draw([0, 1, 2], CPU)
    assert batch.fixed.shape == (3, 1, 10, 12)
    assert batch.fixed_labels is None
    assert not torch.equal(batch.fixed[0], batch.moving[0])
    with pytest.raises(ValueError, match=r"row 2: image: expected 3D, 0\.nii\.gz is 2D; row 3: image"):
        ImageSource(options(tmp_path), 3)


def test_every_image_is_read_once_and_with_a_cache_never_again(cohort, monkeypatch):
    read, real = [], prepared.read_image
    monkeypatch.setattr(prepared, "read_image", lambda path, name: read.append(path.name) or real(path, name))
    given = options(cohort, cache=str(cohort / "cache"))
    missed = ImageSource(given, 3)
    missed.draw(range(8), CPU)
    assert sorted(read) == [f"s{n}.nii.gz" for n in range(4)]
    hit = ImageSource(given, 3)
    assert len(read) == 4
    assert same(missed.draw(range(4), CPU), hit.draw(range(4), CPU))
    assert same(missed.draw(range(4), CPU), ImageSource(options(cohort), 3).draw(range(4), CPU))


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "other"])
def test_a_damaged_cache_file_is_made_anew(cohort, damage):
    given = options(cohort, cache=str(cohort / "cache"))
    expected = ImageSource(given, 3).draw(range(4), CPU)
    files = sorted((cohort / "cache").iterdir())
    assert len(files) == 8  # an image's voxels, and the values of its labels
    whole = [path.read_bytes() for path in files]
    for path, content in zip(files, whole, strict=True):
        flipped = content[:-8] + bytes([content[-8] ^ 1]) + content[-7:]
        path.write_bytes({"cut": content[:-9], "flipped": flipped, "empty": b"", "other": b"{}" * 50}[damage])
    assert same(ImageSource(given, 3).draw(range(4), CPU), expected)
    assert [path.read_bytes() for path in sorted((cohort / "cache").iterdir())] == whole


def test_changed_files_and_options_are_prepared_anew(cohort):
    given = options(cohort, cache=str(cohort / "cache"))
    before = ImageSource(given, 3).draw([0, 1], CPU)
    write(cohort, "s0", about_middle((20, 20, 20), (1.5, 1.5, 1.5)), (5.0, 0, 0))
    after = ImageSource(given, 3).draw([0, 1], CPU)
    assert not torch.equal(before.fixed, after.fixed)
    finer = ImageSource(replace(given, spacing_mm=1.0), 3).draw([0, 1], CPU)
    assert not torch.equal(after.fixed, finer.fixed)


def test_a_name_in_the_cache_is_that_of_the_files_as_they_are(tmp_path):
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "series").mkdir()
    (tmp_path / "series" / "slice").write_bytes(b"1")
    paths = [tmp_path / "a", None, tmp_path / "series"]
    names = [fingerprint(paths, {"size": 1}), fingerprint(paths, {"size": 2}), fingerprint(paths[::-1], {"size": 1})]
    for path in (tmp_path / "a", tmp_path / "series" / "slice"):
        os.utime(path, ns=(1, 1))
        names.append(fingerprint(paths, {"size": 1}))
    assert fingerprint(paths, {"size": 1}) == names[-1]
    assert len(set(names)) == 5


def test_images_whose_voxels_cannot_be_used_are_named_together(cohort):
    for name in ("s1", "s3"):
        grid = Grid.of((4, 4, 4))
        write_image(Image(torch.full(grid.shape, torch.nan), grid), cohort / f"{name}.nii.gz")
    with pytest.raises(
        ValueError, match=r"cohort\.csv: row 3: image: expected finite.*; row 5: image: expected finite"
    ):
        ImageSource(options(cohort), 3)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"manifest": ""}, r"images\.manifest: expected a CSV or JSON file"),
        ({"size": (4,)}, r"images\.size: expected two or three"),
        ({"spacing_mm": 0.0}, r"images\.spacing_mm: expected a positive"),
        ({"slices": (0.8, 0.2)}, r"images\.slices: expected two rising"),
        ({"labels": (4, 4)}, r"images\.labels: expected different"),
        ({"pairs": "given"}, r"images\.pairs: cohort\.csv lists images"),
        ({"pairs": "within_subject"}, r"images\.pairs: within_subject finds no two"),
        ({"pairs": "atlas_to_subject", "atlas": "x"}, r"images\.atlas: no row has the id 'x'"),
        ({"pairs": "subject_to_atlas"}, r"images\.atlas: expected the id of a row"),
        ({"folds": 2}, r"images\.folds: row 4 has the split validation"),
        ({"centre": "mask"}, r"row 2: centre: expected mask.*row 5: centre"),
    ],
)
def test_options_that_do_not_fit(cohort, changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        ImageSource(options(cohort, **changes), 3)


def test_an_atlas_is_in_every_pair(cohort):
    source = ImageSource(options(cohort, pairs="atlas_to_subject", atlas="s0"), 3)
    moving = [batch.moving for batch in source.validation(CPU)]
    assert len(moving) == 2
    assert torch.equal(moving[0], moving[1])
    assert torch.equal(source.draw([0], CPU).moving, moving[0])
    assert source.describe()["images"] == ["s1.nii.gz"]


def test_listed_pairs_with_a_mask_in_some(cohort):
    grid = about_middle((20, 20, 20), (1.5, 1.5, 1.5))
    mask = torch.zeros(grid.shape, dtype=torch.uint8)
    mask[:10] = 1
    write_image(Image(mask, grid, "uint8"), cohort / "mask.nii.gz")
    text = "id,fixed,moving,fixed_mask,initial_transform\n1,s0.nii.gz,s1.nii.gz,mask.nii.gz,\n"
    (cohort / "cohort.csv").write_text(text + "2,s1.nii.gz,s2.nii.gz,,identity\n")
    batch = ImageSource(options(cohort, pairs="given"), 3).draw([0, 1], CPU)
    shares = sorted(float(part.mean()) for part in batch.mask)
    assert shares == [0.5, 1.0]
    assert batch.fixed_labels is None


CONFIG = """
seed: 3
model: {{name: unet}}
data:
  kind: images
  images: {{manifest: {folder}/cohort.csv, size: {size}, spacing_mm: 1.5, pairs: {pairs}, cache: {folder}/cache}}
loss:
  - {{name: {loss}, weight: 1.0}}
  - {{name: diffusion, weight: 0.5}}
run: {{steps: 3, batch: 2, validate_every: 3, log_every: 1, device: cpu, threads: 1, pictures: false}}
"""


def run(folder, *words, size="[16, 16, 16]", pairs="all", loss="soft_dice") -> int:
    path = folder / "config.yaml"
    path.write_text(CONFIG.format(folder=folder, size=size, pairs=pairs, loss=loss))
    return main([str(path), "-o", str(folder / "run"), "-q", *words])


def test_a_run_on_images_ends_with_a_model_that_knows_its_data(cohort):
    assert run(cohort) == 0
    assert "held_out/dsc" in (cohort / "run" / "log.csv").read_text()
    assert load_model(cohort / "run" / "model.safetensors").recipe.name == "unet"
    content = (cohort / "run" / "model.safetensors").read_bytes()
    assert b"s0.nii.gz" in content
    assert str(cohort).encode() not in content


def test_a_run_on_slices_of_two_phases(tmp_path):
    stacks(tmp_path)
    assert run(tmp_path, size="[16, 16]", pairs="phases", loss="mse") == 0
    assert load_model(tmp_path / "run" / "model.safetensors").recipe.options["dimensions"] == 2


def test_a_bad_table_ends_a_run_before_it_begins(cohort, capsys):
    with (cohort / "cohort.csv").open("a") as file:
        file.write("\ns0,absent.nii.gz,s0_labels.nii.gz,train\ns9,s3.nii.gz,,test\ns2,s8.nii.gz,,train\n")
    assert run(cohort, "--data.images.labels", "[4]") == 2
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    for clause in (
        "row 2: labels: unknown label 9 in s0_labels.nii.gz",
        "row 6: duplicate id 's0', as in row 2",
        "row 6: image: no such file: absent.nii.gz",
        "row 7: the same image as in row 5",
        "row 7: has no labels, but other rows have",
        "row 8: subject 's2' is in two splits: here in train, in row 4 in validation",
    ):
        assert clause in said
    assert not (cohort / "run").exists()
