"""What models are called where people choose one."""

from __future__ import annotations

from regcore.models import ModelInfo

_TITLES = {
    "air": "AiR: a transformer alone",
    "air-mnist": "AiR for pictures of digits",
    "air-mnist-fine": "AiR for pictures of digits, finer patches",
    "attention-reg": "Attention-Reg: MRI and ultrasound of the prostate",
    "attention-reg-label": "Attention-Reg, label: the gland's mask and ultrasound of the prostate",
    "attention-reg-label-small": "Attention-Reg, label, half size",
    "attention-reg-small": "Attention-Reg, half size",
    "caml": "CAML: cross attention over several levels",
    "caml-brain": "CAML for brains",
    "caml-half": "CAML at half the resolution",
    "caml-small": "CAML, small",
    "feature-reg": "Feature-Reg: Attention-Reg without attention",
    "pan": "PAN: pyramid attention",
    "pan-any": "PAN for any anatomy",
    "pan-brain": "PAN for brains",
    "pan-brain-contrasts": "PAN for brains of different contrasts",
    "resaatt": "ReSAAtt: U-Net whose skip connections attend",
    "resaatt-brain": "ReSAAtt for slices of brains",
    "resaatt-cine": "ReSAAtt for slices of beating hearts",
    "resaatt-literal": "ReSAAtt to the letter of its paper",
    "unet": "U-Net without attention",
    "unet-brain": "U-Net for slices of brains, to compare with",
    "unet-cine": "U-Net for slices of beating hearts, to compare with",
}


def title_of(info: ModelInfo, network: str) -> str:
    """Return the title of a model.

    Args:
        info: of the model; its name is the user's own where it is not ``network``.
        network: registered name of its network.
    """
    title = _TITLES.get(info.name) or _TITLES.get(network, network)
    if info.name != network and info.name not in _TITLES:
        title = f"{info.name} ({title})"
    return f"{title}, {' and '.join(f'{axes}D' for axes in info.dimensions)}"
