"""The watched folder: each image once, when it is complete; other files are moved away; one bad file stops nothing."""

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import cv2
import pytest

import cxr_edge
from benchmarks.dicom import dicom_files
from benchmarks.node import images
from benchmarks.node.site import wait_for
from cxr_edge.errors import DecoderFailed, DeviceFailed
from cxr_edge.images.limits import DEFAULT_LIMITS
from cxr_edge.node import whole
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

    def start(settle: float = 0.2, stalled: float = 0.6, folders: tuple[str, ...] = ("out",)) -> tuple[Path, Queue]:
        folder = tmp_path / "in"
        intake = Intake(tmp_path / "images", queue, DEFAULT_LIMITS, folders=folders)
        config = Watch(folder, settle_seconds=settle, stalled_seconds=stalled)
        started.append(FolderWatch(config, intake, DEFAULT_LIMITS))
        started[-1].start()
        return folder, queue

    start.stop = lambda: started.pop().stop()
    start.looks = lambda: sum(file.looks for file in started[-1]._seen.values())
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
    assert refused(folder) == [f"empty_file-{'x' * 40}", "not_an_image-desktop.ini"]


def test_a_file_that_still_grows_is_not_taken(watching, image_path: Path) -> None:
    folder, queue = watching(settle=2)
    data = image_path.read_bytes()
    with (folder / "image.png").open("wb") as file:
        for start in range(0, len(data), len(data) // 20):
            file.write(data[start : start + len(data) // 20])
            file.flush()
            time.sleep(0.05)
            assert queue.counts()["image-waiting"] == 0
    wait_for(lambda: queue.counts()["image-waiting"] == 1, "the image is taken", 20)
    assert queue.take_image().source == "image.png"


SYNTAX = {"jpeg": dicom_files.BASELINE, "jpeg2000": dicom_files.JPEG_2000, "rle": "1.2.840.10008.1.2.5"}


@cache
def content(kind: str) -> bytes:
    """Return an image as a file of one kind."""
    if kind == "png":
        return images.SAMPLES[0].read_bytes()
    image = images.make(0)
    if kind == "native":
        return dicom_files.written(image)
    if kind == "deflated":
        return dicom_files.written(image, dicom_files.DEFLATED)
    if kind in ("jpg", "jpeg"):
        stream = cv2.imencode(".jpg", image.pixel_array)[1].tobytes()
        return stream if kind == "jpg" else dicom_files.written(dicom_files.with_stream(image, SYNTAX[kind], stream))
    return dicom_files.written(dicom_files.compressed(image, SYNTAX[kind]))


def append(path: Path, data: bytes) -> Iterator[None]:
    """Write a file as a copy does that stalls half-way."""
    with path.open("wb") as file:
        file.write(data[: len(data) // 2])
        file.flush()
        yield
        file.write(data[len(data) // 2 :])


def zeros_first(path: Path, data: bytes) -> Iterator[None]:
    """Write a file into space that was filled with zeros before."""
    path.with_name(".zeros").write_bytes(bytes(len(data)))
    path.with_name(".zeros").rename(path)
    yield from in_place(path, data)


def hole_first(path: Path, data: bytes) -> Iterator[None]:
    """Write a file into space that was only announced, its last part first, as over several connections."""
    with path.open("wb") as file:
        file.truncate(len(data))
        file.seek(len(data) // 4 * 3)
        file.write(data[len(data) // 4 * 3 :])
    yield from in_place(path, data)


def in_place(path: Path, data: bytes) -> Iterator[None]:
    with path.open("r+b") as file:
        file.write(data[: len(data) // 2])
        file.flush()
        yield
        file.write(data[len(data) // 2 :])


def under_another_name(path: Path, data: bytes) -> Iterator[None]:
    """Write a file under a temporary name; all of it is there before it is renamed."""
    part = path.with_name(f"{path.name}.filepart")
    part.write_bytes(data)
    yield
    part.rename(path)


@pytest.mark.parametrize("kind", ["png", "jpg", "native", "deflated", "jpeg", "jpeg2000", "rle"])
@pytest.mark.parametrize("write", [append, zeros_first, hole_first, under_another_name])
def test_a_copy_that_stalls_is_taken_when_it_is_whole(
    watching, tmp_path: Path, write: Callable[..., Iterator[None]], kind: str
) -> None:
    """Whatever a file contains meanwhile, it stays where it is, and is worked on once its last byte has come."""
    folder, queue = watching(stalled=60)
    data = content(kind)
    copying = write(folder / "image", data)
    next(copying)
    wait_for(lambda: watching.looks() > 0, "the file was looked at", 30)
    (there,) = [path for path in folder.iterdir() if path.is_file()]
    assert there.stat().st_size in (len(data), len(data) // 2)
    assert queue.counts()["image-waiting"] == 0
    with contextlib.suppress(StopIteration):
        next(copying)
    wait_for(lambda: queue.counts()["image-waiting"] == 1, "the image is taken", 30)
    wait_for(lambda: not (folder / "image").exists(), "the file is removed", 30)
    assert (tmp_path / "images" / queue.take_image().name).read_bytes() == data


@pytest.mark.parametrize("restarted", [False, True])
def test_a_copy_that_stalls_for_longer_comes_back(watching, tmp_path: Path, restarted: bool) -> None:
    folder, queue = watching(stalled=0.3)
    copying = append(folder / "image.dcm", content("native"))
    next(copying)
    wait_for(lambda: refused(folder) == ["truncated-image.dcm"], "the file is moved away", 30)
    if restarted:
        watching.stop()
    with contextlib.suppress(StopIteration):
        next(copying)
    if restarted:
        watching(stalled=0.3)
    wait_for(lambda: queue.counts()["image-waiting"] == 1, "the image is taken", 30)
    assert (tmp_path / "images" / queue.take_image().name).read_bytes() == content("native")
    assert refused(folder) == []


def test_a_black_border_at_the_end_is_taken_after_a_while(watching) -> None:
    folder, queue = watching(stalled=1)
    pixels = images.make(0).pixel_array.copy()
    pixels[-50:] = 0
    data = dicom_files.written(images.make(0, PixelData=pixels.tobytes()))
    (folder / "image.dcm").write_bytes(data)
    wait_for(lambda: watching.looks() == 1, "the file was looked at", 30)
    assert (folder / "image.dcm").exists()
    wait_for(lambda: queue.counts()["image-waiting"] == 1, "the image is taken", 30)


@pytest.mark.parametrize("name", ["image.part", "image.dcm.filepart", "~image.dcm", "IMAGE.TMP", "image.dcm~"])
def test_a_temporary_name_is_left_until_it_is_renamed(watching, name: str) -> None:
    folder, queue = watching(stalled=0.1)
    (folder / name).write_bytes(content("png"))
    wait_for(lambda: watching.looks() >= 3, "the file was looked at", 30)
    assert (folder / name).exists()
    assert queue.counts()["image-waiting"] == 0
    assert refused(folder) == []


FAILURES = [DecoderFailed("the decoder process exceeded its deadline"), ValueError("a fault of a package")]


@pytest.mark.parametrize("error", FAILURES, ids=["decoder", "package"])
@pytest.mark.parametrize("ever", [False, True], ids=["at times", "always"])
def test_a_decoder_that_fails_costs_no_image(
    watching, monkeypatch: pytest.MonkeyPatch, error: Exception, ever: bool
) -> None:
    """A busy machine may miss a decoder's deadline: the file is neither taken unproven nor moved away at once."""
    check, times = whole.check_whole, []

    def busy(*arguments: object) -> None:
        times.append(1)
        if ever or len(times) < 3:
            raise error
        check(*arguments)

    monkeypatch.setattr("cxr_edge.node.watch.check_whole", busy)
    monkeypatch.setattr("cxr_edge.node.watch._MOST_FAILURES", 4)
    folder, queue = watching(stalled=0.1)
    (folder / "image.dcm").write_bytes(content("jpeg2000"))
    if ever:
        code = getattr(error, "code", "internal")
        wait_for(lambda: refused(folder) == [f"{code}-image.dcm"], "the file is moved away", 30)
        assert len(times) == 4
    else:
        wait_for(lambda: queue.counts()["image-waiting"] == 1, "the image is taken", 30)
        assert refused(folder) == []


def test_png_images_that_no_archive_accepts_are_moved_away(watching, image_path: Path) -> None:
    folder, queue = watching(folders=())
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
    intake = Intake(tmp_path / "images", queue, DEFAULT_LIMITS, folders=["out"])
    data = image_path.read_bytes()
    for _ in range(2):
        assert intake.take(data) is IntakeOutcome.QUEUED
        assert intake.take(data) is IntakeOutcome.DUPLICATE
        image = queue.take_image()
        assert (tmp_path / "images" / image.name).read_bytes() == data
        queue.finish_image(image, [])
        assert intake.forget(tmp_path, queue.now() + 1, 0) == 1
        assert list((tmp_path / "images").iterdir()) == []
    queue.close()


def test_images_of_a_lost_queue_are_taken_again(tmp_path: Path, image_path: Path) -> None:
    stored = tmp_path / "images"
    stored.mkdir()
    queue = Queue(tmp_path)
    Intake(stored, queue, DEFAULT_LIMITS, folders=["out"]).take(image_path.read_bytes())
    queue.close()
    for file in tmp_path.glob("queue.sqlite*"):
        file.unlink()
    (stored / ".cxr-edge-0.part").write_bytes(b"half")
    (stored / "notes.txt").write_text("not an image")
    queue = Queue(tmp_path)
    intake = Intake(stored, queue, DEFAULT_LIMITS, folders=["out"])
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
