"""The outlines of the heat maps' peaks as a presentation state, which a viewer draws over the film itself."""

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
from highdicom import PresentationLUTTransformation, pr
from pydicom.dataset import Dataset

from cxr_edge.dicom.write import codes
from cxr_edge.dicom.write.header import Header
from cxr_edge.dicom.write.origin import MAKER, NAME, Origin, finished
from cxr_edge.gradcam import upsample
from cxr_edge.results import Finding, Result

SERIES_NUMBER: Final = 9003
#: Share of a heat map's maximum above which it counts as its peak region: the level at which boxes are drawn from
#: class activation maps of the same films (Wang et al. 2017 try several; half the maximum is the usual contour).
PEAK: Final = 0.5
#: The map is outlined on a grid of this side: it has 7x7 values, and a viewer need not draw thousands of points.
_GRID: Final = 256
#: How far, in cells of that grid, the outline may stray from the contour.
_TOLERANCE: Final = 0.75


def presentation_state(header: Header, result: Result, findings: Sequence[Finding], origin: Origin) -> Dataset:
    """Outline where the model looked, for each of some findings.

    Parameters
    ----------
    header : Header
    result : Result
        With heat maps.
    findings : sequence of Finding
        Whose maps are not empty.
    origin : Origin

    Returns
    -------
    pydicom.Dataset
        A Grayscale Softcopy Presentation State, with a layer for each finding.
    """
    film = header.reference
    layers = [
        pr.GraphicLayer(layer_name=f"AI {number}", order=number, description=finding.label)
        for number, finding in enumerate(findings, 1)
    ]
    state = pr.GrayscaleSoftcopyPresentationState(
        referenced_images=[film],
        series_instance_uid=origin.uid(header.instance, "presentation series"),
        series_number=SERIES_NUMBER,
        series_description="AI outlines: research, not for diagnosis",
        sop_instance_uid=origin.uid(header.instance, "presentation", *(finding.label for finding in findings)),
        instance_number=1,
        manufacturer=MAKER,
        manufacturer_model_name=NAME,
        software_versions=origin.software_versions[0],  # both: see `finished`
        device_serial_number=origin.bundle_sha256[:16],
        content_label="AI_FINDINGS",
        content_description="AI findings: research, not for diagnosis",
        concept_name=codes.OF_INTEREST,
        graphic_layers=layers,
        graphic_annotations=[
            _annotation(film, result, finding, layer) for finding, layer in zip(findings, layers, strict=True)
        ],
        presentation_lut_transformation=PresentationLUTTransformation(presentation_lut_shape=film.PresentationLUTShape),
        contributing_equipment=[origin.equipment()],
    )
    state.Laterality = ""
    if "ModalityLUTSequence" in film:  # highdicom takes over a rescale only
        state.ModalityLUTSequence = film.ModalityLUTSequence
    return finished(state, header.shared, origin)


def outline(activation: npt.NDArray[np.float32], size: tuple[int, int]) -> npt.NDArray[np.float64]:
    """Outline the region around a heat map's maximum where it is above `PEAK` of it.

    Parameters
    ----------
    activation : ndarray, (h, w) float32
        With a value above 0.
    size : (int, int)
        Height and width of the film.

    Returns
    -------
    ndarray, (N, 2) float64
        Columns and rows of the film, from 0 at the outer edge of the first pixel; the last point is the first.
    """
    enlarged = upsample(activation, (_GRID, _GRID))
    _, regions = cv2.connectedComponents((enlarged >= PEAK).astype(np.uint8))
    peak = regions == regions.flat[int(enlarged.argmax())]
    contours, _ = cv2.findContours(peak.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    simple = cv2.approxPolyDP(max(contours, key=cv2.contourArea), _TOLERANCE, closed=True)[:, 0]
    points = (simple + 0.5) * (size[1] / _GRID, size[0] / _GRID)
    return np.concatenate([points, points[:1]])


def _annotation(film: Dataset, result: Result, finding: Finding, layer: pr.GraphicLayer) -> pr.GraphicAnnotation:
    points = outline(result.map_of(finding.label), result.size)
    highest = points[points[:, 1].argmin()]
    return pr.GraphicAnnotation(
        referenced_images=[film],
        graphic_layer=layer,
        graphic_objects=[
            pr.GraphicObject(graphic_type="POLYLINE", graphic_data=points, units="PIXEL", is_filled=False)
        ],
        text_objects=[
            pr.TextObject(
                text_value=f"AI: {finding.label} {finding.probability:.2f}\r\nnot for diagnosis",
                anchor_point=(float(highest[0]), float(highest[1])),
                units="PIXEL",
            )
        ],
    )
