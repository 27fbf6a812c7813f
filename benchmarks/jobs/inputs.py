"""Images of whole jobs: real ones as PNG, as DICOM of a megapixel, and as compressed DICOM of a detector's size."""

from pathlib import Path
from typing import Final

import cv2
import imagecodecs
import numpy as np
import pydicom
from pydicom.dataset import Dataset

from benchmarks.dicom import dicom_files
from benchmarks.dicom.dicom_files import BASELINE, CODECS, JPEG_2000, compressed, image, stored, with_stream, written
from benchmarks.images import link_images
from cxr_edge.images import read_image

#: Rows and columns of an image of the kind that digital detectors make.
BIG: Final = (3000, 2500)
#: Name → transfer syntax of big images; None is uncompressed.
SYNTAXES: Final = {
    "native": None,
    "JPEG": BASELINE,
    "JPEG lossless": "1.2.840.10008.1.2.4.70",
    "JPEG 2000": JPEG_2000,
    "HTJ2K": "1.2.840.10008.1.2.4.201",
}


def make_inputs(images: list[Path], counts: dict[str, int], folder: Path) -> None:
    """Fill a folder for each kind of input with real images, repeated under new names and identifiers."""
    for kind, count in counts.items():
        place = folder / kind
        place.mkdir()
        if kind == "png":
            link_images(images, count, place)
            continue
        for number in range(count):
            made = _dicom(images[number % len(images)], number, kind)
            (place / f"{number:05d}.dcm").write_bytes(made)


def _dicom(path: Path, number: int, kind: str) -> bytes:
    if kind == "dicom":
        return written(_identified(image(read_image(path).pixels), number))
    real = pydicom.dcmread(dicom_files.CHEST)
    bits = 8 if kind == "JPEG" else 12
    levels = cv2.resize(real.pixel_array, BIG[::-1], interpolation=cv2.INTER_CUBIC) >> (real.BitsStored - bits)
    made = _identified(
        image(
            np.roll(levels, number, axis=1).astype(np.uint8 if bits == 8 else np.uint16),
            bits=bits,
            PhotometricInterpretation=real.PhotometricInterpretation,
            WindowCenter=float(real.WindowCenter) / 2 ** (real.BitsStored - bits),
            WindowWidth=float(real.WindowWidth) / 2 ** (real.BitsStored - bits),
        ),
        number,
    )
    syntax = SYNTAXES[kind]
    if syntax is None:
        return written(made)
    if syntax in CODECS:
        return written(compressed(made, syntax))
    return written(with_stream(made, syntax, bytes(imagecodecs.jpeg8_encode(stored(made), level=95))))


def _identified(made: Dataset, number: int) -> Dataset:
    made.PatientID, made.StudyInstanceUID, made.SeriesInstanceUID = f"P{number}", f"1.2.3.{number}", f"1.2.4.{number}"
    made.SOPInstanceUID = f"1.2.5.{number}"
    return made
