"""JPEG files for tests, and changes of them."""

import io
import struct

import cv2
import numpy as np
from PIL import Image

END = b"\xff\xd9"
#: Bytes that follow the end marker in files: padding of each kind, and no padding.
PADDING = {"zero": b"\0", "zeros": b"\0" * 999, "ones": b"\xff", "blank": b" ", "line end": b"\r\n"}
TRAILERS = {
    "two bytes": b"\x12\x34",
    "text": b"Vendor 1.0\0",
    "end marker": END,
    "start marker": b"\xff\xd8\xff\xe0",
    "another image": cv2.imencode(".jpg", np.zeros((8, 8), np.uint8))[1].tobytes(),
}


def encoded(pixels: np.ndarray, mode: str = "L", **options: object) -> bytes:
    """Encode with Pillow: `progressive`, `optimize`, `restart_marker_blocks`, `quality`."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels), mode).save(buffer, "JPEG", **{"quality": 90, **options})
    return buffer.getvalue()


def segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def scan_starts(data: bytes) -> list[int]:
    """Return the offsets of the scan headers of a file without thumbnails."""
    return [at for at in range(len(data) - 1) if data[at : at + 2] == b"\xff\xda"]
