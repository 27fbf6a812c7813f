"""Overlays as Secondary Captures, which every viewer shows: the image with one heat map in colour."""

import re
from datetime import datetime
from functools import lru_cache
from typing import Final

import cv2
import highdicom as hd
import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.uid import JPEGBaseline8Bit

from cxr_edge.images.dicom.header import tags
from cxr_edge.images.dicom.header.elements import Elements
from cxr_edge.images.dicom.header.pixel_shape import pixel_shape
from cxr_edge.model.heatmaps import NEUTRAL, Planes, overlay_planes
from cxr_edge.model.provenance import Provenance
from cxr_edge.model.results import Finding, Result
from cxr_edge.outputs.dicom.geometry import orientation
from cxr_edge.outputs.dicom.header import Header
from cxr_edge.outputs.dicom.origin import equipment, result_uid
from cxr_edge.outputs.dicom.prepared import KEY, fill, prepare, stand_in
from cxr_edge.outputs.dicom.template import Template, element, encapsulated
from cxr_edge.outputs.drawing import encoded_planes
from cxr_edge.outputs.lettering import band
from cxr_edge.support.maker import MAKER
from cxr_edge.support.warnings import CodedWarning

#: Longer side of the picture in pixels: about the size of a viewer's window, at a twentieth of an image's bytes.
SIDE: Final = 1024
SERIES_NUMBER: Final = 9002
#: Of a pixel in colour, a byte each.
SAMPLES: Final = 3
_RATIO: Final = re.compile(r"\d{1,12}(\.\d{1,3})?")
_METHOD: Final = re.compile(r"[A-Z0-9_ ]{1,16}")
#: The method of ours (PS3.3, C.7.6.1.1.5.2).
_JPEG: Final = "ISO_10918_1"


def secondary_capture(
    header: Header,
    image: npt.NDArray[np.uint8],
    result: Result,
    finding: Finding,
    provenance: Provenance,
    moment: datetime,
    *,
    number: int,
    colormap: str,
) -> bytes:
    """Draw one finding's heat map over the image, as JPEG baseline.

    Parameters
    ----------
    header : Header
    image : ndarray, (H, W) uint8
    result : Result
        With heat maps.
    finding : Finding
    provenance : Provenance
    moment : datetime
        When it is made.
    number : int
        Instance number in the series, from 1.
    colormap : str
        One of `cxr_edge.model.heatmaps.COLORMAPS`.

    Returns
    -------
    bytes
        A file (PS3.10).
    """
    drawn = _drawn(image, pixel_shape(header.elements).aspect, result, finding, colormap)
    stream = encoded_planes(drawn)
    ratios, methods = _losses(header.elements)
    own = [
        element("DerivationDescription", _derivation(provenance, finding.label)),
        element("InstanceNumber", str(number)),
        element("PatientOrientation", *orientation(header.elements)),  # the picture is oriented as the image is
        element("Rows", drawn.luma.shape[0]),
        element("Columns", drawn.luma.shape[1]),
        element("LossyImageCompressionRatio", *ratios, f"{SAMPLES * drawn.luma.size / len(stream):.1f}"),
        element("LossyImageCompressionMethod", *methods, _JPEG),
        encapsulated(stream),
    ]
    uids = _uids(provenance, header.key, finding.label, colormap)
    return fill(_prepared(provenance), header, moment, uids, own=dict(own))


@lru_cache(maxsize=16)
def _prepared(provenance: Provenance) -> Template:
    """Prepare the captures of all images: a picture of one pixel."""
    picture = built(stand_in(), KEY, np.zeros((1, 1, 3), np.uint8), "stand-in", provenance, number=1, colormap="turbo")
    del picture.PixelData
    return Template(*prepare(picture, provenance, _uids(provenance, KEY, "stand-in", "turbo")))


def _uids(provenance: Provenance, key: str, label: str, colormap: str) -> dict[str, str]:
    return {
        "capture": capture_uid(provenance, key, label, colormap),
        "series": result_uid(provenance, key, "capture series"),
    }


