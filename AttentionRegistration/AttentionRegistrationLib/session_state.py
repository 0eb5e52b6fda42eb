"""What a session of MRI and ultrasound holds, kept in a node of the scene: the chosen nodes and the history."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from AttentionRegistrationLib.request import Node

TAG = "AttentionRegistrationSession"
MRI, TRUS, GLAND, TRUS_GLAND, TARGETS, MODEL = ROLES = ("mri", "trus", "gland", "trus_gland", "targets", "model")
ACCEPTED, REJECTED, OPEN = "accepted", "rejected", ""
SURE_MM = 3.0  # the engine's own limit for the spread of an ensemble

_CARRIER = "carrier"


@dataclass
class Entry:
    """One registration of the session.

    Attributes:
        number: from 1.
        at: local date and time of its end, as ISO 8601 has it.
        seconds: from the change of the ultrasound, or from the click, to the nodes.
        engine_seconds: of these, what the engine took.
        spread_mm: how far the runs of the ensemble lie apart; None: not known.
        sre_mm: surface registration error against the glands' alignment; None: no gland of the ultrasound.
        dsc: overlap of the glands; None likewise.
        verdict: `ACCEPTED`, `REJECTED` or `OPEN`.
        late: the ultrasound has changed while it was registered.
        notes: sentences of the engine.
        facts: device, versions, models, weights with their SHA-256, and settings.
    """

    number: int
    at: str
    seconds: float
    engine_seconds: float
    spread_mm: float | None = None
    sre_mm: float | None = None
    dsc: float | None = None
    verdict: str = OPEN
    late: bool = False
    notes: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def sure(self) -> bool | None:
        """Whether the runs agree; None: not known."""
        return None if self.spread_mm is None else self.spread_mm <= SURE_MM


@dataclass(frozen=True)
class Nodes:
    """The nodes of one registration, None where one is gone.

    Attributes:
        to_trus: carries what is under it from the MRI into the space of the ultrasound.
        warped: the ultrasound on the MRI's grid.
        attention: attention maps on the MRI's grid.
        everything: these and all others.
    """

    to_trus: Node
    warped: Node
    attention: tuple[Node, ...] = ()
    everything: tuple[Node, ...] = ()


class State:
    """A session in a scene; made where there is none.

    Args:
        scene: Slicer's.
    """

    def __init__(self, scene: Any) -> None:
        self.scene = scene
        self.node = scene.GetSingletonNode(TAG, "vtkMRMLScriptedModuleNode") or scene.AddNode(_made(scene))
        self.node.SetAttribute("ModuleName", TAG)

    def get(self, role: str) -> Node:
        """Return the node of a role, or None."""
        return self.node.GetNodeReference(role)

    def choose(self, role: str, node: Node) -> None:
        """Give a role to a node, or to none."""
        self.node.SetNodeReferenceID(role, node.GetID() if node else None)

    @property
    def segment(self) -> str:
        """Identifier of the gland's segment in the MRI; empty: the first."""
        return self.node.GetParameter("segment")

    @segment.setter
    def segment(self, identifier: str) -> None:
        self.node.SetParameter("segment", identifier)

    @property
    def automatic(self) -> bool:
        """Whether a change of the ultrasound is registered by itself."""
        return bool(self.node.GetParameter("automatic") == "True")

    @automatic.setter
    def automatic(self, on: bool) -> None:
        self.node.SetParameter("automatic", str(on))

    @property
    def outdated_gland(self) -> bool:
        """Whether the ultrasound has changed since its gland was outlined."""
        return bool(self.node.GetParameter("outdatedGland") == "True")

    @outdated_gland.setter
    def outdated_gland(self, is_so: bool) -> None:
        if is_so != self.outdated_gland:
            self.node.SetParameter("outdatedGland", str(is_so))

    @property
    def entries(self) -> list[Entry]:
        """The history, the oldest first."""
        return [Entry(**entry) for entry in json.loads(self.node.GetParameter("history") or "[]")]

    @entries.setter
    def entries(self, entries: Sequence[Entry]) -> None:
        self.node.SetParameter("history", json.dumps([asdict(entry) for entry in entries]))

    @property
    def order(self) -> list[int]:
        """Numbers of what was accepted, the last one counts."""
        return [int(number) for number in json.loads(self.node.GetParameter("accepted") or "[]")]

    @order.setter
    def order(self, numbers: Sequence[int]) -> None:
        self.node.SetParameter("accepted", json.dumps(list(numbers)))

    @property
    def carrier(self) -> Node:
        """The transform that the targets and segments are under; None: nothing is accepted."""
        return self.get(_CARRIER)

    @carrier.setter
    def carrier(self, transform: Node) -> None:
        self.choose(_CARRIER, transform)

    def nodes(self, number: int) -> Nodes:
        """Return the nodes of a registration."""
        attention, everything = (tuple(self._many(f"{role}{number}")) for role in ("attention", "nodes"))
        return Nodes(self.get(f"transform{number}"), self.get(f"warped{number}"), attention, everything)

    def keep(self, number: int, nodes: Nodes) -> None:
        """Remember the nodes of a registration."""
        self.choose(f"transform{number}", nodes.to_trus)
        self.choose(f"warped{number}", nodes.warped)
        for role, several in (("attention", nodes.attention), ("nodes", nodes.everything)):
            self.node.RemoveNodeReferenceIDs(f"{role}{number}")
            for node in several:
                self.node.AddNodeReferenceID(f"{role}{number}", node.GetID())

    def forget(self, number: int) -> None:
        """Remember no nodes of a registration: new ones may one day have their identifiers."""
        for role in ("transform", "warped", "attention", "nodes"):
            self.node.RemoveNodeReferenceIDs(f"{role}{number}")

    def _many(self, role: str) -> list[Node]:
        found = [self.node.GetNthNodeReference(role, n) for n in range(self.node.GetNumberOfNodeReferences(role))]
        return [node for node in found if node is not None]


def _made(scene: Any) -> Node:
    node = scene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
    node.UnRegister(None)
    node.SetSingletonTag(TAG)
    node.SetName(TAG)
    return node
