"""Remarks on a header: attributes that cannot be used, or are used otherwise than it states."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from cxr_edge.errors import InvalidHeader
from cxr_edge.support.warnings import CodedWarning

#: Code of the warning that an attribute was not used.
LEFT_OUT: Final = "attribute_left_out"


class Remarks:
    """Warnings that are collected while the header of one image is read."""

    def __init__(self) -> None:
        self._warnings: list[CodedWarning] = []

    @property
    def warnings(self) -> tuple[CodedWarning, ...]:
        """The warnings so far."""
        return tuple(self._warnings)

    def add(self, code: str, message: str) -> None:
        """Add a warning; its message starts with what it is about."""
        self._warnings.append(CodedWarning(code, f"DICOM: {message}"))

    @contextmanager
    def leaving_out(self, what: str) -> Iterator[None]:
        """Leave out what cannot be used: where `InvalidHeader` is raised within, a warning states why."""
        try:
            yield
        except InvalidHeader as error:
            self.add(LEFT_OUT, f"{what} was left out: {error}")
