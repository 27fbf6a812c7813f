"""Rows of the crash table in which nothing is broken: the clock is moved, and copies into the watched folder stall."""

import random
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from benchmarks.dicom import dicom_files
from benchmarks.node import images
from benchmarks.node.running import RunningSite, send
from benchmarks.node.site import DICOM_DESTINATION, Site, wait_for
from benchmarks.node.verdict import Row, judged

#: Samples with positive findings, which give several results each.
MANY: Final = (1, 3, 4, 5)
_DAY: Final = 86_400
#: Seconds by which the clock is moved: a wrong time zone, a day, a battery that is empty, a year that is wrong.
JUMPS: Final = (-2 * 3600, 2 * 3600, -_DAY, _DAY, -366 * _DAY, 366 * _DAY, -10 * 366 * _DAY, 5)
#: Time in which each trial must be over: a wait that followed the clock would be hours long.
_SETTLED: Final = 60.0
_WATCH: Final = '[watch]\nfolder = "watch"\nsettle_seconds = 0.3\nstalled_seconds = 2\n'


def library(folder: Path) -> Path:
    """Build the library that moves the clock of a program."""
    built = folder / "clock.so"
    source = Path(__file__).with_name("clock.c")
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", built, source], check=True)
    return built


def clock_moved(folder: Path, trials: int, seed: int) -> Row:
    """Move the clock while the archive is down and results wait; kill the node and start it again half of the time."""
    moves = random.Random(seed)
    with RunningSite(folder, DICOM_DESTINATION) as site:
        offset = folder / "offset"
        _move(offset, 0)
        faked = ("env", f"LD_PRELOAD={library(folder)}", f"OFFSET={offset}")
        site.start_node(*faked)
        numbers = []
        for trial in range(trials):
            number = 8 * trial + MANY[trial % len(MANY)]
            numbers.append(number)
            site.stop_orthanc()
            for sender in send(site, [number]):
                sender.join()
            time.sleep(moves.uniform(0.5, 2))
            _move(offset, JUMPS[trial % len(JUMPS)])
            if moves.random() < 0.5:
                site.kill_node()
                site.start_node(*faked)
            site.start_orthanc()
            site.settle(_SETTLED)
        return judged(site, Row("the clock moved by up to ten years, back and forth", trials, len(numbers)), numbers)


def _move(offset: Path, seconds: int) -> None:
    part = offset.with_suffix(".part")
    part.write_text(str(seconds))
    part.rename(offset)


def half_copied(folder: Path, trials: int, seed: int) -> Row:
    """Copy images into the watched folder with pauses, in several ways; kill the node meanwhile half of the time."""
    chance = random.Random(seed)
    with RunningSite(folder, f"{DICOM_DESTINATION}{_WATCH}") as site:
        site.start_node()
        numbers = []
        for trial in range(trials):
            batch = [8 * (3 * trial + i) + MANY[i] for i in range(3)]
            numbers += batch
            copies = [
                threading.Thread(target=COPIES[(trial + i) % len(COPIES)], args=(site, number, chance.uniform(0.5, 4)))
                for i, number in enumerate(batch)
            ]
            for copy in copies:
                copy.start()
            if chance.random() < 0.5:
                time.sleep(chance.uniform(0, 3))
                site.kill_node()
                site.start_node()
            for copy in copies:
                copy.join()
            wait_for(lambda: not _left(site), "the watched folder is empty", _SETTLED)
            site.settle(_SETTLED)
        return judged(site, Row("copies that stall, in a watched folder", trials, len(numbers)), numbers)


def _left(site: Site) -> list[Path]:
    """Return the files that are in the watched folder, those that were moved away among them."""
    return [path for path in (site.folder / "watch").rglob("*") if path.is_file()]


def _appended(site: Site, number: int, pause: float) -> None:
    data, path = _file(site, number)
    with path.open("wb") as file:
        for part in (data[: len(data) // 3], data[len(data) // 3 :]):
            file.write(part)
            file.flush()
            time.sleep(pause)


def _into_zeros(site: Site, number: int, pause: float) -> None:
    """Fill space that was set aside, with a pause that is shorter than the time that a copy may stall."""
    data, path = _file(site, number)
    with path.open("wb") as file:
        file.write(bytes(len(data)))
        file.flush()
        time.sleep(pause / 4)
        file.seek(0)
        file.write(data[: len(data) // 2])
        file.flush()
        time.sleep(pause / 4)
        file.write(data[len(data) // 2 :])


def _under_another_name(site: Site, number: int, pause: float) -> None:
    data, path = _file(site, number)
    part = path.with_name(f"{path.name}.filepart")
    part.write_bytes(data)
    time.sleep(pause)
    part.rename(path)


COPIES: Final[tuple[Callable[[Site, int, float], None], ...]] = (_appended, _into_zeros, _under_another_name)


def _file(site: Site, number: int) -> tuple[bytes, Path]:
    return dicom_files.written(images.make(number)), site.folder / "watch" / f"{number}.dcm"
