import pytest
import torch
import torch.nn.functional as F
from strokes import draw

from regcore.models import create_model
from regcore.models.air import AiR
from regcore.ops.fields import compose, exp, jacobian_determinant
from regcore.ops.sampling import warp


def small(dimensions=2, patch=4, **options):
    """A network with a head large enough for displacements of some voxels."""
    torch.manual_seed(0)
    model = AiR(dimensions, patch, 16, width=16, heads=4, layers=1, hidden=32, **options).eval()
    for head in model.heads:
        torch.nn.init.normal_(head.weight, std=0.3)
    return model


def count(name, **options):
    return sum(parameter.numel() for parameter in create_model(name, **options).parameters())


@pytest.mark.parametrize(
    ("name", "options", "parameters"),
    [
        ("air-mnist", {}, 139_714),
        ("air-mnist", {"hidden": 64}, 8_770),
        ("air-mnist-fine", {}, 139_714),
        ("air-mnist-fine", {"hidden": 64}, 8_770),
        ("air", {"dimensions": 2}, 934_532),
        ("air", {"dimensions": 2, "positions": "learned", "scales": 1}, 959_362),
        ("air", {"dimensions": 2, "positions": "learned", "scales": 1, "patch": 4}, 1_028_482),
        ("air", {"dimensions": 3, "positions": "learned", "scales": 1, "layers": 4}, 2_139_139),
    ],
)
def test_number_of_parameters(name, options, parameters):
    assert count(name, **options) == parameters


@pytest.mark.parametrize(
    ("name", "options", "size"),
    [
        ("air-mnist", {}, (28, 28)),
        ("air-mnist-fine", {}, (28, 28)),
        ("air", {"dimensions": 2}, (112, 96)),
        ("air", {"dimensions": 2, "positions": "learned"}, (112, 96)),
        ("air", {"dimensions": 3}, (32, 24, 40)),
    ],
)
@torch.no_grad()
def test_identity_at_the_start(name, options, size):
    for seed in range(3):
        torch.manual_seed(seed)
        displacement = create_model(name, **options)(*torch.rand(2, 1, 1, *size)).displacement
        assert 0 < displacement.abs().max() < 0.05


