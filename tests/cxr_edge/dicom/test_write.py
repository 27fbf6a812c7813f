"""Results as DICOM objects: what they say, whose they are, and what others' validators make of them."""

import io
import json
import subprocess
import sys
import warnings
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
from pydicom.uid import ImplicitVRLittleEndian

import cxr_edge
from benchmarks.dicom import films
from cxr_edge import images
from cxr_edge.dicom.write import Origin, ResultObject, write_objects
from cxr_edge.dicom.write.codes import FINDINGS
from cxr_edge.dicom.write.presentation_state import PEAK, outline
from cxr_edge.dicom.write.report import CLASSES, in_class
from cxr_edge.errors import InvalidHeader, NotDicom
from cxr_edge.gradcam import upsample
from cxr_edge.reading import DEFAULT_READING
from tests.patient import PATIENT, found
from tests.validators import errors_of, pixelmed_errors, program

STUDY = {"StudyInstanceUID": "1.2.826.0.1.1", "SeriesInstanceUID": "1.2.826.0.1.2", "StudyDate": "20260101"}


def of_film(model: cxr_edge.Model, data: bytes, overlays: int = 3) -> tuple[cxr_edge.Result, list[ResultObject]]:
    film = images.decode(data)
    result = model.predict_film(film, heatmaps=True)
    origin = Origin.of(model, result.view_mode, model.manifest.default_operating_point)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return result, write_objects(data, film, result, origin, DEFAULT_READING, overlays=overlays, colormap="turbo")


def read(made: ResultObject) -> pydicom.Dataset:
    return pydicom.dcmread(io.BytesIO(made.data))


@pytest.fixture(scope="module")
def real(model: cxr_edge.Model) -> tuple[cxr_edge.Result, list[ResultObject]]:
    """The real DICOM film, which has masses, and its results."""
    return of_film(model, films.CHEST.read_bytes())


