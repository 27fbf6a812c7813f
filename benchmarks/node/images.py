"""Any number of different chest radiographs as DICOM files, from the repository's samples."""

import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.uid import UID, generate_uid

from benchmarks.dicom import dicom_files
from benchmarks.dicom.patient import PATIENT
from cxr_edge.images import read_image

SAMPLES = sorted((Path(__file__).parents[2] / "samples").glob("*.png"))


@cache
def _pixels(sample: int) -> npt.NDArray[np.uint8]:
    return read_image(SAMPLES[sample]).pixels


def uid(kind: str, number: int) -> UID:
    """Return the UID of an image, its series or its study."""
    return generate_uid(entropy_srcs=[f"{kind} {number}"])


def name(number: int) -> str:
    """Return the node's name of an image."""
    return hashlib.sha256(uid("image", number).encode()).hexdigest()


def make(number: int, **attributes: Any) -> Dataset:
    """Return image ``number``: a sample's pixels, a study of its own, a patient whose values must appear nowhere."""
    pixels = _pixels(number % len(SAMPLES))
    return dicom_files.image(
        pixels,
        **{
            "SOPInstanceUID": uid("image", number),
            "StudyInstanceUID": uid("study", number),
            "SeriesInstanceUID": uid("series", number),
            **PATIENT,
            "PatientID": f"{PATIENT['PatientID']}-{number}",
            **attributes,
        },
    )


def write(folder: Path, numbers: Iterable[int], **attributes: Any) -> list[Path]:
    """Write images to files; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in numbers:
        path = folder / f"{number}.dcm"
        path.write_bytes(dicom_files.written(make(number, **attributes)))
        paths.append(path)
    return paths
