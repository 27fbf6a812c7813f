"""The peak rate of one core: NumPy's matrix product in float32, at the fastest size on this machine."""

import time
from typing import Final

import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits

SIZES: Final = (256, 384, 512, 768, 1024, 1536)
#: Approximate floating-point operations of one run: enough for an accurate time, few enough for a short round.
RUN_FLOPS: Final = 2e10


class Sgemm:
    """A square product on one thread. Its work counts floating-point operations."""

    def __init__(self, images: list[str]) -> None:  # noqa: ARG002 - every baseline takes images
        threadpool_limits(1)  # holds until the process ends
        rates = {size: max(_rate(size) for _ in range(5)) for size in SIZES}
        size = max(rates, key=lambda n: rates[n])
        self._matrix = _matrix(size)
        self._repeats = max(1, round(RUN_FLOPS / (2 * size**3)))
        self.work = 2 * size**3 * self._repeats
        self.settings = {
            "call": "numpy.matmul, float32",
            "threads": 1,
            "size": size,
            "gflops_by_size": {str(n): round(rate / 1e9, 1) for n, rate in rates.items()},
            "libraries": [f"{i['internal_api']} {i['version']} ({i.get('architecture')})" for i in threadpool_info()],
        }

    def run(self) -> None:
        """Multiply several times."""
        out = np.empty_like(self._matrix)
        for _ in range(self._repeats):
            np.matmul(self._matrix, self._matrix, out=out)


def _matrix(size: int) -> np.ndarray:
    return np.random.default_rng(0).random((size, size), dtype=np.float32)


def _rate(size: int) -> float:
    """Return floating-point operations per second, measured over about a twentieth of a second."""
    matrix, repeats = _matrix(size), max(1, round(4e9 / (2 * size**3)))
    out = np.empty_like(matrix)
    start = time.perf_counter()
    for _ in range(repeats):
        np.matmul(matrix, matrix, out=out)
    return repeats * 2 * size**3 / (time.perf_counter() - start)
