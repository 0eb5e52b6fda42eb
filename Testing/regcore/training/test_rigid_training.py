"""The trainer learns, goes on where it stopped, and refuses what cannot work."""

import math

import pytest
import torch

from regcore.data.rigid_batches import Batch, RigidSampler, Variety
from regcore.models import create_model
from regcore.ops.rigid import rigid_inverse, rigid_matrix, rigid_parameters
from regcore.training import _state
from regcore.training.rigid import Progress, RigidTraining, evaluate, fit_rigid, rigid_loss

NAME = "attention-reg-small"
FOUND = torch.tensor([[1.0, 2.0, -3.0, 4.0, -5.0, 6.0], [0.0, 1.0, 0.0, -2.0, 0.0, 3.0]])
TRUE = torch.tensor([[2.0, 0.0, -3.0, 1.0, -5.0, 8.0], [0.5, 1.0, 2.0, 0.0, 1.0, 3.0]])


def settings(**changes):
    return RigidTraining(**({"model": NAME, "steps": 4, "batch": 2, "every": 2, "seed": 3} | changes))


def batch(true=TRUE):
    surface = torch.randn(len(true), 50, 3, generator=torch.Generator().manual_seed(0)) * 10
    crops = torch.rand(len(true), 1, 6, 8, 8)
    return Batch(crops, crops, torch.full((len(true), 3), 60.0), rigid_matrix(true), surface, torch.zeros(len(true)))


def same(one, other):
    states = one.state_dict(), other.state_dict()
    return all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def stop_after_first(progress):
    raise KeyboardInterrupt


def test_the_paper_s_loss_is_the_mean_square_of_the_six_numbers():
    by_hand = (1 + 4 + 0 + 9 + 0 + 4 + 0.25 + 0 + 4 + 4 + 1 + 0) / 12
    assert rigid_loss(FOUND, batch(), "parameters").item() == pytest.approx(by_hand, rel=1e-4)


def test_the_loss_of_points_is_the_distance_that_remains_in_mm():
    shifted = torch.zeros(1, 6)
    shifted[0, :3] = torch.tensor([3.0, -4.0, 12.0])
    exact = rigid_loss(torch.zeros(1, 6), batch(shifted), "points").item()
    assert exact == pytest.approx(math.hypot(13, 0.5), rel=1e-5)
    of_batch = batch()
    left = of_batch.residual @ rigid_inverse(rigid_matrix(FOUND))
    apart = (left[:, :3, :3] @ of_batch.surface.mT + left[:, :3, 3:] - of_batch.surface.mT).norm(dim=1)
    by_hand = (apart.square() + 0.25).sqrt().mean().item()
    assert rigid_loss(FOUND, of_batch, "points").item() == pytest.approx(by_hand, rel=1e-4)
    assert rigid_loss(TRUE, of_batch, "points").item() == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize("loss", ["points", "parameters"])
def test_losses_lead_to_the_truth(loss):
    found = torch.zeros(2, 6, requires_grad=True)
    of_batch = batch()
    optimiser = torch.optim.Adam([found], 0.1)
    for _ in range(300):
        optimiser.zero_grad()
        rigid_loss(found, of_batch, loss).backward()
        optimiser.step()
    torch.testing.assert_close(found.detach(), TRUE, atol=0.05, rtol=0)


def test_evaluation_measures_what_is_left():
    class Oracle(torch.nn.Module):
        def forward(self, fixed, moving, side_mm):
            return rigid_parameters(batch().residual)

    given = batch()._replace(start_sre=torch.tensor([4.0, 8.0]))
    before, after = evaluate(Oracle(), [given, given])
    assert before == 6
    assert after == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("name", [NAME, "attention-reg-label-small"])
def test_a_few_steps_lower_the_loss(organ, name, monkeypatch):
    """Four samples, the same at every step, can be learnt by heart."""
    monkeypatch.setattr("regcore.training.rigid._WARM_UP", 5)
    one_batch = RigidSampler([organ], (6, 8, 8), "image", (4, 6), Variety(), seed=1).draw(4)
    monkeypatch.setattr("regcore.training.rigid._augmented", lambda *_: one_batch)
    seen = []
    training = settings(model=name, sre_mm=(4.0, 6.0), steps=40, batch=1, every=10, rate=1e-2, dropout=0.0)
    model = fit_rigid(training, [organ], [organ], report=seen.append)
    assert [look.step for look in seen] == [10, 20, 30, 40]
    assert seen[-1].loss < 0.5 * seen[0].loss
    assert seen[-1].start_mm == pytest.approx(5, abs=1)
    assert not model.training
    assert all(math.isfinite(look.sre_mm) and look.seconds > 0 for look in seen)


def test_gradients_that_are_not_finite_stop_the_run(organ, tmp_path, monkeypatch):
    path, calls = tmp_path / "run.checkpoint", []

    def break_the_third(found, batch, loss):
        calls.append(loss)
        return rigid_loss(found, batch, loss) * (math.nan if len(calls) == 3 else 1.0)

    monkeypatch.setattr("regcore.training.rigid.rigid_loss", break_the_third)
    with pytest.raises(ValueError, match="rate: the gradients are no longer finite at step 3; lower the rate"):
        fit_rigid(settings(), [organ], [], path)
    kept = torch.load(path, weights_only=True)
    assert kept["step"] == 2
    assert all(value.isfinite().all() for value in kept["model"].values())


