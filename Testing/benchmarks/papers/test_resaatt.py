"""How ReSAAtt's trainings differ in their loss, how demons and scores work, and what the page says of figures."""

from __future__ import annotations

import importlib
import json
from types import ModuleType

import numpy as np
import pytest
import torch

from regcore.data.batch import PairBatch
from regcore.losses import create_loss
from regcore.losses.resaatt import resaatt_loss
from regcore.models import create_model
from regcore.ops.sampling import warp
from regcore.ops.smoothing import gaussian

METRICS = ("ssim", "uiqi", "dice")


def module(name: str) -> ModuleType:
    return importlib.import_module(name)


def margin(mean: float, half: float = 0.01) -> dict[str, float]:
    return {"mean": mean, "low": mean - half, "high": mean + half}


def figures(value: float, folding: float) -> dict[str, dict[str, float]]:
    keys = ("mean", "median", "low", "high", "most")
    found = {name: dict.fromkeys(keys, value) for name in METRICS}
    return found | {"folding_percent": dict.fromkeys(keys, folding) | {"share": 0.5}}


def kind() -> dict[str, object]:
    methods = {name: figures(0.5, 0.0) | {"ms": 3.0} for name in ("identity", "demons", "unet", "resaatt")}
    better = {"identity": 0.3, "demons": -0.05, "unet": 0.001}
    model = {"file": "a.safetensors", "parameters": 1234, "sha256": "0" * 64}
    return {
        "pairs": 6,
        "groups": 3,
        "structures": 3,
        "methods": methods,
        "margins": {other: dict.fromkeys(METRICS, margin(mean)) for other, mean in better.items()},
        "models": {"resaatt": model, "unet": model},
    }


def sweep(folding: list[float]) -> list[dict[str, object]]:
    weights = (0.15, 1.5, 15, 150, 1500)
    return [
        {"experiment": "resaatt-sweep", "variant": f"lambda-{weight}", "seed": 1, "figures": figures(value, folds)}
        for weight, folds, value in zip(weights, folding, (0.1, 0.2, 0.4, 0.3, 0.1), strict=True)
    ]


def test_the_published_weight_gives_the_published_loss() -> None:
    torch.manual_seed(0)
    warped, fixed = torch.rand(2, 2, 1, 64, 64)
    # What the two count differs by the last row and column alone: there is none of this field's change there.
    inside = torch.zeros(1, 1, 64, 64)
    inside[..., 8:-8, 8:-8] = 1
    displacement = torch.randn(2, 2, 64, 64) * inside
    terms = {"ssim": (warped, fixed), "mse": (warped, fixed), "diffusion": (displacement,)}
    total = sum(
        term["weight"] * create_loss(term["name"])(*terms[term["name"]])
        for term in json.loads(module("resaatt_runs").loss_with(150.0))
    )
    torch.testing.assert_close(total, resaatt_loss(warped, fixed, displacement), rtol=0.02, atol=0)
    weak = json.loads(module("resaatt_runs").loss_with(15.0))
    assert weak[2]["weight"] == pytest.approx(0.1 * 4 * 0.9408)


def test_demons_find_a_shift() -> None:
    torch.manual_seed(0)
    moving = gaussian(torch.rand(1, 1, 64, 64), 3.0)
    moving = (moving - moving.min()) / (moving.max() - moving.min())
    shift = torch.tensor([1.5, -2.5])[None, :, None, None].expand(1, 2, 64, 64)
    fixed = warp(moving, shift, padding="border")
    demons = module("resaatt_demons")
    found = demons.demons(fixed, moving, demons.Settings(50, 1.0, False))
    assert found.shape == (1, 2, 64, 64)
    middle = found[..., 16:-16, 16:-16].mean(dim=(0, 2, 3))
    torch.testing.assert_close(middle, torch.tensor([1.5, -2.5]), atol=0.3, rtol=0)


def test_scores_are_perfect_where_the_truth_is_known() -> None:
    image = torch.rand(1, 1, 40, 40, generator=torch.Generator().manual_seed(0))
    labels = torch.zeros(1, 40, 40, dtype=torch.long)
    labels[:, 10:20, 12:30] = 2
    shift = torch.zeros(1, 2, 40, 40)
    shift[:, 0] = 3.0
    pair = PairBatch(image, image.roll(3, 2), labels, labels.roll(3, 1))
    test = module("resaatt_pairs").TestPairs([pair, pair], [0, 1], (1, 2))
    still, moved = (module("resaatt_scores").scored(test, [u, u]) for u in (torch.zeros_like(shift), shift))
    assert moved["dice"] == pytest.approx([1, 1])
    assert still["dice"] == pytest.approx([0.7, 0.7])
    assert (moved["ssim"] > still["ssim"] + 0.5).all()
    assert moved["folding_percent"].max() == 0


def test_a_group_counts_once() -> None:
    interval = module("resaatt_scores").interval
    values, groups = np.array([1.0, 1.0, 1.0, 4.0]), [7, 7, 7, 9]
    found = interval(values, groups)
    assert found["mean"] == 2.5
    # Two groups: one degree of freedom, 12.706 standard errors of 1.5.
    assert found["high"] - found["mean"] == pytest.approx(12.7062 * 1.5, rel=1e-4)


