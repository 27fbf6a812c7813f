"""NVIDIA's TensorRT, or TensorRT for RTX: whichever is installed. Its errors are kept for our messages."""

import importlib
import importlib.util
import logging
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from cxr_edge.errors import DeviceUnavailable, how_to_get

Name = Literal["tensorrt", "tensorrt_rtx"]

#: In the order of the search.
NAMES: Final[tuple[Name, ...]] = ("tensorrt", "tensorrt_rtx")

#: Strongly typed networks exist from 10.0 on, and JetPack 6 has 10.3.
OLDEST: Final = (10, 3)

INSTALL: Final = f"{how_to_get('tensorrt')}; for RTX GPUs, rtx instead of tensorrt"

_log = logging.getLogger("cxr_edge.backends.tensorrt")


@dataclass(frozen=True)
class Library:
    """An imported TensorRT.

    Attributes
    ----------
    module : module
    name : str
        ``tensorrt`` or ``tensorrt_rtx``.
    logger : ILogger
        Passes TensorRT's messages on to Python's logging, and keeps errors.
    errors : list of str
        Messages of the errors so far.
    """

    module: Any
    name: Name
    logger: Any
    errors: list[str] = field(default_factory=list)

    @property
    def version(self) -> str:
        """The version that the package reports."""
        return str(self.module.__version__)

    @property
    def for_rtx(self) -> bool:
        """Whether it is TensorRT for RTX, which builds without a GPU."""
        return self.name == "tensorrt_rtx"

    def last_error(self) -> str:
        """Return the last error, for a message, and forget all errors so far."""
        text = self.errors[-1] if self.errors else "TensorRT gave no reason"
        self.errors.clear()
        return text


def load_library(name: Name | None = None) -> Library:
    """Import a TensorRT.

    Parameters
    ----------
    name : str, optional
        The first of `NAMES` that is installed if left out.

    Raises
    ------
    DeviceUnavailable
        No TensorRT can be imported; the message names the missing library.
    """
    faults = []
    for tried in (name,) if name else NAMES:
        try:
            module = importlib.import_module(tried)
        except ModuleNotFoundError as error:
            # tensorrt's wheel is only bindings: the libraries are packages of their own.
            faults.append(f"the package {error.name} is not installed")
        except (ImportError, OSError) as error:
            faults.append(f"{tried} cannot be loaded ({error})")
        else:
            return _checked(module, tried)
    raise DeviceUnavailable(f"tensorrt: {'; '.join(faults)}; {INSTALL}")


def require_installed() -> None:
    """Raise an error where no TensorRT is installed, without importing it.

    Raises
    ------
    DeviceUnavailable
    """
    if not any(importlib.util.find_spec(name) for name in NAMES):
        raise DeviceUnavailable(f"tensorrt: neither the package {' nor '.join(NAMES)} is installed; {INSTALL}")


def _checked(module: Any, name: Name) -> Library:
    version = tuple(int(part) for part in module.__version__.split(".")[:2])
    if name == "tensorrt" and version < OLDEST:
        raise DeviceUnavailable(
            f"tensorrt: expected version {'.'.join(map(str, OLDEST))} or newer, got {module.__version__}; update it"
        )
    errors: list[str] = []
    return Library(module, name, _logger(module, errors), errors)


def _logger(module: Any, errors: list[str]) -> Any:
    severity = module.ILogger.Severity
    levels = {
        severity.INTERNAL_ERROR: logging.ERROR,
        severity.ERROR: logging.ERROR,
        severity.WARNING: logging.WARNING,
        severity.INFO: logging.INFO,
        severity.VERBOSE: logging.DEBUG,
    }

    interface = module.ILogger

    class Logger(interface):  # type: ignore[misc, valid-type]
        def __init__(self) -> None:
            interface.__init__(self)

        def log(self, level: Any, message: str) -> None:
            if levels[level] == logging.ERROR:
                errors.append(message)
            _log.log(min(levels[level], logging.INFO), message)  # errors are raised as our own exceptions

    return Logger()
