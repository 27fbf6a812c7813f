"""A scanner's software with the model inside: a detector's levels in, findings out, within a time budget.

python examples/embedded.py samples/*.png
"""

import statistics
import sys
import time

import cv2
import numpy as np

import cxr_edge

#: Settings of `Model.predict`, the most thorough first: all TTA variants, as many as the image needs, one.
MODES = ({"tta": True}, {"adaptive": True}, {"tta": False})
#: Bits and size of the detector's images.
BITS, SIZE = 12, (2500, 2048)


class Assistant:
    """A model that is warmed up before the first patient, and keeps a time budget.

    Parameters
    ----------
    budget : float
        Seconds that an image may take.

    Attributes
    ----------
    mode : dict
        The most thorough of `MODES` that takes less than half of the budget on this machine.

    Raises
    ------
    RuntimeError
        No mode is fast enough.
    """

    def __init__(self, budget: float) -> None:
        self.budget = budget
        self.model = cxr_edge.load()
        seconds = {}
        for number, mode in enumerate(MODES):
            seconds[number] = self._measured(mode)
            if seconds[number] < budget / 2:
                self.mode = mode
                return
        raise RuntimeError(
            f"this machine needs {min(seconds.values()):.2f} s an image: expected less than half of {budget:g} s"
        )

    def predict(self, levels: np.ndarray) -> cxr_edge.Result:
        """Return the findings of an image, (H, W) uint16, in which bone is bright."""
        return self.model.predict(levels, bits_stored=BITS, **self.mode)

    def _measured(self, mode: dict[str, bool]) -> float:
        image = np.random.default_rng(0).integers(0, 1 << BITS, SIZE, dtype=np.uint16)
        times = []
        for _ in range(4):
            started = time.perf_counter()
            self.model.predict(image, bits_stored=BITS, **mode)
            times.append(time.perf_counter() - started)
        return statistics.median(times[1:])  # the first is the warm-up


def main(paths: list[str]) -> None:
    """Infer images one after the other, and print their findings."""
    assistant = Assistant(budget=2.0)
    print(f"{assistant.model!r}, {assistant.mode}")
    for path in paths:
        image = cv2.imread(path, cv2.IMREAD_GRAYSCALE)
        if image is None:
            raise SystemExit(f"{path} cannot be read as an image")
        levels = image.astype(np.uint16) << 4  # as from a detector of 12 bits
        started = time.perf_counter()
        result = assistant.predict(levels)
        seconds = time.perf_counter() - started
        late = "" if seconds <= assistant.budget else ", over the budget: show the image without waiting"
        print(f"{path}: {seconds:.3f} s{late}: {result}")


if __name__ == "__main__":
    main(sys.argv[1:] or sys.exit(__doc__))
