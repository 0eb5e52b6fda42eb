"""The session: when it registers, what it remembers, what accept, reject and undo do. The logic pretends."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed: it has no wheel for this platform")

from AttentionRegistrationLib.session import Session
from AttentionRegistrationLib.session_carry import copy_of
from AttentionRegistrationLib.session_entry import OUTDATED
from AttentionRegistrationLib.session_state import GLAND, MODEL, MRI, TARGETS, TRUS, TRUS_GLAND, State

from .sessions import NAME, Clock, PretendedLogic, change, points, prepared, volume, where


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pretended(scene: Any) -> PretendedLogic:
    return PretendedLogic(scene)


@pytest.fixture
def session(scene: Any, pretended: PretendedLogic, clock: Clock) -> Session:
    return prepared(scene, pretended, clock)


def state_of(session: Session) -> State:
    assert session.state is not None
    return session.state


def after(session: Session, clock: Clock, seconds: float) -> None:
    clock.seconds += seconds
    session.poll()


def registered(session: Session, pretended: PretendedLogic, shift_mm: float = 5.0, **figures: Any) -> int:
    session.register()
    pretended.finish(shift_mm, **figures)
    return state_of(session).entries[-1].number


def shown(session: Session) -> list[list[float]]:
    return where(copy_of(state_of(session), TARGETS))


@pytest.mark.parametrize(
    ("role", "node", "said"),
    [(MRI, None, "no MRI"), (TRUS, None, "no ultrasound"), (TRUS, "same", "same"), (TRUS, "empty", "empty ultrasound")],
)
def test_what_is_missing_is_said(session: Session, scene: Any, role: str, node: str | None, said: str) -> None:
    state = state_of(session)
    empty = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    state.choose(role, {None: None, "same": state.get(MRI), "empty": empty}[node])
    assert session.missing() == said
    session.register()
    assert not session.registering


def test_the_mri_stays_and_the_way_back_is_wanted(session: Session, pretended: PretendedLogic) -> None:
    session.register()
    (request,) = pretended.requests
    state = state_of(session)
    assert (request.fixed, request.moving) == (state.get(MRI), state.get(TRUS))
    assert request.fixed_labels is state.get(GLAND)
    assert request.outputs.inverse
    assert not request.outputs.attention
    assert request.preset == "mri-trus-prostate"


def test_a_change_is_registered_once_it_is_complete(session: Session, pretended: PretendedLogic, clock: Clock) -> None:
    session.watch(True)
    change(state_of(session).get(TRUS))
    after(session, clock, 0.1)
    change(state_of(session).get(TRUS))
    after(session, clock, 0.15)
    assert not pretended.requests
    after(session, clock, 0.06)
    assert len(pretended.requests) == 1
    after(session, clock, 5.0)
    assert len(pretended.requests) == 1
    clock.seconds += 1
    pretended.finish()
    (entry,) = state_of(session).entries
    assert entry.seconds == pytest.approx(0.1 + 0.15 + 0.06 + 5.0 + 1)
    assert not entry.late


def test_an_ultrasound_that_never_rests_is_registered_too(
    session: Session, pretended: PretendedLogic, clock: Clock
) -> None:
    session.watch(True)
    for _ in range(25):
        change(state_of(session).get(TRUS))
        after(session, clock, 0.1)
        if pretended.requests:
            break
    assert clock.seconds == pytest.approx(102.0, abs=0.11)


def test_without_the_wish_nothing_is_registered(session: Session, pretended: PretendedLogic, clock: Clock) -> None:
    change(state_of(session).get(TRUS))
    after(session, clock, 10)
    assert not pretended.requests
    session.watch(True)
    after(session, clock, 10)
    assert not pretended.requests


def test_changes_while_busy_are_registered_once_afterwards(
    session: Session, pretended: PretendedLogic, clock: Clock
) -> None:
    session.watch(True)
    change(state_of(session).get(TRUS))
    after(session, clock, 0.3)
    for _ in range(3):
        change(state_of(session).get(TRUS))
        after(session, clock, 0.3)
    assert len(pretended.requests) == 1
    pretended.finish()
    assert state_of(session).entries[0].late
    after(session, clock, 0.05)
    assert len(pretended.requests) == 2
    pretended.finish()
    after(session, clock, 1.0)
    assert len(pretended.requests) == 2


def test_nothing_is_started_while_others_register(session: Session, pretended: PretendedLogic, clock: Clock) -> None:
    session.watch(True)
    pretended.busy = True
    change(state_of(session).get(TRUS))
    after(session, clock, 3)
    assert not pretended.requests
    pretended.busy = False
    after(session, clock, 0.05)
    assert len(pretended.requests) == 1


def test_a_name_or_a_window_is_no_change_but_a_place_is(
    session: Session, pretended: PretendedLogic, clock: Clock, scene: Any
) -> None:
    session.watch(True)
    trus = state_of(session).get(TRUS)
    trus.SetName("another")
    trus.CreateDefaultDisplayNodes()
    trus.GetDisplayNode().SetWindow(3)
    trus.Modified()
    after(session, clock, 1)
    assert not pretended.requests
    trus.SetOrigin(1, 2, 3)
    after(session, clock, 1)
    assert len(pretended.requests) == 1
    pretended.finish()
    tracker = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    trus.SetAndObserveTransformNodeID(tracker.GetID())
    after(session, clock, 1)
    assert len(pretended.requests) == 1, "an identity moves nothing"
    tracker.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(np.diag([1.0, -1.0, -1.0, 1.0])))
    after(session, clock, 1)
    assert len(pretended.requests) == 2


def test_another_volume_is_watched_in_its_place(
    session: Session, pretended: PretendedLogic, clock: Clock, scene: Any
) -> None:
    session.watch(True)
    before, now = state_of(session).get(TRUS), volume(scene, "other")
    state_of(session).choose(TRUS, now)
    session.poll()
    change(before)
    after(session, clock, 1)
    assert not pretended.requests
    change(now)
    after(session, clock, 1)
    assert pretended.requests[0].moving is now


def test_a_removed_ultrasound_ends_the_watching(
    session: Session, pretended: PretendedLogic, clock: Clock, scene: Any
) -> None:
    session.watch(True)
    trus = state_of(session).get(TRUS)
    change(trus)
    scene.RemoveNode(trus)
    after(session, clock, 1)
    assert session.missing() == "no ultrasound"
    assert not pretended.requests
    change(trus)
    after(session, clock, 1)
    assert not pretended.requests


def test_failures_are_told_and_do_not_repeat(session: Session, pretended: PretendedLogic, clock: Clock) -> None:
    session.watch(True)
    change(state_of(session).get(TRUS))
    after(session, clock, 0.3)
    pretended.fail()
    assert (session.sentence, session.failed, session.registering) == ("The engine crashed.", True, False)
    after(session, clock, 5)
    assert len(pretended.requests) == 1
    pretended.refuse = "It cannot be done."
    change(state_of(session).get(TRUS))
    after(session, clock, 0.3)
    assert (session.sentence, session.registering) == ("It cannot be done.", False)
    assert state_of(session).entries == []


def test_cancel_forgets_what_waits(session: Session, pretended: PretendedLogic, clock: Clock) -> None:
    session.watch(True)
    change(state_of(session).get(TRUS))
    after(session, clock, 0.3)
    change(state_of(session).get(TRUS))
    session.cancel()
    assert not session.failed
    after(session, clock, 5)
    assert len(pretended.requests) == 1


def test_figures_go_into_the_history(session: Session, pretended: PretendedLogic) -> None:
    figures = {"spread_mm": 3.4, "sre_mm": {"before": 9.0, "after": 2.5}, "dsc": {"after": {"1": 0.8, "2": 0.1}}}
    registered(session, pretended, **figures)
    registered(session, pretended, spread_mm=0.8)
    first, second = state_of(session).entries
    assert (first.number, first.at, first.spread_mm, first.sre_mm, first.dsc) == (
        1,
        "2026-03-04T09:30:05",
        3.4,
        2.5,
        0.8,
    )
    assert (first.sure, second.sure, second.sre_mm, second.dsc) == (False, True, None, None)
    assert first.facts["weights"] == {"a": "12ab"}
    assert "secret" not in str(first.facts)
    assert first.notes == ["A note on 'the ultrasound'."]


def test_an_outline_older_than_the_image_is_not_used(session: Session, pretended: PretendedLogic, scene: Any) -> None:
    state = state_of(session)
    gland = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
    slicer.util.updateVolumeFromArray(gland, np.ones((3, 4, 5), np.uint8))
    state.choose(TRUS_GLAND, gland)
    session.poll()
    registered(session, pretended)
    change(state.get(TRUS))
    registered(session, pretended)
    slicer.util.arrayFromVolumeModified(gland)
    session.poll()
    registered(session, pretended)
    state.choose(TRUS, volume(scene, "another"))
    registered(session, pretended)
    assert [request.moving_labels for request in pretended.requests] == [gland, None, gland, None]
    assert [OUTDATED in entry.notes for entry in state.entries] == [False, True, False, True]


def test_accept_shows_copies_in_the_ultrasound_and_leaves_the_mri(session: Session, pretended: PretendedLogic) -> None:
    number = registered(session, pretended)
    state = state_of(session)
    targets = state.get(TARGETS)
    before = (targets.GetMTime(), state.get(GLAND).GetMTime())
    session.accept(number)
    assert where(targets) == [[10.0, 20.0, 30.0]]
    assert shown(session) == [[15.0, 20.0, 30.0]]
    assert (targets.GetMTime(), state.get(GLAND).GetMTime()) == before
    assert copy_of(state, GLAND).GetParentTransformNode() is state.nodes(number).to_trus
    assert state.entries[0].verdict == "accepted"


def test_the_copies_go_with_the_newest_accepted_result(session: Session, pretended: PretendedLogic, scene: Any) -> None:
    session.accept(registered(session, pretended, 5.0))
    copy, own = copy_of(state_of(session), TARGETS), points(scene, (0.0, 0.0, 0.0))
    own.SetAndObserveTransformNodeID(state_of(session).carrier.GetID())
    session.accept(registered(session, pretended, -7.0))
    assert copy_of(state_of(session), TARGETS) is copy
    assert shown(session) == [[3.0, 20.0, 30.0]]
    assert where(own) == [[-7.0, 0.0, 0.0]]
    assert [entry.verdict for entry in state_of(session).entries] == ["accepted", "accepted"]
    session.undo()
    assert shown(session) == [[15.0, 20.0, 30.0]]
    assert [entry.verdict for entry in state_of(session).entries] == ["accepted", ""]
    session.undo()
    assert copy_of(state_of(session), TARGETS) is None
    assert copy.GetScene() is None
    assert [entry.verdict for entry in state_of(session).entries] == ["", ""]


def test_rejecting_the_accepted_one_goes_back(session: Session, pretended: PretendedLogic) -> None:
    first, second = (registered(session, pretended, shift) for shift in (5.0, 8.0))
    session.accept(first)
    session.accept(second)
    session.reject(second)
    assert shown(session) == [[15.0, 20.0, 30.0]]
    session.reject(first)
    assert copy_of(state_of(session), TARGETS) is None
    session.accept(first)
    assert shown(session) == [[15.0, 20.0, 30.0]]


def test_a_target_that_is_moved_or_added_is_moved_in_the_ultrasound(
    session: Session, pretended: PretendedLogic
) -> None:
    session.accept(registered(session, pretended))
    targets = state_of(session).get(TARGETS)
    targets.SetNthControlPointPosition(0, 0.0, 0.0, 1.0)
    targets.AddControlPoint((1.0, 1.0, 1.0))
    session.poll()
    assert shown(session) == [[5.0, 0.0, 1.0], [6.0, 1.0, 1.0]]
    copy = copy_of(state_of(session), TARGETS)
    assert copy.GetLocked()
    time = copy.GetMTime()
    session.poll()
    assert copy.GetMTime() == time


def test_other_targets_and_a_model_chosen_later_come_along(
    session: Session, pretended: PretendedLogic, scene: Any
) -> None:
    session.accept(registered(session, pretended))
    state, old = state_of(session), copy_of(state_of(session), TARGETS)
    state.choose(TARGETS, points(scene, (1.0, 2.0, 3.0)))
    state.choose(MODEL, scene.AddNewNodeByClass("vtkMRMLModelNode", "surface"))
    session.accept(registered(session, pretended, 1.0))
    assert old.GetScene() is None
    assert shown(session) == [[2.0, 2.0, 3.0]]
    assert copy_of(state, MODEL).GetParentTransformNode() is state.carrier


def result_nodes(scene: Any) -> list[str]:
    found = [node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLNode", scene)]
    return [name for name in found if name.endswith(("transform", "inverse", "warped", "table", "record"))]


def test_rejected_and_old_results_leave_the_scene(session: Session, pretended: PretendedLogic, scene: Any) -> None:
    state = state_of(session)
    rejected = registered(session, pretended)
    session.reject(rejected)
    assert state.nodes(rejected).to_trus is not None, "as long as it is the newest, it may still be accepted"
    accepted = registered(session, pretended, 2.0)
    assert state.nodes(rejected).to_trus is None
    assert len(result_nodes(scene)) == 5
    session.accept(accepted)
    for _ in range(6):
        registered(session, pretended)
    assert [state.node.GetNumberOfNodeReferences(f"nodes{number}") for number in (1, 2, 3)] == [0, 5, 0]
    kept = [entry.number for entry in state.entries if state.nodes(entry.number).to_trus is not None]
    assert kept == [2, 6, 7, 8]
    assert len(result_nodes(scene)) == 4 * 5
    assert shown(session) == [[12.0, 20.0, 30.0]]
    with pytest.raises(ValueError, match="no longer in the scene"):
        session.accept(3)
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    assert [bool(tree.GetItemByName(f"result {number}")) for number in range(1, 9)] == [
        number in kept for number in range(1, 9)
    ]


def test_what_somebody_put_into_a_result_folder_stays(session: Session, pretended: PretendedLogic, scene: Any) -> None:
    number = registered(session, pretended)
    own = points(scene, (0.0, 0.0, 0.0))
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    folder = tree.GetItemByName("result 1")
    tree.SetItemParent(tree.GetItemByDataNode(own) or tree.CreateItem(folder, own), folder)
    session.reject(number)
    registered(session, pretended)
    assert own.GetScene() is scene
    assert tree.GetItemName(folder) == "result 1"


def test_attention_maps_are_made_on_demand(session: Session, pretended: PretendedLogic) -> None:
    session.register(attention=True)
    assert pretended.requests[-1].outputs.attention
    pretended.finish()
    (shown_map,) = state_of(session).nodes(1).attention
    assert shown_map.GetName() == f"{NAME} TRUS attention"


def test_a_transform_that_somebody_removed_cannot_be_accepted(
    session: Session, pretended: PretendedLogic, scene: Any
) -> None:
    first, second = registered(session, pretended, 3.0), registered(session, pretended)
    session.accept(first)
    session.accept(second)
    scene.RemoveNode(state_of(session).nodes(first).to_trus)
    session.undo()
    assert copy_of(state_of(session), TARGETS) is None
    with pytest.raises(ValueError, match="no longer in the scene"):
        session.accept(first)


def test_a_target_under_a_curved_transform_is_refused_before_anything_moves(
    session: Session, pretended: PretendedLogic, scene: Any
) -> None:
    session.accept(registered(session, pretended))
    bent = scene.AddNewNodeByClass("vtkMRMLTransformNode", "bent")
    bent.SetAndObserveTransformToParent(slicer.vtkOrientedBSplineTransform())
    model = scene.AddNewNodeByClass("vtkMRMLModelNode", "surface")
    model.SetAndObserveTransformNodeID(bent.GetID())
    state_of(session).choose(MODEL, model)
    second = registered(session, pretended, 9.0)
    with pytest.raises(ValueError, match="'bent', which is not linear"):
        session.accept(second)
    assert shown(session) == [[15.0, 20.0, 30.0]]
    assert state_of(session).entries[1].verdict == ""
