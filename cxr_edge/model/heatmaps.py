"""Class activation maps for display: from a few cells to colour over the image.

The maps come from the bundle's companion graph: ReLU(Σ_k α_k A_k) for the features A and each label, with α_k the
positive part of ∂logit/∂A_k at each position (LayerCAM, Jiang et al. 2021) or its mean over the positions (Grad-CAM,
Selvaraju et al. 2017).
"""

from typing import Final

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
    opacities = opacity * np.arange(256) / 255
    colour = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], COLORMAPS[colormap]).reshape(256, 3)
    # Both parts of the blend depend on the level alone: two look-ups instead of float arithmetic over three channels.
    faded = cv2.multiply(image, cv2.LUT(levels, np.rint(255 * (1 - opacities)).astype(np.uint8)), scale=1 / 255)
    tint = np.rint(opacities[:, None] * colour).astype(np.uint8)
    return np.asarray(cv2.merge([cv2.add(faded, cv2.LUT(levels, channel)) for channel in tint.T.copy()]), np.uint8)
