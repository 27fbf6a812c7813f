"""Decoders in separate processes: a failure of one costs one image, within its time and memory."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import cxr_edge
from benchmarks.dicom import dicom_files
from benchmarks.dicom.dicom_files import JPEG_2000, image, written
from cxr_edge import InputLimits, errors, images
from cxr_edge.images.dicom.decoders import decoder, isolation


@pytest.fixture(scope="module")
def encoded(image_path: Path) -> bytes:
    """Return a compressed image as the bytes of a file."""
    return written(dicom_files.compressed(image(images.read_image(image_path).pixels), JPEG_2000))


def children() -> list[int]:
    """Return the identifiers of this process's decoder processes."""
    listed = subprocess.run(["pgrep", "-P", str(os.getpid()), "-f", "decoder_process"], capture_output=True, text=True)
    return [int(line) for line in listed.stdout.split()]


def kill_children() -> None:
    """Kill this process's decoder processes, and wait until they have ended.

    A process that dies has no command line, by which `children` finds it, before its parent can see its end.
    """
    for child in children():
        os.kill(child, signal.SIGKILL)
        os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)


@pytest.fixture(autouse=True)
def no_decoder_is_left() -> None:
    """End the decoders of other tests: of several idle ones, a test could not know which is next."""
    kill_children()


def test_a_process_is_kept_for_the_next_image(encoded):
    images.decode(encoded)
    before = children()
    images.decode(encoded)
    assert children() == before != []


def test_a_crash_costs_one_image(encoded):
    images.decode(encoded)
    (child,) = children()[:1]
    os.kill(child, signal.SIGSTOP)
    threading.Timer(0.2, os.kill, (child, signal.SIGKILL)).start()
    with pytest.raises(errors.DecoderFailed, match="crashed"):
        images.decode(encoded)
    assert child not in children()
    assert images.decode(encoded).pixels.shape == (1024, 1024)


def test_a_process_that_ends_while_idle_costs_nothing(encoded):
    images.decode(encoded)
    kill_children()
    assert images.decode(encoded).pixels.shape == (1024, 1024)


def test_a_frozen_process_is_ended(encoded, monkeypatch):
    monkeypatch.setattr(decoder, "FROZEN_SECONDS", 0.3)
    monkeypatch.setattr(decoder, "FROZEN_FACTOR", 0.0)
    images.decode(encoded)
    (child,) = children()[:1]
    os.kill(child, signal.SIGSTOP)
    with pytest.raises(errors.DecoderFailed, match="did not answer within"):
        images.decode(encoded)
    assert child not in children()
    monkeypatch.undo()
    assert images.decode(encoded).pixels.shape == (1024, 1024)


@pytest.fixture
def little_time(monkeypatch) -> InputLimits:
    """Limits of CPU time that no image of a megapixel meets."""
    monkeypatch.setattr(isolation, "DECODE_SECONDS", 0.0)
    return InputLimits(decode_seconds_per_megapixel=0.001)


def test_a_process_that_uses_up_its_time_is_ended(encoded, little_time):
    before = images.decode(encoded) and children()
    with pytest.raises(errors.DecoderFailed, match=r"used up its 0\.0 s of CPU time"):
        images.decode(encoded, little_time)
    assert not set(before) <= set(children())
    assert images.decode(encoded).pixels.shape == (1024, 1024)


def test_the_time_of_one_image_is_not_that_of_the_next(encoded):
    limits = InputLimits(decode_seconds_per_megapixel=0.5)
    before = images.decode(encoded, limits) and children()
    for _ in range(20):
        images.decode(encoded, limits)
    assert children() == before


def test_time_in_which_a_process_is_stopped_does_not_count(encoded, monkeypatch):
    """As under a CPU quota, or on a busy machine: a good image is read, however long that takes."""
    monkeypatch.setattr(isolation, "DECODE_SECONDS", 0.5)
    images.decode(encoded)
    (child,) = children()[:1]
    os.kill(child, signal.SIGSTOP)
    threading.Timer(2.0, os.kill, (child, signal.SIGCONT)).start()
    limits = InputLimits(decode_seconds_per_megapixel=0.5)
    assert images.decode(encoded, limits).pixels.shape == (1024, 1024)
    assert child in children()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux only")
