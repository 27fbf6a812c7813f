"""The inputs of a run, what it leaves out of directories, and what became of them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cxr_edge.errors import InputError, UnsupportedObject
from cxr_edge.images.contents import is_named_as_image
from cxr_edge.images.files import discover
from cxr_edge.model.record import FailureRecord, Record
from cxr_edge.runs.directory import is_results
from cxr_edge.support.text import printable, printable_path


@dataclass(frozen=True)
class Inputs:
    """The files that a run tries to read.

    Attributes
    ----------
    paths : tuple of str
        In order, each once.
    named : frozenset of str
        Those that were named themselves; the others were found in a directory.
    results : tuple of str
        Directories of earlier results, which are left out.
    """

    paths: tuple[str, ...]
    named: frozenset[str]
    results: tuple[str, ...] = ()

    def leaves_out(self, path: str, error: InputError) -> bool:
        """Return whether a file that cannot be used is left out, instead of being a failure.

        That is a file which was found in a directory and is plainly no image: another kind of DICOM object, or another
        kind of file, unless its suffix says that it was meant to be an image.
        """
        if path in self.named or not error.content:
            return False
        return isinstance(error, UnsupportedObject) or not is_named_as_image(path)


def find_inputs(paths: Sequence[str], exclude: Sequence[Path] = ()) -> Inputs:
    """List the inputs of a run: see `cxr_edge.images.files.discover`.

    Parameters
    ----------
    paths : sequence of str
        Files and directories.
    exclude : sequence of Path
        Directories that this run writes into.
    """
    results: list[str] = []

    def is_left_out(folder: str) -> bool:
        if is_results(folder):
            results.append(folder)
            return True
        return False

    found = discover(paths, exclude, is_left_out)
    return Inputs(tuple(found), frozenset(str(Path(path)) for path in paths), tuple(dict.fromkeys(results)))


@dataclass(frozen=True)
class Skipped:
    """A file of a directory that is plainly no image.

    Attributes
    ----------
    path : str
    content : str
        What it is; see `cxr_edge.errors.InputError`.
    """

    path: str
    content: str


@dataclass
class Tally:
    """What became of the inputs of a run.

    Attributes
    ----------
    results : sequence of str
        Directories of earlier results, which were left out.
    read, failed : int
        Images with a result, and inputs with an error.
    skipped : list of Skipped
    """

    results: Sequence[str] = ()
    read: int = 0
    failed: int = 0
    skipped: list[Skipped] = field(default_factory=list)

    @property
    def images(self) -> int:
        """Inputs that were read or failed: those that have a record."""
        return self.read + self.failed

    def add(self, record: Record | Skipped) -> None:
        """Count one input."""
        if isinstance(record, Skipped):
            self.skipped.append(record)
        elif isinstance(record, FailureRecord):
            self.failed += 1
        else:
            self.read += 1

    def left_out(self) -> str:
        """Return what was left out as sentences for people; empty where it was nothing."""
        kinds = Counter(skipped.content for skipped in self.skipped)
        sentences = []
        if kinds:
            counted = ", ".join(f"{content} ({number})" for content, number in kinds.most_common())
            sentences.append(f"Skipped {_counted(len(self.skipped), 'file')} without a radiograph: {counted}.")
        if self.results:
            listed = ", ".join(printable(printable_path(folder)) for folder in self.results)
            number = _counted(len(self.results), "directory", "directories")
            sentences.append(f"Left out {number} of results: {listed}.")
        return " ".join(sentences)

    def described(self) -> dict[str, Any]:
        """Return the tally as an entry of ``run.json``."""
        return {
            "read": self.read,
            "failed": self.failed,
            "skipped": [{"path": printable_path(each.path), "content": each.content} for each in self.skipped],
            "earlier_results": [printable_path(folder) for folder in self.results],
        }


def _counted(number: int, one: str, several: str = "") -> str:
    return f"{number} {one if number == 1 else several or f'{one}s'}"
