"""Outlines of the heat maps' peaks as a presentation state, which viewers draw over the image itself."""

import re
from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
from highdicom import pr
from pydicom.dataset import Dataset

from cxr_edge.images.dicom.display.presentation import Display
from cxr_edge.images.dicom.header import tags
from cxr_edge.images.dicom.header.pixel_shape import PixelShape, pixel_shape
from cxr_edge.model.heatmaps import upsample
from cxr_edge.model.provenance import Provenance
from cxr_edge.model.results import Finding, Result
from cxr_edge.outputs.dicom import codes
from cxr_edge.outputs.dicom.finish import finished
from cxr_edge.outputs.dicom.geometry import put_shutter
from cxr_edge.outputs.dicom.header import Header
from cxr_edge.outputs.dicom.levels import decimal, put_levels
from cxr_edge.outputs.dicom.origin import equipment, result_uid, software_versions
from cxr_edge.support.maker import MAKER, SOFTWARE

SERIES_NUMBER: Final = 9003
#: Share of a heat map's maximum above which a point belongs to the peak region: the level at which boxes are drawn from
#: class activation maps of the same images (Wang et al. 2017 try several; half the maximum is the usual contour).
PEAK: Final = 0.5
#: Side of the grid on which a map is outlined: maps have far fewer values, and viewers draw fewer points.
_GRID: Final = 256
#: Largest distance between outline and contour, in cells of that grid.
_TOLERANCE: Final = 0.75
#: Text at every outline where the image may not be an upright frontal chest radiograph; the report states why.
_DOUBT: Final = "doubtful image: see the report"
#: Type of a modality LUT's output where the image states none, or an invalid one: unspecified.
_UNSPECIFIED: Final = "US"


def presentation_state(
    header: Header, display: Display, result: Result, findings: Sequence[Finding], provenance: Provenance
) -> Dataset:
    """Return the outlines of the peak regions of findings, as a presentation state.

    Parameters
    ----------
    header : Header
    display : Display
        How the image was decoded; the state shows it in the same way.
    result : Result
        With heat maps.
    findings : sequence of Finding
        Findings whose heat maps are not empty.
    provenance : Provenance

    Returns
    -------
    pydicom.Dataset
        A Grayscale Softcopy Presentation State, with one layer per finding.

    Raises
    ------
    InvalidHeader, ValueError, TypeError
        A presentation state cannot hold the image's grey levels.
    """
    image = header.reference
    layers = [
        pr.GraphicLayer(layer_name=f"AI {number}", order=number, description=finding.label)
        for number, finding in enumerate(findings, 1)
    ]
    state = pr.GrayscaleSoftcopyPresentationState(
        referenced_images=[image],
        series_instance_uid=result_uid(provenance, header.key, "presentation series"),
        series_number=SERIES_NUMBER,
        series_description="AI outlines: research, not for diagnosis",
        sop_instance_uid=state_uid(provenance, header.key, [finding.label for finding in findings]),
        instance_number=1,
        manufacturer=MAKER,
        manufacturer_model_name=SOFTWARE,
        software_versions=software_versions(provenance)[0],  # both: see `finished`
        device_serial_number=provenance.bundle_sha256[:16],
        content_label="AI_FINDINGS",
        content_description="AI findings: research, not for diagnosis",
        concept_name=codes.OF_INTEREST,
        graphic_layers=layers,
        graphic_annotations=[
            _annotation(image, result, finding, layer) for finding, layer in zip(findings, layers, strict=True)
        ],
        contributing_equipment=[equipment(provenance)],
    )
    state.Laterality = ""  # required of every series, but images may lack it
    put_levels(state, display, _modality_type(header))
    if display.shutter is not None:
        put_shutter(state, display.shutter)
    _put_pixel_shape(state.DisplayedAreaSelectionSequence[0], pixel_shape(header.elements))
    return finished(state, header, provenance)


def state_uid(provenance: Provenance, key: str, labels: Sequence[str]) -> str:
    """Return the UID of the presentation state with the outlines of labels, of an image with this key."""
    return result_uid(provenance, key, "presentation", *labels)


def _modality_type(header: Header) -> str:
    types = [item.text(tags.LUT_TYPE) for item in header.elements.items(tags.MODALITY_LUT)][:1]
    return types[0] if types and re.fullmatch("[A-Z_]{1,16}", types[0]) else _UNSPECIFIED


def _put_pixel_shape(area: Dataset, shape: PixelShape) -> None:
    """Write the pixel shape as one of the two attributes for it (PS3.3, C.10.4)."""
    if shape.spacing is None:
        area.PresentationPixelAspectRatio = [*shape.ratio]
        return
    del area.PresentationPixelAspectRatio
    area.PresentationPixelSpacing = [*map(decimal, shape.spacing)]


def outline(activation: npt.NDArray[np.float32], size: tuple[int, int]) -> npt.NDArray[np.float64]:
    """Return the outline of the region around a heat map's maximum whose values are at least `PEAK` of it.

    Parameters
    ----------
    activation : ndarray, (h, w) float32
        At least one value is above 0.
    size : (int, int)
        Height and width of the image.

    Returns
    -------
    ndarray, (N, 2) float64
        Columns and rows of the image, from 0 at the outer edge of the first pixel; the last point repeats the first.
    """
    enlarged = upsample(activation, (_GRID, _GRID))
    _, regions = cv2.connectedComponents((enlarged >= PEAK).astype(np.uint8))
    peak = regions == regions.flat[int(enlarged.argmax())]
    contours, _ = cv2.findContours(peak.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    simple = cv2.approxPolyDP(max(contours, key=cv2.contourArea), _TOLERANCE, closed=True)[:, 0]
    points = (simple + 0.5) * (size[1] / _GRID, size[0] / _GRID)
    return np.concatenate([points, points[:1]])


def _annotation(image: Dataset, result: Result, finding: Finding, layer: pr.GraphicLayer) -> pr.GraphicAnnotation:
    points = outline(result.map_of(finding.label), result.size)
    highest = points[points[:, 1].argmin()]
    text = [f"AI: {finding.label} {finding.probability:.2f}", "not for diagnosis"]
    if result.doubts:
        text.append(_DOUBT)
    return pr.GraphicAnnotation(
        referenced_images=[image],
        graphic_layer=layer,
        graphic_objects=[
            pr.GraphicObject(graphic_type="POLYLINE", graphic_data=points, units="PIXEL", is_filled=False)
        ],
        text_objects=[
            pr.TextObject(
                text_value="\r\n".join(text),
                anchor_point=(float(highest[0]), float(highest[1])),
                units="PIXEL",
            )
        ],
    )