def built(
    image: Dataset,
    key: str,
    drawn: npt.NDArray[np.uint8],
    label: str,
    provenance: Provenance,
    *,
    number: int,
    colormap: str,
) -> Dataset:
    """Build a capture by highdicom.

    Parameters
    ----------
    image : pydicom.Dataset
        What the capture refers to.
    key : str
        Of the image; see `Header`.
    drawn : ndarray, (h, w, 3) uint8
        RGB.
    label, provenance, number, colormap
        See `secondary_capture`.
    """
    picture = hd.sc.SCImage.from_ref_dataset(
        image,
        pixel_array=drawn,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=("L", "F"),
        series_instance_uid=result_uid(provenance, key, "capture series"),
        series_number=SERIES_NUMBER,
        series_description="AI heat maps: research, not for diagnosis",
        sop_instance_uid=capture_uid(provenance, key, label, colormap),
        instance_number=number,
        manufacturer=MAKER,
        contributing_equipment=[equipment(provenance)],
    )
    picture.Laterality = ""  # required of every series, but images may lack it
    picture.BurnedInAnnotation = "YES"
    picture.DerivationDescription = _derivation(provenance, label)
    picture.SourceImageSequence = [_reference(image)]
    # highdicom's own JPEG would halve the rows of the chroma too, and still declare 4:2:2.
    picture.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    picture.PhotometricInterpretation = "YBR_FULL_422"
    picture.LossyImageCompression = "01"
    return picture


def _derivation(provenance: Provenance, label: str) -> str:
    return f"{provenance.maps} heat map of {label} over the image, not for diagnosis"


def capture_uid(provenance: Provenance, key: str, label: str, colormap: str) -> str:
    """Return the UID of a label's capture of an image with this key."""
    return result_uid(provenance, key, "capture", label, colormap)


def _drawn(image: npt.NDArray[np.uint8], aspect: float, result: Result, finding: Finding, colormap: str) -> Planes:
    """Draw the overlay with square pixels, between bands of text that cover nothing; chroma as ``YBR_FULL_422``."""
    height, width = image.shape[0] * aspect, float(image.shape[1])
    scale = SIDE / max(height, width)
    size = max(1, round(height * scale)), max(1, round(width * scale))
    shrinks = size[0] <= image.shape[0] and size[1] <= image.shape[1]
    sized = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    picture = overlay_planes(np.asarray(sized, np.uint8), result.map_of(finding.label), colormap, rows=1)
    verdict = f"AI: {finding.label} {finding.probability:.2f} (threshold {finding.threshold:.2f})"
    above = band(" ".join(["Research only, not for diagnosis.", *map(_sentence, result.doubts)]), size[1])
    below = band(f"{verdict}; colour: where the model looked", size[1])
    luma = np.vstack([above, picture.luma, below])
    return Planes(luma, *(_between(plane, len(above), len(below)) for plane in picture[1:]))


def _between(chroma: npt.NDArray[np.uint8], above: int, below: int) -> npt.NDArray[np.uint8]:
    grey = cv2.copyMakeBorder(chroma, above, below, 0, 0, cv2.BORDER_CONSTANT, value=NEUTRAL)
    return np.asarray(grey, np.uint8)


def _sentence(doubt: CodedWarning) -> str:
    return f"WARNING: {doubt}."


def _losses(image: Elements) -> tuple[list[str], list[str]]:
    """Return ratios and methods of the image's earlier lossy compressions (PS3.3, C.7.6.1.1.5)."""
    ratios, methods = (image.text(tag).split("\\") for tag in (tags.LOSSY_RATIO, tags.LOSSY_METHOD))
    valid = len(ratios) == len(methods) and all(map(_RATIO.fullmatch, ratios)) and all(map(_METHOD.fullmatch, methods))
    return (ratios, methods) if valid and image.text(tags.LOSSY) == "01" else ([], [])


def _reference(image: Dataset) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = image.SOPClassUID
    item.ReferencedSOPInstanceUID = image.SOPInstanceUID
    return item
