"""Scanner-side software with the model inside: a detector's levels in, findings out, within a budget of time.

python examples/embedded.py samples/*.png
"""

import statistics
import sys
import time

import cv2
import numpy as np

import cxr_edge

#: Ways to look at an image, the most thorough first: six views, two to six, one.
WAYS = ({"tta": True}, {"adaptive": True}, {"tta": False})
#: Of the detector.
BITS, SIZE = 12, (2500, 2048)


class Assistant:
    """A model that is warm before the first patient, and keeps to a budget.

    Parameters
    ----------
    budget : float
        Seconds that an image may take.

    Attributes
    ----------
    way : dict
        The most thorough way that this machine does in half of the budget.
    """

    def __init__(self, budget: float) -> None:
        self.budget = budget
        self.model = cxr_edge.load()
        seconds = {}
        for number, way in enumerate(WAYS):
            seconds[number] = self._measured(way)
            if seconds[number] < budget / 2:
                self.way = way
                return
        raise RuntimeError(f"this machine needs {min(seconds.values()):.2f} s an image: too long for {budget:g} s")

    def look(self, levels: np.ndarray) -> cxr_edge.Result:
        """Give the findings of an image, (H, W) uint16, bright bone."""
        return self.model.predict(levels, bits_stored=BITS, **self.way)

    def _measured(self, way: dict[str, bool]) -> float:
        image = np.random.default_rng(0).integers(0, 1 << BITS, SIZE, dtype=np.uint16)
        times = []
        for _ in range(4):
            started = time.perf_counter()
            self.model.predict(image, bits_stored=BITS, **way)
            times.append(time.perf_counter() - started)
        return statistics.median(times[1:])  # the first was the warm-up


def main(paths: list[str]) -> None:
    """Look at images as they come."""
    assistant = Assistant(budget=2.0)
    print(f"{assistant.model!r}, {assistant.way}")
    for path in paths:
        picture = cv2.imread(path, cv2.IMREAD_GRAYSCALE)
        if picture is None:
            raise SystemExit(f"{path} is no picture that can be read")
        levels = picture.astype(np.uint16) << 4  # as a detector of 12 bits gives them
        started = time.perf_counter()
        result = assistant.look(levels)
        seconds = time.perf_counter() - started
        late = "" if seconds <= assistant.budget else ", over the budget: show the image without waiting"
        print(f"{path}: {seconds:.3f} s{late}: {result}")


if __name__ == "__main__":
    main(sys.argv[1:] or sys.exit(__doc__))
