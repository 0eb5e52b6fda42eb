"""Sample data: generated pairs that come with the extension, so that they need no network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from slicer.i18n import tr as _

from AttentionRegistrationLib import compat

CATEGORY = "Attention Registration"


@dataclass(frozen=True)
class Sample:
    """A pair made by ``regcore phantom KIND --seed 1``.

    Attributes:
        kind: of phantom, and folder of the files.
        title: in the module Sample Data.
        checksums: SHA-256 of the files, by name.
    """

    kind: str
    title: str
    checksums: dict[str, str]


SAMPLES = [
    Sample(
        "brain",
        "Generated brain pair",
        {
            "fixed.nii.gz": "c821afa18e5b38ad10d5b745cb0884f4ed17de08aa54d1b75ebf1dded4deb702",
            "moving.nii.gz": "bf9f8da8f91d27dc5b89ba8cc99fae9d58e9f3f9531f59c043337adcea39e0e3",
        },
    ),
    Sample(
        "prostate",
        "Generated MRI and ultrasound of a prostate",
        {
            "fixed.nii.gz": "627926abc52b9e8bbaf9489cd19e360ac86aeedcc575abce8672f407c7941af5",
            "moving.nii.gz": "76840ab1e37e29cf29d4841a90b01f1305fb156b784ad107719d498a29122f6e",
            "fixed_labels.nii.gz": "19a39e4601a647ca21f9d7b2133d1283798d20ab8c758e84509e396487f08f80",
            "moving_labels.nii.gz": "d4fd6ecfa3357c167d3a31952a91863d7d39bed574fae4a0bbeeb45f3c0af5db",
        },
    ),
]


def register(resources: str) -> None:
    """Offer the samples in the module Sample Data.

    Args:
        resources: folder ``Resources`` of the module.
    """
    import SampleData  # Slicer's own module, there once Slicer has started

    compat.register_sample_category(SampleData.SampleDataLogic, CATEGORY)
    for sample in SAMPLES:
        folder = Path(resources).resolve() / "SampleData" / sample.kind
        SampleData.SampleDataLogic.registerCustomSampleDataSource(
            category=CATEGORY,
            sampleName=f"AttentionRegistration-{sample.kind}",
            sampleDescription=_(sample.title),
            thumbnailFileName=str(folder / "thumbnail.png"),
            uris=[(folder / name).as_uri() for name in sample.checksums],
            fileNames=[f"AttentionRegistration-{sample.kind}-{name}" for name in sample.checksums],
            nodeNames=[f"{sample.kind} {name.partition('.')[0].replace('_', ' ')}" for name in sample.checksums],
            loadFileType=["SegmentationFile" if "labels" in name else "VolumeFile" for name in sample.checksums],
            checksums=[f"SHA256:{digest}" for digest in sample.checksums.values()],
        )
