"""Overlays are of findings in the record; one below its threshold is marked and weaker; none is read as an image."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

import cxr_edge
from cxr_edge import errors, images
from cxr_edge.model.record import ResultRecord
from cxr_edge.outputs.analysis import Analyser
from cxr_edge.outputs.drawing import OverlayFormat, draw_overlay
from cxr_edge.outputs.overlays import BELOW, FOLDER, OverlayFiles
from cxr_edge.runs.batch import infer
from cxr_edge.runs.directory import RunDirectory
from cxr_edge.runs.inputs import find_inputs
from tests.conftest import SAMPLES


def drawn(model: cxr_edge.Model, out: Path, encoding: OverlayFormat = OverlayFormat.JPEG) -> list[ResultRecord]:
    """Run over some samples, with an overlay for as many labels as there are."""
    overlays = OverlayFiles(out, len(model.labels), "turbo", encoding)
    analyser = Analyser.of(model, model.settings(tta=False), [overlays])
    inputs = find_inputs([str(path) for path in SAMPLES[:3]])
    with RunDirectory(out, analyser.provenance.identity(), {}, model.manifest.label_names) as directory:
        return list(infer(analyser, inputs, directory, workers=1))


@pytest.fixture(scope="module")
def run(model: cxr_edge.Model, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[ResultRecord]]:
    out = tmp_path_factory.mktemp("run") / "out"
    return out, drawn(model, out)


def test_every_overlay_is_of_a_finding_that_names_it(run):
    out, records = run
    files = [finding.overlay_file for record in records for finding in record.findings]
    assert sorted(files) == sorted(f"{FOLDER}/{path.name}" for path in (out / FOLDER).iterdir())
    for record in records:
        assert {finding.label for finding in record.findings} == set(record.probabilities) - {"No Finding"}
        probabilities = [finding.probability for finding in record.findings]
        assert probabilities == sorted(probabilities, reverse=True)


@pytest.mark.parametrize("count", [1, 3, 14])
def test_a_record_has_the_improbable_findings_that_are_drawn_and_no_others(model, count, tmp_path):
    analyser = Analyser.of(model, model.settings(), [OverlayFiles(tmp_path, count, "turbo")])
    (tmp_path / FOLDER).mkdir()
    least = min(SAMPLES, key=lambda path: len(model.predict(path).findings))
    record = analyser.run(least.read_bytes(), "image", path=None)
    result = model.predict(least)
    labels = [label.name for label, _ in result.ranked()]
    assert 1 < len(result.findings) < len(labels) == 14
    assert [finding.label for finding in record.findings] == labels[: max(len(result.findings), count)]
    assert [finding.label for finding in record.findings if finding.overlay_file] == labels[:count]
    assert all(finding.std is not None for finding in record.findings)


def test_the_name_says_which_findings_are_below_their_threshold(run):
    _, records = run
    findings = [finding for record in records for finding in record.findings]
    assert {finding.positive for finding in findings} == {True, False}
    for finding in findings:
        assert (BELOW in finding.overlay_file) == (not finding.positive)
        assert finding.label.replace(" ", "_") in finding.overlay_file


def colourfulness(picture: np.ndarray) -> float:
    """Return the largest difference between the channels, outside the caption."""
    upper = picture[: picture.shape[0] * 9 // 10].astype(int)
    return float((upper.max(axis=2) - upper.min(axis=2)).max())


def test_colour_is_weaker_below_the_threshold(model):
    result = model.predict(SAMPLES[1], tta=False, heatmaps=True)
    grey = np.full(result.size, 128, np.uint8)
    shown = {finding.label: finding.positive for finding in result.findings if result.map_of(finding.label).any()}
    shown |= {label: False for label in model.manifest.label_names if label not in shown and result.map_of(label).any()}
    strengths: dict[bool, list[float]] = {True: [], False: []}
    for label, positive in shown.items():
        picture = cv2.imdecode(np.frombuffer(draw_overlay(grey, result, label, "turbo"), np.uint8), cv2.IMREAD_COLOR)
        strengths[positive].append(colourfulness(picture))
    assert min(strengths[True]) > 80
    assert 0 < max(strengths[False]) < 60


def test_an_overlay_that_is_gone_is_drawn_again_whatever_its_label(run, model):
    out, records = run
    weak = next(f.overlay_file for record in records for f in record.findings if not f.positive)
    before = (out / weak).read_bytes()
    (out / weak).unlink()
    assert drawn(model, out) == records
    assert (out / weak).read_bytes() == before


@pytest.fixture(scope="module")
def explained(model: cxr_edge.Model) -> cxr_edge.Result:
    return model.predict(SAMPLES[1], tta=False, heatmaps=True)


@pytest.mark.parametrize("size", [(512, 512), (137, 511), (1001, 640), (2048, 1700)])
def test_a_jpeg_shows_what_the_exact_picture_shows(explained, size):
    """Of any size, odd or even: above 40 dB from it, where differences are not seen; its caption is as sharp."""
    image = cv2.resize(images.read_image(SAMPLES[1]).pixels, size[::-1], interpolation=cv2.INTER_AREA)
    result = dataclasses.replace(explained, size=size)
    exact, jpeg = (
        cv2.imdecode(np.frombuffer(draw_overlay(image, result, label, "turbo", encoding), np.uint8), cv2.IMREAD_COLOR)
        for label in [result.findings[0].label]
        for encoding in (OverlayFormat.PNG, OverlayFormat.JPEG)
    )
    assert exact.shape == jpeg.shape == (*size, 3)
    assert cv2.PSNR(exact, jpeg) > 40
    assert cv2.PSNR(exact[-15:, :100], jpeg[-15:, :100]) > 30


@pytest.mark.skipif(sys.platform != "linux", reason="the memory behind a plane is protected by mprotect(2)")
@pytest.mark.parametrize("size", [(64, 64), (65, 64), (64, 65), (65, 65)])
def test_nothing_behind_a_plane_is_read(size):
    """libjpeg-turbo reads odd sides to the next even one: behind the last row of an image may be no memory."""
    code = """
import ctypes, sys
import numpy as np, simplejpeg
from cxr_edge.outputs.drawing import _in_even_memory

libc = ctypes.CDLL(None)
libc.mmap.restype, libc.mprotect.argtypes = ctypes.c_void_p, (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)

def at_the_end_of_memory(height, width):
    pages = -(-height * width // 4096)
    start = libc.mmap(None, ctypes.c_size_t((pages + 1) * 4096), 3, 0x22, -1, 0)
    libc.mprotect(start + pages * 4096, 4096, 0)
    held = (ctypes.c_uint8 * (height * width)).from_address(start + pages * 4096 - height * width)
    return np.ctypeslib.as_array(held).reshape(height, width)

h, w = map(int, sys.argv[1:])
chroma = [at_the_end_of_memory(-(-h // 2), -(-w // 2)) for _ in range(2)]
simplejpeg.encode_jpeg_yuv_planes(_in_even_memory(at_the_end_of_memory(h, w)), *chroma, quality=90)
"""
    done = subprocess.run([sys.executable, "-c", code, *map(str, size)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("encoding", OverlayFormat)
def test_an_overlay_is_not_read_as_an_image(model, encoding, tmp_path):
    drawn(model, tmp_path, encoding)
    for path in (tmp_path / FOLDER).iterdir():
        with pytest.raises(errors.UnsupportedObject, match="got a result of cxr-edge") as raised:
            images.read_image(path)
        assert raised.value.content == "result of cxr-edge"
        assert cv2.imread(str(path)).shape == (1024, 1024, 3)  # others read it
