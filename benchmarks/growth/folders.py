"""Folders of many names and few files, which the system keeps in its cache, so that no disk speed is measured."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import cv2

from cxr_edge.images import read_image


def make_folder(images: Sequence[Path], count: int, folder: Path) -> Path:
    """Make a folder of `count` names of real images: copies first, then hard links to these."""
    folder.mkdir()
    for number in range(count):
        name = folder / f"{number:06d}.png"
        if number < len(images):
            shutil.copyfile(images[number], name)
        else:
            os.link(folder / f"{number % len(images):06d}.png", name)
    return folder


def resize_images(paths: Sequence[Path], side: int, folder: Path) -> list[Path]:
    """Write images with a longer side of `side` pixels as PNG; enlarged by cubic splines, shrunk by area averaging."""
    folder.mkdir()
    written = []
    for path in paths:
        pixels = read_image(path).pixels
        scale = side / max(pixels.shape)
        size = (round(pixels.shape[1] * scale), round(pixels.shape[0] * scale))
        resized = cv2.resize(pixels, size, interpolation=cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA)
        written.append(folder / path.name)
        if not cv2.imwrite(str(written[-1]), resized):
            raise OSError(f"{written[-1]} cannot be written; is the disk full?")
    return written
