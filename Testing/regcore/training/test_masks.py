"""Masks of a table in training: what lies outside them changes no loss on images, whichever image is the fixed one."""

from __future__ import annotations

import pytest
import torch

from regcore.data.augmentation import AugmentationOptions, augmented
from regcore.data.batch import PairBatch, generator
from regcore.data.image_source import ImageOptions, ImageSource
from regcore.grid import Grid
from regcore.image import Image
from regcore.io import write_image
from regcore.models.base import Prediction
from regcore.ops.sampling import warp
from regcore.training.config import LossTerm
from regcore.training.objective import Objective

CPU = torch.device("cpu")
SIZE = (10, 12)
SHIFT = torch.tensor([0.0, 2.0]).reshape(1, 2, 1, 1)  # voxels: the warped image is the moving one two columns on


def shifted(fixed, moving):
    return Prediction(SHIFT.expand(len(fixed), -1, *SIZE), {})


def loss(batch: PairBatch, name: str) -> float:
    return float(Objective([LossTerm(name)], ())(shifted, batch)[0])


def half(columns: slice) -> torch.Tensor:
    mask = torch.zeros(1, 1, *SIZE)
    mask[..., columns] = 1
    return mask


def test_the_loss_counts_where_both_masks_do():
    torch.manual_seed(0)
    fixed, moving = torch.rand(2, 1, 1, *SIZE)
    batch = PairBatch(fixed, moving, mask=half(slice(0, 6)), moving_mask=half(slice(4, 12)))
    # The moving image's columns from 4 on end up from column 2 on.
    expected = (moving[..., 4:8] - fixed[..., 2:6]).square().mean()
    assert loss(batch, "mse") == pytest.approx(float(expected), rel=1e-5)
    alone = batch._replace(moving_mask=None)
    warped = warp(moving, SHIFT.expand(1, -1, *SIZE))
    assert loss(alone, "mse") == pytest.approx(float((warped - fixed)[..., :6].square().mean()), rel=1e-5)


@pytest.mark.parametrize("name", ["mse", "l2", "lncc", "nmi"])
def test_what_lies_outside_changes_nothing(name):
    torch.manual_seed(0)
    fixed, moving = torch.rand(2, 1, 1, *SIZE)
    batch = PairBatch(fixed, moving, mask=half(slice(0, 7)), moving_mask=half(slice(3, 12)))
    other = batch._replace(fixed=fixed * batch.mask, moving=moving * batch.moving_mask)
    assert loss(other, name) == pytest.approx(loss(batch, name), rel=1e-4)
    blank = PairBatch(other.fixed, other.moving)
    assert loss(blank, name) != pytest.approx(loss(batch, name), rel=1e-3)


def test_a_mask_gives_no_gradient():
    """Else a network could lower the loss by moving what counts out of sight."""
    displacement = torch.full((1, 2, *SIZE), 0.3, requires_grad=True)
    batch = PairBatch(
        torch.ones(1, 1, *SIZE), torch.zeros(1, 1, *SIZE), mask=half(slice(0, 9)), moving_mask=half(slice(2, 7))
    )
    Objective([LossTerm("mse")], ())(lambda fixed, moving: Prediction(displacement, {}), batch)[0].backward()
    assert float(displacement.grad.abs().max()) == 0


def test_swapped_images_take_their_masks_along():
    batch = PairBatch(
        torch.rand(1, 1, *SIZE), torch.rand(1, 1, *SIZE), mask=half(slice(0, 3)), moving_mask=half(slice(5, 9))
    )
    swapped = augmented(batch, AugmentationOptions(swap=1.0, flip=(1.0,)), generator(0, 0))
    assert torch.equal(swapped.mask, batch.moving_mask.flip(-1))
    assert torch.equal(swapped.moving_mask, batch.mask.flip(-1))


def test_masks_of_a_table_come_with_both_images(tmp_path):
    grid = Grid.of((12, 10))
    rows = ["id,image,mask"]
    for number, columns in enumerate((slice(0, 4), slice(6, 12), None)):
        write_image(Image(torch.rand(grid.shape) + number, grid), tmp_path / f"{number}.nii.gz")
        if columns is not None:
            write_image(Image(half(columns)[0, 0].to(torch.uint8), grid, "uint8"), tmp_path / f"mask{number}.nii.gz")
        rows.append(f"{number},{number}.nii.gz,{'' if columns is None else f'mask{number}.nii.gz'}")
    (tmp_path / "cohort.csv").write_text("\n".join(rows))
    source = ImageSource(ImageOptions(str(tmp_path / "cohort.csv"), size=SIZE, spacing_mm=1.0), 0)
    batch = source.draw(range(6), CPU)
    shares = [(int(a.sum()), int(b.sum())) for a, b in zip(batch.mask, batch.moving_mask, strict=True)]
    assert sorted(shares) == sorted((a, b) for a in (40, 60, 120) for b in (40, 60, 120) if a != b)
