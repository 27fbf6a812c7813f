"""What a result is based on: the software, the model, the device and the settings. Made once for all images."""

from collections.abc import Mapping
from dataclasses import dataclass

from cxr_edge._version import __version__
from cxr_edge.model.labels import Label
from cxr_edge.model.settings import Settings


@dataclass(frozen=True)
class Provenance:
    """What the results of a model with some settings are based on. Made by `Model.provenance`.

    Attributes
    ----------
    model : str
        Identity of the bundle: name, version, and the first digits of its hash.
    name : str
        Name and version of the bundle.
    bundle_sha256 : str
    device : str
    precision : str
    gate : str
        The figures of the gate that the precision passed, in words.
    settings : Settings
    labels : tuple of Label
    thresholds : mapping
        Finding → threshold of the operating point.
    fitted_on : str
        The images that the thresholds were fitted on.
    calibrated_on : str
        The images that the calibration was fitted on; empty where raw probabilities are emitted.
    maps : str
        Name of the method of the heat maps; empty for a bundle without them.
    version : str
        Version of the software.
    """

    model: str
    name: str
    bundle_sha256: str
    device: str
    precision: str
    gate: str
    settings: Settings
    labels: tuple[Label, ...]
    thresholds: Mapping[str, float]
    fitted_on: str
    calibrated_on: str
    maps: str
    version: str = __version__

    def __hash__(self) -> int:
        return hash((self.bundle_sha256, self.version, self.precision, self.settings))

    def identity(self) -> dict[str, str]:
        """Return what makes results comparable; results of another identity must not be mixed with these."""
        return {
            "bundle_sha256": self.bundle_sha256,
            "tta_mode": self.settings.tta_mode,
            "operating_point": self.settings.operating_point,
            "device": self.device,
            "precision": self.precision,
            "version": self.version,
        }