@pytest.fixture(scope="module")
def folder(real: tuple, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("objects")
    for made in real[1]:
        (folder / made.name).write_bytes(made.data)
    return folder


def test_the_report_says_what_the_result_says(model: cxr_edge.Model, real: tuple) -> None:
    result, (report, *_) = real
    document = read(report)
    thresholds = model.manifest.thresholds(model.manifest.default_operating_point, "tta")
    groups = document.ContentSequence[-1].ContentSequence
    told = {}
    for group in groups:
        by_name = {item.ConceptNameCodeSequence[0].CodeMeaning: item for item in group.ContentSequence}
        finding = by_name["Finding"].ConceptCodeSequence[0]
        probability = float(by_name["Probability"].MeasuredValueSequence[0].NumericValue)
        decision = by_name["Decision at operating point"].ConceptCodeSequence[0].CodeMeaning
        told[finding.CodeValue] = probability, decision
        source = by_name["Source of Measurement"].ReferencedSOPSequence[0]
        assert source.ReferencedSOPInstanceUID == pydicom.dcmread(films.CHEST).SOPInstanceUID
        parameters = [i.TextValue for i in group.ContentSequence if "TextValue" in i]
        assert f"bundle_sha256={model.bundle_sha256}" in parameters
        assert any("not for diagnosis" in text for text in parameters)
    assert told == {
        FINDINGS[label].finding.value: (round(p, 6), "Present" if p >= thresholds[label] else "Absent")
        for label, p in result.probabilities.items()
        if label != cxr_edge.NO_FINDING
    }
    assert len(told) == 14
    assert (document.PreliminaryFlag, document.VerificationFlag) == ("PRELIMINARY", "UNVERIFIED")


def test_overlays_and_outlines_of_positive_findings_only(real: tuple) -> None:
    result, (_, *captures, state) = real
    positive = [f.label for f in result.findings if f.positive]
    assert 1 <= len(positive) <= 3
    assert [made.name.rpartition("-")[2] for made in captures] == [f"{label}.dcm" for label in positive]
    for made in captures:
        picture = read(made)
        assert (max(picture.Rows, picture.Columns), picture.PhotometricInterpretation) == (1024, "YBR_FULL_422")
        assert (picture.BurnedInAnnotation, picture.LossyImageCompression) == ("YES", "01")
        assert "not for diagnosis" in picture.SeriesDescription
        pixels = picture.pixel_array.astype(int)
        assert (np.ptp(pixels, axis=2) > 60).mean() > 0.02  # there is colour
        assert (np.ptp(pixels, axis=2) < 12).mean() > 0.3  # and grey film around it
    layers = read(state).GraphicLayerSequence
    assert [layer.GraphicLayerDescription for layer in layers] == positive


def test_the_outline_runs_around_the_peak(real: tuple) -> None:
    result, _ = real
    label = result.findings[0].label
    points = outline(result.map_of(label), result.size)
    assert (points[0] == points[-1]).all()
    height, width = result.size
    inside = cv2.fillPoly(np.zeros(result.size, np.uint8), [points.astype(np.int32)], 1)
    heat = upsample(result.map_of(label), result.size)
    assert inside.flat[heat.argmax()]
    assert ((points >= 0) & (points <= (width, height))).all()
    _, regions = cv2.connectedComponents((heat >= PEAK).astype(np.uint8))
    peak = regions == regions.flat[heat.argmax()]
    assert (inside & peak).sum() / (inside | peak).sum() > 0.97


def test_a_viewer_draws_the_outline_on_the_film_and_not_its_negative(folder: Path, tmp_path: Path) -> None:
    state = next(folder.glob("*-outlines.dcm"))
    subprocess.run(
        [program("dcmp2pgm"), "-p", state, films.CHEST, tmp_path / "shown.pgm"], check=True, capture_output=True
    )
    shown = cv2.imread(str(tmp_path / "shown.pgm"), cv2.IMREAD_GRAYSCALE)
    ours = images.read_film(films.CHEST).pixels
    assert np.corrcoef(shown[::8, ::8].ravel(), ours[::8, ::8].ravel())[0, 1] > 0.95


def test_again_the_same_objects_with_other_models_others(model: cxr_edge.Model, real: tuple) -> None:
    _, again = of_film(model, films.CHEST.read_bytes())
    assert [(made.name, made.sop_instance) for made in again] == [(made.name, made.sop_instance) for made in real[1]]
    here = Origin.of(model, "tta", model.manifest.default_operating_point)
    others = [
        Origin.of(model, "single", here.operating_point),
        Origin.of(model, "tta", "sensitivity_80"),
    ]
    uids = {origin.uid("1.2.3", "report") for origin in (here, *others)} | {here.uid("1.2.3", "x"), here.uid("1.2.4")}
    assert len(uids) == 5
    assert all(len(uid) <= 64 for uid in uids)


def test_every_object_is_its_own_in_the_films_study(real: tuple) -> None:
    source = pydicom.dcmread(films.CHEST, stop_before_pixels=True)
    objects = [read(made) for made in real[1]]
    assert len({made.SOPInstanceUID for made in objects}) == len(objects)
    assert len({made.SeriesInstanceUID for made in objects} | {source.SeriesInstanceUID}) == 4
    for made in objects:
        for keyword in ("StudyInstanceUID", "PatientID", "PatientName", "PatientBirthDate", "StudyDate", "StudyTime"):
            assert made[keyword].value == source[keyword].value, keyword
        assert any("nih14-efficientnetb0" in it.ManufacturerModelName for it in made.ContributingEquipmentSequence)


@pytest.mark.parametrize("syntax", [None, ImplicitVRLittleEndian, "1.2.840.10008.1.2.2", films.DEFLATED])
@pytest.mark.parametrize(
    ("charset", "name"), [("ISO_IR 100", "Müller^Jürgen"), ("ISO_IR 192", "山田^太郎"), ("ISO_IR 144", "Люкceмбypг")]
)
def test_names_are_copied_with_their_character_set(
    model: cxr_edge.Model, film: np.ndarray, charset: str, name: str, syntax: str | None
) -> None:
    made = films.film(film, SpecificCharacterSet=charset, **STUDY, **{**PATIENT, "PatientName": name})
    _, objects = of_film(model, films.written(made, syntax), overlays=1)
    for one in map(read, objects):
        assert (one.SpecificCharacterSet, one.PatientName, one.PatientID) == (charset, name, PATIENT["PatientID"])


def test_odd_values_are_copied_without_a_word(
    model: cxr_edge.Model, film: np.ndarray, capfd: pytest.CaptureFixture[str]
) -> None:
    made = films.written(films.film(film, **STUDY, **PATIENT))
    for good, odd in ((b"19330217", b"1933-?-?"), (b"20260101", b"Zyxwvut!")):
        assert good in made
        made = made.replace(good, odd)
    _, objects = of_film(model, made)
    assert b"1933-?-?" in objects[0].data
    told = capfd.readouterr()
    assert not found(told.out + told.err)


def test_grey_levels_are_handed_on_to_the_presentation_state(model: cxr_edge.Model, film: np.ndarray) -> None:
    table = pydicom.Dataset()
    table.add_new(0x00283002, "US", [256, 0, 8])
    table.add_new(0x00283006, "OW", np.arange(256, dtype="<u2").tobytes())
    for levels, keyword in (
        ({"WindowCenter": 128, "WindowWidth": 256}, "SoftcopyVOILUTSequence"),
        ({"VOILUTSequence": [table]}, "SoftcopyVOILUTSequence"),
        ({"RescaleSlope": 2, "RescaleIntercept": -3}, "RescaleSlope"),
        ({"ModalityLUTSequence": [table]}, "ModalityLUTSequence"),
    ):
        _, objects = of_film(model, films.written(films.film(film, **STUDY, **levels)))
        state = read(objects[-1])
        assert keyword in state
        assert state.PresentationLUTShape == "IDENTITY"


def test_a_film_without_findings_gets_its_report_alone(model: cxr_edge.Model) -> None:
    normal = next(path for path in sorted(Path("samples").glob("*.png")) if not any(
        f.positive for f in model.predict(path).findings))  # fmt: skip
    data = films.written(films.film(images.read_film(normal).pixels, **STUDY))
    _, objects = of_film(model, data)
    assert [made.name.rpartition("-")[2] for made in objects] == ["report.dcm"]


def test_what_has_no_identity_gets_no_results(model: cxr_edge.Model, film: np.ndarray, film_path: Path) -> None:
    with pytest.raises(NotDicom, match="expected a DICOM film"):
        of_film(model, film_path.read_bytes())
    for missing in ("StudyInstanceUID", "SeriesInstanceUID"):
        others = {keyword: value for keyword, value in STUDY.items() if keyword != missing}
        with pytest.raises(InvalidHeader, match=missing):
            of_film(model, films.written(films.film(film, **others)))
    hostile = films.written(films.film(film, **STUDY)).replace(b"1.2.826.0.1.1", b"../../etc/cro")
    with pytest.raises(InvalidHeader, match="StudyInstanceUID"):
        of_film(model, hostile)


def test_other_classes_of_the_report_say_the_same(real: tuple, tmp_path: Path) -> None:
    document = read(real[1][0])
    for sop_class in CLASSES[1:]:
        other = in_class(document, sop_class)
        assert other.SOPInstanceUID != document.SOPInstanceUID
        assert other.SOPInstanceUID == in_class(document, sop_class).SOPInstanceUID
        assert other.ContentSequence == document.ContentSequence
        other.save_as(tmp_path / "other.dcm", enforce_file_format=True)
        assert not errors_of("dciodvfy", "-new", tmp_path / "other.dcm")
        assert not errors_of("dsrdump", tmp_path / "other.dcm")


def test_dciodvfy_finds_no_error(folder: Path) -> None:
    objects = sorted(folder.iterdir())
    assert len(objects) >= 4
    for path in objects:
        assert not errors_of("dciodvfy", "-new", path), path.name


def test_dcentvfy_finds_no_error(folder: Path) -> None:
    assert not errors_of("dcentvfy", films.CHEST, *sorted(folder.iterdir()))


def test_dsrdump_finds_no_error(folder: Path) -> None:
    assert not errors_of("dsrdump", next(folder.glob("*-report.dcm")))


def test_pixelmed_finds_no_error(folder: Path) -> None:
    assert not pixelmed_errors(next(folder.glob("*-report.dcm")))


def test_infer_writes_them(tmp_path: Path, film_path: Path, folder: Path) -> None:
    study, out, for_archive = tmp_path / "study", tmp_path / "out", tmp_path / "study" / "results"
    study.mkdir()
    (study / "film.dcm").write_bytes(films.CHEST.read_bytes())
    (study / "film.png").write_bytes(film_path.read_bytes())
    command = [sys.executable, "-m", "cxr_edge", "infer", study, "--device", "cpu", "--json"]
    command += ["--out", out, "--dicom-out", for_archive]
    for _ in range(2):  # the second time the results are no inputs, and nothing is done anew
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
        of_dicom, of_png = map(json.loads, done.stdout.splitlines())
        assert sorted(of_dicom["dicom"]) == sorted(path.name for path in for_archive.iterdir())
        assert sorted(of_dicom["dicom"]) == sorted(path.name for path in folder.iterdir())
        assert of_png["dicom"] == []
        assert "no DICOM results" in of_png["warnings"][-1]
    next(for_archive.glob("*-report.dcm")).unlink()
    subprocess.run(list(map(str, command)), capture_output=True, check=True)
    assert len(list(for_archive.iterdir())) == len(of_dicom["dicom"])
