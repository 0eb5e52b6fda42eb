"""Registration networks by name.

To add one: write ``regcore/models/<family>.py`` with a `RegistrationModel` and a function decorated with
`register_model`, and import it below; the tests of all registered models then cover it.
"""

from regcore.models import air as air
from regcore.models import attention_reg as attention_reg
from regcore.models import caml as caml
from regcore.models import pan as pan
from regcore.models import resaatt as resaatt
from regcore.models._checkpoint import Provenance, load_model, save_model
from regcore.models._factory import create_model
from regcore.models._registry import ModelInfo, dimension_option, list_models, model_info
from regcore.models.base import Network, Prediction, RegistrationModel, RigidModel

__all__ = [
    "ModelInfo",
    "Network",
    "Prediction",
    "Provenance",
    "RegistrationModel",
    "RigidModel",
    "create_model",
    "dimension_option",
    "list_models",
    "load_model",
    "model_info",
    "save_model",
]
