"""Outlines of the heat maps' peaks as a presentation state, which viewers draw over the image itself."""

import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
from highdicom import pr
from pydicom.dataset import Dataset

from cxr_edge.images.dicom.display.presentation import Display
from cxr_edge.images.dicom.header import tags
from cxr_edge.images.dicom.header.pixel_shape import pixel_shape
from cxr_edge.model.heatmaps import upsample
from cxr_edge.model.provenance import Provenance
from cxr_edge.model.results import Finding, Result
from cxr_edge.outputs.dicom import codes
from cxr_edge.outputs.dicom.geometry import put_shutter
from cxr_edge.outputs.dicom.header import Header
from cxr_edge.outputs.dicom.levels import decimal, put_levels
from cxr_edge.outputs.dicom.origin import equipment, result_uid, software_versions
from cxr_edge.outputs.dicom.prepared import KEY, fill, prepare, stand_in
from cxr_edge.outputs.dicom.template import Blank, Filled, Item, Template, encoded_data_set, find, item_of, parse
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
_ANNOTATIONS: Final = 0x00700001
_LAYERS: Final = 0x00700060
#: Sequences of text and of graphic objects in an annotation.
_OBJECTS: Final = (0x00700008, 0x00700009)
#: Tag in a layer or an annotation → name of what differs from outline to outline.
_BLANKS: Final = {
    0x00700002: "layer", 0x00700006: "text", 0x00700014: "anchor", 0x00700021: "count", 0x00700022: "points",
    0x00700062: "order", 0x00700068: "label",
}  # fmt: skip
#: Type of a modality LUT's output where the image states none, or an invalid one: unspecified.
_UNSPECIFIED: Final = "US"


