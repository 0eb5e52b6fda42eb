"""Digits, phantoms, and changes to pairs: the same for the same number, images and labels changed alike."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
import torch

from regcore.data.augmentation import AugmentationOptions, AugmentedSource, augmented
from regcore.data.batch import PairBatch, generator
from regcore.data.digit_source import DigitOptions, DigitSource, read_idx
from regcore.data.phantom_source import PhantomOptions, PhantomSource
from regcore.data.synthesis.deformation import DeformationOptions
from regcore.metrics import dsc
from regcore.ops.sampling import warp

CPU = torch.device("cpu")


@pytest.fixture
def digits(tmp_path):
    """Two files in the IDX format: forty pictures, digit n % 10 with n rows of ink."""
    images = np.zeros((40, 12, 14), np.uint8)
    for n in range(40):
        images[n, : n % 10 + 1, 3:9] = 250
    head = b"\0\0\x08\x03" + b"".join(n.to_bytes(4, "big") for n in images.shape)
    (tmp_path / "images.gz").write_bytes(gzip.compress(head + images.tobytes()))
    names = (np.arange(40) % 10).astype(np.uint8)
    (tmp_path / "digits").write_bytes(b"\0\0\x08\x01" + (40).to_bytes(4, "big") + names.tobytes())
    return tmp_path


def options(digits, **more) -> DigitOptions:
    files = {"images": str(digits / "images.gz"), "digits": str(digits / "digits")}
    return DigitOptions(**files, learn=(0, 30), held_out=(30, 40), pairs_held_out=7, **more)


def test_digits_come_in_pairs_of_any_or_of_one(digits):
    source = DigitSource(options(digits), 0)
    assert source.size == (12, 14)
    numbers = list(range(50))
    batch = source.draw(numbers, CPU)
    assert batch.fixed.max() == pytest.approx(250 / 255)
    rows = batch.fixed_labels[:, :, 5].sum(dim=1), batch.moving_labels[:, :, 5].sum(dim=1)
    assert not torch.equal(*rows)
    same = DigitSource(options(digits, same=1.0), 0).draw(numbers, CPU)
    assert torch.equal(same.fixed_labels, same.moving_labels)
    equal = DigitSource(options(digits, equal=1.0), 0).draw(numbers, CPU)
    assert torch.equal(equal.fixed, equal.moving)
    assert [len(held.fixed) for held in source.validation(CPU)] == [7]
    assert torch.equal(source.draw([3], CPU).fixed[0], batch.fixed[3])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"images": "none.gz"}, "cannot read none.gz"),
        ({"learn": (0, 99)}, "digits.learn: expected a range within 0 to 40"),
        ({"learn": (0, 35)}, "it overlaps"),
        ({"digits": "", "same": 0.5}, "need digits.digits"),
    ],
)
def test_what_is_no_set_of_digits_is_said(digits, change, sentence):
    with pytest.raises(ValueError, match=sentence):
        DigitSource(DigitOptions(**{**vars(options(digits)), **change}), 0)


def test_a_cut_off_file_is_said(digits):
    path = digits / "digits"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ValueError, match="no IDX file of bytes with 1 axes, or it is cut off"):
        read_idx(path, b"\0\0\x08\x01", "digits.digits")


@pytest.mark.parametrize(("name", "size"), [("digits", (28, 28)), ("brain", (56, 56, 56))])
def test_phantoms_come_with_their_true_displacement(name, size):
    source = PhantomSource(PhantomOptions(name, 1, 0, size, 1.0 if name == "digits" else 3.5), 0)
    batch = source.draw([0, 1], CPU)
    assert batch.fixed.shape == (2, 1, *size)
    before = (batch.fixed - batch.moving).square().mean()
    assert (batch.fixed - warp(batch.moving, batch.displacement)).square().mean() < 0.5 * before
    assert not list(source.validation(CPU))


def test_the_pair_of_a_number_is_always_the_same():
    source = PhantomSource(PhantomOptions("digits", 2, 1, (28, 28), 1.0), 0)
    assert torch.equal(source.pairs_of(1_000_000)[0].fixed, next(source.validation(CPU)).fixed)
    drawn = source.draw(range(8), CPU).fixed
    made = [source.pairs_of(number)[0].fixed[0] for number in range(2)]
    assert all(any(torch.equal(one, other) for other in made) for one in drawn)


def test_a_stack_phantom_comes_as_slices():
    source = PhantomSource(PhantomOptions("cine", 1, 0, (96, 100), 2.0), 0)
    batch = source.draw([0, 1, 2, 3], CPU)
    assert batch.fixed.shape == (4, 1, 96, 100)
    assert batch.displacement.shape == (4, 2, 96, 100)
    assert source.labels == (1, 2, 3)
    warped = warp(batch.moving_labels[:, None].float(), batch.displacement, "nearest")[:, 0].long()
    assert np.mean(list(dsc(batch.fixed_labels, warped).values())) > 0.9
    with pytest.raises(ValueError, match="brain is no stack of slices"):
        PhantomSource(PhantomOptions("brain", 1, 0, (96, 96)), 0)
    with pytest.raises(ValueError, match=r"phantom.name: expected one of"):
        PhantomSource(PhantomOptions("cat"), 0)


def pair(size=(1, 20, 24)) -> PairBatch:
    torch.manual_seed(0)
    labels = torch.zeros(size, dtype=torch.int64)
    labels[:, 4:12, 3:9], labels[:, 10:16, 15:21] = 1, 2
    image = (0.3 + 0.3 * labels.float())[:, None]
    return PairBatch(image, image.clone(), labels, labels.clone())


def test_nothing_chosen_changes_nothing():
    changed = augmented(pair(), AugmentationOptions(), generator(0, 0))
    for a, b in zip(changed, pair(), strict=True):
        assert (a is None and b is None) or torch.allclose(a.float(), b.float(), atol=1e-5)


def test_images_and_labels_change_alike():
    strong = DeformationOptions(rotation_deg=30.0, scale=0.1, shift=2.0, bend=1.0)
    chosen = AugmentationOptions(flip=(0.5, 0.5), crop=(0.7, 1.0), deformation=strong)
    for number in range(5):
        changed = augmented(pair(), chosen, generator(0, number))
        assert torch.equal(changed.fixed, changed.moving)
        assert torch.equal(changed.fixed_labels, changed.moving_labels)
        assert not torch.equal(changed.fixed_labels, pair().fixed_labels)
        for label in (1, 2):  # grey and label still go together
            inside = changed.fixed[:, 0][changed.fixed_labels == label]
            assert inside.median() == pytest.approx(0.3 + 0.3 * label, abs=0.06)


def test_a_mirror_swaps_left_and_right_labels():
    chosen = AugmentationOptions(flip=(1.0,), twins=((1, 2),))
    changed = augmented(pair(), chosen, generator(0, 0))
    mirrored = pair().fixed_labels.flip(-1)
    assert torch.equal(changed.fixed_labels == 1, mirrored == 2)
    assert torch.equal(changed.fixed_labels == 2, mirrored == 1)
    upside_down = augmented(pair(), AugmentationOptions(flip=(0.0, 1.0), twins=((1, 2),)), generator(0, 0))
    assert torch.equal(upside_down.fixed_labels, pair().fixed_labels.flip(-2))


def test_light_differs_between_the_images_and_swapping_changes_sides():
    chosen = AugmentationOptions(gamma=0.5, bias=0.3, noise=0.05, blur=1.0)
    changed = augmented(pair(), chosen, generator(0, 0))
    assert not torch.equal(changed.fixed, changed.moving)
    assert float(changed.fixed.min()) >= 0
    assert float(changed.fixed.max()) <= 1
    there = pair()._replace(moving=1 - pair().moving)
    swapped = augmented(there, AugmentationOptions(swap=1.0), generator(0, 0))
    torch.testing.assert_close(swapped.fixed, there.moving, atol=1e-5, rtol=0)


def test_a_part_is_cut_out_of_images_and_labels_at_the_same_random_place():
    chosen = AugmentationOptions(part=(9, 12))
    whole, places = pair(), set()
    for number in range(20):
        changed = augmented(whole, chosen, generator(0, number))
        assert changed.fixed.shape == changed.moving.shape == (1, 1, 9, 12)
        found = [
            (row, column)
            for row in range(whole.fixed.shape[2] - 8)
            for column in range(whole.fixed.shape[3] - 11)
            if torch.allclose(whole.fixed[0, 0, row : row + 9, column : column + 12], changed.fixed[0, 0], atol=1e-4)
        ]
        assert len(found) == 1
        (row, column) = found[0]
        assert torch.equal(changed.fixed_labels, whole.fixed_labels[:, row : row + 9, column : column + 12])
        places.add(found[0])
    assert len({row for row, _ in places}) > 3
    assert len({column for _, column in places}) > 3


def test_parts_come_in_their_size_and_held_out_pairs_whole(digits):
    source = DigitSource(options(digits), 0)
    parts = AugmentedSource(source, AugmentationOptions(part=(8, 14)), 0)
    assert parts.size == (8, 14) == tuple(parts.draw([0, 1], CPU).fixed.shape[2:])
    assert next(parts.validation(CPU)).fixed.shape[2:] == next(source.validation(CPU)).fixed.shape[2:]
    for wrong in ((8,), (13, 14), (0, 4)):
        with pytest.raises(ValueError, match=r"augmentation.part: expected up to \[12, 14\] voxels"):
            AugmentedSource(source, AugmentationOptions(part=wrong), 0)


def test_a_changed_source_is_numbered_too(digits):
    chosen = AugmentationOptions(noise=0.1)
    source = AugmentedSource(DigitSource(options(digits), 0), chosen, 0)
    batch = source.draw([5, 6], CPU)
    assert torch.equal(source.draw([6], CPU).fixed[0], batch.fixed[1])
    assert not torch.equal(batch.fixed, source.source.draw([5, 6], CPU).fixed)
    held, plain = next(source.validation(CPU)), next(source.source.validation(CPU))
    assert torch.equal(held.fixed, plain.fixed)
    with pytest.raises(ValueError, match=r"augmentation.crop"):
        AugmentedSource(source.source, AugmentationOptions(crop=(1.0, 0.5)), 0)
