"""Make damaged images: real files with bytes changed, each repeatable by its number."""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

#: Values at which arithmetic on lengths and sizes goes wrong.
EDGES: Final = (
    0,
    1,
    2,
    0x7F,
    0x80,
    0xFF,
    0x100,
    0x7FFF,
    0x8000,
    0xFFFE,
    0xFFFF,
    0x10000,
    0x7FFFFFFF,
    0xFFFFFFFE,
    0xFFFFFFFF,
)
#: Half of all changes are made in the first bytes, this many, where the headers are.
HEAD: Final = 1024

Mutation = Callable[[np.random.Generator, bytearray], None]


def damaged(files: Sequence[bytes], seed: int, number: int) -> bytes:
    """Make the numbered damaged file of a seed.

    Parameters
    ----------
    files : sequence of bytes
        Undamaged ones.
    seed, number : int

    Returns
    -------
    bytes
    """
    random = np.random.default_rng((seed, number))
    data = bytearray(files[number % len(files)])
    for _ in range(random.integers(1, 5)):
        _MUTATIONS[random.integers(len(_MUTATIONS))](random, data)
    if random.random() < 0.05:
        other = files[random.integers(len(files))]
        data[_place(random, data) :] = other[_place(random, other) :]
    return bytes(data)


def _place(random: np.random.Generator, data: bytes | bytearray) -> int:
    span = min(len(data), HEAD) if random.random() < 0.5 else len(data)
    return int(random.integers(max(span, 1)))


def _flip_bit(random: np.random.Generator, data: bytearray) -> None:
    if data:
        data[_place(random, data)] ^= 1 << int(random.integers(8))


def _write_noise(random: np.random.Generator, data: bytearray) -> None:
    at, length = _place(random, data), int(random.integers(1, 64))
    data[at : at + length] = random.bytes(len(data[at : at + length]))


def _write_edge(random: np.random.Generator, data: bytearray) -> None:
    at, size = _place(random, data), int(random.choice([1, 2, 4]))
    value = EDGES[random.integers(len(EDGES))] % (1 << 8 * size)
    data[at : at + size] = value.to_bytes(size, "little" if random.random() < 0.5 else "big")


def _cut_off(random: np.random.Generator, data: bytearray) -> None:
    del data[_place(random, data) :]


def _cut_out(random: np.random.Generator, data: bytearray) -> None:
    at = _place(random, data)
    del data[at : at + int(random.integers(1, 4096))]


def _repeat(random: np.random.Generator, data: bytearray) -> None:
    at = _place(random, data)
    data[at:at] = data[at : at + int(random.integers(1, 4096))]


_MUTATIONS: Final[tuple[Mutation, ...]] = (
    _flip_bit, _flip_bit, _write_noise, _write_edge, _write_edge, _cut_off, _cut_out, _repeat,
)  # fmt: skip
