"""Data kept of each image until the report is written: small pictures, and the heat maps of all labels."""

from pathlib import Path
from typing import Final

import cv2
import msgspec
import numpy as np
import numpy.typing as npt

from cxr_edge.errors import OutputUnwritable
from cxr_edge.model.record import ResultRecord
from cxr_edge.model.results import Result
from cxr_edge.outputs.base import Analysis
from cxr_edge.outputs.overlays import overlay_prefix
from cxr_edge.support.files import make_folder, write_atomically

#: Their folder in a results directory; a resumed run does not compute them again.
FOLDER: Final = ".report"

#: Longer side of a picture in pixels, and the quality of its JPEG: in a report of few images, and in one of many.
LARGE: Final = (1024, 85)
SMALL: Final = (512, 75)
#: Reports of more images show small pictures, so that a page of a thousand images stays below 50 MB.
MOST_LARGE: Final = 50
#: Longer side of a thumbnail in the overview, at twice the density of an ordinary screen.
THUMBNAIL: Final = 128


class ReportImage(msgspec.Struct, frozen=True):
    """Pictures of one image, and its class activation maps.

    Attributes
    ----------
    sha256 : str or None
        Hash of the image file.
    size : (int, int)
        Height and width of the image, in pixels.
    picture, thumbnail : bytes
        JPEG, grey.
    maps : bytes
        (labels, h, w) uint8: the class activation map of each label, scaled to its own maximum; all zero where it has
        no positive value. Empty where the model has no heat maps.
    grid : (int, int)
        h and w of the maps.
    """

    sha256: str | None
    size: tuple[int, int]
    picture: bytes
    thumbnail: bytes
    maps: bytes
    grid: tuple[int, int]

    @classmethod
    def of(cls, pixels: npt.NDArray[np.uint8], result: Result, shown: tuple[int, int] = LARGE) -> "ReportImage":
        """Make the pictures and maps of an image.

        Parameters
        ----------
        pixels : ndarray, (H, W) uint8
        result : Result
            With heat maps, where the model has them.
        shown : (int, int)
            `LARGE` or `SMALL`.
        """
        maps = np.zeros((len(result.labels), 0, 0), np.float32) if result.maps is None else result.maps
        side, quality = shown
        picture = shrunk(pixels, side)
        return cls(
            sha256=result.sha256,
            size=result.size,
            picture=jpeg(picture, quality),
            thumbnail=jpeg(shrunk(picture, THUMBNAIL), 70),
            maps=_scaled(maps).tobytes(),
            grid=(maps.shape[1], maps.shape[2]),
        )

    def is_whole(self, labels: int) -> bool:
        """Return whether pictures and maps are complete."""
        pictures = all(
            data.startswith(b"\xff\xd8") and data.endswith(b"\xff\xd9") for data in (self.picture, self.thumbnail)
        )
        return pictures and len(self.maps) == labels * self.grid[0] * self.grid[1]


class ReportPictures:
    """An output that keeps what the HTML report shows of each image.

    Parameters
    ----------
    root : Path
        The results directory.
    images : int
        About how many images the report will show.
    heatmaps : bool
        Whether the model has heat maps.
    """

    def __init__(self, root: Path, images: int, *, heatmaps: bool) -> None:
        self.needs_heatmaps = heatmaps
        self._root, self._shown = root, LARGE if images <= MOST_LARGE else SMALL

    def write(self, analysis: Analysis, record: ResultRecord) -> ResultRecord:
        """Keep the pictures and the maps of one image."""
        file = self._file(analysis.name)
        make_folder(file.parent, "--out")
        picture = ReportImage.of(analysis.image.pixels, analysis.result, self._shown)
        write_atomically(file, msgspec.json.encode(picture))
        return record

    def is_complete(self, record: ResultRecord) -> bool:
        """Return whether the pictures of a record exist."""
        return self.picture_of(record) is not None

    def picture_of(self, record: ResultRecord) -> ReportImage | None:
        """Return what was kept of a record's image; None if there is nothing, or it is of other file content."""
        file = self._file(record.path or "")
        try:
            kept = msgspec.json.decode(file.read_bytes(), type=ReportImage)
        except (FileNotFoundError, msgspec.MsgspecError):
            return None
        except OSError as error:
            raise OutputUnwritable.at(error.filename or file, error, "--out") from error
        return kept if kept.is_whole(len(record.probabilities)) and kept.sha256 == record.sha256 else None

    def _file(self, path: str) -> Path:
        return self._root / FOLDER / f"{overlay_prefix(path)}.json"


def shrunk(pixels: npt.NDArray[np.uint8], side: int) -> npt.NDArray[np.uint8]:
    """Return an image shrunk to a longer side of at most `side` pixels, by area."""
    height, width = pixels.shape
    scale = side / max(height, width)
    if scale >= 1:
        return pixels
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


def jpeg(pixels: npt.NDArray[np.uint8], quality: int) -> bytes:
    """Encode grey pixels, (H, W) uint8, as JPEG."""
    _, encoded = cv2.imencode(".jpg", pixels, (cv2.IMWRITE_JPEG_QUALITY, quality))
    return bytes(encoded.tobytes())


def _scaled(maps: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    strongest = maps.max(axis=(1, 2), keepdims=True, initial=0)
    scaled = np.divide(maps, strongest, out=np.zeros_like(maps), where=strongest > 0)
    return np.asarray(np.rint(255 * scaled), np.uint8)
