"""Registration networks by name.

To add one: write ``regcore/models/<family>.py`` with a `RegistrationModel` and a function decorated with
`register_model`, and import it below; the tests of all registered models then cover it.
"""

from regcore.models import pan as pan
from regcore.models._checkpoint import load_model, save_model
from regcore.models._factory import create_model
from regcore.models._registry import ModelInfo, list_models, model_info
from regcore.models.base import Prediction, RegistrationModel

__all__ = [
    "ModelInfo",
    "Prediction",
    "RegistrationModel",
    "create_model",
    "list_models",
    "load_model",
    "model_info",
    "save_model",
]
