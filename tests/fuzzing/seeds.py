"""Small undamaged images of every kind that is read, as input of the fuzzer."""

import io
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from benchmarks.dicom import dicom_files
from benchmarks.dicom.dicom_files import CODECS, NATIVE, compressed, image, written
from benchmarks.dicom.patient import PATIENT
from cxr_edge.images import read_image
from tests.cxr_edge.images.pngs import samples_to_png

SIDE = 96


def valid_images(path: Path) -> dict[str, bytes]:
    """Make undamaged images from one real image.

    Returns
    -------
    dict
        Kind → the bytes of the file.
    """
    pixels = cv2.resize(read_image(path).pixels, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    deep = pixels.astype(np.uint16) * 16
    made = {
        "PNG, 8 bits": _png(pixels),
        "PNG, 16 bits": _png(deep),
        "PNG, RGB": _png(cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR)),
        "PNG, palette": _saved(Image.fromarray(pixels).quantize(16), "PNG"),
        "PNG, 1 bit": _saved(Image.fromarray(pixels).convert("1"), "PNG"),
        "PNG, interlaced": samples_to_png(pixels[..., None], 8, 0, interlaced=True),
        "JPEG, grey": _saved(Image.fromarray(pixels), "JPEG"),
        "JPEG, colour": _saved(Image.fromarray(pixels).convert("RGB"), "JPEG"),
        "JPEG, progressive": _saved(Image.fromarray(pixels), "JPEG", progressive=True),
    }
    native = image(deep, bits=12, WindowCenter=2000, WindowWidth=3000, PixelPaddingValue=0, **PATIENT)
    native["PixelPaddingValue"].VR = "US"
    made |= {f"DICOM {syntax}": written(native, syntax) for syntax in NATIVE}
    made |= {f"DICOM {syntax}": written(compressed(native, syntax)) for syntax in CODECS}
    made["a real DICOM header"] = dicom_files.CHEST.read_bytes()[:200_000]
    return made


def _png(pixels: np.ndarray) -> bytes:
    return cv2.imencode(".png", pixels)[1].tobytes()


def _saved(pixels: Image.Image, kind: str, **options: bool) -> bytes:
    buffer = io.BytesIO()
    pixels.save(buffer, kind, **options)
    return buffer.getvalue()
