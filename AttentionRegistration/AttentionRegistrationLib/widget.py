"""The panel: what its parts do together. It computes nothing and waits for nothing."""

from __future__ import annotations

import contextlib
from typing import Any

import qt
import slicer
import vtk
from slicer.i18n import tr as _

from AttentionRegistrationLib import install
from AttentionRegistrationLib.choices import Preset
from AttentionRegistrationLib.history import Result
from AttentionRegistrationLib.menus import Menus
from AttentionRegistrationLib.parameters import Parameters, keep_result, method, missing, to_request
from AttentionRegistrationLib.review import Review
from AttentionRegistrationLib.running import Running
from AttentionRegistrationLib.wording import in_panel

POLL_MS = 50
_NODE_BOXES = (
    "fixedBox",
    "movingBox",
    "transformBox",
    "fixedMaskBox",
    "movingMaskBox",
    "fixedSegmentsBox",
    "movingSegmentsBox",
    "fixedPointsBox",
    "movingPointsBox",
)


class Panel:
    """The tab Register; listens to the logic.

    Args:
        ui: the panel's widgets by name.
        logic: `AttentionRegistrationLib.logic.Logic`, or what behaves like it.
        presets: what the menu offers.
    """

    def __init__(self, ui: Any, logic: Any, presets: list[Preset]) -> None:
        self._ui = ui
        self._logic = logic
        self._parameters: Any = None  # `Parameters`, with what Slicer's wrapper adds
        self._gui_tag: Any = None
        self._observer: int | None = None
        self._ending = ("", False)
        self._inputs: tuple[Any, ...] = ()
        self._others: dict[str, str] = {}
        self.heard = False
        self._asked: tuple[Any, Any] = (None, None)
        for name in _NODE_BOXES:
            take_keyboard(getattr(ui, name))
        self._menus = Menus(ui, presets)
        self._running = Running(ui)
        self._review = Review(ui, self._on_review_changed)
        ui.registerButton.connect("clicked()", self._on_button)
        self._timer = qt.QTimer(ui.registerTab)
        self._timer.setInterval(POLL_MS)
        self._timer.connect("timeout()", self._poll)
        self._timer.start()
        self.update()

    def set_parameters(self, parameters: Any) -> None:
        """Show these parameters from now on; None: there is no scene to keep them."""
        if self._parameters is not None:
            self._parameters.disconnectGui(self._gui_tag)
            self._parameters.RemoveObserver(self._observer)
        self._parameters = parameters
        self._menus.bind(parameters)
        if parameters is not None:
            self._gui_tag = parameters.connectGui(self._ui)
            self._observer = parameters.AddObserver(
                vtk.vtkCommand.ModifiedEvent, lambda caller, event: self._on_modified()
            )
        self._review.reset(_result_of(parameters))
        self.update()

    def update(self) -> None:
        """Bring the button and the sentence under it up to date."""
        if self._logic.busy and not self._others:
            return
        lacking = missing(self._parameters) or self._menus.missing() if self._parameters else _("The scene is closing.")
        lacking = lacking or next(iter(self._others.values()), "")
        self._ui.registerButton.setEnabled(not lacking)
        ending, loud = self._ending
        self._running.say(lacking or ending or _("Ready."), loud=loud and not lacking)

    def wait_for(self, tab: str, sentence: str) -> None:
        """Leave the logic to another tab; the sentence says so. Empty: no longer."""
        if sentence != self._others.get(tab, ""):
            self._others = {name: said for name, said in {**self._others, tab: sentence}.items() if said}
            self.update()

    def method(self) -> dict[str, Any]:
        """Return what the panel says of the method, for a series of frames."""
        return method(self._parameters, self._menus.preset) if self._parameters is not None else {}

    def enter(self, parameters: Any) -> None:
        """The user comes to the panel."""
        if self._parameters is None:
            self.set_parameters(parameters)
        if not install.missing():
            with contextlib.suppress(OSError):  # Register says so
                self._logic.warm_up()

    def leave(self) -> None:
        """The user goes to another module: what runs goes on."""
        self._review.stop()

    def close(self) -> None:
        """The module or the program ends."""
        self._timer.stop()
        self._review.stop()
        self.set_parameters(None)
        self._logic.close()

    def scene_closes(self) -> None:
        """Stop what works on nodes that will be gone."""
        if self._logic.busy and not self._others:
            self._logic.cancel()
            self._running.cancelling()
        self._ending = ("", False)
        self.set_parameters(None)

    def on_progress(self, progress: Any) -> None:
        """The worker has come further."""
        if self._ui.registerButton.enabled:
            self._running.progress(progress.fraction, progress.stage, progress.message)

    def on_done(self, outcome: Any) -> None:
        """The result is in the scene."""
        self._running.stop()
        fixed, moving = self._asked
        result = Result(fixed, moving, outcome.transform, outcome.warped, outcome.jacobian, outcome.table)
        for note in outcome.notes:
            self._running.log(note)
        done = _("Done in {count:.1f} s. See Review below.").format(count=self._running.elapsed_s)
        self._running.log(done)
        self._end(" ".join([done, *outcome.notes]))
        if self._parameters is not None:
            self._keep(result)
            self._review.add(result)
            self._ui.reviewSection.collapsed = False
        self.update()

    def on_failed(self, failure: Any) -> None:
        """There is no result."""
        self._running.stop()
        cancelled = failure.code == "cancelled"
        self._running.log(failure.sentence)
        if failure.details:
            self._running.log(failure.details)
        if failure.details and not cancelled:
            self._ui.logSection.collapsed = False
        self._end(failure.sentence, loud=not cancelled)
        self.update()

    def _on_button(self) -> None:
        if self._logic.busy:
            self._logic.cancel()
            self._running.cancelling()
            return
        parameters = self._parameters
        if parameters is None:
            return
        self._end("")
        self._asked = (parameters.fixed, parameters.moving)
        try:
            self._install()
            self._logic.start(to_request(parameters, self._menus.preset), self)
        except (ValueError, install.InstallError) as error:
            sentence = in_panel(str(error))
            self._end(sentence, loud=True)
            self._running.log(sentence)
            self.update()
            return
        names = {"fixed": parameters.fixed.GetName(), "moving": parameters.moving.GetName()}
        self._running.start(_("Registering {moving} to {fixed} …").format(**names))

    def _install(self) -> None:
        """Install what is missing, the first time; this alone blocks the panel, as Slicer's installers do."""
        if install.missing():
            self._running.say(_("Installing PyTorch: this takes some minutes, once."))
            slicer.app.processEvents()
            install.ensure()

    def _poll(self) -> None:
        self._logic.poll()
        if not self.heard and self._logic.hello() is not None:
            self.heard = True
            self._menus.hear(self._logic.hello())
            self.update()

    def _on_modified(self) -> None:
        inputs = (self._parameters.fixed, self._parameters.moving) if self._parameters else ()
        if inputs != self._inputs:
            self._inputs = inputs
            self._end("")
        self._menus.show()
        self.update()

    def _end(self, sentence: str, loud: bool = False) -> None:
        self._ending = (sentence, loud)

    def _on_review_changed(self, result: Result | None) -> None:
        self._end("")
        self._keep(result)
        self.update()

    def _keep(self, result: Result | None) -> None:
        if self._parameters is not None:
            nodes = (result.transform, result.warped, result.jacobian, result.table) if result else (None,) * 4
            with slicer.util.NodeModify(self._parameters.parameterNode):
                keep_result(self._parameters, *nodes)


def take_keyboard(box: Any) -> None:
    """Let the letter in a node menu's label lead into it: by itself only the menu inside takes the keyboard."""
    for child in box.children():
        if child.inherits("QComboBox"):
            box.setFocusProxy(child)
            box.setFocusPolicy(qt.Qt.StrongFocus)


def _result_of(parameters: Parameters | None) -> Result | None:
    """Return the result that a scene holds."""
    if parameters is None or not (parameters.result_transform and parameters.result_warped):
        return None
    transform = parameters.result_transform
    fixed = transform.GetNodeReference(transform.GetFixedNodeReferenceRole())
    moving = transform.GetNodeReference(transform.GetMovingNodeReferenceRole())
    if fixed is None:
        return None
    return Result(
        fixed, moving, transform, parameters.result_warped, parameters.result_jacobian, parameters.result_table
    )
