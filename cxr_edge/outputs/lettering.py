"""White text on black, in pictures: a caption in a corner, or bands above and below."""

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

_FONT: Final = cv2.FONT_HERSHEY_SIMPLEX
#: Smallest scale at which text is readable: capitals of ten pixels.
_LEAST_SCALE: Final = 0.5


def caption(text: str, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Write white text on black for the lower left corner of a picture, no wider than it needs; see `band`.

    Parameters
    ----------
    text : str
    size : (int, int)
        Height and width of the picture, in pixels.

    Returns
    -------
    ndarray, (h, w) uint8
        No larger than the picture.
    """
    scale, lines = _fitted(text, size[1])
    width = min(size[1], max(_width(line, scale) for line in lines) + 2 * _margin(scale))
    return _written(lines, scale, width)[-size[0] :]


def band(text: str, width: int) -> npt.NDArray[np.uint8]:
    """Write white text on a black band, which can be put above or below a picture.

    Text wider than the band continues on further lines. If a single word is wider, all text is written smaller.

    Parameters
    ----------
    text : str
    width : int
        Of the picture, in pixels.

    Returns
    -------
    ndarray, (h, width) uint8
    """
    scale, lines = _fitted(text, width)
    return _written(lines, scale, width)


def _fitted(text: str, width: int) -> tuple[float, list[str]]:
    """Return the scale of text in a picture of a width, and its lines."""
    scale = max(_LEAST_SCALE, width / 1024 * 0.6)
    widest = max(_width(word, scale) + 2 * _margin(scale) for word in text.split())
    scale *= min(1.0, width / widest)
    return scale, _wrapped(text, scale, width - 2 * _margin(scale))


def _written(lines: list[str], scale: float, width: int) -> npt.NDArray[np.uint8]:
    (_, height), descent = cv2.getTextSize(" ".join(lines), _FONT, scale, 1)
    step = height + descent + _margin(scale)
    drawn = np.zeros((len(lines) * step + _margin(scale), width), np.uint8)
    for number, line in enumerate(lines, 1):
        origin = (_margin(scale), number * step - descent)
        cv2.putText(drawn, line, origin, _FONT, scale, 255, 1, cv2.LINE_AA)
    return drawn


def _wrapped(text: str, scale: float, width: int) -> list[str]:
    """Break text between words into lines of at most `width` pixels."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and _width(longer, scale) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _width(text: str, scale: float) -> int:
    return int(cv2.getTextSize(text, _FONT, scale, 1)[0][0])


def _margin(scale: float) -> int:
    return round(10 * scale)
