"""The path from the bytes of an image to its written outputs; shared by runs, the node and the demo."""

from collections.abc import Sequence
from dataclasses import dataclass

from cxr_edge import images
from cxr_edge.model.model import Model
from cxr_edge.model.provenance import Provenance
from cxr_edge.model.record import ResultRecord
from cxr_edge.model.settings import Settings
from cxr_edge.outputs.base import Analysis, Output, write_outputs


@dataclass(frozen=True)
class Analyser:
    """A model with its settings and its outputs; safe to use from several threads.

    Attributes
    ----------
    model : Model
    settings : Settings
        With heat maps, if any output needs them.
    provenance : Provenance
    outputs : sequence of Output
    """

    model: Model
    settings: Settings
    provenance: Provenance
    outputs: Sequence[Output]

    @classmethod
    def of(cls, model: Model, settings: Settings, outputs: Sequence[Output]) -> "Analyser":
        """Return a model with settings, outputs, and the provenance that follows from them.

        Heat maps are computed if any output draws them, whatever the settings.

        Raises
        ------
        HeatmapUnavailable
            An output draws heat maps, and the bundle has none.
        """
        if any(output.needs_heatmaps for output in outputs):
            settings = model.with_heatmaps(settings)
        return cls(model, settings, model.provenance(settings), outputs)

    def analyse(self, data: bytes, name: str, *, path: str | None, sha256: str | None = None) -> Analysis:
        """Read an image and decide on it; nothing is written.

        Parameters
        ----------
        data : bytes
            A PNG, JPEG or DICOM file.
        name : str
            See `Analysis`.
        path : str or None
            The path in its record.
        sha256 : str, optional
            Hash of `data`, where it is known already.

        Raises
        ------
        InputError, DeviceFailed
        """
        image = images.decode(data, self.model.limits, sha256)
        evaluation = self.model.evaluate(image, self.settings, path=path)
        return Analysis(name, image, self.model.decide(evaluation, self.settings), self.provenance)

    def run(self, data: bytes, name: str, *, path: str | None, sha256: str | None = None) -> ResultRecord:
        """Read an image, decide on it, and write all outputs; see `analyse`.

        Raises
        ------
        InputError, DeviceFailed, OutputUnwritable
        """
        return write_outputs(self.analyse(data, name, path=path, sha256=sha256), self.outputs)