def test_memory_is_limited(monkeypatch):
    noise = np.random.default_rng(0).integers(0, 4096, (3000, 2500), dtype=np.uint16)
    data = written(dicom_files.compressed(image(noise, bits=12), JPEG_2000))
    assert images.decode(data).pixels.shape == noise.shape
    monkeypatch.setattr(isolation, "DECODE_BYTES", 2**20)
    with pytest.raises((errors.DecoderFailed, errors.Truncated)):
        images.decode(data, InputLimits(decode_bytes_per_sample=1))
    monkeypatch.undo()
    assert images.decode(data).pixels.shape == noise.shape


#: Interrupts itself while its decoder is stopped: a program of its own, since an interrupt that comes late ends it.
INTERRUPTED = """
import os, signal, sys, threading
import numpy as np
import psutil
from cxr_edge import images
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
images.read_image(sys.argv[1])
(child,) = psutil.Process().children()
child.suspend()
threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    images.read_image(sys.argv[1])
except KeyboardInterrupt:
    print("interrupted")
print(np.array_equal(images.read_image(sys.argv[2]).pixels, np.load(sys.argv[3])))
print(child in psutil.Process().children())
"""


def test_after_an_interrupt_the_next_image_gets_its_own_pixels(encoded, tmp_path):
    other = np.random.default_rng(0).integers(0, 256, (1024, 1024), dtype=np.uint8)
    (tmp_path / "first.dcm").write_bytes(encoded)
    (tmp_path / "second.dcm").write_bytes(written(dicom_files.compressed(image(other), JPEG_2000)))
    np.save(tmp_path / "second.npy", other)
    files = [str(tmp_path / name) for name in ("first.dcm", "second.dcm", "second.npy")]
    done = subprocess.run([sys.executable, "-c", INTERRUPTED, *files], capture_output=True, text=True)
    assert done.stdout.splitlines() == ["interrupted", "True", "False"], done.stderr


def test_a_program_without_a_main_guard_can_use_it(encoded, tmp_path):
    (tmp_path / "image.dcm").write_bytes(encoded)
    program = tmp_path / "program.py"
    program.write_text(
        "print('begun')\nfrom cxr_edge import images\nprint(images.read_image('image.dcm').pixels.shape)\n"
    )
    (tmp_path / "json.py").write_text("raise SystemExit('a module was imported from this directory')\n")
    done = subprocess.run(
        [sys.executable, "-P", program] if sys.version_info >= (3, 11) else [sys.executable, program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(cxr_edge.__file__).parents[1])])},
    )
    assert done.stdout == "begun\n(1024, 1024)\n", done.stderr


def test_the_processes_end_with_the_program(encoded, tmp_path):
    (tmp_path / "image.dcm").write_bytes(encoded)
    script = (
        "import os, subprocess, sys\n"
        "from cxr_edge import images\n"
        "images.read_image(sys.argv[1])\n"
        "print(subprocess.run(['pgrep', '-P', str(os.getpid())], capture_output=True, text=True).stdout, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    ended = subprocess.run([sys.executable, "-c", script, tmp_path / "image.dcm"], capture_output=True, text=True)
    started = [int(line) for line in ended.stdout.split()]
    assert started
    for _ in range(100):
        if not any(Path(f"/proc/{child}/cmdline").exists() and _decodes(child) for child in started):
            return
        time.sleep(0.1)
    pytest.fail("a decoder process outlived the program")


def _decodes(process: int) -> bool:
    return b"decoder_process" in Path(f"/proc/{process}/cmdline").read_bytes()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork")
def test_a_forked_program_starts_its_own(encoded):
    images.decode(encoded)
    mine = children()
    child = os.fork()
    if not child:
        worked = images.decode(encoded).pixels.shape == (1024, 1024)
        os._exit(0 if worked else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert images.decode(encoded).pixels.shape == (1024, 1024)
    assert children() == mine


def test_threads_share_the_processes(encoded):
    model = cxr_edge.load(device="cpu", threads=1)
    results = model.predict_batch([encoded] * 8, tta=False)
    assert len({result.values for result in results}) == 1
    assert len(children()) <= isolation.usable_cores()
