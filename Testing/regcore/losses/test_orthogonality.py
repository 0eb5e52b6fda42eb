import pytest
import torch

from regcore.losses import orthogonality


@pytest.mark.parametrize(("form", "value"), [("code", 1 - 0.5**0.5), ("paper", 0.5)])
@pytest.mark.parametrize("batch", [1, 3])
def test_equal_heads(form, value, batch):
    head = torch.randn(batch, 1, 6, 4, 5, 6)
    heads = torch.cat([head, head], dim=1)
    torch.testing.assert_close(orthogonality(heads, form), torch.tensor(value))


def test_opposite_heads_count_as_equal_in_the_released_form():
    head = torch.randn(1, 1, 6, 4, 5, 6)
    value = orthogonality(torch.cat([head, -head], dim=1), "code")
    torch.testing.assert_close(value, torch.tensor(1 - 0.5**0.5))


@pytest.mark.parametrize("form", ["code", "paper"])
def test_random_heads_are_nearly_orthogonal_and_single_heads_exactly(form):
    torch.manual_seed(0)
    assert orthogonality(torch.randn(1, 2, 6, 16, 16, 16), form) < 1e-3
    assert orthogonality(torch.randn(1, 1, 6, 4, 4, 4), form) < 1e-12


@pytest.mark.parametrize("form", ["code", "paper"])
def test_batch_is_the_mean_of_its_items(form):
    heads = torch.randn(3, 4, 6, 3, 4, 5)
    items = torch.stack([orthogonality(item[None], form) for item in heads])
    torch.testing.assert_close(orthogonality(heads, form), items.mean())


@pytest.mark.parametrize("form", ["code", "paper"])
def test_gradcheck(form):
    heads = torch.randn(2, 2, 3, 2, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: orthogonality(x, form), heads)


def test_zeros_have_finite_gradients():
    heads = torch.zeros(1, 2, 6, 2, 2, 2, requires_grad=True)
    orthogonality(heads, "code").backward()
    assert torch.isfinite(heads.grad).all()


def test_refuses_another_form():
    with pytest.raises(ValueError, match="code, paper"):
        orthogonality(torch.zeros(1, 2, 6, 2, 2), "both")
