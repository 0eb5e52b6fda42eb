"""How pairs of digits are drawn and judged, and what the page says of them."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from regcore.metrics import dsc, folding_percent
from regcore.ops.fields import jacobian_determinant
from regcore.ops.sampling import warp


@pytest.fixture
def pairs() -> ModuleType:
    return importlib.import_module("air_pairs")


@pytest.fixture
def pages() -> ModuleType:
    return importlib.import_module("air_page")


def test_partners_are_others_and_of_the_kind_that_is_asked_for(pairs) -> None:
    digits = np.random.default_rng(0).integers(0, 10, 300)
    for same in (False, True):
        found = pairs.partners(digits, same=same, seed=3)
        assert (found != np.arange(300)).all()
        assert (found == pairs.partners(digits, same=same, seed=3)).all()
        assert len(set(found.tolist())) > 100
        alike = (digits[found] == digits).mean()
        assert alike == 1 if same else alike < 0.3


def test_a_digit_that_comes_once_has_no_partner(pairs) -> None:
    with pytest.raises(ValueError, match="another image of 7 beside number 2"):
        pairs.partners(np.array([1, 1, 7]), same=True, seed=0)


def test_scores_agree_with_the_packages_metrics(pairs) -> None:
    torch.manual_seed(1)
    fixed, moving = torch.rand(2, 5, 1, 28, 28)
    displacement = 2 * torch.randn(5, 2, 28, 28)
    got = pairs.scores(fixed, moving, displacement)
    warped = warp(moving, displacement)
    determinant = jacobian_determinant(displacement)
    for n in range(5):
        ink = [(image[n, 0] > 0.5).long() for image in (fixed, warped)]
        assert got.dice[n] == pytest.approx(dsc(ink[0], ink[1], [1])[1])
        assert got.folding_percent[n] == pytest.approx(folding_percent(determinant[n]))
        assert got.mse[n] == pytest.approx(float((warped[n] - fixed[n]).square().mean()), rel=1e-5)
    assert (got.folding_percent > 10).all()


def test_no_displacement_compares_the_images_themselves(pairs) -> None:
    image = torch.rand(3, 1, 28, 28)
    got = pairs.scores(image, image, pairs.identity(image))
    assert (got.mse < 1e-10).all()
    assert (got.dice == 1).all()
    assert (got.folding_percent == 0).all()


def test_intervals_hold_the_true_mean_as_often_as_they_say(pairs) -> None:
    random = np.random.default_rng(5)
    found = [pairs.mean_of(random.exponential(2.0, 400)) for _ in range(500)]
    held = np.mean([abs(one["mean"] - 2.0) <= one["half"] for one in found])
    assert 0.92 < held < 0.98


def test_a_margin_is_positive_where_error_falls_and_dice_rises(pairs) -> None:
    good, bad = (
        pairs.Scores(np.array(e), np.array(d), np.zeros(2)) for e, d in (([1, 2], [0.8, 0.9]), ([4, 7], [0.5, 0.4]))
    )
    assert pairs.margin(good, bad)["mse"]["mean"] == pytest.approx(4)
    assert pairs.margin(good, bad)["dice"]["mean"] == pytest.approx(0.4)
    assert pairs.margin(bad, good)["dice"]["mean"] == pytest.approx(-0.4)


def test_a_summary_compares_every_network_with_none_and_the_larger_with_the_others(pairs) -> None:
    good, bad = (pairs.Scores(np.full(3, error), np.full(3, 1 - error), np.zeros(3)) for error in (0.1, 0.3))
    found = importlib.import_module("air").summary(
        {"same": {"identity": bad, "unet": bad, "paper": good, "large": good}}
    )
    assert found["figures"]["same"]["paper"]["dice"] == pytest.approx({"mean": 0.9, "half": 0})
    margins = {(one["better"], one["than"]): one["mse"]["mean"] for one in found["margins"]["same"]}
    assert margins == pytest.approx(
        {
            ("paper", "identity"): 0.2,
            ("large", "identity"): 0.2,
            ("unet", "identity"): 0,
            ("large", "paper"): 0,
            ("large", "unet"): 0.2,
        }
    )


def test_the_page_of_nothing_says_so(pages, tmp_path: Path) -> None:
    assert "Not measured yet." in pages.section(tmp_path)


def test_the_page_says_what_the_figures_say(pages, tmp_path: Path) -> None:
    figure = {key: {"mean": 0.25, "half": 0.01} for key in ("mse", "dice", "folding_percent")}
    margins = [
        {"better": "large", "than": "paper", "mse": {"mean": 0.02, "half": 0.01}, "dice": {"mean": -0.2, "half": 0.1}}
    ]
    unclear = {key: {"mean": 0.05, "half": 0.1} for key in ("mse", "dice")}
    model = {"file": "m.safetensors", "parameters": 1234, "sha256": "0123456789abcdef", "ms_alone": 2, "ms_together": 1}
    record = {
        "command": "python some.py",
        "date": "2030-01-02",
        "processor": "some processor",
        "threads": 1,
        "versions": {"torch": "9.9"},
        "pairs": {"random": 2000, "same": 2000},
        "models": dict.fromkeys(("paper", "large", "unet"), model),
        "figures": {k: dict.fromkeys(("identity", "unet", "paper", "large"), figure) for k in ("random", "same")},
        "margins": {"random": margins, "same": [{"better": "unet", "than": "identity"} | unclear]},
    }
    run = {"variant": "large", "steps": 3000, "cpu_seconds": 600, "command": "regcore-train x"}
    (tmp_path / "air_test.json").write_text(json.dumps(record), encoding="utf-8")
    (tmp_path / "air.json").write_text(json.dumps([run]), encoding="utf-8")
    text = pages.section(tmp_path)
    assert "| AiR, larger | 0.2500 ± 0.0100 | 0.250 ± 0.010 | 0.25 ± 0.01 |" in text
    assert (
        "- The larger against the paper's size: mean squared error: better by 0.0200 (0.0100 to 0.0300); "
        "Dice: worse by 0.2000 (0.1000 to 0.3000)." in text
    )
    assert "Dice: no difference that these pairs can tell (-0.0500 to +0.1500)." in text
    assert "| AiR, larger | 1,234 | 2.00 | 1.00 | 3,000 | 10 |" in text
    assert "| U-Net | 1,234 | 2.00 | 1.00 | - | - |" in text
    assert "2030-01-02, some processor, 1 thread, torch 9.9" in text
    assert "m.safetensors 0123456789ab" in text
    assert "    regcore-train x" in text


def test_a_grid_moves_with_the_displacement() -> None:
    picture = importlib.import_module("air_picture")
    field = torch.zeros(1, 2, 28, 20)
    plain = picture.grid_lines(field)
    field[:, 0], field[:, 1] = 2.0, -3.0
    np.testing.assert_allclose(picture.grid_lines(field) - plain, np.broadcast_to([2.0, -3.0], plain.shape), atol=1e-5)
    assert plain[..., 0].max() == pytest.approx(27)
    assert plain[..., 1].max() == pytest.approx(19)
    half = len(plain) // 2
    assert np.ptp(plain[:half, :, 0], axis=1).max() < 1e-5
    assert np.ptp(plain[half:, :, 1], axis=1).max() < 1e-5
