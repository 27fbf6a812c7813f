"""The results directory of a run: lines are appended as they come, and a run resumes after any interruption.

``predictions.jsonl`` is an append-only log during the run. A last line that a killed process left unfinished is cut off
at the next start. At the end, a log that resuming put out of order is rewritten in input order, in one atomic step, and
``predictions.csv`` is derived from it.
"""

import json
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import msgspec
from filelock import FileLock, Timeout

from cxr_edge.errors import OutputBusy, OutputMismatch, OutputUnwritable
from cxr_edge.model.record import Record, ResultRecord, decode_record, encode_record
from cxr_edge.outputs.base import Output
from cxr_edge.outputs.csv import csv_text
from cxr_edge.outputs.overlays import FOLDER, prefixes_of
from cxr_edge.support.files import write_atomically

PREDICTIONS: Final = "predictions.jsonl"
TABLE: Final = "predictions.csv"
RUN: Final = "run.json"
REPORT: Final = "report.html"
#: Entry of `RUN` for what became of the inputs.
INPUTS: Final = "inputs"
#: Entries of every `RUN` that this software wrote.
_OURS: Final = frozenset({"bundle_sha256", "tta_mode", "version"})


class RunDirectory:
    """A results directory, locked while the context lasts.

    Parameters
    ----------
    root : Path
        Made if missing.
    identity : mapping
        Everything the results depend on; a directory with another identity is refused.
    notes : mapping
        Further entries of ``run.json``.
    labels : sequence of str
        Names of the model's labels, for the columns of the CSV.

    Raises
    ------
    OutputMismatch, OutputBusy, OutputUnwritable
        On entering the context.
    """

    def __init__(
        self, root: Path, identity: Mapping[str, Any], notes: Mapping[str, Any], labels: Sequence[str]
    ) -> None:
        self.root = root
        self._identity = dict(identity)
        self._notes = dict(notes)
        self._labels = tuple(labels)
        self._lock = FileLock(root / ".lock", timeout=0)
        self._lines: dict[str, bytes] = {}
        self._overlays: dict[str, list[Path]] = {}

    def __enter__(self) -> "RunDirectory":
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            (self.root / FOLDER).mkdir(exist_ok=True)
            with warnings.catch_warnings():
                # Of file systems without flock: the other lock that filelock takes there serves as well.
                warnings.simplefilter("ignore", UserWarning)
                self._lock.acquire()
        except Timeout as error:
            raise OutputBusy(f"{self.root} is in use by another run; wait for it, or choose another --out") from error
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            self._claim()
            self._lines = self._recover()
            self._log = (self.root / PREDICTIONS).open("ab", buffering=0)
            for overlay in (self.root / FOLDER).iterdir():
                for prefix in prefixes_of(overlay.name):
                    self._overlays.setdefault(prefix, []).append(overlay)
        except BaseException as error:
            self._lock.release()
            if isinstance(error, OSError):
                raise self._unwritable(error) from error
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._log.close()
        self._lock.release()

    def reusable(self, path: str, sha256: str, outputs: Sequence[Output]) -> ResultRecord | None:
        """Return the record of an earlier run if it is still valid: same file content, and its outputs exist."""
        if path not in self._lines:
            return None
        record = decode_record(self._lines[path])
        if not isinstance(record, ResultRecord) or record.sha256 != sha256:
            return None
        return record if all(output.is_complete(record) for output in outputs) else None

    def records(self) -> Iterator[Record]:
        """Yield the records in the order of the file: after `finish`, that of the inputs."""
        with (self.root / PREDICTIONS).open("rb") as file:
            yield from map(decode_record, file)

    def discard_overlays(self, prefix: str) -> None:
        """Remove the overlays that an earlier run left for an image, before it is computed again.

        Raises
        ------
        OutputUnwritable
        """
        try:
            for old in self._overlays.pop(prefix, []):
                old.unlink(missing_ok=True)
        except OSError as error:
            raise self._unwritable(error) from error

    def append(self, path: str, record: Record) -> None:
        """Write the line of an input; whenever the process ends, the line is complete on disk, or absent.

        Raises
        ------
        OutputUnwritable
        """
        encoded = encode_record(record)
        if self._lines.get(path) == encoded:
            return
        before = os.fstat(self._log.fileno()).st_size
        try:
            (self.root / REPORT).unlink(missing_ok=True)  # it would not agree with the lines
            rest = memoryview(encoded)
            while rest:  # a nearly full disk accepts a part without an error
                rest = rest[self._log.write(rest) :]
        except OSError as error:
            self._log.truncate(before)
            raise self._unwritable(error) from error
        self._lines[path] = encoded

    def forget(self, path: str) -> None:
        """Drop the line that an earlier run left for a file which is no image any more; `finish` writes the rest."""
        self._lines.pop(path, None)

    def finish(self, order: Iterable[str], tally: Mapping[str, Any]) -> None:
        """Put the lines into input order, derive the CSV, and add the tally of the inputs to ``run.json``.

        Images of earlier runs that are not inputs of this one go first. Failures of earlier runs that are not inputs
        of this one are dropped, since their cause may be gone.

        Parameters
        ----------
        order : iterable of str
            The inputs; those without a line were skipped.
        tally : mapping
            What became of them.
        """
        named = {path: self._lines[path] for path in order if path in self._lines}
        others = (line for path, line in self._lines.items() if path not in named)
        ordered = [line for line in others if isinstance(decode_record(line), ResultRecord)]
        ordered += named.values()
        content = b"".join(ordered)
        log = self.root / PREDICTIONS
        if log.read_bytes() != content:
            (self.root / REPORT).unlink(missing_ok=True)
            self._log.close()
            write_atomically(log, content)
        write_atomically(self.root / TABLE, csv_text(map(decode_record, ordered), self._labels).encode())
        self._describe({**self._described(), INPUTS: tally})

    def _claim(self) -> None:
        run = self.root / RUN
        if not run.exists():
            if foreign := [name for name in (PREDICTIONS, TABLE) if (self.root / name).exists()]:
                raise OutputMismatch(f"{self.root} contains {foreign[0]} but no {RUN}; choose another --out")
            self._describe({**self._identity, **self._notes})
            return
        found = self._described()
        differing = [key for key, value in self._identity.items() if found.get(key) != value]
        if differing:
            differences = "; ".join(
                f"{key}: {_short(found.get(key))} there, {_short(self._identity[key])} now" for key in differing
            )
            raise OutputMismatch(f"{self.root} contains another run ({differences}); {_remedy(found, differing)}")

    def _described(self) -> dict[str, Any]:
        run = self.root / RUN
        try:
            return msgspec.json.decode(run.read_bytes(), type=dict[str, Any])
        except msgspec.MsgspecError as error:
            raise OutputMismatch(f"{run} is damaged ({error}); choose another --out") from error

    def _describe(self, entries: Mapping[str, Any]) -> None:
        text = json.dumps(entries, indent=2, ensure_ascii=False)
        write_atomically(self.root / RUN, f"{text}\n".encode())

    def _recover(self) -> dict[str, bytes]:
        log = self.root / PREDICTIONS
        if not log.exists():
            return {}
        content = log.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.truncate(log, whole)
        lines = {}
        for number, line in enumerate(content[:whole].splitlines(keepends=True), 1):
            try:
                lines[decode_record(line).path or ""] = line
            except msgspec.MsgspecError as error:
                raise OutputMismatch(
                    f"{log}: line {number} is not a result of this version ({error}); choose another --out"
                ) from error
        return lines

    def _unwritable(self, error: OSError) -> OutputUnwritable:
        return OutputUnwritable.at(error.filename or self.root, error, "--out")


def is_results(folder: str) -> bool:
    """Return whether a directory holds the results of a run: a `RUN` that this software wrote."""
    try:
        entries = msgspec.json.decode(Path(folder, RUN).read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.MsgspecError):  # none, or one that is not ours
        return False
    return _OURS.issubset(entries)


def _short(value: object) -> object:
    """Return a hash cut to its first 12 digits, and anything else unchanged."""
    return value[:12] if isinstance(value, str) and len(value) == 64 else value


def _remedy(found: Mapping[str, Any], differing: list[str]) -> str:
    """Return what to do about a directory of another run."""
    if "version" in differing and (version := found.get("version")):
        return f"results of two versions are not mixed: choose another --out, or resume with cxr-edge {version}"
    if "bundle_sha256" in differing and (model := found.get("model")):
        return f"results of two models are not mixed: choose another --out, or name the bundle of {model} by --bundle"
    return "repeat its options or choose another --out"