def test_the_loss_reported_is_a_mean_over_the_steps_since_the_last_look(organ):
    one_by_one, together = [], []
    fit_rigid(settings(steps=3, every=1), [organ], [], report=one_by_one.append)
    fit_rigid(settings(steps=3, every=2), [organ], [], report=together.append)
    losses = [look.loss for look in one_by_one]
    assert [look.loss for look in together] == pytest.approx([(losses[0] + losses[1]) / 2, losses[2]])
    assert all(math.isnan(look.sre_mm) for look in together)


def test_the_seed_decides(organ):
    fitted = [fit_rigid(settings(seed=seed), [organ], []) for seed in (1, 1, 2)]
    assert same(fitted[0], fitted[1])
    assert not same(fitted[0], fitted[2])


def test_start_copies_the_weights(organ):
    start = fit_rigid(settings(seed=8), [organ], [])
    # With a rate of next to nothing the average stays at what it began with, but for the normalisations' statistics.
    still = fit_rigid(settings(rate=1e-12, steps=1), [organ], [], start=start)
    new = fit_rigid(settings(rate=1e-12, steps=1), [organ], [])
    for ours, theirs, others in zip(still.parameters(), start.parameters(), new.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-7, rtol=0)
        assert ours.numel() < 33 or not torch.allclose(ours, others)


def test_a_stopped_run_goes_on(organ, tmp_path):
    path, seen = tmp_path / "run.checkpoint", []
    with pytest.raises(KeyboardInterrupt):
        fit_rigid(settings(), [organ], [organ], path, report=stop_after_first)
    stopped = torch.load(path, weights_only=True)
    assert stopped["step"] == 2
    first = fit_rigid(settings(), [organ], [organ], path, report=seen.append)
    assert [look.step for look in seen] == [4]
    assert seen[0].seconds > stopped["seconds"]
    ended = torch.load(path, weights_only=True)
    assert ended["step"] == 4
    assert ended["schedule"]["last_epoch"] == 4
    assert {int(of["step"]) for of in ended["optimiser"]["state"].values()} == {4}
    # Samples that were not seen before the stop, but the same ones each time.
    torch.save(stopped, path)
    assert same(fit_rigid(settings(), [organ], [organ], path), first)


def test_a_finished_run_says_once_more_how_it_ended(organ, tmp_path):
    path, seen = tmp_path / "run.checkpoint", []
    first = fit_rigid(settings(), [organ], [organ], path, report=seen.append)
    again = fit_rigid(settings(), [organ], [organ], path, report=seen.append)
    assert same(first, again)
    assert [look.step for look in seen] == [2, 4, 4]
    assert isinstance(seen[-1], Progress)
    assert (seen[-1].sre_mm, seen[-1].seconds) == (seen[-2].sre_mm, seen[-2].seconds)
    assert math.isnan(seen[-1].loss)


def test_a_kill_while_writing_leaves_the_last_checkpoint(organ, tmp_path, monkeypatch):
    path, saved = tmp_path / "run.checkpoint", []
    write = torch.save

    def die_the_second_time(content, file):
        saved.append(content["step"])
        if len(saved) == 2:
            file.write_bytes(b"half a fi")
            raise KeyboardInterrupt
        write(content, file)

    monkeypatch.setattr(_state.torch, "save", die_the_second_time)
    with pytest.raises(KeyboardInterrupt):
        fit_rigid(settings(), [organ], [], path)
    assert saved == [2, 4]
    assert torch.load(path, weights_only=True)["step"] == 2
    assert [file.name for file in tmp_path.iterdir()] == ["run.checkpoint"]


def test_another_run_s_checkpoint_is_refused(organ, tmp_path):
    path = tmp_path / "run.checkpoint"
    fit_rigid(settings(), [organ], [], path)
    before = path.read_bytes()
    message = r"checkpoint: run.checkpoint belongs to a run with other settings \(steps, seed\); give the same ones"
    with pytest.raises(ValueError, match=message):
        fit_rigid(settings(seed=9, steps=8), [organ], [], path)
    with pytest.raises(ValueError, match=r"other settings \(cases\)"):
        fit_rigid(settings(), [organ, organ], [], path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("keep", [0, 100, -200])
def test_a_damaged_checkpoint_is_one_clear_error(organ, tmp_path, keep):
    path = tmp_path / "run.checkpoint"
    fit_rigid(settings(), [organ], [], path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"run.checkpoint is damaged or belongs to another network; remove it"):
        fit_rigid(settings(), [organ], [], path)


@pytest.mark.parametrize("name", ["pan", "attention"])
def test_networks_that_are_not_rigid_are_refused(organ, name):
    with pytest.raises(ValueError, match=rf"model: expected a rigid network, .*{NAME}.*, got {name}"):
        fit_rigid(settings(model=name), [organ], [])


def test_no_cases_and_foreign_starts_are_refused(organ, monkeypatch):
    with pytest.raises(ValueError, match="cases: expected at least one"):
        fit_rigid(settings(), [], [])
    start = create_model(NAME)
    monkeypatch.setattr("regcore.models.attention_reg._SMALL_SIZE", (6, 12, 8))
    with pytest.raises(ValueError, match=f"start: its weights do not fit {NAME}"):
        fit_rigid(settings(), [organ], [], start=start)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps: expected 1 or more, got 0"),
        ({"batch": 0}, "batch: expected 1 or more"),
        ({"every": -1}, "every: expected 1 or more"),
        ({"rate": 0.0}, "rate: expected a positive learning rate"),
        ({"loss": "mean"}, "loss: expected points or parameters, got mean"),
    ],
)
def test_wrong_settings_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        settings(**changes)
