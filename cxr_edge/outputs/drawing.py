"""Draw a heat map over its image, with a caption, and encode it."""

from collections.abc import Callable
from enum import Enum
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg

from cxr_edge.images import result_mark
from cxr_edge.model.heatmaps import MAX_OPACITY, NEUTRAL, WEAK_OPACITY, Planes, overlay, overlay_planes, upsample
from cxr_edge.model.results import Result
from cxr_edge.outputs.lettering import caption


class OverlayFormat(str, Enum):
    """The format of a file: JPEG; or PNG, which is exact and takes several times as long."""

    JPEG = "jpeg"
    PNG = "png"


SUFFIXES: Final = {OverlayFormat.JPEG: ".jpg", OverlayFormat.PNG: ".png"}

#: Of JPEG: overlays are 47 dB from the exact picture, where no difference is seen at 1:1; a test holds them above 40.
QUALITY: Final = 90
#: One filter for all rows: trying all filters on each row doubles the time, and saves no bytes here.
_QUICK_PNG: Final = (cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP)


def draw_overlay(
    image: npt.NDArray[np.uint8],
    result: Result,
    label: str,
    colormap: str,
    encoding: OverlayFormat = OverlayFormat.JPEG,
) -> bytes:
    """Draw one label's overlay at the image's size, with its caption.

    The colour is weaker where the label is not positive, and the caption says why. The file states that it is a result
    of this software, so that it is not read as an image again.

    Parameters
    ----------
    image : ndarray, (H, W) uint8
    result : Result
        With heat maps.
    label : str
    colormap : str
        One of `cxr_edge.model.heatmaps.COLORMAPS`.
    encoding : OverlayFormat

    Returns
    -------
    bytes
    """
    known = (*result.findings, *result.improbable)
    finding = next((finding for finding in known if finding.label == label), None)
    positive = finding is not None and finding.positive
    verdict = f"{label} {result.probabilities[label]:.2f}"
    if finding is not None:
        verdict += " positive" if positive else f", below threshold {finding.threshold:.2f}"
    text = caption(f"{verdict}  |  research only, not for diagnosis", (image.shape[0], image.shape[1]))
    opacity = MAX_OPACITY if positive else WEAK_OPACITY
    return result_mark.mark(_ENCODERS[encoding](image, result.map_of(label), colormap, opacity, text))


def _jpeg(
    image: npt.NDArray[np.uint8],
    activation: npt.NDArray[np.float32],
    colormap: str,
    opacity: float,
    text: npt.NDArray[np.uint8],
) -> bytes:
    """Draw in the planes that JPEG stores: the image is grey, so that no colour has to be converted."""
    planes = overlay_planes(image, activation, colormap, opacity)
    first, right = len(image) - len(text), text.shape[1]
    planes.luma[first:, :right] = text
    for chroma in (planes.blue, planes.red):
        chroma[first // 2 :, : -(-right // 2)] = NEUTRAL
    return encoded_planes(planes)


def encoded_planes(planes: Planes) -> bytes:
    """Encode a picture as JPEG, its chroma sampled as the planes are."""
    return bytes(simplejpeg.encode_jpeg_yuv_planes(_in_even_memory(planes.luma), *planes[1:], quality=QUALITY))


def _in_even_memory(luma: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return a plane within an even number of rows and columns: libjpeg-turbo reads two by two, beyond odd sides."""
    height, width = luma.shape
    if height % 2 == width % 2 == 0:
        return luma
    even = cv2.copyMakeBorder(luma, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
    return np.asarray(even, np.uint8)[:height, :width]


def _png(
    image: npt.NDArray[np.uint8],
    activation: npt.NDArray[np.float32],
    colormap: str,
    opacity: float,
    text: npt.NDArray[np.uint8],
) -> bytes:
    drawn = overlay(image, upsample(activation, (image.shape[0], image.shape[1])), colormap, opacity)
    drawn[-text.shape[0] :, : text.shape[1]] = text[..., None]
    return bytes(np.asarray(cv2.imencode(".png", drawn, _QUICK_PNG)[1], np.uint8).data)


_ENCODERS: Final[dict[OverlayFormat, Callable[..., bytes]]] = {OverlayFormat.JPEG: _jpeg, OverlayFormat.PNG: _png}
