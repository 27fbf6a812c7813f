"""Boundaries: the parts of an image's processing that are timed. Images are in memory; no boundary reads the disk."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import simplejpeg

from cxr_edge.backends import Resources
from cxr_edge.images import read_image
from cxr_edge.model.bundle import Bundle
from cxr_edge.model.graphs import open_graphs
from cxr_edge.model.model import Model
from cxr_edge.model.preprocess import preprocess

JPEG_QUALITY: Final = 92


@dataclass(frozen=True)
class Images:
    """The same images as they enter each boundary.

    Attributes
    ----------
    png, jpeg : list of bytes
    pixels : list of ndarray, (H, W) uint8
    """

    png: list[bytes]
    jpeg: list[bytes]
    pixels: list[npt.NDArray[np.uint8]]


@dataclass(frozen=True)
class Boundary:
    """The part of an image's processing that is timed.

    Attributes
    ----------
    name : str
    samples : sequence
        The inputs, one for each image.
    run : callable
        Processes one of them.
    inputs : int
        Inputs in one call of the network.
    """

    name: str
    samples: Sequence[Any]
    run: Callable[[Any], object]
    inputs: int = 1


def read_images(paths: Sequence[Path]) -> Images:
    """Read images, decode them, and encode them as JPEG."""
    pixels = [read_image(path).pixels for path in paths]
    return Images(
        png=[path.read_bytes() for path in paths],
        jpeg=[simplejpeg.encode_jpeg(p[..., np.newaxis], quality=JPEG_QUALITY, colorspace="GRAY") for p in pixels],
        pixels=pixels,
    )


def boundaries(
    model: Model, bundle: Bundle, threads: int, images: Images, *, tta: bool, cam: bool
) -> Iterator[Boundary]:
    """Yield the boundaries, from the network alone to whole files.

    Heat maps are those of a result, at the network's resolution; `Result.heatmap` enlarges them later.
    """
    manifest = bundle.manifest
    names = manifest.tensors
    network = open_graphs(bundle, model.device, model.precision, Resources(threads=threads)).networks[0].network
    inputs = [preprocess(pixels, manifest.input.size)[np.newaxis] for pixels in images.pixels]
    yield Boundary("engine only", inputs, lambda batch: network.run([names.probabilities], {names.image: batch}))
    yield Boundary("array → result", images.pixels, lambda pixels: model.predict(pixels, tta=False))
    yield Boundary("PNG → result", images.png, lambda data: model.predict(data, tta=False))
    yield Boundary("JPEG → result", images.jpeg, lambda data: model.predict(data, tta=False))
    if tta:
        count = len(manifest.tta.variants)
        yield Boundary(
            f"array → result, {count} variants", images.pixels, lambda pixels: model.predict(pixels, tta=True), count
        )
    if cam and manifest.maps is not None:
        yield Boundary(
            "array → result, heat maps", images.pixels, lambda pixels: model.predict(pixels, tta=False, heatmaps=True)
        )
