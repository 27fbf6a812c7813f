"""How inputs are read: the bounds that anything from outside is held against."""

from dataclasses import dataclass, fields
from typing import Final

from cxr_edge.errors import TooLarge, TooSmall

MEGA: Final = 10**6
MEBIBYTE: Final = 2**20


@dataclass(frozen=True)
class InputLimits:
    """Bounds and rules for reading an image; the defaults fit any chest radiograph a scanner makes.

    Attributes
    ----------
    max_file_bytes : int
        A longer file is refused.
    max_side : int
        Pixels in a row or a column, at most.
    min_side : int
        Pixels in a row and a column, at least.
    max_pixels : int
        Height times width.
    max_header_elements : int
        DICOM attributes before the pixels, those inside sequences included.
    strict : bool
        Refuse a DICOM image whose header says that it is lateral, or of another part of the body;
        otherwise it is read with a warning.
    isolated : bool
        Decode compressed DICOM pixels in processes of their own, so that a decoder that crashes,
        hangs or takes too much memory costs that image alone. Turn it off only for trusted images.
    decode_seconds_per_megapixel : float
        Time such a process has for an image, on top of `DECODE_SECONDS`.
    decode_bytes_per_sample : int
        Memory such a process may take, on top of `DECODE_BYTES`; Linux only.
    """

    max_file_bytes: int = 512 * MEBIBYTE
    max_side: int = 20_000
    min_side: int = 64
    max_pixels: int = 100 * MEGA
    max_header_elements: int = 20_000
    strict: bool = False
    isolated: bool = True
    decode_seconds_per_megapixel: float = 0.75
    decode_bytes_per_sample: int = 32

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, bool) and value <= 0:
                raise ValueError(f"expected {field.name} above 0, got {value}")

    def check_size(self, width: int, height: int) -> None:
        """Hold a picture's size against the bounds.

        Raises
        ------
        TooLarge, TooSmall
        """
        if max(width, height) > self.max_side or width * height > self.max_pixels:
            raise TooLarge(
                f"expected sides up to {self.max_side} and at most {self.max_pixels / MEGA:g} megapixels, "
                f"got {width}x{height}"
            )
        if min(width, height) < self.min_side:
            raise TooSmall(f"expected sides of at least {self.min_side} pixels, got {width}x{height}")


#: Names of the bounds, without the rules.
LIMIT_NAMES: Final = tuple(field.name for field in fields(InputLimits) if field.name not in ("strict", "isolated"))
DEFAULT_LIMITS: Final = InputLimits()
