"""Who says it: the software, the model and its settings, as every result object names them."""

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import highdicom as hd
from highdicom.coding_schemes import CodingSchemeIdentificationItem
from pydicom.dataset import Dataset

from cxr_edge import __version__
from cxr_edge.dicom.write import codes
from cxr_edge.manifest import Evaluated

if TYPE_CHECKING:
    from cxr_edge.model import Model

NAME: Final = "cxr-edge"
MAKER: Final = "cxr-edge project"
#: Under which UIDs are derived, so that no other software derives the same ones.
_NAMESPACE: Final = uuid.UUID("6c0b3a54-5e0f-5d0b-9d43-2a7f0c1d9e11")
#: Characters of a value of VR LO, and of one of VR SH (PS3.5, 6.2).
_LONG: Final = 64
_SHORT: Final = 16


@dataclass(frozen=True)
class Origin:
    """What a result depends on, its film aside.

    Attributes
    ----------
    model : str
        Name and version of the bundle.
    bundle_sha256 : str
    precision : str
    view_mode : str
    operating_point : str
    thresholds : dict of str to float
        By disease.
    """

    model: str
    bundle_sha256: str
    precision: str
    view_mode: Evaluated
    operating_point: str
    thresholds: dict[str, float]

    @classmethod
    def of(cls, model: "Model", view_mode: Evaluated, operating_point: str) -> "Origin":
        """Name a loaded model and the settings it is used with."""
        manifest = model.manifest
        return cls(
            model=f"{manifest.name} {manifest.version}",
            bundle_sha256=model.bundle_sha256,
            precision=model.precision,
            view_mode=view_mode,
            operating_point=operating_point,
            thresholds=dict(manifest.thresholds(operating_point, "single" if view_mode == "single" else "tta")),
        )

    def uid(self, *parts: str) -> str:
        """Derive a UID that the same film, software, model and settings give again.

        Parameters
        ----------
        parts : str
            What it is for: the film's key and the kind of object.
        """
        depends_on = (NAME, __version__, self.bundle_sha256, self.precision, self.view_mode, self.operating_point)
        return derived_uid(*depends_on, *parts)

    @property
    def device_uid(self) -> str:
        """UID of the software with this model."""
        return derived_uid(NAME, __version__, self.bundle_sha256)

    @property
    def software_versions(self) -> list[str]:
        """The software's version, the model's, and its hash."""
        return [f"{NAME} {__version__}"[:_LONG], self.model[:_LONG], f"sha256:{self.bundle_sha256[:16]}"]

    def parameters(self) -> list[str]:
        """Give the settings as text, for the identification of the algorithm."""
        return [
            f"model={self.model}",
            f"bundle_sha256={self.bundle_sha256}",
            f"precision={self.precision}",
            f"view_mode={self.view_mode}",
            f"operating_point={self.operating_point}",
        ]

    def equipment(self) -> hd.ContributingEquipment:
        """Give the software as the equipment that contributed to an object (PS3.3, C.12.1)."""
        equipment = hd.ContributingEquipment(
            purpose_of_reference=codes.PROCESSING_EQUIPMENT,
            manufacturer=MAKER,
            manufacturer_model_name=f"{NAME} {self.model}"[:_LONG],
            software_versions=tuple(self.software_versions),
            contribution_description="Findings of a chest X-ray model; research, not for diagnosis",
        )
        equipment.DeviceUID = self.device_uid
        return equipment


def derived_uid(*parts: str) -> str:
    """Derive a UID from what makes its object the one it is (PS3.5, B.2)."""
    return f"2.25.{uuid.uuid5(_NAMESPACE, chr(10).join(parts)).int}"


def coding_scheme() -> CodingSchemeIdentificationItem:
    """Declare our own coding scheme (PS3.3, C.12.1.1.3)."""
    return CodingSchemeIdentificationItem(
        designator=codes.SCHEME,
        name=codes.SCHEME_NAME,
        version=__version__[:_SHORT],
        responsible_organization=MAKER,
    )


def finished(made: Dataset, shared: Dataset, origin: Origin) -> Dataset:
    """Give an object its patient, its study and its maker.

    Parameters
    ----------
    made : pydicom.Dataset
        As highdicom made it, without a patient.
    shared : pydicom.Dataset
        Patient and study, encoded as in the film.
    origin : Origin
    """
    for tag in shared.keys():  # noqa: SIM118 - a data set iterates over elements, not tags
        made[tag] = shared.get_item(tag)
    made.ManufacturerModelName = NAME
    made.SoftwareVersions = origin.software_versions
    made.DeviceSerialNumber = origin.bundle_sha256[:16]
    return made