def test_a_summary_tells_the_spread_and_how_many_fold() -> None:
    found = module("resaatt_scores").summary({"dice": np.arange(5.0), "folding_percent": np.array([0, 0, 0, 1.5])})
    assert found["dice"] == {"mean": 2, "median": 2, "low": 1, "high": 3, "most": 4}
    assert found["folding_percent"]["share"] == 0.25


def test_a_margin_is_positive_where_the_first_is_higher() -> None:
    mine, other = ({name: np.array(values) for name in METRICS} for values in ([0.5, 0.7], [0.4, 0.3]))
    found = module("resaatt_scores").margins(mine, other, [1, 2])
    assert {name: one["mean"] for name, one in found.items()} == pytest.approx(dict.fromkeys(METRICS, 0.25))


def test_signs_count_the_seeds() -> None:
    signs = module("resaatt_claims").signs
    assert signs([0.1]) == "higher in 1 of 1 seeds, from +0.1000 to +0.1000"
    low, high = module("page_parts").interval([0.1, -0.2, 0.3])
    counted = "higher in 2 of 3 seeds, from -0.2000 to +0.3000, on average +0.0667"
    assert signs([0.1, -0.2, 0.3]) == f"{counted} ({low:+.4f} to {high:+.4f})"


@pytest.mark.parametrize(
    ("margins", "said"),
    [([0.02, 0.021, 0.019], "holds"), ([0.02, -0.021, 0.019], "not shown"), ([0.02], "not shown")],
)
def test_a_claim_on_seeds_asks_for_more_than_chance(margins, said) -> None:
    runs = [{"over_unet": {name: {"mean": margin} for name in ("ssim", "uiqi")}} for margin in margins]
    assert f"each a training of its own | {said}: SSIM higher in" in module("resaatt_claims").claims(kind(), runs, [])


def test_claims_follow_the_figures() -> None:
    claims = module("resaatt_claims").claims
    falling = claims(kind(), [], sweep([3.0, 1.0, 0.2, 0.0, 0.0]))
    assert "less folding | holds: 3.0000 ≥ 1.0000" in falling
    assert "the best Dice is at 15 | holds" in falling
    assert "the best SSIM is at 1.5 | does not hold: it is at 15" in falling
    assert "| does not hold: Dice worse by 0.0500" in falling
    assert "no registration | holds" in falling
    assert "| does not hold: SSIM no difference" in falling
    assert "less folding | does not hold" in claims(kind(), [], sweep([1.0, 3.0, 0.2, 0.0, 0.0]))
    assert "disappears | does not hold" in claims(kind(), [], sweep([3.0, 1.0, 0.2, 0.1, 0.0]))


@torch.no_grad()
def test_a_network_without_its_cells_is_a_copy_that_passes_its_skips_on() -> None:
    torch.manual_seed(0)
    network = create_model("resaatt", dimensions=2, width=4, channels=4).eval()
    torch.nn.init.normal_(network.head.weight)
    fixed, moving = torch.rand(2, 1, 1, 16, 16)
    before = network(fixed, moving).displacement
    plain = module("resaatt").without_cells(network)
    assert not torch.allclose(plain(fixed, moving).displacement, before)
    assert torch.equal(network(fixed, moving).displacement, before)
    for cell in network.cells:
        torch.nn.init.zeros_(cell.out.weight)
        torch.nn.init.zeros_(cell.out.bias)
    torch.testing.assert_close(plain(fixed, moving).displacement, network(fixed, moving).displacement)


def test_the_page_is_made_of_the_figures_that_are_there(tmp_path) -> None:
    section = module("resaatt_page").section
    assert section(tmp_path).endswith("Not measured yet.")
    about = {"command": "python resaatt.py", "date": "2026-01-01", "processor": "P", "threads": 1, "versions": {}}
    demons = {"iterations": 50, "sigma": 1.0, "match": True}
    (tmp_path / "resaatt_test.json").write_text(json.dumps(about | {"demons": demons, "cine": kind(), "brain": kind()}))
    text = section(tmp_path)
    assert text.count("Not measured yet.") == 2
    assert "| ReSAAtt | 0.500 |" in text
    over = dict.fromkeys(METRICS, margin(0.02))
    runs = [{"experiment": "resaatt-cine", "variant": "resaatt", "seed": s, "figures": figures(0.9, 0)} for s in (1, 2)]
    runs = [one | {"over_unet": over} for one in runs] + sweep([3.0, 1.0, 0.2, 0.0, 0.0])
    (tmp_path / "resaatt_trained_test.json").write_text(json.dumps(about | {"runs": runs}))
    text = section(tmp_path)
    assert "Not measured yet." not in text
    assert "higher in 2 of 2 seeds" in text
    assert "The cells are used" not in text
    runs = [
        one | {"without_cells": dict.fromkeys(METRICS, margin(-0.04))} if "over_unet" in one else one for one in runs
    ]
    (tmp_path / "resaatt_trained_test.json").write_text(json.dumps(about | {"runs": runs}))
    assert "SSIM falls by 0.040 on average (0.040 to 0.040)" in section(tmp_path)
    assert "| 1500 | 0.0000 |" in text
