"""A worker that speaks the protocol and registers nothing: a known field for every pair, or what its mood says.

The mood is the argument, or the ``model`` of a request: well, slow, deaf (slow, and no cancel is obeyed), crash, hang,
garbage, refuse, half (a file cut short), outside (a file elsewhere), linear, lazy (never says hello), old (another
protocol), stillborn (ends at once), child (slow, with a child that outlives it unless killed).
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

LINEAR = [[1.0, 0.0, 0.0, 3.0], [0.0, 0.8, -0.6, -2.0], [0.0, 0.6, 0.8, 5.0], [0.0, 0.0, 0.0, 1.0]]
FLAT = [[0.8, -0.6, 3.0], [0.6, 0.8, -2.0], [0.0, 0.0, 1.0]]
CURVED = 3.0, 90.0  # mm: largest displacement along x, and its wavelength


def say(**message: object) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def points_of(volume: dict[str, Any], shape: tuple[int, ...]) -> np.ndarray:
    """The voxels' positions ``(k, j, i, 3)``, LPS mm, or ``(j, i, 2)`` within a plane."""
    axes = np.reshape(volume["direction"], (len(shape), len(shape))) * volume["spacing"]
    index = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij")[::-1], axis=-1)
    return index @ axes.T + volume["origin"]


def displacement(points: np.ndarray) -> np.ndarray:
    """Where fixed points go, minus where they are: each axis otherwise, so that no sign or order can be mistaken."""
    size, wavelength = CURVED
    turn = 2 * np.pi / wavelength
    if points.shape[-1] == 2:
        x, y = np.moveaxis(points, -1, 0)
        return np.stack([4 + size * np.sin(turn * y), -2 + 0.05 * x], axis=-1)
    x, y, z = np.moveaxis(points, -1, 0)
    return np.stack([4 + size * np.sin(turn * z), -2 + 0.5 * np.cos(turn * x), 1 + 0.05 * y - 0.02 * x], axis=-1)


def save(folder: Path, name: str, array: np.ndarray) -> dict[str, str]:
    np.save(folder / f"{name}.npy", array.astype(np.float32))
    return {"array": f"{name}.npy"}


def motion(message: dict[str, Any]) -> dict[str, Any]:
    """Each frame, told apart by its brightest voxel, has moved that far and shrunk by as many percent."""
    far = float(np.load(Path(message["folder"]) / message["moving"]["array"]).max())
    label = {"area_mm2": 100.0 - far, "reference_mm2": 100.0, "change_percent": -far, "mean_mm": far / 2}
    return {"mean_mm": far, "max_mm": 2 * far, "labels": {"1": label} if message["fixed_labels"] else {}}


def register(message: dict[str, Any], mood: str) -> None:
    folder, fixed = Path(message["folder"]), message["fixed"]
    image = np.load(folder / fixed["array"])
    field = displacement(points_of(fixed, image.shape))
    outputs = message["outputs"]
    transform: dict[str, Any] = {"linear": None, "field": save(folder, "field", field)}
    if mood == "linear":
        transform = {"linear": LINEAR if image.ndim == 3 else FLAT, "field": None}
    if mood == "half":
        file = folder / "field.npy"
        file.write_bytes(file.read_bytes()[:1000])
    if mood == "outside":
        transform["field"] = {"array": "../field.npy"}
    inverse = {"linear": None, "field": fixed | save(folder, "inverse", -field), "error_mm": {"mean": 0.1}}
    if mood == "linear":
        inverse |= {"linear": np.linalg.inv(transform["linear"]).tolist(), "field": None}
    say(
        type="result",
        id=message["id"],
        transform=transform,
        inverse=inverse if outputs["inverse"] else None,
        warped=save(folder, "warped", image),
        jacobian=save(folder, "jacobian", np.linspace(-0.5, 2.5, image.size).reshape(image.shape))
        if outputs["jacobian"]
        else None,
        attention=[{"name": "stage 1", **save(folder, "attention", image)}] if outputs["attention"] else [],
        report={
            "similarity": {"name": "lncc", "before": 0.2, "after": 0.9},
            "dsc": {"before": {"1": 0.5}, "after": {"1": 0.75}, "mean_before": 0.5, "mean_after": 0.75},
            "folding_percent": 0.0,
            "seconds": 1.5,
            "motion": motion(message) if outputs.get("motion") else None,
            "asked": {key: value for key, value in message.items() if key not in ("folder", "id")},
        },
        notes=["A note of the worker."],
        seconds=1.5,
        device="cpu",
    )


def read_input(inbox: queue.SimpleQueue[dict[str, Any]]) -> None:
    for line in sys.stdin:
        inbox.put(json.loads(line))
    inbox.put({"type": "shutdown"})


def work(message: dict[str, Any], mood: str, inbox: queue.SimpleQueue[dict[str, Any]]) -> None:
    if mood == "crash":
        sys.stderr.write("Fatal: it had to happen\n")
        sys.stderr.flush()
        os.abort()
    if mood == "hang":
        threading.Event().wait()
    if mood == "refuse":
        say(type="error", id=message["id"], code="memory", sentence="Memory ran out.", details="a long story")
        return
    if mood == "garbage":
        sys.stdout.write('Loading...\n{"type": \n[1, 2]\n\xff\xfe{}\n')
    text = "a step"
    if mood == "child":
        text = str(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]).pid)
    for step in range(400 if mood in ("slow", "deaf", "child") else 2):
        say(type="progress", id=message["id"], fraction=step / 400, stage="refine", message=text, memory_mb=1.0)
        time.sleep(0.02 if mood in ("slow", "deaf", "child") else 0)
        while not inbox.empty():
            told = inbox.get()
            if told["type"] == "cancel" and mood != "deaf":
                say(type="error", id=message["id"], code="cancelled", sentence="Cancelled.", details="")
                return
            if told["type"] == "ping":
                say(type="pong", busy=True)
    register(message, mood)


def main(mood: str) -> None:
    if mood == "stillborn":
        raise SystemExit("ModuleNotFoundError: No module named 'torch'")
    inbox: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=read_input, args=(inbox,), daemon=True).start()
    device = {"name": "cpu", "title": "CPU"}
    if mood != "lazy":
        hello = {"protocol": 2 if mood == "old" else 1, "version": "0.1", "torch": "2.13.0"}
        say(type="hello", **hello, devices=[device], device_note="", models=[], presets=[])
    while (message := inbox.get())["type"] != "shutdown":
        if message["type"] == "register":
            work(message, str(message["settings"].get("model") or mood), inbox)
        elif message["type"] == "ping":
            say(type="pong", busy=False)


if __name__ == "__main__":
    main(sys.argv[1])
