"""Stand-ins for what the Slicer application adds to slicer-core: PythonQt, ctk, qMRML widgets and module bases."""

from .application import Installed, install, new_scene

__all__ = ["Installed", "install", "new_scene"]
