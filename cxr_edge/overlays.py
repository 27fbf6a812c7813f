"""Heat-map overlays as files: drawn over the film, captioned, named so that none collide."""

import hashlib
import os
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from cxr_edge.errors import OutputUnwritable
from cxr_edge.gradcam import overlay
from cxr_edge.labels import NO_FINDING
from cxr_edge.results import Result

FOLDER = "heatmaps"

#: One filter for all rows: trying all of them on each takes as long again, and saves nothing here.
_QUICK_PNG = (cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP)
_FONT = cv2.FONT_HERSHEY_SIMPLEX
#: Of a text that can still be read: capitals of ten pixels.
_LEAST_SCALE = 0.5


def top_diseases(result: Result, count: int) -> list[str]:
    """Give the diseases of highest probability, found or not."""
    diseases = [(label, p) for label, p in result.probabilities.items() if label != NO_FINDING]
    return [label for label, _ in sorted(diseases, key=lambda pair: -pair[1])[:count]]


def overlay_prefix(path: str) -> str:
    """Give the part of an overlay's name that stands for the film.

    The hash of the whole path keeps films of the same name in different folders apart, also
    where the file system ignores case.
    """
    stem = re.sub(r"[^A-Za-z0-9._-]", "_", Path(path).stem)[:60]
    return f"{stem}-{hashlib.sha256(path.encode()).hexdigest()[:16]}"


def overlay_name(path: str, label: str) -> str:
    """Give the name of a film's overlay for a label, relative to the results directory."""
    return f"{FOLDER}/{overlay_prefix(path)}-{label.replace(' ', '_')}.png"


def write_overlay(
    root: Path, name: str, film: npt.NDArray[np.uint8], result: Result, label: str, colormap: str
) -> None:
    """Draw one label's overlay at the film's size and write it whole or not at all.

    Raises
    ------
    OutputUnwritable
    """
    write_atomically(root / name, draw_overlay(film, result, label, colormap))


def draw_overlay(film: npt.NDArray[np.uint8], result: Result, label: str, colormap: str) -> bytes:
    """Draw one label's overlay at the film's size, with its caption; give it as PNG."""
    picture = overlay(film, result.heatmap(label), colormap)
    positive = any(f.positive for f in result.findings if f.label == label)
    verdict = f"{label} {result.probabilities[label]:.2f} {'positive' if positive else 'negative'}"
    caption(picture, f"{verdict}  |  research only, not for diagnosis")
    _, encoded = cv2.imencode(".png", picture, _QUICK_PNG)
    return bytes(encoded.tobytes())


def write_atomically(path: Path, data: bytes | Iterable[bytes], source: str = "") -> None:
    """Write a file whole or not at all.

    Parameters
    ----------
    path : Path
    data : bytes, or an iterable of them
    source : str
        What the data were made from, where several sources may give this file at the same time. What an interruption
        leaves is overwritten when the same source is taken up again.

    Raises
    ------
    OutputUnwritable
    """
    writer = f".{hashlib.sha256(source.encode()).hexdigest()[:16]}" if source else ""
    part = path.with_name(f"{path.name}{writer}.part")
    try:
        with part.open("wb") as file:
            file.writelines([data] if isinstance(data, bytes) else data)
        os.replace(part, path)
    except BaseException as error:
        with suppress(OSError):
            part.unlink()
        if isinstance(error, OSError):
            raise OutputUnwritable.at(path, error) from error
        raise


def caption(picture: npt.NDArray[np.uint8], text: str, *, top: bool = False) -> None:
    """Write white on black into the lower left corner of a picture, or the upper one; in place.

    Text that is wider than the picture goes on in a further line; a word that is, is set smaller.
    """
    scale = max(_LEAST_SCALE, picture.shape[1] / 1024 * 0.6)
    widest = max(_width(word, scale) + 2 * _margin(scale) for word in text.split())
    scale *= min(1.0, picture.shape[1] / widest)
    lines = _wrapped(text, scale, picture.shape[1] - 2 * _margin(scale))
    (_, height), descent = cv2.getTextSize(text, _FONT, scale, 1)
    step = height + descent + _margin(scale)
    block = len(lines) * step + _margin(scale)
    first = 0 if top else picture.shape[0] - block
    right = max(_width(line, scale) for line in lines) + 2 * _margin(scale)
    cv2.rectangle(picture, (0, first), (right, first + block), (0, 0, 0), -1)
    for number, line in enumerate(lines, 1):
        origin = (_margin(scale), first + number * step - descent)
        cv2.putText(picture, line, origin, _FONT, scale, (255, 255, 255), 1, cv2.LINE_AA)


def _wrapped(text: str, scale: float, width: int) -> list[str]:
    """Break text between words into lines of at most that width."""
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
