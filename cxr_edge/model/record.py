"""One line of ``predictions.jsonl``: the typed record of a result, or of an input that failed, and its JSON."""

from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from cxr_edge.model.settings import TtaMode
from cxr_edge.support.warnings import CodedWarning

#: Version of the JSON; it rises whenever a key changes its meaning or is removed.
SCHEMA: Final = 2


class FindingRecord(msgspec.Struct, frozen=True):
    """One finding in the line of a result.

    Attributes
    ----------
    label : str
    probability : float
    threshold : float
    positive : bool
    std : float or None
        See `cxr_edge.Finding`.
    overlay_file : str or None
        Where its overlay was written, relative to the results directory.
    overlay_empty : bool
        True where the overlay has no colour, because nothing in the image supports the finding; absent otherwise.
    """

    label: str
    probability: float
    threshold: float
    positive: bool
    std: float | None
    overlay_file: str | None = None
    overlay_empty: bool | UnsetType = UNSET


class ResultRecord(msgspec.Struct, frozen=True, kw_only=True, tag_field="status", tag="ok"):
    """The line of an image with a result.

    Attributes
    ----------
    schema : int
        `SCHEMA`.
    path : str or None
    sha256 : str or None
    model : str
    tta_mode : str
    variants : int
    probabilities : dict
    findings : tuple of FindingRecord
    warnings : tuple of CodedWarning
    ood_score : float or None
        See `cxr_edge.Result`.
    members : tuple of str
        Names of the networks whose answers were averaged; absent where the model is no ensemble.
    dicom : tuple of str
        Files of the DICOM results, relative to their directory; absent where none were asked for.
    """

    schema: int = SCHEMA
    path: str | None
    sha256: str | None
    model: str
    tta_mode: TtaMode
    variants: int
    probabilities: dict[str, float]
    findings: tuple[FindingRecord, ...]
    warnings: tuple[CodedWarning, ...]
    ood_score: float | None
    members: tuple[str, ...] | UnsetType = UNSET
    dicom: tuple[str, ...] | UnsetType = UNSET

    @property
    def positive(self) -> tuple[FindingRecord, ...]:
        """The findings at or above their threshold, by falling probability."""
        return tuple(finding for finding in self.findings if finding.positive)


class CodedError(msgspec.Struct, frozen=True):
    """A stable code for programs, and a message for people."""

    code: str
    message: str


class FailureRecord(msgspec.Struct, frozen=True, kw_only=True, tag_field="status", tag="error"):
    """The line of an input that could not be used."""

    schema: int = SCHEMA
    path: str | None
    error: CodedError


Record = ResultRecord | FailureRecord


class StudyImageRecord(msgspec.Struct, frozen=True):
    """An image of a study: its view by its header, and its own record."""

    view: str | None
    record: Record


class StudyRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The merged result of a study; see `cxr_edge.predict_study`.

    Attributes
    ----------
    schema : int
        `SCHEMA`.
    study : str or None
        Study Instance UID.
    probabilities : dict
    findings : tuple of FindingRecord
    images : tuple of StudyImageRecord
    """

    schema: int = SCHEMA
    study: str | None
    probabilities: dict[str, float]
    findings: tuple[FindingRecord, ...]
    images: tuple[StudyImageRecord, ...]


def encode_record(record: Record | StudyRecord) -> bytes:
    """Encode a record as one line of JSON, UTF-8."""
    return msgspec.json.encode(record) + b"\n"


def decode_record(line: bytes) -> Record:
    """Decode one line of ``predictions.jsonl``.

    Raises
    ------
    msgspec.MsgspecError
        The line is not JSON, or not a record of this `SCHEMA`.
    """
    record: Record = msgspec.json.decode(line, type=Record)
    if record.schema != SCHEMA:
        raise msgspec.ValidationError(f"expected schema {SCHEMA}, got {record.schema}")
    return record


def to_dict(record: Record | StudyRecord) -> dict[str, Any]:
    """Return a record as its JSON object."""
    built: dict[str, Any] = msgspec.to_builtins(record)
    return built
