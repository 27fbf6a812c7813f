"""Memory that a function allocates for arrays, by tracemalloc, to which NumPy reports (OpenCV's arrays are NumPy's)."""

import sys
import tracemalloc
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

#: Smaller blocks are Python's own objects and not copies of an image.
LEAST: Final = 4096


def allocated(function: Callable[[], object]) -> tuple[int, int]:
    """Count the bytes that a function allocates in blocks of at least `LEAST`.

    tracemalloc reports what is allocated now, and the peak since its last reset. So it is read after every bytecode
    instruction, none of which makes more than one array in Python. What a C function allocates and frees counts once.

    Returns
    -------
    total, peak : int
        Bytes.
    """
    total = held = highest = 0

    def after_each(frame: FrameType, event: str, argument: Any) -> Any:  # noqa: ARG001  (sys.settrace gives them)
        nonlocal total, held, highest
        frame.f_trace_opcodes = True
        now, peak = tracemalloc.get_traced_memory()
        highest = max(highest, peak)
        if peak - held >= LEAST:
            total += peak - held
        held = now
        tracemalloc.reset_peak()
        return after_each

    tracemalloc.start()
    before = sys.gettrace()
    try:
        start, _ = tracemalloc.get_traced_memory()
        held = start
        sys.settrace(after_each)
        kept = function()  # keep its result allocated
        sys.settrace(before)
        del kept
    finally:
        sys.settrace(before)
        tracemalloc.stop()
    return total, highest - start
