"""A hospital on one machine: a network namespace of its own, in which dcmtk, the node and Orthanc communicate.

Orthanc always listens on all addresses; the namespace has only loopback.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

#: pynetdicom brings programs of the same names as dcmtk's into a virtual environment.
SYSTEM = "/usr/bin:/usr/sbin:/bin:/sbin:/usr/local/bin"
PROGRAMS = ("Orthanc", "storescu", "echoscu", "unshare", "nsenter", "ip", "curl")
DICOMWEB = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
NODE_PORT, METRICS_PORT, ORTHANC_PORT, HTTP_PORT = 11112, 9112, 4242, 8042

NODE_TOML = """\
data = "data"
[receive]
port = {node}
max_associations = {associations}
[model]
device = "cpu"
[queue]
min_free_mib = {min_free_mib}
first_wait_seconds = 0.2
longest_wait_seconds = 1
[metrics]
port = {metrics}
"""
DICOM_DESTINATION = f"""
[[destinations]]
kind = "dicom"
name = "archive"
host = "127.0.0.1"
port = {ORTHANC_PORT}
ae_title = "ORTHANC"
timeout_seconds = 10
"""
WEB_DESTINATION = f"""
[[destinations]]
kind = "dicomweb"
name = "web"
url = "http://127.0.0.1:{HTTP_PORT}/dicom-web"
timeout_seconds = 10
"""


def missing() -> str | None:
    """Return what this machine lacks for such a site; None if nothing."""
    absent = [name for name in PROGRAMS if shutil.which(name, path=SYSTEM) is None]
    if absent:
        return f"needs {', '.join(absent)}"
    if not DICOMWEB.exists():
        return "needs orthanc-dicomweb"
    tried = subprocess.run(["unshare", "-n", "true"], capture_output=True)
    return "needs the right to make a network namespace" if tried.returncode else None


class Site:
    """A namespace and the programs in it; a context manager that ends all of them.

    Parameters
    ----------
    folder : Path
        Folder of data, configuration and logs.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.orthanc: subprocess.Popen[bytes] | None = None
        self.node: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Site":
        command = ["unshare", "-n", "sh", "-c", "ip link set lo up && echo up && exec sleep infinity"]
        self._holder = subprocess.Popen(command, stdout=subprocess.PIPE)
        if self._holder.stdout.readline() != b"up\n":
            raise RuntimeError("the namespace has no loopback")
        return self

    def __exit__(self, *_: object) -> None:
        if self.node is not None:
            self.kill_node()
        for process in (self.orthanc, self._holder):
            if process is not None and process.poll() is None:
                process.kill()
                process.wait()
        assert self._holder.stdout is not None
        self._holder.stdout.close()

    def inside(self, command: Iterable[object]) -> list[str]:
        """Return a command line that runs in the namespace; a bare name is that of a system program."""
        name, *arguments = map(str, command)
        return ["nsenter", "-t", str(self._holder.pid), "-n", shutil.which(name, path=SYSTEM) or name, *arguments]

    def run(self, *command: object, timeout: float = 60) -> str:
        """Run a program; return its output."""
        done = subprocess.run(
            self.inside(command), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout
        )
        return done.stdout

    # -- Orthanc

    def start_orthanc(self, **settings: Any) -> None:
        """Start the archive, with the objects that it had before."""
        config = {
            "Name": "archive", "StorageDirectory": str(self.folder / "orthanc"), "IndexDirectory":
            str(self.folder / "orthanc"), "DicomPort": ORTHANC_PORT, "HttpPort": HTTP_PORT, "DicomAet": "ORTHANC",
            "DicomAlwaysAllowStore": True, "UnknownSopClassAccepted": True, "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False, "Plugins": [str(DICOMWEB)], "ConcurrentJobs": 2, **settings,
        }  # fmt: skip
        path = self.folder / "orthanc.json"
        path.write_text(json.dumps(config))
        with (self.folder / "orthanc.log").open("ab") as log:
            self.orthanc = subprocess.Popen(self.inside(["Orthanc", path]), stdout=log, stderr=log)
        wait_for(lambda: self.rest("/system") is not None, "Orthanc answers")

    def stop_orthanc(self) -> None:
        """Stop the archive."""
        assert self.orthanc is not None
        self.orthanc.terminate()
        self.orthanc.wait(30)

    def rest(self, path: str) -> Any:
        """Return Orthanc's answer; None if there is none."""
        answer = self.run("curl", "-s", "--max-time", "20", f"http://127.0.0.1:{HTTP_PORT}{path}")
        try:
            return json.loads(answer)
        except ValueError:
            return None

    def objects_by_study(self) -> dict[str, int]:
        """Return how many objects of each study the archive has, by its UID."""
        uids = {study["ID"]: study["MainDicomTags"]["StudyInstanceUID"] for study in self.rest("/studies?expand")}
        held = dict.fromkeys(uids.values(), 0)
        for series in self.rest("/series?expand"):
            held[uids[series["ParentStudy"]]] += len(series["Instances"])
        return held

    def count(self) -> int:
        """Return how many objects the archive has."""
        return int((self.rest("/statistics") or {"CountInstances": -1})["CountInstances"])

    def stored_uids(self) -> list[str]:
        """Return Orthanc's id of each object, as often as it was stored as a new one."""
        changes: list[str] = []
        since = 0
        while True:
            page = self.rest(f"/changes?limit=1000&since={since}")
            changes += [change["ID"] for change in page["Changes"] if change["ChangeType"] == "NewInstance"]
            since = page["Last"]
            if page["Done"]:
                return changes

    # -- the node

    def configure(
        self, destinations: str = DICOM_DESTINATION, more: str = "", associations: int = 16, min_free_mib: int = 16
    ) -> None:
        """Write the node's configuration."""
        text = NODE_TOML.format(
            node=NODE_PORT, metrics=METRICS_PORT, associations=associations, min_free_mib=min_free_mib
        )
        (self.folder / "node.toml").write_text(text + destinations + more)

    def start_node(self, *before: object, wait: bool = True, log_level: str = "DEBUG") -> None:
        """Start the node, if `before` is given as a child of that command."""
        command = [*before, sys.executable, "-m", "cxr_edge", "node", "--config", self.folder / "node.toml"]
        with self.log.open("ab") as log:
            # A session of its own, so that a parent such as strace is killed together with the node.
            self.node = subprocess.Popen(
                self.inside([*command, "--log-level", log_level]), stdout=log, stderr=log, start_new_session=True
            )
        if wait:
            wait_for(lambda: self.health() is not None or self.dead(), "the node answers")

    @property
    def log(self) -> Path:
        """Return the path of the node's log."""
        return self.folder / "node.log"

    def dead(self) -> bool:
        """Return whether the node has ended."""
        return self.node is not None and self.node.poll() is not None

    def kill_node(self) -> None:
        """Send SIGKILL."""
        assert self.node is not None
        with suppress(ProcessLookupError):
            os.killpg(self.node.pid, signal.SIGKILL)
        self.node.wait()

    def stop_node(self) -> int:
        """Send SIGTERM; return the exit status."""
        assert self.node is not None
        self.node.terminate()
        return self.node.wait(60)

    def health(self) -> dict[str, Any] | None:
        """Return the node's health report; None if it does not answer."""
        answer = self.run("curl", "-s", "--max-time", "5", f"http://127.0.0.1:{METRICS_PORT}/healthz")
        return json.loads(answer) if answer.startswith("{") else None

    def settle(self, seconds: float = 120) -> None:
        """Wait until the queue is empty."""

        def settled() -> bool:
            found = self.health()
            return found is not None and not found["queue"]["image-waiting"] + found["queue"]["delivery-waiting"]

        wait_for(settled, "the queue is empty", seconds)

    def outputs(self) -> list[Path]:
        """Return files of all that the node shows to anything but its destinations: log, metrics, queue."""
        queue, metrics = self.folder / "queue.txt", self.folder / "metrics.txt"
        queue.write_text(self.queue("list", "--most", 1_000_000))
        metrics.write_text(self.run("curl", "-s", f"http://127.0.0.1:{METRICS_PORT}/metrics"))
        return [self.log, queue, metrics, self.folder / "data" / "queue.sqlite"]

    def queue(self, *arguments: object) -> str:
        """Run ``cxr-edge node queue …``; return its output."""
        command = [sys.executable, "-m", "cxr_edge", "node", "queue", *arguments, "--config", self.folder / "node.toml"]
        return self.run(*command)

    # -- dcmtk

    def store(self, *images: Path, called: str = "CXREDGE", options: Iterable[object] = ()) -> list[int | None]:
        """Send images over one association; return the status of each, None where there was none."""
        address = ["127.0.0.1", NODE_PORT]
        log = self.run("storescu", "-d", "-nh", "-R", "-aec", called, *options, *address, *images, timeout=600)
        statuses: list[int | None] = [int(code, 16) for code in re.findall(r"DIMSE Status +: 0x([0-9a-f]{4})", log)]
        return statuses + [None] * (len(images) - len(statuses))

    def store_until_taken(self, image: Path, seconds: float = 90) -> int:
        """Send an image as a scanner does, again until it is answered with success; return the number of tries."""
        tries = 0

        def taken() -> bool:
            nonlocal tries
            tries += 1
            return self.store(image) == [0x0000]

        wait_for(taken, f"{image.name} is taken", seconds)
        return tries


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
    """Wait until a condition holds.

    Raises
    ------
    TimeoutError
    """
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds:g} s until {what}")
        time.sleep(0.05)
