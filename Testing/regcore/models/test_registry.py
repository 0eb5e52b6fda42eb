import pytest

from regcore.models import _registry, create_model, list_models, model_info
from regcore.models._registry import ModelInfo, register_model

INFO = ModelInfo("some-model", "rigid", (2,), "paper", 1.0, 8)


@pytest.fixture
def registry(monkeypatch):
    """A registry that forgets what the test adds."""
    monkeypatch.setattr(_registry, "_ENTRIES", dict(_registry._ENTRIES))


def test_names_are_listed_by_kind_and_dimensions(registry):
    register_model(INFO)(lambda: None)
    assert "pan" in list_models()
    assert "some-model" in list_models(kind="rigid")
    assert "pan" not in list_models(kind="rigid")
    assert "some-model" not in list_models(dimensions=3)
    assert model_info("some-model") is INFO


def test_a_name_is_registered_once(registry):
    register_model(INFO)(lambda: None)
    with pytest.raises(ValueError, match="'some-model' is registered already"):
        register_model(INFO)(lambda: None)


@pytest.mark.parametrize("name", ["Pan", "two words", "under_score", ""])
def test_names_are_kebab_case(registry, name):
    with pytest.raises(ValueError, match="joined by hyphens"):
        register_model(ModelInfo(name, "rigid", (2,), "paper", 1.0, 8))(lambda: None)


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"no model is called 'pam'; there are .*pan"):
        create_model("pam")


@pytest.mark.parametrize("name", ["weights/pan", "C:\\pan", "pan.safetensors"])
def test_paths_are_no_names(name):
    with pytest.raises(ValueError, match=r"looks like a path; load_model\(path\)"):
        create_model(name)


def test_unknown_options_are_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"no option depth; it has channels, mask_outside"):
        create_model("pan", depth=3)