@pytest.mark.parametrize("dimensions", [2, 3])
@torch.no_grad()
def test_tokens_are_a_linear_map_of_the_patches_last_axis_fastest(dimensions):
    model = small(dimensions)
    size = (8, 12, 16)[-dimensions:]
    image = torch.rand(1, 1, *size)
    tokens = model.embed(image)
    weight = model.embedding.weight.flatten(1)
    positions = model.positions([n // 4 for n in size])
    for number, place in enumerate(torch.cartesian_prod(*(torch.arange(0, n, 4) for n in size)).tolist()):
        patch = image[(0, 0, *(slice(start, start + 4) for start in place))]
        expected = F.linear(patch.flatten(), weight, model.embedding.bias) + positions[number]
        torch.testing.assert_close(tokens[0, number], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("dimensions", "field"), [(2, "bicubic"), (2, "bspline"), (3, "bicubic"), (3, "bspline")])
def test_one_token_moves_its_own_neighbourhood_alone(dimensions, field):
    model = small(dimensions, field=field)
    points = (6, 7, 8)[-dimensions:]
    size = torch.Size(4 * n for n in points)
    place = (2, 3, 4)[-dimensions:]
    number = torch.arange(torch.Size(points).numel()).view(points)[place]
    numbers = torch.zeros(1, torch.Size(points).numel(), dimensions)
    numbers[0, number, 1] = 0.7
    moved = model.to_field(numbers, size)[0]
    if field == "bspline":
        middles = [4 * i + 1.5 for i in place]
        reach = [8.0] * dimensions
    else:
        spacings = [(n - 1) / (p - 1) for n, p in zip(size, points, strict=True)]
        middles = [i * s for i, s in zip(place, spacings, strict=True)]
        reach = [2 * s for s in spacings]
    assert not moved[0].any()
    where = moved[1].nonzero()
    distance = (where - torch.tensor(middles)).abs()
    assert (distance < torch.tensor(reach)).all()
    assert (distance.amax(0) > 0.7 * torch.tensor(reach)).all()
    peak = torch.unravel_index(moved[1].argmax(), size)
    assert all(abs(float(x) - m) <= 0.6 for x, m in zip(peak, middles, strict=True))


def test_a_step_of_one_pixel_in_units_of_half_the_image():
    model = small(field="bicubic")
    height, width = 24, 32
    numbers = torch.zeros(1, 6 * 8, 2)
    numbers[..., 0] = torch.atanh(torch.tensor(2 / (height - 1)))
    displacement = model.to_field(numbers, torch.Size([height, width]))
    torch.testing.assert_close(displacement[:, 0], torch.ones(1, height, width))
    assert not displacement[:, 1].any()
    moving = torch.rand(1, 1, height, width)
    torch.testing.assert_close(warp(moving, displacement)[..., :-1, :], moving[..., 1:, :], atol=1e-4, rtol=0)


@pytest.mark.parametrize("level", [0, 1, 2])
def test_control_points_stay_within_the_bound_at_every_level(level):
    model = small(passes=3, scales=3)
    size = torch.Size([20, 28])
    displacement = model.to_field(torch.full((1, 35, 2), 50.0), size, level)
    # Blocks that reach beyond the last token average those there are: one value all over.
    torch.testing.assert_close(displacement, torch.full((1, 2, *size), 0.4 * 4 * 2**level))


@pytest.mark.parametrize("dimensions", [2, 3])
@torch.no_grad()
def test_neither_one_pass_nor_several_fold(dimensions):
    model = small(dimensions, passes=3, scales=2)
    size = torch.Size([8 * 4, 9 * 4, 7 * 4][:dimensions])
    tokens = size.numel() // 4**dimensions
    for head in model.heads:
        torch.nn.init.normal_(head.weight, std=30.0)
    for level in (0, 1):
        assert jacobian_determinant(model.to_field(100 * torch.randn(4, tokens, dimensions), size, level)).min() > 0
    for _ in range(3):
        displacement = model(*torch.rand(2, 1, 1, *size)).displacement
        assert displacement.abs().max() > 3
        assert jacobian_determinant(displacement).min() > 0


@torch.no_grad()
def test_integration_takes_the_folds_out_of_a_bicubic_field():
    numbers = 0.3 * torch.randn(2, 36, 2, generator=torch.Generator().manual_seed(0))
    size = torch.Size([24, 24])
    velocity = small(field="bicubic").to_field(numbers, size)
    displacement = small(field="bicubic", diffeomorphic=True).to_field(numbers, size)
    assert jacobian_determinant(velocity).min() < -0.5
    assert jacobian_determinant(displacement).min() > 0
    torch.testing.assert_close(displacement, exp(velocity, 7))


@torch.no_grad()
def test_passes_go_from_coarse_to_fine_over_the_warped_image():
    model = small(passes=3, scales=2)
    fixed, moving = draw(2, torch.Generator().manual_seed(0)).unsqueeze(1)
    memory = model.encoder(model.embed(fixed))
    displacement = torch.zeros(1, 2, 28, 28)
    for level in (1, 0, 0):
        decoded = model.decoder(model.embed(warp(moving, displacement)), memory)
        displacement = compose(model.to_field(model.heads[level](decoded), fixed.shape[2:], level), displacement)
    torch.testing.assert_close(model(fixed, moving).displacement, displacement, atol=1e-5, rtol=0)
    assert displacement.abs().max() > 0.5


@torch.no_grad()
def test_fixed_and_moving_play_different_parts():
    fixed, moving = draw(2, torch.Generator().manual_seed(0)).unsqueeze(1)
    model, exchanged = small(), small(encoder_image="moving")
    forth, back = model(fixed, moving).displacement, model(moving, fixed).displacement
    assert (forth - back).abs().max() > 0.1
    assert compose(forth, back).abs().max() > 0.1
    # The encoder's image is the only difference between the two options.
    assert torch.equal(exchanged(moving, fixed).displacement, forth)


@torch.no_grad()
def test_the_encoder_sees_the_warped_image_of_each_pass_if_it_reads_the_moving_one():
    model = small(encoder_image="moving", passes=2)
    fixed, moving = draw(2, torch.Generator().manual_seed(0)).unsqueeze(1)
    seen = model.embed(fixed)
    first = model.to_field(model.heads[0](model.decoder(seen, model.encoder(model.embed(moving)))), fixed.shape[2:])
    memory = model.encoder(model.embed(warp(moving, first)))
    second = model.to_field(model.heads[0](model.decoder(seen, memory)), fixed.shape[2:])
    torch.testing.assert_close(model(fixed, moving).displacement, compose(second, first), atol=1e-5, rtol=0)


@pytest.mark.parametrize("field", ["bspline", "bicubic"])
@pytest.mark.parametrize("positions", ["learned", "sincos"])
@pytest.mark.parametrize("size", [(29, 31), (20, 24, 28), (3, 50)])
@torch.no_grad()
def test_any_size(size, positions, field):
    model = small(len(size), positions=positions, field=field, passes=2, scales=2)
    displacement = model(*torch.rand(2, 2, 1, *size)).displacement
    assert displacement.shape == (2, len(size), *size)
    assert torch.isfinite(displacement).all()


@torch.no_grad()
def test_training_and_evaluation_are_bit_equal():
    model = small(passes=2)
    pair = torch.rand(2, 3, 1, 29, 31)
    with torch.enable_grad():
        trained = model.train()(*pair)
    assert torch.equal(trained.displacement, model.eval()(*pair).displacement)


@pytest.mark.parametrize("dimensions", [2, 3])
@torch.no_grad()
def test_smoothness_is_the_mean_squared_difference_of_neighbours(dimensions):
    prediction = small(dimensions)(*torch.rand(2, 2, 1, *(8, 12, 16)[:dimensions]))
    field = prediction.displacement.numpy()
    squares = [(abs(field.take(range(1, n), a) - field.take(range(n - 1), a)) ** 2).mean()
               for a, n in enumerate(field.shape) if a > 1]  # fmt: skip
    assert set(prediction.penalties) == {"smoothness"}
    assert prediction.penalties["smoothness"].item() == pytest.approx(sum(squares) / dimensions, rel=1e-4)


def train(steps, pairs=64):
    """Train on drawn digits, a quarter of the pairs equal; return the network and the losses."""
    torch.manual_seed(0)
    model = create_model("air-mnist", hidden=64)
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    digits = draw(300, torch.Generator().manual_seed(0))
    losses = []
    for _ in range(steps):
        fixed, moving = digits[torch.randint(len(digits), (2, pairs))]
        moving[: pairs // 4] = fixed[: pairs // 4]
        displacement, penalties = model(fixed, moving)
        loss = F.mse_loss(warp(moving, displacement), fixed) + 0.03 * penalties["smoothness"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return model.eval(), losses


@pytest.fixture(scope="module")
def trained():
    return train(300)[0]


@torch.no_grad()
def test_learns_to_register_digits_it_has_not_seen(trained):
    fixed, moving = draw(200, torch.Generator().manual_seed(1)).chunk(2)
    warped = warp(moving, trained(fixed, moving).displacement)
    assert F.mse_loss(warped, fixed) < 0.6 * F.mse_loss(moving, fixed)


@torch.no_grad()
def test_learns_to_leave_equal_images_where_they_are(trained):
    fixed, moving = draw(200, torch.Generator().manual_seed(1)).chunk(2)
    others, equal = trained(fixed, moving).displacement, trained(fixed, fixed).displacement
    assert equal.square().mean().sqrt() < 0.5 * others.square().mean().sqrt()
    assert F.mse_loss(warp(fixed, equal), fixed) < 0.1 * F.mse_loss(moving, fixed)


def test_training_is_deterministic():
    runs = [train(15, pairs=8) for _ in range(2)]
    assert runs[0][1] == runs[1][1]
    states = [run[0].state_dict() for run in runs]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dimensions": 4}, "dimensions must be 2 or 3"),
        ({"patch": 1}, "patch must be from 2 to 96"),
        ({"patch": 0}, "patch must be from 2 to 96"),
        ({"layers": 0}, "layers and hidden at least 1"),
        ({"positions": "x"}, "positions must be learned or sincos"),
        ({"field": "x"}, "field must be bspline or bicubic"),
        ({"encoder_image": "x"}, "encoder_image must be fixed or moving"),
        ({"passes": 1}, "scales must be from 1 to passes"),
        ({"scales": 0}, "scales must be from 1 to passes"),
    ],
)
def test_refuses_wrong_options(options, message):
    with pytest.raises(ValueError, match=message):
        create_model("air", **options)


def test_refuses_a_width_that_the_heads_do_not_share():
    with pytest.raises(ValueError, match="width must be a multiple of heads"):
        AiR(2, 4, 16, width=10, heads=4, layers=1, hidden=8)
