"""No value of a patient in anything that is printed, logged, warned about, raised or written."""

import logging
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.dicom.dicom_files import JPEG_2000, compressed, image, written
from benchmarks.dicom.patient import PATIENT, found, search
from cxr_edge import errors, images


def patients_images(pixels: np.ndarray) -> dict[str, bytes]:
    """Return good, odd and broken images, all of that patient."""
    whole = image(pixels, **PATIENT)
    data = written(whole)
    return {
        "good": data,
        "compressed": written(compressed(whole, JPEG_2000)),
        "for processing": written(image(pixels, **PATIENT, PresentationIntentType="FOR PROCESSING")),
        "cut within the header": data[: data.index(b"Nowherestrasse") + 6],
        "cut within the pixels": data[:-1000],
        "name instead of a number": data.replace(b"\x28\x00\x10\x00US\x02\x00", b"\x28\x00\x10\x00US\x20\x00"),
        "name in the body part": data.replace(b"CHEST ", b"Qqqarl"),
        "name in the view": written(image(pixels, **PATIENT, WindowCenter=1, WindowWidth=5)).replace(b"PA", b"Qq"),
        "name in the character set": _with_element(data, 0x00080005, b"CS", b"Zyxwvut Qqqarl"),
        "name in the modality": data.replace(b"CS\x02\x00CR", b"CS\x02\x00Qq"),
        "name in the window": _with_element(data, 0x00281050, b"DS", b"Zyxwvut "),
        "name in the window's function": _with_element(
            written(image(pixels, **PATIENT, WindowCenter=100, WindowWidth=200)), 0x00281056, b"CS", b"Zyxwvut "
        ),
        "name in the rescale": _with_element(data, 0x00281053, b"DS", b"Zyxwvut "),
        "name in the orientation": _with_element(data, 0x00200020, b"CS", b"Zyxwvut\\Qqqarl"),
        "name in the shutter": _with_element(data, 0x00181600, b"CS", b"Zyxwvut Qqqarl"),
        "name in the shutter's place": _with_element(
            written(image(pixels, **PATIENT, ShutterShape="POLYGONAL")), 0x00181620, b"IS", b"Zyxwvut "
        ),
        "name as the frames": _with_element(data, 0x00280008, b"IS", b"Qqqarl"),
        "name as the syntax": data.replace(b"1.2.840.10008.1.2.1\0", b"Zyxwvut.Qqqarl.9999\0"),
        "name as the class": data.replace(b"1.2.840.10008.5.1.4.1.1.1\0", b"Zyxwvut.Qqqarl.9999.Grzb\0"),
        "bad date": data.replace(b"19330217", b"1933Qqqa"),
    }


def _with_element(data: bytes, tag: int, vr: bytes, value: bytes) -> bytes:
    """Insert an element into a file, at its place."""
    head = struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value))
    at = data.index(b"\x08\x00\x18\x00UI" if tag < 0x00080018 else b"\xe0\x7f\x10\x00O")
    return data[:at] + head + value + data[at:]


@pytest.fixture(scope="module")
def pixels(image_path: Path) -> np.ndarray:
    return np.ascontiguousarray(images.read_image(image_path).pixels[::4, ::4])


@pytest.mark.filterwarnings("always")
def test_no_message_contains_a_patients_values(pixels, caplog, capsys, recwarn):
    messages = []
    with caplog.at_level(logging.DEBUG):
        for name, data in patients_images(pixels).items():
            try:
                messages += [warning.message for warning in images.decode(data).warnings]
            except errors.InputError as error:
                messages += [str(error), repr(error), str(error.__cause__)]
            assert not found("\n".join(messages)), name
    messages += [caplog.text, *capsys.readouterr(), *(str(warning.message) for warning in recwarn)]
    assert not found("\n".join(messages))


def test_no_output_of_a_run_contains_a_patients_values(pixels, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for number, data in enumerate(patients_images(pixels).values()):
        (folder / f"{number:02d}").write_bytes(data)
    command = [sys.executable, "-X", "dev", "-m", "cxr_edge", "infer", folder, "--out", tmp_path / "out"]
    command += ["--cam", "1", "--report"]
    done = subprocess.run([*command, "--device", "cpu", "--no-tta"], capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert not found(done.stdout + done.stderr)
    assert "pydicom" not in done.stderr
    for path in (tmp_path / "out").rglob("*"):
        assert not found(str(path))
        assert not path.is_file() or not found(path.read_bytes().decode("latin-1")), path


def test_the_search_of_logs_finds_a_value(tmp_path):
    (tmp_path / "clean.log").write_text("refused: truncated\n")
    (tmp_path / "leak.log").write_text("fine\nread the image of CompressedSamples^RG1\nQX-7731-ZZ\n")
    assert not search([tmp_path / "clean.log"])
    assert [line.split(":")[1] for line in search([tmp_path / "clean.log", tmp_path / "leak.log"])] == ["2", "3"]
