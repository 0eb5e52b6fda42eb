"""A session with one worker: registrations, cancelling, faults; each leaves it ready for the next."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from regcore import __version__
from regcore.grid import Grid
from regcore.image import Image
from regcore.io import from_sitk
from regcore.models import Provenance, create_model, list_models, save_model
from regcore.pipeline import register
from regcore.preprocess import Inputs
from regcore.settings import Settings
from regcore.summary import Truth, summarise
from regcore.transform import AffineTransform
from regcore.worker.devices import hello

from ..organ_cases import organ_case
from .process import Worker, request

QUICK = {"init": ["rigid"], "refine": 12}


def array(folder, part):
    return np.load(folder / part["array"], allow_pickle=False)


def done(worker, message):
    answer = worker.ask(message)
    assert answer["type"] == "result", answer
    return answer


def refused(worker, message, code):
    """Return the sentence of the error that answers a message."""
    answer = worker.ask(message)
    assert (answer["type"], answer.get("code")) == ("error", code), answer
    assert "\n" not in answer["sentence"]
    assert answer["sentence"].strip()
    return answer["sentence"]


def test_the_first_message_says_what_the_worker_is(worker):
    hello = worker.hello
    assert (hello["protocol"], hello["version"], hello["torch"]) == (1, __version__, torch.__version__)
    assert hello["devices"][0]["name"] == "cpu"
    assert bool(hello["device_note"]) or len(hello["devices"]) > 1
    models = {model["name"]: model for model in hello["models"]}
    assert models["attention-reg-small"]["kind"] == "rigid"
    assert models["attention-reg-small"]["trained"] is True
    assert "prostate" in models["attention-reg-small"]["card"]
    assert models["pan"]["dimensions"] == [3]
    assert models["pan"]["kind"] == "deformable"
    assert all(model["title"] and model["card"] for model in hello["models"])
    assert models["pan"]["title"] == "PAN: pyramid attention, 3D"
    assert models["pan-brain"]["title"] == "PAN for brains, 3D"
    assert all(models[name]["title"].partition(",")[0] != name for name in list_models()), "give it a title"
    titles = [model["title"] for model in hello["models"]]
    assert len(set(titles)) == len(titles)
    presets = {preset["name"]: preset for preset in hello["presets"]}
    assert presets["mri-trus-prostate"]["title"].startswith("MRI")
    assert all(preset["description"] for preset in hello["presets"])


def test_a_result_is_exactly_that_of_the_pipeline(worker, pair, tmp_path):
    fixed, moving = pair
    landmarks = [[[-30.0, 12.0, 105.0], [-25.0, 10.0, 100.0]], [[-28.0, 12.0, 105.0], [-23.0, 10.0, 100.0]]]
    labels = [image.with_data((image.data > 40).to(torch.int64), "uint8") for image in pair]
    message = request(
        tmp_path,
        QUICK,
        {"inverse": True, "jacobian": True},
        fixed=fixed,
        moving=moving,
        fixed_labels=labels[0],
        moving_labels=labels[1],
        fixed_landmarks=landmarks[0],
        moving_landmarks=landmarks[1],
    )
    found = done(worker, message)
    settings = Settings(init=("rigid",), refine=12)
    inputs = Inputs(fixed, moving)
    wanted = register(inputs, settings)
    assert found["transform"]["linear"] is None
    field = array(tmp_path, found["transform"]["field"])
    assert field.dtype == np.float32
    np.testing.assert_array_equal(field, wanted.field.data.movedim(0, -1).numpy())
    np.testing.assert_array_equal(array(tmp_path, found["warped"]), wanted.warped.data.numpy())
    np.testing.assert_array_equal(array(tmp_path, found["jacobian"]), wanted.determinant.data.numpy())
    back = found["inverse"]["field"]
    grid = Grid.of(moving.grid.size, back["spacing"], back["origin"], np.reshape(back["direction"], (3, 3)))
    assert grid == moving.grid
    there = wanted.inverse.transform.displacement_on(moving.grid).data.movedim(0, -1).numpy()
    np.testing.assert_array_equal(array(tmp_path, back), there)
    assert found["inverse"]["error_mm"]["mean"] == wanted.inverse.error_mean_mm
    expected = json.loads(json.dumps(summarise(wanted, inputs, settings, Truth(*labels))))
    for figure in ("similarity", "folding_percent", "dsc", "round_trip_mm", "settings"):
        assert found["report"][figure] == expected[figure]
    assert found["report"]["tre_mm"]["after"]["mean"] < found["report"]["tre_mm"]["before"]["mean"]
    assert found["device"] == "cpu"
    assert found["notes"] == found["report"]["warnings"]
    assert {path.name for path in tmp_path.glob(".*")} == set()


def test_simpleitk_applies_the_field_and_gets_the_warped_array(worker, pair, tmp_path, as_itk):
    fixed, moving = pair
    found = done(worker, request(tmp_path, QUICK, fixed=fixed, moving=moving))
    assert found["jacobian"] is None
    assert found["inverse"] is None
    like = as_itk(fixed)
    vectors = sitk.GetImageFromArray(array(tmp_path, found["transform"]["field"]).astype(np.float64), isVector=True)
    vectors.CopyInformation(like)
    there = sitk.Resample(as_itk(moving), like, sitk.DisplacementFieldTransform(vectors), sitk.sitkLinear, 0.0)
    warped = array(tmp_path, found["warped"])
    assert warped.dtype == np.float32
    difference = np.abs(sitk.GetArrayFromImage(there) - warped)
    # At the very border of the moving image the two may disagree about what is still inside.
    assert np.quantile(difference, 0.999) < 1e-3 * warped.max()
    start = np.abs(sitk.GetArrayFromImage(sitk.Resample(as_itk(moving), like)) - fixed.data.numpy()).mean()
    assert np.abs(warped - fixed.data.numpy()).mean() < 0.5 * start


def test_a_linear_result_is_a_matrix_from_fixed_to_moving_points(worker, pair, tmp_path):
    fixed, moving = pair
    start = AffineTransform.of(np.eye(3), [2.0, 0.0, 0.0]).homogeneous.tolist()
    settings = {"refine": 0}
    message = request(tmp_path, settings, {"inverse": True}, fixed=fixed, moving=moving, start=start)
    found = done(worker, message)
    assert found["transform"] == {"linear": start, "field": None}
    np.testing.assert_allclose(found["inverse"]["linear"], np.linalg.inv(start), atol=1e-12)
    assert found["report"]["settings"]["init"] == ["none"]
    landmarks = {"fixed_landmarks": [[0, 0, 0], [9, 0, 0], [0, 8, 0], [0, 0, 7]]}
    landmarks["moving_landmarks"] = [[x + 2, y, z] for x, y, z in landmarks["fixed_landmarks"]]
    by_points = request(tmp_path, settings | {"init": ["landmarks"]}, fixed=fixed, moving=moving, **landmarks)
    np.testing.assert_allclose(done(worker, by_points)["transform"]["linear"], start, atol=1e-9)


@pytest.mark.parametrize("kind", ["uint8", "int16", "uint16", ">i4", "float64", "float16", "bool"])
def test_every_type_of_voxels(worker, pair, tmp_path, kind):
    fixed, moving = pair
    message = request(tmp_path, {"init": ["none"], "refine": 0}, fixed=fixed, moving=moving)
    data = moving.data.numpy() > 20 if kind == "bool" else moving.data.numpy().astype(kind)
    np.save(tmp_path / "moving.npy", np.asfortranarray(data))
    warped = array(tmp_path, done(worker, message)["warped"])
    wanted = register(
        Inputs(fixed, moving.with_data(torch.from_numpy(data.astype(np.float32)))), Settings(refine=0, init=("none",))
    )
    np.testing.assert_array_equal(warped, wanted.warped.data.numpy())


def test_networks_are_read_once(awkward_grids, tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    torch.manual_seed(0)
    for stage in (1, 2):
        save_model(create_model("attention-reg-small"), own / f"attention-reg-small.stage{stage}.safetensors")
    case = organ_case(awkward_grids["plain"], awkward_grids["rotated"])
    settings = {"model": "attention-reg", "ensemble": 2}
    message = request(tmp_path, settings, fixed=case.fixed, moving=case.moving, fixed_labels=case.gland)
    worker = Worker(environment={"REGCORE_MODELS": str(own)}).ready()
    first = done(worker, message | {"outputs": {"attention": True}})
    maps = {part["name"]: array(tmp_path, part) for part in first["attention"]}
    assert set(maps) == {"gradcam_fixed", "gradcam_moving"}
    assert all(one.shape == case.fixed.grid.shape and 0 <= one.min() <= one.max() <= 1.0001 for one in maps.values())
    inputs = Inputs(case.fixed, case.moving, fixed_gland=case.gland)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REGCORE_MODELS", str(own))
        wanted = register(inputs, Settings("attention-reg", ensemble=2))
    assert first["transform"]["linear"] == wanted.transform.homogeneous.tolist()
    files = sorted(own.iterdir())
    for path in files:
        state = path.stat()
        path.write_bytes(b"x" * state.st_size)
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    second = done(worker, message | {"id": "2"})
    assert second["transform"] == first["transform"]
    assert second["report"]["weights"] == first["report"]["weights"]
    os.utime(files[0])  # now it counts as another file, and is read
    assert "safetensors" in refused(worker, message, "bad_input")
    worker.close()


def test_progress_rises_through_the_stages(worker, pair, tmp_path):
    worker.send(
        request(tmp_path, {"model": "takes-its-time", "init": ["none"]}, fixed=pair[0], moving=pair[1], id="slow")
    )
    seen = []
    while len(seen) < 12:
        message, before = worker.answer(kind=("progress", "result", "error"))
        assert (message["type"], message["id"], before) == ("progress", "slow", [])
        seen.append(message)
    assert worker.ask({"type": "ping"}) == {"type": "pong", "busy": True}
    worker.send({"type": "cancel", "id": "another"})
    worker.send({"type": "cancel", "id": "slow"})
    assert worker.answer()[0]["code"] == "cancelled"
    fractions = [message["fraction"] for message in seen]
    assert fractions == sorted(fractions)
    assert 0 <= fractions[0] <= fractions[-1] < 1
    assert seen[-1]["stage"] == "takes-its-time"
    assert seen[-1]["memory_mb"] > 50
    assert worker.ask({"type": "ping"}) == {"type": "pong", "busy": False}


@pytest.mark.parametrize("stage", ["initial transform", "refinement", "takes-its-time", "outputs"])
def test_a_registration_stops_at_any_stage(worker, awkward_grids, tmp_path, stage):
    large = awkward_grids["plain"].resampled([0.33] * 3 if stage == "outputs" else [0.5] * 3)
    image = Image(torch.rand(large.shape, generator=torch.Generator().manual_seed(0)), large)
    settings = {
        "initial transform": {"init": ["affine"]},
        "refinement": {"init": ["none"], "refine": 5000},
        "takes-its-time": {"init": ["none"], "model": stage},
        "outputs": {"init": ["none"], "refine": 0},
    }[stage]
    worker.send(request(tmp_path, settings, {"inverse": True}, fixed=image, moving=image))
    while True:
        message = worker.receive()
        assert message["type"] == "progress", message
        if message["stage"] == stage:
            break
    worker.send({"type": "cancel", "id": "1"})
    assert worker.answer()[0]["code"] == "cancelled"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fixed.npy", "moving.npy"]


def test_after_a_fault_the_next_registration_works(worker, pair, tmp_path):
    parts = {"fixed": pair[0], "moving": pair[1]}

    def fails(model, code):
        answer = worker.ask(request(tmp_path, {"model": model, "init": ["none"]}, **parts))
        assert (answer["type"], answer.get("code")) == ("error", code)
        assert str(tmp_path) not in json.dumps(answer)
        done(worker, request(tmp_path, {"init": ["none"], "refine": 0}, **parts))
        return answer

    broken = fails("breaks", "internal")
    assert "KeyError" in broken["sentence"]
    assert "faulty_worker.py" in broken["details"]
    assert "in predict" in broken["details"]
    assert "an inner matter" in broken["details"]
    assert "memory" in fails("no-memory", "memory")["sentence"]
    assert "memory" in fails("no-memory-in-torch", "memory")["sentence"]


def test_without_memory_on_the_gpu_the_cpu_does_it(worker, pair, tmp_path):
    message = request(
        tmp_path, {"model": "once-no-gpu-memory", "init": ["none"], "refine": 0}, fixed=pair[0], moving=pair[1]
    )
    found = done(worker, message)
    (note,) = [note for note in found["notes"] if "GPU" in note]
    assert "CPU" in note
    assert found["report"]["settings"]["device"] == "cpu"


def test_libraries_may_print(worker, pair, tmp_path):
    done(worker, request(tmp_path, {"model": "prints", "init": ["none"], "refine": 0}, fixed=pair[0], moving=pair[1]))
    assert all(json.loads(line)["type"] for line in worker.lines)
    assert not any(b"from a" in line for line in worker.lines)


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"hello\n",
        b"\xff\xfe\n",
        b"[" * 100_000 + b"\n",
        b"{}\n",
        b'{"type": 5}\n',
        b'{"type": "cancel"}\n',
        b'{"type": "register"}\n',
        b'{"type": "register", "id": "1", "folder": "/", "frobnicate": 1}\n',
        b'{"type": "register", "id": "1", "folder": "/", "settings": []}\n',
        b'{"type": "dance", "id": "1"}\n',
        b"x" * (1 << 25) + b"\n",
    ],
    ids=lambda line: line[:24].decode(errors="replace").strip() or "empty",
)
def test_what_is_no_message_is_answered(worker, line):
    refused(worker, line, "protocol")


def test_one_registration_at_a_time(worker, pair, tmp_path):
    first = request(tmp_path, {"model": "takes-its-time"}, fixed=pair[0], moving=pair[1], id="first")
    worker.send(first)
    worker.send(first | {"id": "second"})
    answer = worker.answer()[0]
    assert (answer["id"], answer["code"]) == ("second", "protocol")
    worker.send({"type": "cancel", "id": "first"})
    assert worker.answer()[0]["code"] == "cancelled"


GEOMETRY = {"spacing": [1, 1, 1], "origin": [0, 0, 0], "direction": [1, 0, 0, 0, 1, 0, 0, 0, 1]}


@pytest.fixture(scope="module")
def odd_folder(tmp_path_factory):
    """A folder with arrays that are none."""
    folder = tmp_path_factory.mktemp("patient-miller")
    good = np.random.default_rng(0).random((6, 7, 8), dtype=np.float32)
    np.save(folder / "good.npy", good)
    np.save(folder / "object.npy", np.array([[["a", {}]]], dtype=object), allow_pickle=True)
    np.save(folder / "complex.npy", good.astype(complex))
    np.save(folder / "text.npy", np.array([[["a"]]]))
    np.save(folder / "flat.npy", good[0])
    np.save(folder / "thin.npy", good[:1])
    np.save(folder / "four.npy", good[None])
    np.save(folder / "nothing.npy", good[:0])
    np.save(folder / "nan.npy", np.where(good > 0.99, np.nan, good))
    np.save(folder / "flat-valued.npy", np.ones_like(good))
    np.save(folder / "fractions.npy", good)
    whole = (folder / "good.npy").read_bytes()
    (folder / "short.npy").write_bytes(whole[:-100])
    (folder / "header.npy").write_bytes(whole[:60])
    (folder / "empty.npy").write_bytes(b"")
    (folder / "noise.npy").write_bytes(bytes(range(256)))
    (folder / "huge.npy").write_bytes(whole.replace(b"(6, 7, 8)", b"(9" + b"9" * 5 + b",7,8)"))
    np.savez(folder / "archive.npz", good)
    shutil.move(folder / "archive.npz", folder / "archive.npy")
    (folder / "folder.npy").mkdir()
    outside = tmp_path_factory.mktemp("outside") / "secret.npy"
    np.save(outside, good)
    (folder / "link.npy").symlink_to(outside)
    return folder


@pytest.mark.parametrize(
    ("part", "change"),
    [
        *(("fixed", {"array": f"{name}.npy"}) for name in (
            "object", "complex", "text", "flat", "thin", "four", "nothing", "nan", "flat-valued", "short", "header",
            "empty", "noise", "huge", "archive", "folder", "link", "absent",
        )),
        *(("fixed", {"array": name}) for name in (
            "../secret.npy", "/etc/passwd", "a/b.npy", "a\\b.npy", "C:good.npy", "good", ".npy", "", 5, None, "x" * 300,
            "good.npy\0", "..npy", "good.npy:stream",
        )),
        ("fixed", {"spacing": [1, 1, 0]}),
        ("fixed", {"spacing": [1, -1, 1]}),
        ("fixed", {"spacing": [1, 1]}),
        ("fixed", {"spacing": [1, 1, True]}),
        ("fixed", {"spacing": "1 1 1"}),
        ("fixed", {"origin": [0, 0, float("nan")]}),
        ("fixed", {"origin": [0, 0, float("inf")]}),
        ("fixed", {"origin": [0, 0, 10**400]}),
        ("fixed", {"direction": [1, 0, 0, 0, 1, 0, 0, 0, 0]}),
        ("fixed", {"direction": [2, 0, 0, 0, 1, 0, 0, 0, 1]}),
        ("fixed", {"direction": [1, 0, 0, 1]}),
        ("moving", {"origin": [5000, 0, 0]}),
        ("fixed_labels", {"array": "fractions.npy"}),
        ("fixed_mask", {"array": "absent.npy"}),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else value,
)  # fmt: skip
def test_volumes_that_are_none_are_refused(worker, odd_folder, part, change):
    good = {"array": "good.npy", **GEOMETRY}
    message = request(odd_folder, {"init": ["affine"]}, fixed=good, moving=good)
    sentence = refused(worker, message | {part: good | change}, "bad_input")
    assert sentence.startswith(part.replace("_", "-")) or sentence.startswith(part)
    assert "miller" not in sentence


@pytest.mark.parametrize(
    "change",
    [
        {"folder": "/no/such/folder"},
        {"folder": "relative"},
        {"folder": None},
        {"folder": "/\0"},
        {"fixed": None},
        {"moving": []},
        {"fixed_landmarks": [[0, 0, 0]]},
        {"fixed_landmarks": [[0, 0]], "moving_landmarks": [[0, 0]]},
        {"fixed_landmarks": [[0, 0, 0], [1]], "moving_landmarks": [[0, 0, 0]]},
        {"fixed_landmarks": [], "moving_landmarks": []},
        {"start": [[1, 0], [0, 1]]},
        {"start": [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 1]]},
        {"start": [[1, 0, 0], [0, 1, 0], [0, 0, 1]]},
        {"start": [[0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]},
        {"settings": {"frobnicate": 1}},
        {"settings": {"model": "no-such-model"}},
        {"settings": {"model": "../../etc/passwd"}},
        {"settings": {"model": 5}},
        {"settings": {"preset": "/etc/passwd.json"}},
        {"settings": {"preset": "any-pair", "model": "pan"}},
        {"settings": {"stages": []}},
        {"settings": {"stages": ["pan", "attention-reg"]}},
        {"settings": {"init": ["affine", "landmarks"]}},
        {"settings": {"init": ["landmarks"]}},
        {"settings": {"init": "affine"}},
        {"settings": {"refine": -1}},
        {"settings": {"refine": True}},
        {"settings": {"refine": 1.5}},
        {"settings": {"similarity": "taste"}},
        {"settings": {"device": "toaster"}},
        {"settings": {"ensemble": 0}},
        {"settings": {"seed": -1}},
        {"settings": {"gland_labels": []}},
        {"settings": {"weights": "/no/such/folder", "model": "pan"}},
    ],
    ids=lambda change: str(change)[:60],
)
def test_requests_that_make_no_sense_are_refused(worker, odd_folder, change):
    good = {"array": "good.npy", **GEOMETRY}
    message = request(odd_folder, {"init": ["none"], "refine": 0}, fixed=good, moving=good)
    refused(worker, message | change, "bad_input")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there(worker, odd_folder):
    good = {"array": "good.npy", **GEOMETRY}
    assert "cpu" in refused(worker, request(odd_folder, {"device": "cuda:7"}, fixed=good, moving=good), "device")


def test_a_mask_may_be_any_volume(worker, pair, tmp_path):
    mask = pair[0].with_data((pair[0].data > 30).float() * 0.5)
    message = request(tmp_path, QUICK, fixed=pair[0], moving=pair[1], fixed_mask=mask)
    found = array(tmp_path, done(worker, message)["transform"]["field"])
    wanted = register(Inputs(*pair, fixed_mask=mask), Settings(init=("rigid",), refine=12)).field
    np.testing.assert_array_equal(found, wanted.data.movedim(0, -1).numpy())


def test_the_worker_starts_with_a_damaged_model_too(monkeypatch, tmp_path):
    (tmp_path / "pan.safetensors").write_bytes(b"no weights")
    monkeypatch.setenv("REGCORE_MODELS", str(tmp_path))
    models = {str(model["name"]): model for model in hello().models}
    assert models["pan"]["trained"] is False
    assert "cannot be used" in str(models["pan"]["card"])
    assert models["attention-reg-small"]["trained"] is True


def test_a_model_of_the_users_own_says_what_it_learned(monkeypatch, tmp_path):
    learned = Provenance(spacing_mm=3.0, training={"about": "Ten hearts"}, metrics={"dsc": 0.81234, "folding": 0})
    monkeypatch.setenv("REGCORE_MODELS", str(tmp_path))
    save_model(create_model("pan", channels=4), tmp_path / "hearts.safetensors", provenance=learned)
    (model,) = [model for model in hello().models if model["name"] == "hearts"]
    assert model["trained"] is True
    assert model["title"] == "hearts (PAN: pyramid attention), 3D"
    for part in ("ISBI 2024", "Ten hearts", "3 mm", "dsc 0.812"):
        assert part in str(model["card"])


def test_two_dimensions(worker, tmp_path):
    waves = np.sin(np.arange(40)[:, None] / 4) * np.cos(np.arange(48) / 5)
    images = [from_sitk(sitk.GetImageFromArray(np.roll(waves, shift, 1).astype(np.float32))) for shift in (0, 2)]
    found = done(worker, request(tmp_path, {"init": ["none"]}, fixed=images[0], moving=images[1]))
    assert array(tmp_path, found["transform"]["field"]).shape == (40, 48, 2)
    assert found["report"]["similarity"]["after"] > found["report"]["similarity"]["before"]
