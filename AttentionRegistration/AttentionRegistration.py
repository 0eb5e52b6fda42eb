"""The classes that Slicer looks for in the module; what they do is in AttentionRegistrationLib."""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

from AttentionRegistrationLib import install, sample_data
from AttentionRegistrationLib.choices import preset_folder, read_presets
from AttentionRegistrationLib.logic import Logic, register_volumes
from AttentionRegistrationLib.parameters import Parameters
from AttentionRegistrationLib.results import Outcome
from AttentionRegistrationLib.series import register_sequence
from AttentionRegistrationLib.series_results import SeriesOutcome
from AttentionRegistrationLib.series_widget import SeriesTab
from AttentionRegistrationLib.session_widget import SessionTab
from AttentionRegistrationLib.widget import Panel


class AttentionRegistration(ScriptedLoadableModule):
    """What Slicer lists."""

    def __init__(self, parent: Any) -> None:
        super().__init__(parent)
        parent.title = _("Attention Registration")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Registration")]
        parent.dependencies = []
        parent.contributors = ["AttentionRegistration developers"]
        parent.helpText = _(
            "Registers a moving volume to a fixed one with attention networks, and refines the result on the pair "
            "itself: MRI and ultrasound of the prostate, brains, abdomen, hearts, or any pair. Choose a preset and "
            "the two volumes, then press Register. The result is a transform, a warped volume, a map of local volume "
            "change and a table of figures. For research, not for clinical use."
        )
        parent.acknowledgementText = _(
            "The networks follow published work, which each model's card cites. The engine, regcore, is part of this "
            "extension and also runs without Slicer."
        )
        slicer.app.connect("startupCompleted()", lambda: sample_data.register(self.resourcePath("")))


class AttentionRegistrationWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel in Slicer: it comes and goes with the module and with scenes."""

    def __init__(self, parent: Any = None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic: AttentionRegistrationLogic
        self.panel: Panel
        self.session: SessionTab
        self.series: SeriesTab

    def setup(self) -> None:
        """Build the panel."""
        ScriptedLoadableModuleWidget.setup(self)
        widget = slicer.util.loadUI(self.resourcePath("UI/AttentionRegistration.ui"))
        self.layout.addWidget(widget)
        self.ui = slicer.util.childWidgetVariables(widget)
        widget.setMRMLScene(slicer.mrmlScene)
        self.logic = AttentionRegistrationLogic()
        self.panel = Panel(self.ui, self.logic.engine, read_presets(preset_folder(__file__)))
        tab = slicer.util.loadUI(self.resourcePath("UI/MriTrusSession.ui"))
        self.ui.tabs.addTab(tab, _("MRI-TRUS session"))
        tab.setMRMLScene(slicer.mrmlScene)
        widgets = slicer.util.childWidgetVariables(tab)
        self.session = SessionTab(widgets, tab, self.logic.engine, partial(self.panel.wait_for, "session"))
        self.session.set_scene(slicer.mrmlScene)
        tab = slicer.util.loadUI(self.resourcePath("UI/CineSeries.ui"))
        self.ui.tabs.addTab(tab, _("Cine series"))
        tab.setMRMLScene(slicer.mrmlScene)
        widgets = slicer.util.childWidgetVariables(tab)
        leave_to = partial(self.panel.wait_for, "series")
        self.series = SeriesTab(widgets, tab, self.logic.engine, self.panel.method, leave_to)
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(scene, scene.EndImportEvent, self.onSceneEndClose)
        self._show_parameters()

    def enter(self) -> None:
        """The user comes: the engine starts if it can, so that its devices and models are known."""
        self.panel.enter(self.logic.getParameterNode())

    def exit(self) -> None:
        """The user goes."""
        self.panel.leave()

    def cleanup(self) -> None:
        """The module is unloaded."""
        self.removeObservers()
        self.session.close()
        self.series.close()
        self.panel.close()

    def onReload(self) -> None:
        """Read the library again too."""
        for name in [name for name in sys.modules if name.partition(".")[0] == "AttentionRegistrationLib"]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)

    def onSceneStartClose(self, caller: Any, event: str) -> None:
        """The nodes are about to go."""
        self.session.set_scene(None)
        self.series.scene_closes()
        self.panel.scene_closes()

    def onSceneEndClose(self, caller: Any, event: str) -> None:
        """Another scene is there."""
        self._show_parameters()
        self.session.set_scene(slicer.mrmlScene)

    def _show_parameters(self) -> None:
        parameters = self.logic.getParameterNode()
        self.panel.set_parameters(parameters)
        self.series.set_parameters(parameters)


class AttentionRegistrationLogic(ScriptedLoadableModuleLogic):
    """For scripts and other modules.

    Attributes:
        engine: the registrations; its worker stays warm from one to the next.
    """

    def __init__(self) -> None:
        super().__init__()
        self.engine = Logic()

    def getParameterNode(self) -> Any:
        """Return the panel's choices, a `Parameters` kept in the scene."""
        wrap: Any = Parameters
        return wrap(super().getParameterNode())

    def registerVolumes(self, fixed: Any, moving: Any, **options: Any) -> Outcome:
        """Register two volume nodes and wait for it; options as in `AttentionRegistrationLib.logic.register_volumes`.

        Raises:
            ValueError: the volumes or the options cannot be registered.
            RegistrationError: the registration failed.
        """
        return register_volumes(fixed, moving, logic=self.engine, **options)

    def registerSequence(self, sequence: Any, reference: int = 0, **options: Any) -> SeriesOutcome:
        """Register every frame of a sequence node to one; see `AttentionRegistrationLib.series.register_sequence`.

        Raises:
            ValueError: the sequence or the options cannot be registered.
            RegistrationError: a frame failed.
        """
        return register_sequence(sequence, reference, logic=self.engine, **options)


class AttentionRegistrationTest(ScriptedLoadableModuleTest):
    """The self test: registers two balls."""

    def setUp(self) -> None:
        """Begin with an empty scene."""
        slicer.mrmlScene.Clear()

    def runTest(self) -> None:
        """Run all tests."""
        self.setUp()
        self.test_registers_two_balls()

    def test_registers_two_balls(self) -> None:
        """The transform carries one centre to the other, 6 mm along R."""
        lacking = install.missing()
        if lacking:
            self.delayDisplay(f"Not tested: Slicer's Python has no {', '.join(lacking)}; register once to install it.")
            return
        fixed, moving = _ball("Fixed", 0.0), _ball("Moving", 6.0)
        logic = AttentionRegistrationLogic()
        try:
            outcome = logic.registerVolumes(fixed, moving, model="none", init=("centre",), refine=0, device="cpu")
        finally:
            logic.engine.close()
        to_fixed = vtk.vtkGeneralTransform()
        outcome.transform.GetTransformToWorld(to_fixed)
        assert np.linalg.norm(to_fixed.TransformPoint(6.0, 0.0, 0.0)) < 0.5
        assert outcome.warped.GetImageData().GetDimensions() == fixed.GetImageData().GetDimensions()
        self.delayDisplay("Test passed")


def _ball(name: str, right_mm: float) -> Any:
    """Add a volume of 32 voxels of 2 mm along each side with a ball in its middle, which lies at ``right_mm``."""
    k, j, i = np.indices((32, 32, 32)) - 15.5
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    node.SetSpacing(2.0, 2.0, 2.0)
    node.SetOrigin(right_mm - 31.0, -31.0, -31.0)
    slicer.util.updateVolumeFromArray(node, (100 / (1 + np.exp(np.sqrt(i**2 + j**2 + k**2) - 8))).astype(np.float32))
    return node
