"""Any number of different chest films as DICOM files, from the repository's samples."""

import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.uid import UID, generate_uid

from benchmarks.dicom import films
from benchmarks.dicom.patient import PATIENT
from cxr_edge import images

SAMPLES = sorted((Path(__file__).parents[2] / "samples").glob("*.png"))


@cache
def _pixels(sample: int) -> npt.NDArray[np.uint8]:
    return images.read_film(SAMPLES[sample]).pixels


def uid(kind: str, number: int) -> UID:
    """UID of a film, its series or its study."""
    return generate_uid(entropy_srcs=[f"{kind} {number}"])


def name(number: int) -> str:
    """What the node calls a film."""
    return hashlib.sha256(uid("film", number).encode()).hexdigest()


def make(number: int, **attributes: Any) -> Dataset:
    """Give film ``number``: the pixels of a sample, a study of its own, a patient whose values must be told nowhere."""
    pixels = _pixels(number % len(SAMPLES))
    return films.film(
        pixels,
        **{
            "SOPInstanceUID": uid("film", number),
            "StudyInstanceUID": uid("study", number),
            "SeriesInstanceUID": uid("series", number),
            **PATIENT,
            "PatientID": f"{PATIENT['PatientID']}-{number}",
            **attributes,
        },
    )


def write(folder: Path, numbers: Iterable[int], **attributes: Any) -> list[Path]:
    """Write films to files; give their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in numbers:
        path = folder / f"{number}.dcm"
        path.write_bytes(films.written(make(number, **attributes)))
        paths.append(path)
    return paths
