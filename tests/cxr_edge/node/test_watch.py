"""The watched folder: each image once, when it is complete; other files are moved away; one bad file stops nothing."""

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import cxr_edge
from benchmarks.node import images
from benchmarks.node.site import wait_for
from cxr_edge.errors import DeviceFailed
from cxr_edge.images.limits import DEFAULT_LIMITS
from cxr_edge.node.config import Config, FolderDestination, Metrics, Model, Watch
from cxr_edge.node.intake import Intake, IntakeOutcome
from cxr_edge.node.node import Node
from cxr_edge.node.queue import Queue
from cxr_edge.node.watch import FolderWatch


@pytest.fixture
def watching(tmp_path: Path) -> Iterator[Callable[..., tuple[Path, Queue]]]:
    (tmp_path / "images").mkdir()
    queue = Queue(tmp_path)
    started = []

    def start(settle_seconds: float = 0.2, **settings) -> tuple[Path, Queue]:
        folder = tmp_path / "in"
        intake = Intake(tmp_path / "images", queue, DEFAULT_LIMITS, **settings)
        started.append(FolderWatch(Watch(folder, settle_seconds=settle_seconds), intake, DEFAULT_LIMITS.max_file_bytes))
        started[-1].start()
        return folder, queue

    yield start
    for one in started:
        assert one.alive
        one.stop()
    queue.close()


def refused(folder: Path) -> list[str]:
    return sorted(path.name.split("-", 1)[1] for path in (folder / ".refused").iterdir())


def test_images_are_taken_and_other_files_are_moved_away(watching, image_path: Path) -> None:
    folder, queue = watching()
    long_name = "x" * 240
    (folder / long_name).touch()  # with a prefix the whole name would be too long
    (folder / "desktop.ini").write_text("[.ShellClassInfo]")
    (folder / "a folder").mkdir()
    (folder / "a folder" / "image.png").write_bytes(image_path.read_bytes())
    (folder / "the same.png").write_bytes(image_path.read_bytes())
    images.write(folder, [1])
    wait_for(lambda: not [path for path in folder.rglob("*") if path.is_file() and ".refused" not in path.parts],
             "all files are taken", 20)  # fmt: skip
    assert queue.counts()["image-waiting"] == 2
    assert refused(folder) == [f"empty_file-{'x' * 40}", "unusable-desktop.ini"]


