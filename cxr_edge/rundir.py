"""The results directory of a run: lines appended as they come, resumed after any interruption.

``predictions.jsonl`` is an append-only log while the run lasts. What a killed process left of
its last line is cut off on the next start. At the end, where resuming broke the order, the file
is put into input order in one atomic step, and ``predictions.csv`` is derived from it.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal

import msgspec
from filelock import FileLock, Timeout

from cxr_edge.errors import OutputBusy, OutputMismatch, OutputUnwritable
from cxr_edge.overlays import FOLDER, overlay_prefix, write_atomically
from cxr_edge.report.picture import FilmPicture
from cxr_edge.report.table import csv_text

PREDICTIONS: Final = "predictions.jsonl"
TABLE: Final = "predictions.csv"
RUN: Final = "run.json"
REPORT: Final = "report.html"
#: What the HTML report shows of each film, kept so that a resumed run need not compute it again.
PICTURES: Final = ".report"

Line = dict[str, Any]


def encode_line(line: Mapping[str, Any]) -> bytes:
    """Encode one line of ``predictions.jsonl``."""
    return (json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n").encode()


class RunDirectory:
    """A results directory, held exclusively while the context lasts.

    Parameters
    ----------
    root : Path
        Made if missing.
    identity : mapping
        What the results depend on; a directory with another identity is refused.
    notes : mapping
        What else ``run.json`` tells.

    Raises
    ------
    OutputMismatch, OutputBusy, OutputUnwritable
        On entering the context.
    """

    def __init__(self, root: Path, identity: Mapping[str, Any], notes: Mapping[str, Any]) -> None:
        self.root = root
        self._identity = dict(identity)
        self._notes = dict(notes)
        self._lock = FileLock(root / ".lock", timeout=0)
        self._lines: dict[str, bytes] = {}
        self._overlays: dict[str, list[Path]] = {}

    def __enter__(self) -> "RunDirectory":
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            (self.root / FOLDER).mkdir(exist_ok=True)
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
                self._overlays.setdefault(overlay.name.rpartition("-")[0], []).append(overlay)
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

    def reusable(self, path: str, sha256: str, dicom_out: Path | None = None, *, pictured: bool = False) -> Line | None:
        """Give the line of an earlier run if it still holds: the same content, and its files are there."""
        if path not in self._lines:
            return None
        line: Line = json.loads(self._lines[path])
        if line["status"] != "ok" or line["sha256"] != sha256:
            return None
        files = [self.root / f["heatmap"] for f in line["findings"] if f["heatmap"]]
        if dicom_out is not None:
            files += [dicom_out / name for name in line["dicom"]]
        if not all(file.is_file() for file in files) or (pictured and self.picture_of(line) is None):
            return None
        return line

    def keep_picture(self, path: str, picture: FilmPicture) -> None:
        """Keep what the report shows of a film.

        Raises
        ------
        OutputUnwritable
        """
        file = self._picture_file(path)
        try:
            file.parent.mkdir(exist_ok=True)
        except OSError as error:
            raise self._unwritable(error) from error
        write_atomically(file, msgspec.json.encode(picture))

    def picture_of(self, line: Mapping[str, Any]) -> FilmPicture | None:
        """Give what was kept of a line's film; None where nothing was, or of another content."""
        try:
            kept = msgspec.json.decode(self._picture_file(line["path"]).read_bytes(), type=FilmPicture)
        except (FileNotFoundError, msgspec.MsgspecError):
            return None
        except OSError as error:
            raise self._unwritable(error) from error
        whole = kept.is_whole(len(line["probabilities"])) and kept.sha256 == line["sha256"]
        return kept if whole else None

    def lines(self) -> Iterator[Line]:
        """Give the lines as they stand in the file: after `finish`, in order."""
        with (self.root / PREDICTIONS).open("rb") as file:
            yield from map(json.loads, file)

    def discard_overlays(self, prefix: str) -> None:
        """Remove the overlays that an earlier run left for a film, before it is done anew.

        Raises
        ------
        OutputUnwritable
        """
        try:
            for old in self._overlays.pop(prefix, []):
                old.unlink(missing_ok=True)
        except OSError as error:
            raise self._unwritable(error) from error

    def append(self, path: str, line: Line) -> None:
        """Record the line of an input; it is complete on disk, or absent, whenever the process ends.

        Raises
        ------
        OutputUnwritable
        """
        encoded = encode_line(line)
        if self._lines.get(path) == encoded:
            return
        before = os.fstat(self._log.fileno()).st_size
        try:
            (self.root / REPORT).unlink(missing_ok=True)  # it would tell something else than the lines
            rest = memoryview(encoded)
            while rest:  # a nearly full disk takes a part without an error
                rest = rest[self._log.write(rest) :]
        except OSError as error:
            self._log.truncate(before)
            raise self._unwritable(error) from error
        self._lines[path] = encoded

    def finish(self, order: Iterable[str]) -> None:
        """Put the lines into input order and derive the CSV.

        Films of earlier runs that this one did not name go first; failures that it did not name are
        dropped, since what they complained of is gone.
        """
        named = dict.fromkeys(order)
        others = (line for path, line in self._lines.items() if path not in named)
        ordered = [line for line in others if json.loads(line)["status"] == "ok"]
        ordered += [self._lines[path] for path in named]
        content = b"".join(ordered)
        log = self.root / PREDICTIONS
        if log.read_bytes() != content:
            self._log.close()
            write_atomically(log, content)
        write_atomically(self.root / TABLE, csv_text(map(json.loads, ordered)).encode())

    def _claim(self) -> None:
        run = self.root / RUN
        if not run.exists():
            if (self.root / PREDICTIONS).exists():
                raise OutputMismatch(f"{self.root} holds {PREDICTIONS} but no {RUN}; choose another --out")
            text = json.dumps({**self._identity, **self._notes}, indent=2, ensure_ascii=False)
            write_atomically(run, f"{text}\n".encode())
            return
        try:
            found = msgspec.json.decode(run.read_bytes(), type=dict[str, Any])
        except msgspec.MsgspecError as error:
            raise OutputMismatch(f"{run} is damaged ({error}); choose another --out") from error
        differing = [key for key, value in self._identity.items() if found.get(key) != value]
        if differing:
            told = "; ".join(
                f"{key}: {_short(found.get(key))} there, {_short(self._identity[key])} now" for key in differing
            )
            raise OutputMismatch(f"{self.root} holds another run ({told}); {_way_on(found, differing)}")

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
                lines[msgspec.json.decode(line, type=_Recorded).path] = line
            except msgspec.MsgspecError as error:
                raise OutputMismatch(
                    f"{log}: line {number} is no result line ({error}); choose another --out"
                ) from error
        return lines

    def _picture_file(self, path: str) -> Path:
        return self.root / PICTURES / f"{overlay_prefix(path)}.json"

    def _unwritable(self, error: OSError) -> OutputUnwritable:
        return OutputUnwritable.at(error.filename or self.root, error, "--out")


def _short(value: object) -> object:
    """Cut a hash to what tells it from another."""
    return value[:12] if isinstance(value, str) and len(value) == 64 else value


def _way_on(found: Mapping[str, Any], differing: list[str]) -> str:
    """Say what to do about a directory of another run."""
    if "version" in differing and (version := found.get("version")):
        return f"two versions are not mixed: choose another --out, or go on there with cxr-edge {version}"
    if "bundle_sha256" in differing and (model := found.get("model")):
        return f"two models are not mixed: choose another --out, or name the bundle of {model} by --bundle"
    return "repeat its options or choose another --out"


class _RecordedFinding(msgspec.Struct):
    heatmap: str | None


class _Recorded(msgspec.Struct):
    """What a resumed run relies on in a line."""

    path: str
    status: Literal["ok", "error"]
    sha256: str | None = None
    findings: list[_RecordedFinding] = []
