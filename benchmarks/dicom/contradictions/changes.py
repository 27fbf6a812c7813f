"""Change honest files so that header, length, fragments and codestream contradict each other."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final

import cv2
import numpy as np
from pydicom.uid import ExplicitVRBigEndian

from benchmarks.dicom.contradictions.colour import colour_file
from benchmarks.dicom.contradictions.encode import written
from benchmarks.dicom.contradictions.grey import Picture, encode, grey_file
from benchmarks.dicom.contradictions.made import NATIVE, Made
from benchmarks.images import SAMPLES

#: Share of files with grey stored as colour.
_IN_COLOUR: Final = 0.25
#: Shares of files with 0, 1, 2 and 3 changes.
_CHANGES: Final = (0.15, 0.45, 0.3, 0.1)
#: Shortest and longest side; some odd, so that a length needs a byte of padding.
_SIDES: Final = (24, 64)
#: Share of changes that are of a rarer kind.
_RARE: Final = 0.15

Change = Callable[[Made, np.random.Generator], None]


def contradiction(seed: int) -> tuple[Made, bytes]:
    """Make the file of a seed."""
    rng = np.random.default_rng(seed)
    picture = _picture(rng)
    if rng.random() < _IN_COLOUR:
        made = colour_file(picture, rng)
    else:
        made = grey_file(picture, rng)
        encode(made)
    for _ in range(int(rng.choice(len(_CHANGES), p=_CHANGES))):
        name = str(rng.choice(_NAMES, p=_SHARES))
        made.changes.append(name)
        CHANGES[name][0](made, rng)
    return made, written(made)


def _picture(rng: np.random.Generator) -> Picture:
    """Cut a piece out of a real image, shrink it to (H, W), and stretch it from 0 to 1, with some noise."""
    image = _image(int(rng.integers(len(_files()))))
    height, width = (int(side) for side in rng.integers(*_SIDES, 2))
    scale = int(rng.integers(1, 8))
    top, left = rng.integers((image.shape[0] - scale * height, image.shape[1] - scale * width))
    piece = image[top : top + scale * height, left : left + scale * width]
    piece = cv2.resize(piece, (width, height), interpolation=cv2.INTER_AREA)
    piece = piece + rng.normal(0, 0.5, piece.shape)
    return np.asarray((piece - piece.min()) / np.ptp(piece))


@lru_cache
def _files() -> tuple[str, ...]:
    return tuple(sorted(str(path) for path in SAMPLES.glob("*.png")))


@lru_cache
def _image(number: int) -> Picture:
    return cv2.imread(_files()[number], cv2.IMREAD_GRAYSCALE).astype(np.float64)


def _bits_stored(made: Made, rng: np.random.Generator) -> None:
    made.dataset.BitsStored = int(rng.integers(7, 8 * made.cells.dtype.itemsize + 2))


def _high_bit(made: Made, rng: np.random.Generator) -> None:
    made.dataset.HighBit = int(rng.integers(made.dataset.BitsStored - 2, 8 * made.cells.dtype.itemsize + 1))


def _both_bits(made: Made, rng: np.random.Generator) -> None:
    made.dataset.BitsStored = int(rng.integers(8, 8 * made.cells.dtype.itemsize + 1))
    made.dataset.HighBit = made.dataset.BitsStored - 1


def _sign(made: Made, _: np.random.Generator) -> None:
    if made.is_lossy:  # what such a codec changes a little, another sign would change a lot
        return
    made.dataset.PixelRepresentation = int(made.dataset.PixelRepresentation == 0)


def _colours(made: Made, rng: np.random.Generator) -> None:
    grey, colour = ["MONOCHROME1", "MONOCHROME2"], ["RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"]
    likely, rare = (grey, colour) if made.cells.ndim == 2 else (colour, grey)
    made.dataset.PhotometricInterpretation = str(rng.choice(rare if rng.random() < _RARE else likely))


def _side(keyword: str) -> Change:
    def change(made: Made, rng: np.random.Generator) -> None:
        setattr(made.dataset, keyword, made.dataset[keyword].value + int(rng.choice([-9, -2, -1, 1, 2])))

    return change


def _exchanged_sides(made: Made, _: np.random.Generator) -> None:
    made.dataset.Rows, made.dataset.Columns = made.dataset.Columns, made.dataset.Rows


def _longer(made: Made, rng: np.random.Generator) -> None:
    count = int(rng.choice([1, 2, 7, 16, 50, 300, len(made.pixels)]))
    if made.syntax in NATIVE:
        made.pixels += bytes(count) if rng.random() < _RARE else rng.bytes(count)
        made.pixels += bytes(len(made.pixels) % 2)


def _shorter(made: Made, rng: np.random.Generator) -> None:
    made.pixels = made.pixels[: int(len(made.pixels) * rng.uniform(0.3, 1)) // 2 * 2]


def _two_frames(made: Made, _: np.random.Generator) -> None:
    if made.syntax in NATIVE:
        made.pixels *= 2


def _value_representation(made: Made, rng: np.random.Generator) -> None:
    """Name bytes or words, unless 8 bits in big endian depend on it alone."""
    if made.dataset.BitsAllocated == 16 or made.syntax != ExplicitVRBigEndian:
        made.dataset["PixelData"].VR = str(rng.choice(["OB", "OW"]))


def _set(keyword: str, *values: str | int) -> Change:
    def change(made: Made, rng: np.random.Generator) -> None:
        setattr(made.dataset, keyword, values[int(rng.integers(len(values)))])

    return change


def _nothing(_: Made, __: np.random.Generator) -> None:
    """Leave it to `encode`, which reads the name."""


#: Name of a change → what it does, and how often it is made relative to others.
CHANGES: Final[Mapping[str, tuple[Change, float]]] = {
    "Bits Stored": (_bits_stored, 3),
    "High Bit": (_high_bit, 3),
    "Bits Stored and High Bit": (_both_bits, 3),
    "Bits Allocated": (_set("BitsAllocated", 8, 16, 12, 32), 1),
    "Pixel Representation": (_sign, 3),
    "another Pixel Representation": (_set("PixelRepresentation", 2, 3, 65535), 0.3),
    "Samples per Pixel": (_set("SamplesPerPixel", 1, 3, 4), 0.5),
    "Photometric Interpretation": (_colours, 3),
    "Planar Configuration": (_set("PlanarConfiguration", 0, 1, 1, 2), 2),
    "Rows": (_side("Rows"), 1),
    "Columns": (_side("Columns"), 1),
    "exchanged sides": (_exchanged_sides, 1),
    "Number of Frames": (_set("NumberOfFrames", "", "0", "1", "2"), 2),
    "longer": (_longer, 2),
    "shorter": (_shorter, 0.5),
    "two frames": (_two_frames, 1),
    "two fragments": (_nothing, 1),
    "no offsets": (_nothing, 1),
    "value representation": (_value_representation, 2),
}
_NAMES: Final = list(CHANGES)
_SHARES: Final = np.array([weight for _, weight in CHANGES.values()]) / sum(weight for _, weight in CHANGES.values())
