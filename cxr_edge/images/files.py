"""List the files that a run reads, each once and in order, and read their bytes up to a limit."""

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from cxr_edge import errors
from cxr_edge.images.contents import other_content
from cxr_edge.images.limits import DEFAULT_LIMITS, MEBIBYTE
from cxr_edge.support.text import printable_path


def discover(
    paths: Iterable[str], exclude: Sequence[Path] = (), is_left_out: Callable[[str], bool] = lambda _: False
) -> list[str]:
    """List the inputs of a run.

    A file is listed as it is named. In a directory every regular file counts, whatever its
    suffix, in sorted order; hidden files and directories, links to directories, `exclude` and what
    `is_left_out` accepts are skipped. What cannot be listed or examined stays in the list, and fails later with its
    own error.

    Parameters
    ----------
    paths : iterable of str
    exclude : sequence of Path
        Directories of results.
    is_left_out : callable
        Path of a directory below one of `paths` → whether it is skipped.

    Returns
    -------
    list of str
        Paths without duplicates.
    """
    found: dict[str, None] = {}
    for path in paths:
        plain = str(Path(path))  # drops "./" and "//", but not "..", which a link can give another meaning
        found.update(dict.fromkeys(_walk(plain, exclude, is_left_out) if os.path.isdir(plain) else [plain]))
    return list(found)


def read_bytes(path: str | os.PathLike[str], max_bytes: int = DEFAULT_LIMITS.max_file_bytes) -> bytes:
    """Read a regular file of at most `max_bytes`.

    Raises
    ------
    NonUtf8Name, NotFound, NotAFile, PermissionDenied, Unreadable, EmptyFile, TooLarge
    """
    name = os.fspath(path)
    if printable_path(name) != name:
        raise errors.NonUtf8Name(f"the file name {printable_path(name)!r} is not valid UTF-8; rename the file")
    try:
        # Non-blocking, so that a pipe with no writer cannot hang the run before it is refused.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise errors.NotAFile("expected a regular file, got a pipe, device or socket; copy it to a file")
            # `read` allocates all it may read; one byte more reveals a file that still grows.
            data = file.read(min(found.st_size, max_bytes) + 1)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise errors.NotFound("nothing exists at this path; check its spelling") from error
    except ValueError as error:
        raise errors.NotFound(
            f"the operating system does not accept this path ({error}); check its spelling"
        ) from error
    except PermissionError as error:
        raise errors.PermissionDenied("the file cannot be opened; give this user permission to read it") from error
    except IsADirectoryError as error:
        raise errors.NotAFile("expected a file, got a directory") from error
    except OSError as error:
        raise errors.Unreadable(f"reading failed ({error.strerror}); check the disk or the connection") from error
    if not data:
        raise errors.EmptyFile("the file has zero bytes; copy it again from its source")
    if len(data) > max_bytes:
        raise errors.TooLarge(
            f"expected a file of at most {max_bytes / MEBIBYTE:g} MiB, got a larger one; "
            "raise the limit if the file is right",
            other_content(data) or "",
        )
    return data


def _walk(root: str, exclude: Sequence[Path], is_left_out: Callable[[str], bool]) -> Iterator[str]:
    unlisted: list[str] = []
    excluded = {path.resolve() for path in exclude}
    for folder, subfolders, files in os.walk(root, onerror=lambda error: unlisted.append(error.filename)):
        subfolders[:] = sorted(
            s for s in subfolders if not s.startswith(".") and Path(folder, s).resolve() not in excluded
        )
        subfolders[:] = [s for s in subfolders if not is_left_out(os.path.join(folder, s))]
        for name in sorted(files):
            path = os.path.join(folder, name)
            if not name.startswith(".") and _may_be_image(path):
                yield path
    yield from unlisted


def _may_be_image(path: str) -> bool:
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except FileNotFoundError:  # a dangling link
        return False
    except OSError:
        return True
