"""The node's log: hashes of UIDs, error codes and counts, but no patient data."""

import logging
import sys
import warnings
from typing import Final

log: Final = logging.getLogger("cxr_edge.node")
_FORMAT: Final = "%(asctime)s %(levelname)s %(message)s"
_DIGITS: Final = 12


def short(name: str) -> str:
    """Return the first digits of a hash, enough to find an image by."""
    return name[:_DIGITS]


def kind_of(file: str) -> str:
    """Return the kind of a result: its file's name without the hash."""
    return file.partition("-")[2] or file.rpartition(".")[2]


def set_up(level: str) -> None:
    """Log to standard error, and silence packages that would quote data sets."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(_FORMAT))
    log.handlers[:] = [handler]
    log.setLevel(level)
    log.propagate = False
    for package in ("pydicom", "pynetdicom", "highdicom", "urllib3"):
        quiet = logging.getLogger(package)
        quiet.handlers[:] = [logging.NullHandler()]
        quiet.propagate = False
        quiet.setLevel(logging.CRITICAL + 1)
    warnings.simplefilter("ignore")
