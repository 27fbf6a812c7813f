"""Images of whole jobs: real ones as PNG, as DICOM of a megapixel, and as compressed DICOM of a detector's size."""

from pathlib import Path
from typing import Final

import numpy as np
from pydicom.dataset import Dataset

from benchmarks.dicom.dicom_files import BASELINE, JPEG_2000, baseline, chest, compressed, image, stored, written
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
    made = _identified(chest(BIG, 8 if kind == "JPEG" else 12), number)
    made.PixelData = np.roll(stored(made), number, axis=1).tobytes()
    syntax = SYNTAXES[kind]
    if syntax is None:
        return written(made)
    return written(baseline(made) if syntax == BASELINE else compressed(made, syntax))


def _identified(made: Dataset, number: int) -> Dataset:
    made.PatientID, made.StudyInstanceUID, made.SeriesInstanceUID = f"P{number}", f"1.2.3.{number}", f"1.2.4.{number}"
    made.SOPInstanceUID = f"1.2.5.{number}"
    return made