def test_a_file_that_still_grows_is_not_taken(watching, image_path: Path) -> None:
    folder, queue = watching(settle_seconds=2)
    data = image_path.read_bytes()
    with (folder / "image.png").open("wb") as file:
        for start in range(0, len(data), len(data) // 20):
            file.write(data[start : start + len(data) // 20])
            file.flush()
            time.sleep(0.05)
            assert queue.counts()["image-waiting"] == 0
    wait_for(lambda: queue.counts()["image-waiting"] == 1, "the image is taken", 20)
    assert queue.take_image().source == "image.png"


def test_png_images_that_no_archive_accepts_are_moved_away(watching, image_path: Path) -> None:
    folder, queue = watching(png_jpeg=False)
    (folder / "image.png").write_bytes(image_path.read_bytes())
    images.write(folder, [1])
    wait_for(lambda: queue.counts()["image-waiting"] == 1, "the DICOM image is taken", 20)
    wait_for(lambda: refused(folder) == ["undeliverable-image.png"], "the PNG image is moved away", 20)


def test_a_folder_that_is_gone_for_a_while(watching, image_path: Path) -> None:
    folder, queue = watching()
    time.sleep(0.3)
    away = folder.rename(folder.with_name("away"))
    time.sleep(1)
    away.rename(folder)
    (folder / "image.png").write_bytes(image_path.read_bytes())
    wait_for(lambda: queue.counts()["image-waiting"] == 1, "the image is taken", 30)


def test_a_file_from_the_future_and_one_that_may_not_be_read_yet(watching, image_path: Path) -> None:
    folder, queue = watching()
    (folder / "image.png").write_bytes(image_path.read_bytes())
    os.utime(folder / "image.png", (time.time() + 86_400,) * 2)
    wait_for(lambda: queue.counts()["image-waiting"] == 1, "the image is taken", 20)


def test_a_file_that_replaces_one_is_taken_too(watching, image_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, queue = watching()
    other = sorted(image_path.parent.glob("*.png"))[-1]
    take = Intake.take

    def replaced(self, data: bytes, **options: str) -> IntakeOutcome:
        outcome = take(self, data, **options)
        if data == image_path.read_bytes():
            (folder / ".next").write_bytes(other.read_bytes())
            (folder / ".next").rename(folder / "image.png")
        return outcome

    monkeypatch.setattr(Intake, "take", replaced)
    (folder / "image.png").write_bytes(image_path.read_bytes())
    wait_for(lambda: queue.counts()["image-waiting"] == 2, "both images are taken", 20)
    assert not (folder / "image.png").exists()


def test_an_image_that_is_forgotten_and_sent_again_keeps_its_file(tmp_path: Path, image_path: Path) -> None:
    (tmp_path / "images").mkdir()
    queue = Queue(tmp_path)
    intake = Intake(tmp_path / "images", queue, DEFAULT_LIMITS)
    data = image_path.read_bytes()
    for _ in range(2):
        assert intake.take(data) is IntakeOutcome.QUEUED
        assert intake.take(data) is IntakeOutcome.DUPLICATE
        image = queue.take_image()
        assert (tmp_path / "images" / image.name).read_bytes() == data
        queue.finish_image(image, [])
        assert intake.forget(tmp_path, time.time() + 1, 0) == 1
        assert list((tmp_path / "images").iterdir()) == []
    queue.close()


def test_images_of_a_lost_queue_are_taken_again(tmp_path: Path, image_path: Path) -> None:
    stored = tmp_path / "images"
    stored.mkdir()
    queue = Queue(tmp_path)
    Intake(stored, queue, DEFAULT_LIMITS).take(image_path.read_bytes())
    queue.close()
    for file in tmp_path.glob("queue.sqlite*"):
        file.unlink()
    (stored / ".cxr-edge-0.part").write_bytes(b"half")
    (stored / "notes.txt").write_text("not an image")
    queue = Queue(tmp_path)
    intake = Intake(stored, queue, DEFAULT_LIMITS)
    assert intake.recover() == 1
    assert intake.recover() == 0
    image = queue.take_image()
    assert [path.name for path in stored.iterdir()] == [image.name]
    queue.close()


def of_folders(tmp_path: Path) -> Config:
    """Return the configuration of a site without DICOM."""
    return Config(
        data=tmp_path / "data",
        receive=None,
        model=Model(device="cpu", workers=1),
        watch=Watch(tmp_path / "in", settle_seconds=0.2),
        metrics=Metrics(port=19112),
        destinations=(FolderDestination("out", tmp_path / "out"),),
    )


def test_a_device_that_fails_ends_the_node(tmp_path: Path, image_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU that failed does not come back within the process; the service manager starts the node again."""

    def fail(*_: object, **__: object) -> None:
        raise DeviceFailed("the GPU has fallen off the bus")

    monkeypatch.setattr(cxr_edge.Model, "evaluate", fail)
    node = Node(of_folders(tmp_path))
    node.start()
    try:
        (tmp_path / "in" / "image.png").write_bytes(image_path.read_bytes())
        assert node.ending.wait(20)
    finally:
        node.stop()
    assert isinstance(node.failure, DeviceFailed)
    queue = Queue(tmp_path / "data")
    assert queue.counts()["image-waiting"] == 1
    queue.close()


def test_from_folder_to_folder(tmp_path: Path, image_path: Path) -> None:
    """Run the whole node in this process."""
    node = Node(of_folders(tmp_path))
    node.start()
    try:
        (tmp_path / "in" / "ward 3").mkdir()
        (tmp_path / "in" / "ward 3" / "image.png").write_bytes(image_path.read_bytes())
        wait_for(lambda: list((tmp_path / "out").glob("*.json")) != [], "there is a result", 30)
        assert node.problems() == []
    finally:
        node.stop()
    (line,) = (tmp_path / "out").glob("*.json")
    record = json.loads(line.read_text())
    assert record["path"] == os.path.join("ward 3", "image.png")
    assert record["status"] == "ok"
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700
    assert not list(tmp_path.rglob("*.part"))
