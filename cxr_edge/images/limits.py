"""Limits and rules for reading inputs."""

from dataclasses import dataclass, fields
from typing import Final, Literal, TypeAlias

from cxr_edge.errors import TooLarge, TooSmall

MEGA: Final = 10**6
MEBIBYTE: Final = 2**20


#: Of a chest radiograph: PA or AP, or from the side.
View: TypeAlias = Literal["frontal", "lateral"]


@dataclass(frozen=True)
class InputLimits:
    """Limits and rules for reading an image; the defaults fit any chest radiograph that a scanner produces.

    Attributes
    ----------
    max_file_bytes : int
        A longer file is refused.
    max_side : int
        Most pixels in a row or a column.
    min_side : int
        Fewest pixels in a row or a column.
    max_pixels : int
        Most pixels of an image: height times width.
    max_scans : int
        Most scans of a JPEG: a decoder visits every pixel for each. Encoders write up to about 20.
    max_header_elements : int
        Most DICOM attributes before the pixels, including those inside sequences.
    strict : bool
        Refuse a DICOM image whose header describes it as lateral, as mirrored or turned, or of another part of the
        body; otherwise it is read with a warning.
    view : {'frontal', 'lateral'} or None
        What a DICOM image should be by its header; None for either. A `cxr_edge.Model` sets that of its bundle.
    isolated : bool
        Decode compressed DICOM pixels in separate processes, so that a decoder that crashes, hangs
        or takes too much memory costs only that image. Turn it off only for trusted images.
    python : str or None
        Interpreter that such a process is started with, of this version of Python; found if None. For
        a program that embeds Python and whose interpreter is not found.
    decode_seconds_per_megapixel : float
        CPU time such a process has for an image, on top of `DECODE_SECONDS`.
    decode_bytes_per_sample : int
        Memory such a process may take, on top of `DECODE_BYTES`; Linux only.
    """

    max_file_bytes: int = 512 * MEBIBYTE
    max_side: int = 20_000
    min_side: int = 64
    max_pixels: int = 100 * MEGA
    max_scans: int = 32
    max_header_elements: int = 20_000
    strict: bool = False
    view: View | None = "frontal"
    isolated: bool = True
    python: str | None = None
    decode_seconds_per_megapixel: float = 0.75
    decode_bytes_per_sample: int = 32

    def __post_init__(self) -> None:
        for name in LIMIT_NAMES:
            if (value := getattr(self, name)) <= 0:
                raise ValueError(f"expected {name} above 0, got {value}")

    def check_size(self, width: int, height: int) -> None:
        """Check the size of an image against the limits.

        Raises
        ------
        TooLarge, TooSmall
        """
        if max(width, height) > self.max_side or width * height > self.max_pixels:
            raise TooLarge(
                f"expected sides up to {self.max_side} and at most {self.max_pixels / MEGA:g} megapixels, "
                f"got {width}x{height}; raise max_side or max_pixels if the image is right"
            )
        if min(width, height) < self.min_side:
            raise TooSmall(
                f"expected sides of at least {self.min_side} pixels, got {width}x{height}; use the full-size image"
            )


#: Names of the numeric limits, without the rules.
LIMIT_NAMES: Final = tuple(
    field.name for field in fields(InputLimits) if field.name not in ("strict", "view", "isolated", "python")
)
DEFAULT_LIMITS: Final = InputLimits()