def presentation_state(
    header: Header,
    display: Display,
    result: Result,
    findings: Sequence[Finding],
    provenance: Provenance,
    moment: datetime,
) -> bytes:
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
    moment : datetime
        When it is made.

    Returns
    -------
    bytes
        The file (PS3.10) of a Grayscale Softcopy Presentation State, with one layer per finding.

    Raises
    ------
    InvalidHeader, ValueError, TypeError
        A presentation state cannot hold the image's grey levels.
    """
    own = Dataset()
    own.DisplayedAreaSelectionSequence = [_displayed_area(header)]
    put_levels(own, display, _modality_type(header))
    if display.shutter is not None:
        put_shutter(own, display.shutter)
    prepared = _prepared(provenance)
    outlines = [_outlined(result, finding, number) for number, finding in enumerate(findings, 1)]
    values = {
        "layers": b"".join(item_of(prepared.layer.filled(outlined)) for outlined in outlines),
        "annotations": b"".join(
            item_of(prepared.annotation.filled({**header.identifiers, **outlined})) for outlined in outlines
        ),
    }
    elements = {element.tag: Filled([element]).filled({}) for element in parse(encoded_data_set(own))}
    return fill(
        prepared.document,
        header,
        moment,
        _uids(provenance, header.key, [finding.label for finding in findings]),
        values,
        elements,
    )


def _outlined(result: Result, finding: Finding, number: int) -> dict[str, bytes]:
    """Return what differs from outline to outline."""
    points, text = outline(result.map_of(finding.label), result.size), _text(result, finding)
    return {
        "layer": f"AI {number}".encode(),
        "order": str(number).encode(),
        "label": finding.label.encode(),
        "text": text.encode(),
        "anchor": _highest(points).astype("<f4").tobytes(),
        "count": struct.pack("<H", len(points)),
        "points": points.astype("<f4").tobytes(),
    }


def _text(result: Result, finding: Finding) -> str:
    doubt = [_DOUBT] if result.doubts else []
    return "\r\n".join([f"AI: {finding.label} {finding.probability:.2f}", "not for diagnosis", *doubt])


def _highest(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(points[points[:, 1].argmin()])


@dataclass(frozen=True)
class _Prepared:
    """A state in which what differs from image to image is left open.

    Attributes
    ----------
    document : Template
        With ``layers`` and ``annotations`` for the items of all findings.
    layer, annotation : Filled
        Of one finding: see `_outlined`.
    """

    document: Template
    layer: Filled
    annotation: Filled


@lru_cache(maxsize=16)
def _prepared(provenance: Provenance) -> _Prepared:
    made = built(stand_in(), KEY, [(KEY, KEY, np.zeros((2, 2)))], provenance)
    meta, elements = prepare(made, provenance, _uids(provenance, KEY, [KEY]))
    layers, annotations = find(elements, _LAYERS), find(elements, _ANNOTATIONS)
    (layer,), (annotation,) = layers.items, annotations.items
    layers.value, annotations.value = Blank("layers"), Blank("annotations")
    return _Prepared(Template(meta, elements), _open(layer), _open(annotation))


def _open(item: Item) -> Filled:
    """Leave open what differs from outline to outline."""
    for element in item:
        if element.tag in _BLANKS:
            element.value = Blank(_BLANKS[element.tag])
        elif element.tag in _OBJECTS:
            for nested in element.items:
                _open(nested)
    return Filled(item)


def _uids(provenance: Provenance, key: str, labels: Sequence[str]) -> dict[str, str]:
    return {
        "state": state_uid(provenance, key, labels),
        "series": result_uid(provenance, key, "presentation series"),
    }


def built(
    image: Dataset,
    key: str,
    outlines: Sequence[tuple[str, str, npt.NDArray[np.float64]]],
    provenance: Provenance,
) -> pr.GrayscaleSoftcopyPresentationState:
    """Build a state by highdicom, which leaves the grey levels as they are stored.

    Parameters
    ----------
    image : pydicom.Dataset
        What the state refers to.
    key : str
        Of the image; see `Header`.
    outlines : sequence of (str, str, ndarray)
        Each label with its text and its points, (N, 2).
    provenance : Provenance
    """
    labels = [label for label, _, _ in outlines]
    layers = [
        pr.GraphicLayer(layer_name=f"AI {number}", order=number, description=label)
        for number, label in enumerate(labels, 1)
    ]
    annotations = [
        _annotation(image, text, points, layer) for (_, text, points), layer in zip(outlines, layers, strict=True)
    ]
    state = pr.GrayscaleSoftcopyPresentationState(
        referenced_images=[image],
        series_instance_uid=result_uid(provenance, key, "presentation series"),
        series_number=SERIES_NUMBER,
        series_description="AI outlines: research, not for diagnosis",
        sop_instance_uid=state_uid(provenance, key, labels),
        instance_number=1,
        manufacturer=MAKER,
        manufacturer_model_name=SOFTWARE,
        software_versions=software_versions(provenance)[0],  # all of them: see `prepare`
        device_serial_number=provenance.bundle_sha256[:16],
        content_label="AI_FINDINGS",
        content_description="AI findings: research, not for diagnosis",
        concept_name=codes.OF_INTEREST,
        graphic_layers=layers,
        graphic_annotations=annotations,
        contributing_equipment=[equipment(provenance)],
    )
    state.Laterality = ""  # required of every series, but images may lack it
    return state


def state_uid(provenance: Provenance, key: str, labels: Sequence[str]) -> str:
    """Return the UID of the presentation state with the outlines of labels, of an image with this key."""
    return result_uid(provenance, key, "presentation", *labels)


def _modality_type(header: Header) -> str:
    types = [item.text(tags.LUT_TYPE) for item in header.elements.items(tags.MODALITY_LUT)][:1]
    return types[0] if types and re.fullmatch("[A-Z_]{1,16}", types[0]) else _UNSPECIFIED


def _displayed_area(header: Header) -> Dataset:
    """Return the whole image as the area that is shown, with its pixel shape as one of two attributes (C.10.4)."""
    area, shape = Dataset(), pixel_shape(header.elements)
    area.DisplayedAreaTopLeftHandCorner = [1, 1]
    area.DisplayedAreaBottomRightHandCorner = [header.elements.word(tags.COLUMNS), header.elements.word(tags.ROWS)]
    area.PresentationSizeMode = "SCALE TO FIT"
    area.PixelOriginInterpretation = "VOLUME"
    if shape.spacing is None:
        area.PresentationPixelAspectRatio = [*shape.ratio]
    else:
        area.PresentationPixelSpacing = [*map(decimal, shape.spacing)]
    return area


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


def _annotation(
    image: Dataset, text: str, points: npt.NDArray[np.float64], layer: pr.GraphicLayer
) -> pr.GraphicAnnotation:
    highest = _highest(points)
    return pr.GraphicAnnotation(
        referenced_images=[image],
        graphic_layer=layer,
        graphic_objects=[
            pr.GraphicObject(graphic_type="POLYLINE", graphic_data=points, units="PIXEL", is_filled=False)
        ],
        text_objects=[
            pr.TextObject(text_value=text, anchor_point=(float(highest[0]), float(highest[1])), units="PIXEL")
        ],
    )
