"""Class activation maps for display: from a few cells to colour over the image.

The maps come from the bundle's companion graph: ReLU(Σ_k α_k A_k) for the features A and each label, with α_k the
positive part of ∂logit/∂A_k at each position (LayerCAM, Jiang et al. 2021) or its mean over the positions (Grad-CAM,
Selvaraju et al. 2017).
"""

import functools
from typing import Final, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

#: Perceptually ordered colour maps. In the first, red is strongest; viridis and cividis suit colour-blind readers.
COLORMAPS: Final = {
    "turbo": cv2.COLORMAP_TURBO,
    "viridis": cv2.COLORMAP_VIRIDIS,
    "cividis": cv2.COLORMAP_CIVIDIS,
    "inferno": cv2.COLORMAP_INFERNO,
}

#: Opacity of the colour where the map is at its maximum; it falls to 0 with the map.
MAX_OPACITY: Final = 0.5
#: The same for a label that is not positive: a map is scaled to its own maximum, and must not look like a finding.
WEAK_OPACITY: Final = 0.2

#: Chroma of grey (JFIF 1.02).
NEUTRAL: Final = 128

#: Pixels of a side up to which an enlarged map is curved; at four times its seven cells' distance nobody sees corners.
_CURVED: Final = 256


def upsample(activation: npt.NDArray[np.float32], size: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Enlarge a map to the image (bicubic) and normalise it by its maximum.

    Parameters
    ----------
    activation : ndarray, (h, w) float32
        At least 0.
    size : (int, int)
        Height and width of the image.

    Returns
    -------
    ndarray, ``size`` float32
        0 to 1; all zero if the map has no positive value.
    """
    if not activation.any():
        return np.zeros(size, np.float32)
    enlarged = np.maximum(cv2.resize(activation, size[::-1], interpolation=cv2.INTER_CUBIC), 0)
    return np.asarray(enlarged / enlarged.max(), dtype=np.float32)


def overlay(
    image: npt.NDArray[np.uint8],
    heatmap: npt.NDArray[np.float32],
    colormap: str = "turbo",
    opacity: float = MAX_OPACITY,
) -> npt.NDArray[np.uint8]:
    """Lay a heat map over an image; where the map is 0 the image stays grey.

    Parameters
    ----------
    image : ndarray, (H, W) uint8
    heatmap : ndarray, (H, W) float32
        0 to 1.
    colormap : str
        One of `COLORMAPS`.
    opacity : float
        Of the colour where the map is 1; `MAX_OPACITY` or `WEAK_OPACITY`.

    Returns
    -------
    ndarray, (H, W, 3) uint8, BGR
    """
    levels = cv2.convertScaleAbs(heatmap, alpha=255)
    kept, tint = _blend(colormap, opacity)
    faded = cv2.multiply(image, cv2.LUT(levels, kept), scale=1 / 255)
    return np.asarray(cv2.merge([cv2.add(faded, cv2.LUT(levels, channel)) for channel in tint]), np.uint8)


class Planes(NamedTuple):
    """A picture as JPEG stores it: luma of each pixel, and chroma of every two in a row, or of every two by two.

    Attributes
    ----------
    luma : ndarray, (H, W) uint8
    blue, red : ndarray, (H or ceil(H / 2), ceil(W / 2)) uint8
        `NEUTRAL` in grey.
    """

    luma: npt.NDArray[np.uint8]
    blue: npt.NDArray[np.uint8]
    red: npt.NDArray[np.uint8]


def overlay_planes(
    image: npt.NDArray[np.uint8],
    activation: npt.NDArray[np.float32],
    colormap: str,
    opacity: float = MAX_OPACITY,
    rows: int = 2,
) -> Planes:
    """Lay a map over an image as `overlay` does, in the planes of a JPEG.

    The image is grey: chroma depends on the map alone, and no pixel's colour has to be converted.

    Parameters
    ----------
    image : ndarray, (H, W) uint8
    activation : ndarray, (h, w) float32
        At least 0; a few cells.
    colormap, opacity
        As for `overlay`.
    rows : int
        Rows of pixels that share a row of chroma: 2 (4:2:0) or 1 (4:2:2).
    """
    levels = _levels(activation, (image.shape[0], image.shape[1]))
    kept, tint = _blend(colormap, opacity)
    luma, red, blue = cv2.split(cv2.cvtColor(np.ascontiguousarray(tint.T)[:, None], cv2.COLOR_BGR2YCrCb))
    faded = cv2.multiply(image, cv2.LUT(levels, kept), scale=1 / 255)
    of_chroma = np.ascontiguousarray(levels[::rows, ::2])
    planes = cv2.add(faded, cv2.LUT(levels, luma)), cv2.LUT(of_chroma, blue), cv2.LUT(of_chroma, red)
    return Planes(*(np.asarray(plane, np.uint8) for plane in planes))


def _levels(activation: npt.NDArray[np.float32], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Enlarge a map to 0 to 255: by bicubic interpolation as far as a curve is seen, and on along straight lines."""
    first = min(size[0], _CURVED), min(size[1], _CURVED)
    levels = cv2.convertScaleAbs(upsample(activation, first), alpha=255)
    return np.asarray(cv2.resize(levels, size[::-1], interpolation=cv2.INTER_LINEAR), np.uint8)


@functools.lru_cache(maxsize=16)
def _blend(colormap: str, opacity: float) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Return look-up tables by the level of a map: what is kept of the image, (256,), and the added BGR, (3, 256)."""
    levels = np.arange(256, dtype=np.uint8)[:, None]
    opacities = opacity * levels / 255
    colour = cv2.applyColorMap(levels, COLORMAPS[colormap])[:, 0]
    tint = np.rint(opacities * colour).astype(np.uint8)
    return np.rint(255 * (1 - opacities[:, 0])).astype(np.uint8), np.ascontiguousarray(tint.T)
