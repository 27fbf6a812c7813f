"""The crash table: results lost and doubled when the node is killed, the archive stops or the disk is full."""

import os
import random
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.dicom import dicom_files
from benchmarks.node import images
from benchmarks.node.disturbances import clock_moved, half_copied
from benchmarks.node.running import RunningSite, send
from benchmarks.node.site import DICOM_DESTINATION, WEB_DESTINATION
from benchmarks.node.verdict import Row, judged

#: Samples with positive findings, which give several results each.
MANY = [1, 3, 4, 5]
#: System calls at which a node can die half-way: those that flush and rename files, and send over the network.
STEPS = {"fsync": 12, "fdatasync": 12, "rename": 8, "pwrite64": 20, "unlink": 3, "sendto": 24}


def killed_at_random(folder: Path, trials: int, seed: int, destination: str = DICOM_DESTINATION) -> Row:
    """Kill the node at random moments while images are being sent, and start it again each time."""
    chance = random.Random(seed)
    with RunningSite(folder, destination) as site:
        numbers: list[int] = []
        for trial in range(trials):
            site.start_node(wait=False)
            batch = [8 * (3 * trial + i) + MANY[i] for i in range(3)]
            senders = send(site, batch)
            numbers += batch
            time.sleep(chance.uniform(0, 3))
            site.kill_node()
            site.start_node()
            for sender in senders:
                sender.join()
            site.kill_node()
        site.start_node()
        site.settle(60 + 10 * len(numbers))
        way = "STOW-RS" if destination == WEB_DESTINATION else "C-STORE"
        return judged(site, Row(f"SIGKILL at random moments ({way})", trials, len(numbers)), numbers)


def killed_at_each_step(folder: Path, steps: dict[str, int]) -> list[Row]:
    """Kill the node as a thread enters its first, second, … system call of each kind."""
    rows = []
    for call, most in steps.items():
        with RunningSite(folder / call, DICOM_DESTINATION) as site:
            numbers, killed = [], 0
            for when in range(1, most + 1):
                inject = f"inject={call}:signal=SIGKILL:when={when}"
                site.start_node("strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e",
                                inject, wait=False)  # fmt: skip
                number = 8 * when + MANY[when % len(MANY)]
                (sender,) = send(site, [number])
                numbers.append(number)
                end = time.monotonic() + 10
                while not site.dead() and time.monotonic() < end:
                    time.sleep(0.05)
                killed += site.dead()
                if not site.dead():
                    site.kill_node()
                site.start_node()
                sender.join()
                site.settle()
                site.kill_node()
            site.start_node()
            site.settle()
            rows.append(judged(site, Row(f"SIGKILL at the 1st to {most}th {call} of a thread", killed, most), numbers))
    return rows


def archive_down(folder: Path, trials: int) -> Row:
    """Stop the archive while images come, and start it again."""
    with RunningSite(folder, DICOM_DESTINATION + WEB_DESTINATION) as site:
        site.start_node()
        numbers = []
        for trial in range(trials):
            site.stop_orthanc()
            number = 8 * trial + MANY[trial % len(MANY)]
            numbers.append(number)
            for sender in send(site, [number]):
                sender.join()
            time.sleep(0.5)
            site.start_orthanc()
            site.settle()
        return judged(site, Row("archive down, then up; two ways to it", trials, len(numbers)), numbers)


def twice(folder: Path, trials: int) -> Row:
    """Send the same image from two senders at once, and again when it is delivered."""
    with RunningSite(folder, DICOM_DESTINATION) as site:
        site.start_node()
        numbers = [8 * trial + MANY[trial % len(MANY)] for trial in range(trials)]
        for number in numbers:
            for sender in send(site, [number, number]):
                sender.join()
            site.settle()
            for sender in send(site, [number]):
                sender.join()
        site.settle()
        return judged(site, Row("the same image three times, twice at once", trials, len(numbers)), numbers)


def conflicting(folder: Path, trials: int) -> Row:
    """Send another image under the same SOP Instance UID: it is answered with 0x0111, and not delivered."""
    with RunningSite(folder, DICOM_DESTINATION) as site:
        site.start_node()
        numbers = [8 * trial + MANY[trial % len(MANY)] for trial in range(trials)]
        refused = 0
        for number in numbers:
            for sender in send(site, [number]):
                sender.join()
            other = images.make(number + 1, SOPInstanceUID=images.make(number).SOPInstanceUID)
            path = site.folder / "other.dcm"
            path.write_bytes(dicom_files.written(other))
            refused += site.store(path) == [0x0111]
        site.settle()
        if refused != trials:
            raise AssertionError(f"{trials - refused} conflicting images were not refused")
        return judged(site, Row("the same UID with other pixels", trials, len(numbers)), numbers)


def eight_senders(folder: Path, trials: int) -> Row:
    """Send different images from eight senders at once."""
    with RunningSite(folder, DICOM_DESTINATION) as site:
        site.start_node()
        numbers = []
        for trial in range(trials):
            batch = [8 * (8 * trial + i) + MANY[i % len(MANY)] for i in range(8)]
            for sender in send(site, batch):
                sender.join()
            numbers += batch
        site.settle(300)
        return judged(site, Row("eight senders at once", trials, len(numbers)), numbers)


def full_disk(folder: Path, trials: int) -> Row:
    """Fill the disk while images come, and free it again."""
    folder.mkdir(parents=True)
    data = folder / "data"
    data.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(data)], check=True)
    try:
        with RunningSite(folder, DICOM_DESTINATION, min_free_mib=0) as site:
            site.start_node()
            numbers: list[int] = []
            for trial in range(trials):
                free = os.statvfs(data).f_bavail * os.statvfs(data).f_frsize
                room = random.Random(trial).randrange(0, 2 * 2**20)
                (data / "ballast").write_bytes(bytes(max(0, free - room)))
                senders = send(site, [8 * trial])
                numbers.append(8 * trial)
                time.sleep(2)
                (data / "ballast").unlink()
                for sender in senders:
                    sender.join()
                site.settle()
            row = judged(site, Row("a full disk, then space", trials, len(numbers)), numbers)
            site.kill_node()
            return row
    finally:
        subprocess.run(["umount", str(data)], check=True)


def all_rows(folder: Path, scale: float, progress: Callable[[str], None]) -> list[Row]:
    """Return the whole table; `scale` 1 takes about a quarter of an hour."""

    def times(number: int) -> int:
        return max(1, round(number * scale))

    rows = []
    for name, make in {
        "random": lambda at: [killed_at_random(at, times(60), seed=1)],
        "random, dicomweb": lambda at: [killed_at_random(at, times(20), seed=2, destination=WEB_DESTINATION)],
        "steps": lambda at: killed_at_each_step(at, {call: times(most) for call, most in STEPS.items()}),
        "archive": lambda at: [archive_down(at, times(20))],
        "twice": lambda at: [twice(at, times(20))],
        "conflict": lambda at: [conflicting(at, times(20))],
        "eight": lambda at: [eight_senders(at, times(10))],
        "full": lambda at: [full_disk(at, times(14))],
        "clock": lambda at: [clock_moved(at, times(16), seed=3)],
        "copies": lambda at: [half_copied(at, times(16), seed=4)],
    }.items():
        progress(name)
        rows += make(folder / name.replace(", ", "-"))
    return rows
