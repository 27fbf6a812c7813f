"""Whose results they are, and when they were made: identifiers, corrections, time zones, runs that share files."""

import io
import json
import re
import subprocess
import sys
import warnings
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataelem import DataElement
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

import cxr_edge
from benchmarks.dicom import dicom_files
from cxr_edge import images
from cxr_edge.outputs.analysis import Analyser
from cxr_edge.outputs.dicom import DicomDirectory, ResultObject, write_objects
from cxr_edge.outputs.dicom.header import read_header

IDENTITY = {
    "SOPInstanceUID": "1.2.826.0.1.3",
    "StudyInstanceUID": "1.2.826.0.1.1",
    "SeriesInstanceUID": "1.2.826.0.1.2",
    "PatientName": "Mueller^Anna",
    "PatientID": "A1",
    "StudyDate": "20260101",
    "StudyTime": "003000",
}
KEYWORDS = ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")


def written(image: np.ndarray, syntax: str | None = None, **attributes: object) -> bytes:
    return dicom_files.written(dicom_files.image(image, **{**IDENTITY, **attributes}), syntax)


def key_of(data: bytes) -> str:
    return read_header(images.decode(data)).key


def objects_of(model: cxr_edge.Model, data: bytes) -> tuple[list[ResultObject], list[pydicom.Dataset]]:
    """Return an image's result objects, as made and as read; no value of its header is quoted in a warning."""
    analysis = Analyser.of(model, model.settings(heatmaps=True), ()).analyse(data, "image", path=None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        objects = write_objects(analysis, overlays=1, colormap="turbo")
    return objects, [pydicom.dcmread(io.BytesIO(made.data)) for made in objects]


@pytest.mark.parametrize("malformed", [
    b"1.2.826.0.1.20240105.093000.1", b"1.2.0099", b"1." + b"2" * 70, b"A-17/2024", b"../../etc/cron.d", b"1.2.\xe4",
    b"1..2", b"1.2.",
], ids=repr)  # fmt: skip
def test_results_refer_to_malformed_identifiers_as_they_are(
    model: cxr_edge.Model, image: np.ndarray, malformed: bytes
) -> None:
    """PS3.5, 9.1 forbids them, devices write them: what refers to the image must name it as it names itself."""
    ds, values = dicom_files.image(image, **IDENTITY), {}
    for number, keyword in enumerate(KEYWORDS):
        values[keyword] = malformed + b"%d" % number + b"." * malformed.endswith(b".")
        ds[keyword] = DataElement(keyword, "UI", values[keyword].decode("latin-1"), already_converted=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = dicom_files.written(ds)
    objects, made = objects_of(model, data)
    for one, read in zip(objects, made, strict=True):
        assert values["SOPInstanceUID"] in one.data
        assert read.get_item("StudyInstanceUID").value.rstrip(b"\0 ") == values["StudyInstanceUID"]
        assert re.fullmatch(r"[0-9a-f]{32}-(report|outlines|overlay-\w+)\.dcm", one.name)
        assert one.sop_instance.startswith("2.25.")
    assert values["SeriesInstanceUID"] in objects[0].data


@pytest.mark.parametrize("stated", [b"UN\0\0\2\0\0\0", b"ZZ\2\0", b"SH\2\0"], ids=repr)
def test_a_value_of_another_representation_has_the_standards(
    model: cxr_edge.Model, image: np.ndarray, stated: bytes
) -> None:
    data = written(image)
    there = b"\x10\0\x20\0LO\2\0A1"
    assert data.count(there) == 1
    _, made = objects_of(model, data.replace(there, there[:4] + stated + b"A1"))
    for read in made:
        assert read.get_item("PatientID").VR == "LO"
        assert read.PatientID == "A1"


CORRECTIONS = {
    "PatientName": "Meier^Anna", "PatientID": "B2", "PatientBirthDate": "19700101", "PatientSex": "F",
    "StudyInstanceUID": "1.2.826.0.1.9", "StudyDate": "20260102", "StudyTime": "013000", "AccessionNumber": "ACC123",
    "ReferringPhysicianName": "House^G", "StudyDescription": "Thorax", "PatientAge": "050Y", "IssuerOfPatientID": "W",
    "SeriesInstanceUID": "1.2.826.0.1.8", "TimezoneOffsetFromUTC": "+0100", "SpecificCharacterSet": "ISO_IR 192",
    "PatientOrientation": ["R", "F"], "ImagerPixelSpacing": [0.2, 0.2],
}  # fmt: skip


@pytest.mark.parametrize("keyword", CORRECTIONS)
def test_a_corrected_header_gives_other_objects(image: np.ndarray, keyword: str) -> None:
    """An archive that has the earlier results must not take the new ones for them."""
    assert key_of(written(image, **{keyword: CORRECTIONS[keyword]})) != key_of(written(image))


def test_names_that_differ_in_a_foreign_letter_alone_differ(image: np.ndarray) -> None:
    names = ["Müller^Anna", "Möller^Anna"]
    assert len({key_of(written(image, SpecificCharacterSet="ISO_IR 100", PatientName=name)) for name in names}) == 2


def test_the_same_header_in_another_encoding_gives_the_same_objects(image: np.ndarray) -> None:
    same = [written(image, syntax) for syntax in (None, ImplicitVRLittleEndian, ExplicitVRBigEndian)]
    lossless = dicom_files.compressed(dicom_files.image(image, **IDENTITY), dicom_files.JPEG_2000)
    same.append(dicom_files.written(lossless))
    same.append(written(image, AccessionNumber="", StudyDescription=" ", PatientName="Mueller^Anna^^"))
    assert len({key_of(data) for data in same}) == 1


@pytest.mark.parametrize("offset", ["+0900", "-0330", "+0000", "+1400", "-1200"])
def test_times_are_in_the_images_zone(model: cxr_edge.Model, image: np.ndarray, offset: str) -> None:
    """PS3.3, C.12.1.1.8: the attribute is for all dates and times of an object, copied and own."""
    before = datetime.now(timezone.utc)
    _, made = objects_of(model, written(image, TimezoneOffsetFromUTC=offset))
    after = datetime.now(timezone.utc)
    for one in made:
        assert one.TimezoneOffsetFromUTC == offset
        assert (one.StudyDate, one.StudyTime) == ("20260101", "003000")
        pairs = ("InstanceCreation{}", "Content{}", "PresentationCreation{}", "{}OfSecondaryCapture")
        named = [(pair.format("Date"), pair.format("Time")) for pair in pairs if pair.format("Date") in one]
        assert len(named) >= 2
        for date, time in named:
            text = f"{one[date].value}{one[time].value}{offset}"
            assert before <= datetime.strptime(text, "%Y%m%d%H%M%S.%f%z") <= after
        for item in one.ContributingEquipmentSequence:
            assert before <= datetime.strptime(item.ContributionDateTime, "%Y%m%d%H%M%S.%f%z") <= after


def test_without_a_zone_results_name_none(model: cxr_edge.Model, image: np.ndarray) -> None:
    """The study's times are in a zone that is not known: naming our own would move them."""
    before = datetime.now().astimezone()
    objects, made = objects_of(model, written(image))
    for one in made:
        assert "TimezoneOffsetFromUTC" not in one
        created = f"{one.InstanceCreationDate}{one.InstanceCreationTime}{before:%z}"
        assert datetime.strptime(created, "%Y%m%d%H%M%S.%f%z") >= before
    assert objects[0].warnings == ()


@pytest.mark.parametrize("offset", ["CET", "+1", "+9900", "0100", "+01:00"])
def test_an_invalid_zone_is_left_out_and_warned_of(model: cxr_edge.Model, image: np.ndarray, offset: str) -> None:
    objects, made = objects_of(model, written(image, TimezoneOffsetFromUTC=offset))
    assert all("TimezoneOffsetFromUTC" not in one for one in made)
    (warning,) = objects[0].warnings
    assert warning.code == "timezone_ignored"
    assert offset not in warning.message.replace("such as +0100", "")


SETTINGS = ({"tta": False}, {"tta": False, "operating_point": "youden"}, {"tta": True})


def directory_of(folder: Path, model: cxr_edge.Model, number: int, colormap: str = "turbo") -> DicomDirectory:
    return DicomDirectory(folder, 1, colormap, model.provenance(model.settings(heatmaps=True, **SETTINGS[number])))


def test_results_of_another_run_are_not_taken_for_ones_own(model: cxr_edge.Model, tmp_path: Path) -> None:
    """Runs with other settings write under the same names; the objects state whose they are."""

    def run(number: int, colormap: str = "turbo") -> cxr_edge.Result:
        outputs = [directory_of(tmp_path, model, number, colormap)]
        analyser = Analyser.of(model, model.settings(heatmaps=True, **SETTINGS[number]), outputs)
        return analyser.run(dicom_files.CHEST.read_bytes(), "image", path=None)

    first = run(0)
    assert len(first.dicom) == 3
    assert directory_of(tmp_path, model, 0).is_complete(first)
    for number in (1, 2):
        assert not directory_of(tmp_path, model, number).is_complete(first)
    assert not directory_of(tmp_path, model, 0, "viridis").is_complete(first)
    second = run(1)
    assert second.dicom == first.dicom
    assert directory_of(tmp_path, model, 1).is_complete(second)
    assert not directory_of(tmp_path, model, 0).is_complete(first)
    (tmp_path / second.dicom[0]).write_bytes(b"")
    assert not directory_of(tmp_path, model, 1).is_complete(second)
    (tmp_path / second.dicom[0]).unlink()
    assert not directory_of(tmp_path, model, 1).is_complete(second)


@pytest.mark.slow
def test_two_runs_that_share_a_directory_of_dicom_results(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "cxr_edge", "infer", dicom_files.CHEST, "--device", "cpu", "--json", "--no-tta"]
    command += ["--dicom-out", tmp_path / "dicom", "--dicom-overlays", "0"]

    def report(point: str) -> str:
        more = ["--out", tmp_path / point, "--operating-point", point]
        done = subprocess.run(list(map(str, [*command, *more])), capture_output=True, text=True, check=True)
        (name,) = json.loads(done.stdout)["dicom"]
        return pydicom.dcmread(tmp_path / "dicom" / name).SOPInstanceUID

    one, other = report("max_f1"), report("youden")
    assert one != other
    assert report("max_f1") == one, "the resumed run has its own results again"
