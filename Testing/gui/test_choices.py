"""From the panel's choices to the request, and from the worker's words to the menus."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .bench import MODULE, Bench, add_ball, slicer


@pytest.fixture
def chosen(panel: Bench) -> Bench:
    add_ball("Fixed")
    add_ball("Moving")
    panel.choose_volumes()
    panel.wait(lambda: panel.widget.panel.heard)
    for name in ("initialSection", "regionsSection", "modelSection", "outputsSection"):
        panel.open_section(name)
    return panel


def request_of(panel: Bench) -> Any:
    from AttentionRegistrationLib.parameters import to_request

    return to_request(panel.parameters, panel.widget.panel._menus.preset)


def test_untouched_the_preset_decides(chosen: Bench) -> None:
    assert request_of(chosen).settings() == {"preset": "any-pair", "device": "auto"}
    assert request_of(chosen).outputs.inverse
    assert request_of(chosen).outputs.jacobian
    assert not request_of(chosen).outputs.attention


def test_presets_come_from_their_files_with_any_pair_last(chosen: Bench) -> None:
    box = chosen.ui.presetBox
    names = [box.itemData(index) for index in range(box.count)]
    there = {path.stem for path in (MODULE.parents[1] / "Resources" / "presets").glob("*.json")}
    assert set(names) == there
    assert names[-1] == "any-pair"
    chosen.choose(box, "Cardiac cine stack")
    assert request_of(chosen).preset == "cardiac-cine"
    assert "short-axis" in chosen.ui.presetNote.text


def test_a_model_chosen_by_hand_takes_the_presets_place_but_keeps_its_start(chosen: Bench) -> None:
    chosen.choose(chosen.ui.presetBox, "Cardiac cine stack")
    chosen.choose(chosen.ui.modelBox, "None: refinement alone")
    settings = request_of(chosen).settings()
    assert settings == {
        "model": "none",
        "init": ("none",),
        "similarity": "lncc",
        "slicewise": True,
        "device": "auto",
    }


@pytest.mark.parametrize(
    ("title", "init"),
    [
        ("None: as the volumes lie", ("none",)),
        ("Centres together, then affine", ("centre", "affine")),
        ("Rigid registration", ("rigid",)),
    ],
)
def test_initial_transforms(chosen: Bench, title: str, init: tuple[str, ...]) -> None:
    chosen.choose(chosen.ui.initialBox, title)
    assert request_of(chosen).init == init


def test_a_node_as_initial_transform(chosen: Bench) -> None:
    assert not chosen.ui.transformBox.isEnabled()
    node = chosen.scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "By hand")
    chosen.choose(chosen.ui.initialBox, "A transform of the scene")
    assert "Choose the transform" in chosen.sentence
    chosen.choose(chosen.ui.transformBox, "By hand")
    assert chosen.sentence == "Ready."
    assert request_of(chosen).start is node
    assert request_of(chosen).init == ("none",)
    chosen.choose(chosen.ui.initialBox, "Rigid registration")
    assert request_of(chosen).start is None


def test_points_must_be_as_many_on_both_sides(chosen: Bench) -> None:
    chosen.choose(chosen.ui.initialBox, "Points")
    assert "Choose the fixed and the moving points" in chosen.sentence
    for name, count in (("F", 3), ("M", 2)):
        node = chosen.scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", name)
        for place in range(count):
            node.AddControlPoint(place, 0, 0)
    chosen.choose(chosen.ui.fixedPointsBox, "F")
    chosen.choose(chosen.ui.movingPointsBox, "M")
    assert chosen.sentence.startswith("There are 3 fixed and 2 moving points")
    chosen.parameters.moving_points.AddControlPoint(9, 9, 9)
    chosen.choose(chosen.ui.presetBox, "Brain MRI")
    assert chosen.sentence == "Ready."
    assert request_of(chosen).fixed_landmarks is chosen.parameters.fixed_points


def test_masks_and_segments_of_both_kinds(chosen: Bench) -> None:
    mask = chosen.scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "Mask")
    outlines = chosen.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Outlines")
    chosen.choose(chosen.ui.fixedMaskBox, "Mask")
    chosen.choose(chosen.ui.movingSegmentsBox, "Outlines")
    assert request_of(chosen).fixed_mask is mask
    assert request_of(chosen).moving_labels is outlines
    chosen.choose(chosen.ui.initialBox, "Outlines of the segments")
    assert "segments" in chosen.sentence


def test_refinement(chosen: Bench) -> None:
    chosen.parameters.iterations = 40
    assert request_of(chosen).refine == 40
    chosen.click(chosen.ui.refineBox)
    assert request_of(chosen).refine == 0
    assert not chosen.ui.iterationsBox.isEnabled()


def test_outputs(chosen: Bench) -> None:
    for name in ("inverseBox", "jacobianBox", "attentionBox"):
        chosen.click(getattr(chosen.ui, name))
    outputs = request_of(chosen).outputs
    assert (outputs.inverse, outputs.jacobian, outputs.attention) == (False, False, True)


def test_a_model_that_nobody_trained_cannot_be_used(chosen: Bench) -> None:
    from AttentionRegistrationLib.logic import Hello

    models = [
        {"name": "new", "title": "New", "dimensions": [3], "trained": False, "card": "No weights."},
        {"name": "old", "title": "Old", "dimensions": [3], "trained": True, "card": "For *brains*."},
    ]
    chosen.widget.panel._menus.hear(Hello("0", "0", [], "There is no GPU.", models, []))
    chosen.choose(chosen.ui.modelBox, "New (not trained)")
    assert "Nobody has trained the model New" in chosen.sentence
    assert not chosen.ui.registerButton.enabled
    chosen.choose(chosen.ui.modelBox, "Old")
    assert chosen.sentence == "Ready."
    assert "For brains." in chosen.ui.modelCard.plainText
    assert chosen.ui.deviceNote.text == "There is no GPU."


def test_trained_models_come_first_and_slices_are_offered_models_for_slices(chosen: Bench) -> None:
    from AttentionRegistrationLib.logic import Hello

    models = [
        {"name": name, "title": name, "dimensions": axes, "trained": trained, "card": ""}
        for name, axes, trained in (("a", [3], False), ("b", [2, 3], False), ("c", [3], True), ("d", [2], True))
    ]
    chosen.widget.panel._menus.hear(Hello("0", "0", [], "", models, []))
    box = chosen.ui.modelBox

    def offered() -> list[str]:
        return [box.itemText(index) for index in range(2, box.count)]

    assert offered() == ["c", "d", "a (not trained)", "b (not trained)"]
    chosen.choose(box, "c")
    for node in (chosen.parameters.fixed, chosen.parameters.moving):
        slicer.util.updateVolumeFromArray(node, slicer.util.arrayFromVolume(node)[:1].copy())
    chosen.choose_volumes("Moving", "Fixed")
    assert offered() == ["d", "b (not trained)", "c"]
    assert "registers volumes, not slices" in chosen.sentence
    chosen.choose(box, "d")
    assert chosen.sentence == "Ready."


def test_a_scene_of_another_version_keeps_what_is_unknown(chosen: Bench) -> None:
    chosen.parameters.model = "of-tomorrow"
    assert chosen.ui.modelBox.itemData(chosen.ui.modelBox.currentIndex) == "of-tomorrow"
    chosen.parameters.preset = "gone"
    assert request_of(chosen).model == "of-tomorrow"


def test_the_presets_folder_beside_an_installed_module(tmp_path: Path) -> None:
    from AttentionRegistrationLib.choices import preset_folder

    (tmp_path / "regcore").mkdir()
    assert preset_folder(str(tmp_path / "AttentionRegistration.py")) == tmp_path / "Resources" / "presets"
