"""Windows: the part of the values that is shown, and how (PS3.3, C.11.2.1.2 and C.11.2.1.3)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from cxr_edge.errors import InvalidHeader
from cxr_edge.images.dicom.header import tags
from cxr_edge.images.dicom.header.elements import Elements

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Window:
    """A window; `function` is LINEAR, LINEAR_EXACT or SIGMOID."""

    center: float
    width: float
    function: str = "LINEAR"

    @classmethod
    def over(cls, low: float, high: float) -> "Window":
        """Return the linear window that shows the low value black and the high value white."""
        return cls((low + high) / 2 + 0.5, high - low + 1)

    @classmethod
    def exactly(cls, low: float, high: float) -> "Window":
        """Return `over` for values that lie close together, too."""
        return cls((low + high) / 2, high - low, "LINEAR_EXACT")

    @property
    def linear(self) -> "Window":
        """The equivalent LINEAR window of a LINEAR_EXACT one, which not every viewer supports; others as they are."""
        if self.function != "LINEAR_EXACT":
            return self
        return Window.over(self.center - self.width / 2, self.center + self.width / 2)

    def of(self, values: Values) -> Values:
        """Map values to the range from 0 (black) to 1 (white)."""
        with np.errstate(over="ignore"):  # infinite is as far outside the window as it gets
            return _FUNCTIONS[self.function](values, self.center, self.width)


def read_window(elements: Elements) -> Window | None:
    """Read the first window of a header; None if there is none.

    Raises
    ------
    InvalidHeader
        The window cannot be used.
    """
    center, width = (elements.first_decimal(tag) for tag in (tags.WINDOW_CENTER, tags.WINDOW_WIDTH))
    if center is None and width is None:
        return None
    if center is None or width is None:
        raise InvalidHeader("expected a Window Center and a Window Width, got one of them; export the image again")
    function = elements.text(tags.VOI_LUT_FUNCTION).upper() or "LINEAR"
    if function not in _FUNCTIONS:
        raise InvalidHeader(
            f"expected {', '.join(_FUNCTIONS)} in VOI LUT Function, got another one; export the image again"
        )
    if not np.isfinite([center, width]).all() or width <= 0 or (function == "LINEAR" and width < 1):
        raise InvalidHeader(
            "expected a finite center and a width of at least 1, or above 0 where the window is not LINEAR, got "
            f"center {center:g} and width {width:g}; export the image again"
        )
    return Window(center, width, function)


def ramp(values: Values, low: float, high: float) -> Values:
    """Map values to the range from 0 (up to `low`) to 1 (from `high` on)."""
    return np.clip((values - low) / (high - low), 0, 1)


def _linear(values: Values, center: float, width: float) -> Values:
    """Apply a LINEAR window (PS3.3, C.11.2.1.2.1)."""
    if width == 1:
        return (values > center - 0.5).astype(np.float64)
    return np.clip((values - (center - 0.5)) / (width - 1) + 0.5, 0, 1)


def _linear_exact(values: Values, center: float, width: float) -> Values:
    """Apply a LINEAR_EXACT window (PS3.3, C.11.2.1.3.2)."""
    return np.clip((values - center) / width + 0.5, 0, 1)


def _sigmoid(values: Values, center: float, width: float) -> Values:
    """Apply a SIGMOID window (PS3.3, C.11.2.1.3.1); the exponent is bounded so that it cannot overflow."""
    return 1 / (1 + np.exp(np.clip(-4 * ((values - center) / width), -700, 700)))


_FUNCTIONS: Final[dict[str, Callable[[Values, float, float], Values]]] = {
    "LINEAR": _linear,
    "LINEAR_EXACT": _linear_exact,
    "SIGMOID": _sigmoid,
}
