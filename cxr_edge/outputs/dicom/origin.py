"""Origin of results: the software, the model and its settings, as every result object states them."""

import uuid
from typing import Final

import highdicom as hd
from highdicom.coding_schemes import CodingSchemeIdentificationItem

from cxr_edge.model.provenance import Provenance
from cxr_edge.outputs.dicom import codes
from cxr_edge.support.maker import MAKER, SOFTWARE

#: Namespace of derived UIDs, so that no other software derives the same ones.
_NAMESPACE: Final = uuid.UUID("6c0b3a54-5e0f-5d0b-9d43-2a7f0c1d9e11")
#: Most characters of a value of VR LO, and of VR SH (PS3.5, 6.2).
_LONG: Final = 64
_SHORT: Final = 16


def result_uid(provenance: Provenance, *parts: str) -> str:
    """Derive a UID; the same image, software, model and settings always give the same one.

    Parameters
    ----------
    provenance : Provenance
    parts : str
        What the UID identifies: the image's key and the kind of object.
    """
    settings = provenance.settings
    return derived_uid(
        SOFTWARE,
        provenance.version,
        provenance.bundle_sha256,
        provenance.precision,
        settings.tta_mode,
        settings.operating_point,
        *parts,
    )


def device_uid(provenance: Provenance) -> str:
    """Return the UID of the software with this model."""
    return derived_uid(SOFTWARE, provenance.version, provenance.bundle_sha256)


def software_versions(provenance: Provenance) -> list[str]:
    """Return the versions of the software and the model, and the model's hash."""
    return [
        f"{SOFTWARE} {provenance.version}"[:_LONG],
        provenance.name[:_LONG],
        f"sha256:{provenance.bundle_sha256[:16]}",
    ]


def parameters(provenance: Provenance) -> list[str]:
    """Return the settings as text, for the identification of the algorithm."""
    return [
        f"model={provenance.name}",
        f"bundle_sha256={provenance.bundle_sha256}",
        f"precision={provenance.precision}",
        f"tta_mode={provenance.settings.tta_mode}",
        f"operating_point={provenance.settings.operating_point}",
    ]


def equipment(provenance: Provenance) -> hd.ContributingEquipment:
    """Return the software as the equipment that contributed to an object (PS3.3, C.12.1)."""
    made = hd.ContributingEquipment(
        purpose_of_reference=codes.PROCESSING_EQUIPMENT,
        manufacturer=MAKER,
        manufacturer_model_name=f"{SOFTWARE} {provenance.name}"[:_LONG],
        software_versions=tuple(software_versions(provenance)),
        contribution_description="Findings of a chest X-ray model; research, not for diagnosis",
    )
    made.DeviceUID = device_uid(provenance)
    return made


def derived_uid(*parts: str) -> str:
    """Derive a UID from everything that identifies its object (PS3.5, B.2)."""
    return f"2.25.{uuid.uuid5(_NAMESPACE, chr(10).join(parts)).int}"


def coding_scheme(provenance: Provenance) -> CodingSchemeIdentificationItem:
    """Return the declaration of the private coding scheme (PS3.3, C.12.1.1.3)."""
    return CodingSchemeIdentificationItem(
        designator=codes.SCHEME,
        name=codes.SCHEME_NAME,
        version=provenance.version[:_SHORT],
        responsible_organization=MAKER,
    )
