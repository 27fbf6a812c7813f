"""The overlay as a Secondary Capture, which any viewer shows: the film with one heat map in colour."""

from typing import Final

import cv2
import highdicom as hd
import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.uid import JPEGBaseline8Bit

from cxr_edge.dicom.write.header import Header
from cxr_edge.dicom.write.origin import MAKER, Origin, finished
from cxr_edge.gradcam import overlay, upsample
from cxr_edge.overlays import caption
from cxr_edge.results import Finding, Result

#: Longer side of the picture: what a viewer's window shows, at a twentieth of a film's bytes.
SIDE: Final = 1024
SERIES_NUMBER: Final = 9002


def secondary_capture(
    header: Header,
    film: npt.NDArray[np.uint8],
    result: Result,
    finding: Finding,
    origin: Origin,
    *,
    number: int,
    colormap: str,
) -> Dataset:
    """Draw one finding's heat map over the film, as JPEG baseline.

    Parameters
    ----------
    header : Header
    film : ndarray, (H, W) uint8
    result : Result
        With heat maps.
    finding : Finding
    origin : Origin
    number : int
        Its number in the series, from 1.
    colormap : str
        One of `cxr_edge.gradcam.COLORMAPS`.

    Returns
    -------
    pydicom.Dataset
    """
    picture = hd.sc.SCImage.from_ref_dataset(
        header.reference,
        pixel_array=_drawn(film, result, finding, colormap),
        photometric_interpretation="YBR_FULL_422",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=("L", "F"),
        series_instance_uid=origin.uid(header.instance, "capture series"),
        series_number=SERIES_NUMBER,
        series_description="AI heat maps: research, not for diagnosis",
        sop_instance_uid=origin.uid(header.instance, "capture", finding.label, colormap),
        instance_number=number,
        manufacturer=MAKER,
        transfer_syntax_uid=JPEGBaseline8Bit,
        contributing_equipment=[origin.equipment()],
    )
    picture.LossyImageCompression = "01"
    picture.LossyImageCompressionMethod = "ISO_10918_1"
    picture.LossyImageCompressionRatio = round(3 * picture.Rows * picture.Columns / len(picture.PixelData), 1)
    picture.Laterality = ""
    picture["PatientOrientation"].value = ""  # not told by every film, and not asked of a capture
    picture.BurnedInAnnotation = "YES"
    picture.DerivationDescription = f"Grad-CAM heat map of {finding.label} over the film, not for diagnosis"
    picture.SourceImageSequence = [_reference(header)]
    return finished(picture, header.shared, origin)


def _drawn(film: npt.NDArray[np.uint8], result: Result, finding: Finding, colormap: str) -> npt.NDArray[np.uint8]:
    """Draw the overlay; give it as (h, w, 3) uint8, RGB."""
    shrink = min(1.0, SIDE / max(film.shape))
    size = round(film.shape[0] * shrink), round(film.shape[1] * shrink)
    small = cv2.resize(film, size[::-1], interpolation=cv2.INTER_AREA)
    picture = overlay(np.asarray(small, np.uint8), upsample(result.map_of(finding.label), size), colormap)
    text = f"AI: {finding.label} {finding.probability:.2f} (threshold {finding.threshold:.2f})"
    caption(picture, f"{text}; colour: where the model looked")
    caption(picture, "Research only, not for diagnosis", top=True)
    return np.ascontiguousarray(picture[..., ::-1])


def _reference(header: Header) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = header.reference.SOPClassUID
    item.ReferencedSOPInstanceUID = header.reference.SOPInstanceUID
    return item
