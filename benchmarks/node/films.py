"""Any number of different chest films as DICOM files, from the repository's samples."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from benchmarks.dicom import films
from cxr_edge import images

SAMPLES = sorted((Path(__file__).parents[2] / "samples").glob("*.png"))


def make(number: int, **attributes: Any) -> Dataset:
    """Film ``number``: the pixels of a sample, the identity of a study of its own."""
    pixels = images.read_film(SAMPLES[number % len(SAMPLES)]).pixels
    return films.film(
        pixels,
        **{
            "SOPInstanceUID": generate_uid(entropy_srcs=[f"film {number}"]),
            "StudyInstanceUID": generate_uid(entropy_srcs=[f"study {number}"]),
            "SeriesInstanceUID": generate_uid(entropy_srcs=[f"series {number}"]),
            "PatientID": f"P{number}",
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
