from __future__ import annotations

import pytest
import torch

from regcore.losses import WeightedSum, weighted_sum


def test_total_and_parts() -> None:
    a, b = torch.tensor(2.0, requires_grad=True), torch.tensor(3.0, requires_grad=True)
    total, parts = weighted_sum({"a": a, "b": b}, {"b": 0.5, "a": 4.0})
    total.backward()
    assert total.item() == 9.5
    assert {name: part.item() for name, part in parts.items()} == {"a": 2.0, "b": 3.0}
    assert not any(part.requires_grad for part in parts.values())
    assert (a.grad, b.grad) == (torch.tensor(4.0), torch.tensor(0.5))


def test_term_of_weight_0_is_only_reported() -> None:
    found = weighted_sum({"a": torch.tensor(2.0), "b": torch.tensor(float("nan"))}, {"a": 1.0, "b": 0.0})
    assert found.total == 2
    assert found.parts["b"].isnan()
    assert weighted_sum({"a": torch.tensor(2.0)}, {"a": 0}).total == 0


def test_terms_may_differ_in_precision() -> None:
    found = weighted_sum({"a": torch.tensor(2.0), "b": torch.tensor(1.0, dtype=torch.float64)}, {"a": 1.0, "b": 1.0})
    assert found.total == 3


def test_names_must_match() -> None:
    one = torch.tensor(1.0)
    with pytest.raises(ValueError, match="no weight is given for smoth; there are mse, smooth"):
        weighted_sum({"mse": one, "smoth": one}, {"mse": 1.0, "smooth": 1.0})
    with pytest.raises(ValueError, match="terms: expected smooth too, got mse"):
        weighted_sum({"mse": one}, {"mse": 1.0, "smooth": 1.0})
    with pytest.raises(ValueError, match="one or more"):
        weighted_sum({}, {})


def test_module() -> None:
    module = WeightedSum({"a": 2.0})
    assert module({"a": torch.tensor(3.0)}).total == 6
    assert repr(module) == "WeightedSum(weights={'a': 2.0})"
