"""Write PNG files of every kind, valid and invalid, from samples (PNG specification, third edition)."""

import struct
import zlib

import numpy as np

CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
#: Each colour type with each of its bit depths.
KINDS = [
    (colour, depth)
    for colour, depths in {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}.items()
    for depth in depths
]
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def make_png(*chunks: tuple[bytes, bytes]) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(kind, content) for kind, content in chunks)


def ihdr(width: int, height: int, depth: int, colour: int, *, interlaced: bool = False) -> tuple[bytes, bytes]:
    return b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)


def rows_of(samples: np.ndarray, depth: int, *, interlaced: bool = False) -> bytes:
    """Return the rows of an image (H, W, C) as they are before compression, with each filter type in use."""
    passes = _ADAM7 if interlaced else ((0, 0, 1, 1),)
    return b"".join(_filtered(samples[y::dy, x::dx], depth) for x, y, dx, dy in passes)


def samples_to_png(
    samples: np.ndarray, depth: int, colour: int, palette: bytes = b"", *, interlaced: bool = False
) -> bytes:
    height, width, _ = samples.shape
    return make_png(
        ihdr(width, height, depth, colour, interlaced=interlaced),
        *([(b"PLTE", palette)] if colour == 3 else []),
        (b"IDAT", zlib.compress(rows_of(samples, depth, interlaced=interlaced))),
        (b"IEND", b""),
    )


def _filtered(samples: np.ndarray, depth: int) -> bytes:
    if not samples.size:
        return b""
    rows = _packed(samples, depth).astype(int)
    step = max(1, samples.shape[2] * depth // 8)
    above = np.zeros_like(rows)
    above[1:] = rows[:-1]
    left, corner = (np.pad(r, ((0, 0), (step, 0)))[:, : rows.shape[1]] for r in (rows, above))
    guesses = [np.zeros_like(rows), left, above, (left + above) // 2, _paeth(left, above, corner)]
    kinds = np.arange(len(rows)) % len(guesses)
    guess = np.choose(kinds[:, None], guesses)
    return np.column_stack([kinds, (rows - guess) % 256]).astype(np.uint8).tobytes()


def _packed(samples: np.ndarray, depth: int) -> np.ndarray:
    if depth >= 8:
        stored = np.ascontiguousarray(samples.astype(">u2" if depth == 16 else np.uint8))
        return stored.view(np.uint8).reshape(len(samples), -1)
    bits = np.unpackbits(samples.astype(np.uint8).reshape(*samples.shape, 1), axis=-1)[..., 8 - depth :]
    return np.packbits(bits.reshape(len(samples), -1), axis=-1)


def _paeth(left: np.ndarray, above: np.ndarray, corner: np.ndarray) -> np.ndarray:
    distances = [np.abs(above - corner), np.abs(left - corner), np.abs(left + above - 2 * corner)]
    return np.choose(np.argmin(distances, axis=0), [left, above, corner])
