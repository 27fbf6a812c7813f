"""Which program a decoder process is started with: a Python like this one, and never the host itself."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks.dicom import dicom_files
from benchmarks.dicom.dicom_files import JPEG_2000, image, written
from cxr_edge import InputLimits, errors, images
from cxr_edge.images.dicom.decoders import isolation, launch

PREFIXES = ("prefix", "exec_prefix", "base_prefix", "base_exec_prefix")


@pytest.fixture(scope="module")
def encoded(image_path: Path) -> bytes:
    """Return a compressed image as the bytes of a file."""
    return written(dicom_files.compressed(image(images.read_image(image_path).pixels), JPEG_2000))


@pytest.fixture
def host(request, tmp_path, monkeypatch) -> Iterator[Path]:
    """A program that is no Python and that notes when it is started, in the place of `sys.executable`."""
    program = tmp_path / getattr(request, "param", "scanner")
    program.write_text(f"#!/bin/sh\necho started >> {tmp_path}/starts\necho the scanner's software starts\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.setattr(isolation, "_shared", {})
    yield program
    for processes in isolation._shared.values():
        processes.close()


@pytest.fixture
def without_python(host, tmp_path, monkeypatch) -> Path:
    """A host with no interpreter beside it."""
    for name in PREFIXES:
        monkeypatch.setattr(sys, name, str(tmp_path))
    monkeypatch.setattr(sys, "_base_executable", str(host))
    return host


def starts(host: Path) -> int:
    noted = host.with_name("starts")
    return len(noted.read_text().splitlines()) if noted.exists() else 0


@pytest.mark.parametrize("executable", ["the host", "", None, "/nowhere/python3.11"])
@pytest.mark.parametrize("host", ["scanner", "python3", "pythonscanner"], indirect=True)
def test_an_embedding_program_is_not_started_and_its_python_is_found(encoded, host, monkeypatch, executable):
    if executable != "the host":
        monkeypatch.setattr(sys, "executable", executable)
    assert images.decode(encoded).pixels.shape == (1024, 1024)
    assert starts(host) == 0


def test_the_python_of_an_embedding_program_can_be_named(encoded, without_python, monkeypatch):
    python = Path(os.path.realpath("/proc/self/exe") if sys.platform == "linux" else sys._base_executable)
    assert images.decode(encoded, InputLimits(python=str(python))).pixels.shape == (1024, 1024)
    assert starts(without_python) == 0


def test_without_a_python_the_set_up_is_blamed(encoded, without_python):
    with pytest.raises(errors.DecoderUnavailable, match=r"scanner.*InputLimits\(python=\).*isolated=False"):
        images.decode(encoded)
    assert starts(without_python) == 0
    assert images.decode(encoded, InputLimits(isolated=False)).pixels.shape == (1024, 1024)


@pytest.mark.parametrize(
    ("named", "got"), [("/nowhere/python", "cannot be started"), ("/bin/true", "something else"), ("/", "cannot be")]
)
def test_what_is_named_must_be_a_python_like_this_one(encoded, host, named, got):
    with pytest.raises(errors.DecoderUnavailable, match=rf"expected a Python like this one.*{got}.*isolated=False"):
        images.decode(encoded, InputLimits(python=named))


def test_a_python_of_another_version_is_not_taken(encoded, without_python, tmp_path):
    other = tmp_path / "bin" / "python3"
    other.parent.mkdir()
    other.write_text("#!/bin/sh\necho cpython-27 mu 9223372036854775807\n")
    other.chmod(0o755)
    with pytest.raises(errors.DecoderUnavailable, match="no Python 3"):
        images.decode(encoded)
    with pytest.raises(errors.DecoderUnavailable, match="of another kind"):
        images.decode(encoded, InputLimits(python=str(other)))


def test_a_frozen_program_without_the_hook_is_not_started(encoded, host, monkeypatch):
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    with pytest.raises(errors.DecoderUnavailable, match=r"frozen program.*PyInstaller.*isolated=False"):
        images.decode(encoded)
    assert starts(host) == 0


def test_a_frozen_program_is_started_at_the_entry_of_its_hook_alone(host, monkeypatch):
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.setattr(sys, launch.ENTRY, "--entry", raising=False)
    assert launch.decoder_command(None) == [str(host), "--entry"]


@pytest.mark.skipif(sys.platform != "linux", reason="the address space is limited on Linux")
@pytest.mark.parametrize("mebibytes", [5, 60, 200])
def test_a_limit_of_memory_too_low_to_start_is_not_the_images_fault(encoded, host, tmp_path, mebibytes):
    limited = tmp_path / "python"
    limited.write_text(f'#!/bin/sh\nulimit -v {mebibytes << 10}\nexec {sys._base_executable} "$@"\n')
    limited.chmod(0o755)
    with pytest.raises(errors.DecoderUnavailable, match="isolated=False") as raised:
        images.decode(encoded, InputLimits(python=str(limited)))
    assert "damaged" not in str(raised.value)


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("raise ImportError('libjpeg.so.62 is missing')", "did not start.*ImportError: libjpeg.so.62 is missing"),
        ("def __getattr__(name):\n    raise ImportError('no such codec')", "cannot load its codec .no such codec"),
        ("import os; os._exit(7)", "did not start.*status 7"),
    ],
)
def test_a_codec_that_cannot_be_loaded_is_not_the_images_fault(encoded, host, tmp_path, monkeypatch, code, told):
    (tmp_path / "imagecodecs.py").write_text(f"{code}\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(errors.DecoderUnavailable, match=told):
        images.decode(encoded)


def test_python_is_no_number():
    assert InputLimits(python="/usr/bin/python3").python == "/usr/bin/python3"
    with pytest.raises(ValueError, match="max_side above 0"):
        InputLimits(max_side=0)


def test_arrays_need_no_decoder(without_python):
    assert images.from_array(np.tile(np.arange(256, dtype=np.uint8), (256, 1)), 8, InputLimits()).pixels.shape
