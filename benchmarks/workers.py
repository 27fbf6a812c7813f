"""Contestants in processes of their own, so that thread pools and memory of two runtimes never interfere.

A worker reads requests as lines of JSON from its standard input, and answers each with one line.
Whatever its libraries print goes to its standard error, and is shown when it dies.
"""

import importlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final, Protocol

import numpy as np
import numpy.typing as npt

ROOT: Final = Path(__file__).parent.parent

#: Seconds that one answer of a worker may take.
TIME_LIMIT: Final = 1800.0
#: Characters of a dead worker's standard error that are reported.
TAIL: Final = 2000

#: Module → the argument of `pip install` in the clone that installs it: a group, or an extra.
BROUGHT_BY: Final = {
    "ai_edge_litert": "--group bench",
    "keras": "--group export",
    "onnx": "--group export",
    "openvino": "'.[openvino]'",
    "skimage": "--group bench-torch",
    "tensorflow": "--group export",
    "tf2onnx": "--group export",
    "threadpoolctl": "--group bench",
    "torch": "--group bench-torch",
    "torchvision": "--group bench-torch",
    "torchxrayvision": "--group bench-torch",
}


class NotMeasured(Exception):
    """A contestant cannot run here, which is not a failure: a package is missing, or the bundle lacks a mode."""


class WorkerFailed(Exception):
    """A worker died, exceeded its time limit, or raised an exception."""


class Implementation(Protocol):
    """What a worker runs. It is constructed with images and arguments; that is the set-up, and is not timed.

    Attributes
    ----------
    settings : mapping
        Its settings, for the record.
    work : float
        Amount of one run, in the unit of its comparison: images, or floating-point operations.
    """

    settings: Mapping[str, Any]
    work: float

    def run(self) -> npt.NDArray[np.floating[Any]] | None:
        """Do the work that is timed; return (N, labels) probabilities, if it computes any."""


@dataclass(frozen=True)
class Task:
    """What a worker sets up.

    Attributes
    ----------
    implementation : str
        ``module:Class`` of an `Implementation`.
    images : sequence of str
    arguments : mapping
        Keyword arguments of the class.
    """

    implementation: str
    images: Sequence[str]
    arguments: Mapping[str, Any] = field(default_factory=dict)


class Worker:
    """A process with one contestant that is set up. As a context manager, it ends the process on exit.

    Parameters
    ----------
    task : Task
    time_limit : float
        Seconds for the set-up, and for each run.

    Raises
    ------
    NotMeasured
        A package of the contestant is not installed, or it cannot run with this version.
    WorkerFailed
    """

    def __init__(self, task: Task, time_limit: float = TIME_LIMIT) -> None:
        self._name = task.implementation
        self._time_limit = time_limit
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - close() closes it
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from benchmarks.workers import main; main()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            cwd=ROOT,
            text=True,
            encoding="utf-8",
        )
        try:
            answer = self._ask(
                {"implementation": task.implementation, "images": list(task.images), "arguments": dict(task.arguments)}
            )
        except BaseException:
            self.close()
            raise
        self.settings: dict[str, Any] = answer["settings"]
        self.work: float = answer["work"]

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self) -> float:
        """Do the work once; return the seconds it took inside the worker.

        Raises
        ------
        WorkerFailed
        """
        return float(self._ask({"ask": "run"})["seconds"])

    def answers(self) -> npt.NDArray[np.float64] | None:
        """Return the probabilities of the last run, (N, labels); None if it computed none."""
        values = self._ask({"ask": "answers"})["answers"]
        return None if values is None else np.array(values, dtype=np.float64)

    def peak_memory(self) -> int:
        """Return the peak resident memory so far, in bytes."""
        return int(self._ask({"ask": "memory"})["bytes"])

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None  # noqa: S101 - both are pipes
            try:
                stream.close()
            except BrokenPipeError:
                continue  # the worker is dead: what could not be written no longer matters
        self._errors.close()

    def _ask(self, question: Mapping[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None  # noqa: S101 - both are pipes
        assert self._process.stdout is not None  # noqa: S101
        late = threading.Event()

        def end() -> None:
            late.set()
            self._process.kill()

        limit = threading.Timer(self._time_limit, end)
        limit.start()
        try:
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            limit.cancel()
        if not line:
            raise self._died(late=late.is_set())
        answer: dict[str, Any] = json.loads(line)
        if "not_measured" in answer:
            raise NotMeasured(answer["not_measured"])
        if "failed" in answer:
            raise WorkerFailed(f"{self._name}: {answer['failed']}")
        return answer

    def _died(self, *, late: bool) -> WorkerFailed:
        status = self._process.wait()
        if late:
            return WorkerFailed(
                f"{self._name}: expected an answer within {self._time_limit:.0f} s, got none; killed it"
            )
        self._errors.seek(0)
        tail = self._errors.read().decode("utf-8", "replace").strip()[-TAIL:]
        return WorkerFailed(f"{self._name}: its process ended with status {status}; it printed:\n{tail or '(nothing)'}")


def peak_memory() -> int:
    """Return the peak resident memory of this process, in bytes."""
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    if sys.platform == "linux":
        # ru_maxrss of a new process starts at its parent's value.
        status = Path("/proc/self/status").read_text()
        return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def why_missing(error: ModuleNotFoundError) -> str:
    """Return which package is missing and how to install it.

    Raises
    ------
    ModuleNotFoundError
        No contestant may lack this module: it is a bug.
    """
    module = (error.name or "").partition(".")[0]
    if module not in BROUGHT_BY:
        raise error
    return f"{module} is not installed; pip install {BROUGHT_BY[module]} in the clone"


def _serve(questions: IO[str], answers: IO[str]) -> None:
    """Answer requests until there are no more."""

    def reply(**values: Any) -> None:
        answers.write(json.dumps(values) + "\n")
        answers.flush()

    try:
        implementation = _set_up(json.loads(questions.readline()))
        reply(settings={**implementation.settings, **_opencv_threads()}, work=implementation.work)
        last = None
        for line in questions:
            ask = json.loads(line)["ask"]
            if ask == "run":
                start = time.perf_counter()
                last = implementation.run()
                reply(seconds=time.perf_counter() - start)
            elif ask == "answers":
                reply(answers=None if last is None else np.asarray(last, dtype=np.float64).tolist())
            else:
                reply(bytes=peak_memory())
    except NotMeasured as error:
        reply(not_measured=str(error))
    except ModuleNotFoundError as error:
        reply(not_measured=why_missing(error))
    except Exception as error:  # whatever a contestant's runtime raises is reported to the parent process
        reply(failed=f"{type(error).__name__}: {error}")


def _set_up(task: Mapping[str, Any]) -> Implementation:
    module, _, name = task["implementation"].partition(":")
    made: Implementation = getattr(importlib.import_module(module), name)(task["images"], **task["arguments"])
    return made


def _opencv_threads() -> dict[str, int]:
    return {"opencv_threads": sys.modules["cv2"].getNumThreads()} if "cv2" in sys.modules else {}


def main() -> None:
    """Serve requests, with a standard output that no library can write to."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        _serve(sys.stdin, answers)
