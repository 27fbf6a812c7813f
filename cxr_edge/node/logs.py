"""What a node says of its work: hashes of UIDs, codes, counts; nothing of a patient."""

import logging
import sys
import warnings
from typing import Final

log: Final = logging.getLogger("cxr_edge.node")
_FORMAT: Final = "%(asctime)s %(levelname)s %(message)s"
_DIGITS: Final = 12


def short(name: str) -> str:
    """Give the first digits of a hash: enough to find an image by."""
    return name[:_DIGITS]


def kind_of(file: str) -> str:
    """Give what a result is, without the hash in its file's name."""
    return file.partition("-")[2] or file.rpartition(".")[2]


def set_up(level: str) -> None:
    """Log to standard error, and silence the packages that quote data sets."""
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
