"""Find what a decoder process is started with: a Python like this one, or this frozen program at its decoder's entry.

`sys.executable` is not always Python: in a program that embeds it (uWSGI, mod_wsgi, a host with plug-ins) or that is
frozen (PyInstaller), it is the program. Such a program is never started to find out.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from cxr_edge.errors import DecoderUnavailable

#: How to read compressed images all the same; the end of every message about a decoder that cannot be started.
WITHOUT: Final = "or set InputLimits(isolated=False), in the command --no-isolate, to decode images that you trust"

#: Attribute of `sys` with the argument that makes a frozen program serve as decoder; PyInstaller's hook sets it.
ENTRY: Final = "cxr_edge_decoder"

#: Keeps a console window from opening on Windows; 0 elsewhere.
NO_WINDOW: Final[int] = getattr(subprocess, "CREATE_NO_WINDOW", 0)

#: The child takes this process's module path; no environment variable or working directory can change it.
_CHILD: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]) or sys.path; "
    "from cxr_edge.images.dicom.decoders.decoder_process import serve; serve()"
)

#: What must be equal, so that the packages of this process can be loaded.
_PROBE: Final = "import sys; print(sys.implementation.cache_tag, getattr(sys, 'abiflags', ''), sys.maxsize)"
_PROBE_SECONDS: Final = 60.0

#: Names that only a Python interpreter has.
_NAME: Final = re.compile(r"python[w]?[\d.]*[dmt]*(-dbg|-intel64)?(\.exe)?", re.IGNORECASE)

#: Interpreters that were tried and fit.
_fit: set[str] = set()


def decoder_command(python: str | None) -> list[str]:
    """Return the command that starts a decoder process.

    Parameters
    ----------
    python : str or None
        Path of the interpreter; None to find it.

    Raises
    ------
    DecoderUnavailable
        No interpreter like this one is found, or the one that was named does not fit.
    """
    if python is None and is_frozen():
        if entry := getattr(sys, ENTRY, None):
            return [sys.executable, entry]
        raise DecoderUnavailable(
            "this frozen program has no decoder to start: build it by PyInstaller with the hook of cxr-edge, name a "
            f"Python that has cxr-edge by InputLimits(python=), {WITHOUT}"
        )
    interpreter = _found() if python is None else _named(python)
    # Only a frozen program's own files cannot be imported by another Python.
    path = [] if is_frozen() else [*sys.path, str(Path(__file__).parents[4])]
    return [interpreter, "-I", "-c", _CHILD, json.dumps(path)]


def decoder_environment(python: str | None) -> Mapping[str, str]:
    """Return the environment of a decoder process: it computes on one core."""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    if python is not None and is_frozen():  # PyInstaller's libraries are not for other programs
        original = environment.pop("LD_LIBRARY_PATH_ORIG", None)
        environment.pop("LD_LIBRARY_PATH", None)
        if original is not None:
            environment["LD_LIBRARY_PATH"] = original
    return environment


def is_frozen() -> bool:
    """Return whether this program carries its modules within itself: PyInstaller, cx_Freeze, Nuitka."""
    return bool(getattr(sys, "frozen", False)) or "__compiled__" in globals()


def _found() -> str:
    for candidate in dict.fromkeys(_candidates()):
        if _misfit(candidate) is None:
            return candidate
    raise DecoderUnavailable(
        f"no Python {sys.version_info[0]}.{sys.version_info[1]} is found to start the decoder with: this program "
        f"({Path(sys.executable or '').name or 'unnamed'}) is not one, and {sys.prefix} has none; name it by "
        f"InputLimits(python=), {WITHOUT}"
    )


def _named(python: str) -> str:
    if (misfit := _misfit(python)) is not None:
        raise DecoderUnavailable(
            f"InputLimits(python={python!r}): expected a Python like this one ({_own_tag()}), got {misfit}; name "
            f"another, {WITHOUT}"
        )
    return python


def _candidates() -> Iterator[str]:
    """Yield where this program's Python may be, where it was installed first: `sys.executable` may be the program."""
    major, minor = sys.version_info[:2]
    names = ("python.exe",) if os.name == "nt" else (f"python{major}.{minor}", f"python{major}", "python")
    folders = ("", "Scripts") if os.name == "nt" else ("bin",)
    for prefix in (sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix):
        yield from (str(Path(prefix, folder, name)) for folder in folders for name in names)
    own = (sys.executable, getattr(sys, "_base_executable", None))
    yield from (path for path in own if path and _NAME.fullmatch(Path(path).name))


def _misfit(python: str) -> str | None:
    """Return what keeps an interpreter from running this process's modules; None for nothing."""
    if python in _fit:
        return None
    try:
        done = subprocess.run(  # noqa: S603 - named like Python, or by the caller
            [python, "-I", "-S", "-c", _PROBE],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PROBE_SECONDS,
            check=False,
            creationflags=NO_WINDOW,
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {_PROBE_SECONDS:.0f} s"
    except OSError as error:
        return f"a file that cannot be started ({error.strerror})"
    tag = done.stdout.decode(errors="replace").strip()
    if tag != _own_tag():
        return f"a Python of another kind ({tag})" if tag.startswith("cpython") else "something else"
    _fit.add(python)
    return None


def _own_tag() -> str:
    return f"{sys.implementation.cache_tag} {getattr(sys, 'abiflags', '')} {sys.maxsize}"
