"""Overlays as Secondary Captures, which every viewer shows: the image with one heat map in colour."""

import re
from typing import Final

import cv2
import highdicom as hd
import numpy as np
import numpy.typing as npt
import simplejpeg
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit

from cxr_edge.images.dicom.header import tags
from cxr_edge.images.dicom.header.elements import Elements
from cxr_edge.images.dicom.header.pixel_shape import pixel_shape
from cxr_edge.model.heatmaps import overlay, upsample
from cxr_edge.model.provenance import Provenance
from cxr_edge.model.results import Finding, Result
from cxr_edge.outputs.dicom.finish import finished
from cxr_edge.outputs.dicom.geometry import orientation
from cxr_edge.outputs.dicom.header import Header
from cxr_edge.outputs.dicom.origin import equipment, result_uid
from cxr_edge.outputs.lettering import band
from cxr_edge.support.maker import MAKER
from cxr_edge.support.warnings import CodedWarning

#: Longer side of the picture in pixels: about the size of a viewer's window, at a twentieth of an image's bytes.
SIDE: Final = 1024
SERIES_NUMBER: Final = 9002
QUALITY: Final = 90
_RATIO: Final = re.compile(r"\d{1,12}(\.\d{1,3})?")
_METHOD: Final = re.compile(r"[A-Z0-9_ ]{1,16}")


def secondary_capture(
    header: Header,
    image: npt.NDArray[np.uint8],
    result: Result,
    finding: Finding,
    provenance: Provenance,
    *,
    number: int,
    colormap: str,
) -> Dataset:
    """Draw one finding's heat map over the image, as JPEG baseline.

    Parameters
    ----------
    header : Header
    image : ndarray, (H, W) uint8
    result : Result
        With heat maps.
    finding : Finding
    provenance : Provenance
    number : int
        Instance number in the series, from 1.
    colormap : str
        One of `cxr_edge.model.heatmaps.COLORMAPS`.

    Returns
    -------
    pydicom.Dataset
    """
    drawn = _drawn(image, pixel_shape(header.elements).aspect, result, finding, colormap)
    picture = hd.sc.SCImage.from_ref_dataset(
        header.reference,
        pixel_array=drawn,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=("L", "F"),
        series_instance_uid=result_uid(provenance, header.key, "capture series"),
        series_number=SERIES_NUMBER,
        series_description="AI heat maps: research, not for diagnosis",
        sop_instance_uid=capture_uid(provenance, header.key, finding.label, colormap),
        instance_number=number,
        manufacturer=MAKER,
        contributing_equipment=[equipment(provenance)],
    )
    picture.Laterality = ""  # required of every series, but images may lack it
    picture["PatientOrientation"].value = orientation(header.elements)  # the picture is oriented as the image is
    picture.BurnedInAnnotation = "YES"
    picture.DerivationDescription = f"{provenance.maps} heat map of {finding.label} over the image, not for diagnosis"
    picture.SourceImageSequence = [_reference(header)]
    _compress(picture, drawn, header.elements)
    return finished(picture, header, provenance)


def capture_uid(provenance: Provenance, key: str, label: str, colormap: str) -> str:
    """Return the UID of a label's capture of an image with this key."""
    return result_uid(provenance, key, "capture", label, colormap)


def _drawn(
    image: npt.NDArray[np.uint8], aspect: float, result: Result, finding: Finding, colormap: str
) -> npt.NDArray[np.uint8]:
    """Draw the overlay with square pixels, between bands of text that cover nothing; return (h, w, 3) uint8, RGB."""
    height, width = image.shape[0] * aspect, float(image.shape[1])
    scale = SIDE / max(height, width)
    size = max(1, round(height * scale)), max(1, round(width * scale))
    shrinks = size[0] <= image.shape[0] and size[1] <= image.shape[1]
    sized = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    picture = overlay(np.asarray(sized, np.uint8), upsample(result.map_of(finding.label), size), colormap)
    verdict = f"AI: {finding.label} {finding.probability:.2f} (threshold {finding.threshold:.2f})"
    above = " ".join(["Research only, not for diagnosis.", *map(_sentence, result.doubts)])
    texts = band(above, size[1]), band(f"{verdict}; colour: where the model looked", size[1])
    bands = [cv2.merge([text] * 3) for text in texts]
    return np.ascontiguousarray(np.vstack([bands[0], picture, bands[1]])[..., ::-1])


def _sentence(doubt: CodedWarning) -> str:
    return f"WARNING: {doubt}."


def _compress(picture: Dataset, drawn: npt.NDArray[np.uint8], image: Elements) -> None:
    """Store the pixels as JPEG baseline. highdicom would halve the rows of the chroma too, and still declare 4:2:2."""
    encoded = simplejpeg.encode_jpeg(drawn, quality=QUALITY, colorspace="RGB", colorsubsampling="422")
    picture.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    picture.PhotometricInterpretation = "YBR_FULL_422"
    picture.PixelData = encapsulate([encoded])
    picture["PixelData"].VR = "OB"
    picture["PixelData"].is_undefined_length = True
    ratios, methods = _losses(image)
    picture.LossyImageCompression = "01"
    picture.LossyImageCompressionRatio = [*ratios, f"{drawn.nbytes / len(encoded):.1f}"]
    picture.LossyImageCompressionMethod = [*methods, "ISO_10918_1"]


def _losses(image: Elements) -> tuple[list[str], list[str]]:
    """Return ratios and methods of the image's earlier lossy compressions (PS3.3, C.7.6.1.1.5)."""
    ratios, methods = (image.text(tag).split("\\") for tag in (tags.LOSSY_RATIO, tags.LOSSY_METHOD))
    valid = len(ratios) == len(methods) and all(map(_RATIO.fullmatch, ratios)) and all(map(_METHOD.fullmatch, methods))
    return (ratios, methods) if valid and image.text(tags.LOSSY) == "01" else ([], [])


def _reference(header: Header) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = header.reference.SOPClassUID
    item.ReferencedSOPInstanceUID = header.reference.SOPInstanceUID
    return item
