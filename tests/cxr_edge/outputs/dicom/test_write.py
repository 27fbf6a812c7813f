"""Results as DICOM objects: their content, patient and study, and what independent validators report."""

import io
import json
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
import simplejpeg
from pydicom.encaps import generate_frames
from pydicom.sr._cid_dict import cid_concepts
from pydicom.sr._concepts_dict import concepts
from pydicom.uid import ImplicitVRLittleEndian

import cxr_edge
from benchmarks.dicom import dicom_files
from benchmarks.dicom.patient import PATIENT, found
from cxr_edge import images
from cxr_edge.errors import InvalidHeader, NotDicom
from cxr_edge.model.heatmaps import upsample
from cxr_edge.outputs.analysis import Analyser
from cxr_edge.outputs.base import Analysis
from cxr_edge.outputs.dicom import ResultObject, codes, write_objects
from cxr_edge.outputs.dicom.origin import result_uid
from cxr_edge.outputs.dicom.presentation_state import PEAK, outline
from cxr_edge.outputs.dicom.report import CLASSES, in_class
from cxr_edge.outputs.lettering import band, caption
from cxr_edge.support.files import write_atomically
from tests.validators import errors_of, pixelmed_errors, program

STUDY = {"StudyInstanceUID": "1.2.826.0.1.1", "SeriesInstanceUID": "1.2.826.0.1.2", "StudyDate": "20260101"}


def analysed(model: cxr_edge.Model, data: bytes, **options: object) -> Analysis:
    settings = model.settings(heatmaps=True, **options)
    return Analyser.of(model, settings, ()).analyse(data, "image", path=None)


#: Captures and outlines of an image, of as many of its positive findings.
OVERLAYS = 3


def of_image(
    model: cxr_edge.Model, data: bytes, overlays: int = OVERLAYS
) -> tuple[cxr_edge.Result, list[ResultObject]]:
    analysis = analysed(model, data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return analysis.result, write_objects(analysis, overlays=overlays, colormap="turbo")


def one_of_each(model: cxr_edge.Model, image: pydicom.Dataset) -> tuple[pydicom.Dataset, ...]:
    """Return the report, a capture and the presentation state of an image with a finding."""
    _, objects = of_image(model, dicom_files.written(image), overlays=1)
    report, capture, state = map(read, objects)
    return report, capture, state


def read(made: ResultObject) -> pydicom.Dataset:
    return pydicom.dcmread(io.BytesIO(made.data))


@pytest.fixture(scope="module")
def real(model: cxr_edge.Model) -> tuple[cxr_edge.Result, list[ResultObject]]:
    """Return the result and the objects of the real DICOM image, which has masses."""
    return of_image(model, dicom_files.CHEST.read_bytes())


@pytest.fixture(scope="module")
def folder(real: tuple, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("objects")
    for made in real[1]:
        (folder / made.name).write_bytes(made.data)
    return folder


def test_the_report_states_the_result(model: cxr_edge.Model, real: tuple) -> None:
    result, (report, *_) = real
    document = read(report)
    thresholds = model.manifest.thresholds(model.manifest.default_operating_point, "tta")
    groups = document.ContentSequence[-1].ContentSequence
    reported = {}
    for group in groups:
        by_name = {item.ConceptNameCodeSequence[0].CodeMeaning: item for item in group.ContentSequence}
        finding = by_name["Finding"].ConceptCodeSequence[0]
        probability = float(by_name["Probability"].MeasuredValueSequence[0].NumericValue)
        decision = by_name["Presence of property"].ConceptCodeSequence[0].CodeMeaning
        reported[finding.CodeValue] = probability, decision
        source = by_name["Source of Measurement"].ReferencedSOPSequence[0]
        assert source.ReferencedSOPInstanceUID == pydicom.dcmread(dicom_files.CHEST).SOPInstanceUID
        parameters = [i.TextValue for i in group.ContentSequence if "TextValue" in i]
        assert f"bundle_sha256={model.bundle_sha256}" in parameters
        assert any("not for diagnosis" in text for text in parameters)
    assert reported == {
        label.coded.value: (round(p, 6), "Present" if p >= thresholds[label.name] else "Absent")
        for label, p in result.ranked()
    }
    assert len(reported) == len(model.manifest.finding_names)
    assert (document.PreliminaryFlag, document.VerificationFlag) == ("PRELIMINARY", "UNVERIFIED")


def test_overlays_and_outlines_of_positive_findings_only(real: tuple, model: cxr_edge.Model) -> None:
    result, (_, *captures, state) = real
    positive = [f.label for f in result.findings if f.positive][:OVERLAYS]
    assert positive
    assert [made.name.rpartition("-")[2] for made in captures] == [f"{label}.dcm" for label in positive]
    for made in captures:
        picture = read(made)
        width = round(result.size[1] * 1024 / max(result.size))  # the text is above and below
        assert (picture.Columns, picture.PhotometricInterpretation) == (width, "YBR_FULL_422")
        assert (picture.BurnedInAnnotation, picture.LossyImageCompression) == ("YES", "01")
        assert picture.DerivationDescription.startswith(f"{model.manifest.maps.method_name} heat map of ")
        assert "not for diagnosis" in picture.SeriesDescription
        pixels = picture.pixel_array.astype(int)
        assert (np.ptp(pixels, axis=2) > 60).mean() > 0.02  # there is colour
        assert (np.ptp(pixels, axis=2) < 12).mean() > 0.3  # and grey image around it
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


def test_a_viewer_draws_the_outline_on_the_image_and_not_its_negative(folder: Path, tmp_path: Path) -> None:
    state = next(folder.glob("*-outlines.dcm"))
    subprocess.run(
        [program("dcmp2pgm"), "-p", state, dicom_files.CHEST, tmp_path / "shown.pgm"], check=True, capture_output=True
    )
    shown = cv2.imread(str(tmp_path / "shown.pgm"), cv2.IMREAD_GRAYSCALE)
    assert np.median(cv2.absdiff(shown, images.read_image(dicom_files.CHEST).pixels)) <= 2


def test_again_the_same_objects_with_other_models_others(model: cxr_edge.Model, real: tuple) -> None:
    _, again = of_image(model, dicom_files.CHEST.read_bytes())
    assert [(made.name, made.sop_instance) for made in again] == [(made.name, made.sop_instance) for made in real[1]]
    here = model.provenance(model.settings(tta=True))
    others = [
        model.provenance(model.settings(tta=False)),
        model.provenance(model.settings(tta=True, operating_point="sensitivity_80")),
    ]
    uids = {result_uid(one, "1.2.3", "report") for one in (here, *others)}
    uids |= {result_uid(here, "1.2.3", "x"), result_uid(here, "1.2.4")}
    assert len(uids) == 5
    assert all(len(uid) <= 64 for uid in uids)


def test_every_object_is_its_own_in_the_images_study(real: tuple) -> None:
    source = pydicom.dcmread(dicom_files.CHEST, stop_before_pixels=True)
    objects = [read(made) for made in real[1]]
    assert len({made.SOPInstanceUID for made in objects}) == len(objects)
    assert len({made.SeriesInstanceUID for made in objects} | {source.SeriesInstanceUID}) == 4
    for made in objects:
        for keyword in ("StudyInstanceUID", "PatientID", "PatientName", "PatientBirthDate", "StudyDate", "StudyTime"):
            assert made[keyword].value == source[keyword].value, keyword
        assert any("nih14-efficientnetb0" in it.ManufacturerModelName for it in made.ContributingEquipmentSequence)


@pytest.mark.parametrize("syntax", [None, ImplicitVRLittleEndian, "1.2.840.10008.1.2.2", dicom_files.DEFLATED])
@pytest.mark.parametrize(
    ("charset", "name"), [("ISO_IR 100", "Müller^Jürgen"), ("ISO_IR 192", "山田^太郎"), ("ISO_IR 144", "Люкceмбypг")]
)
def test_names_are_copied_with_their_character_set(
    model: cxr_edge.Model, image: np.ndarray, charset: str, name: str, syntax: str | None
) -> None:
    made = dicom_files.image(image, SpecificCharacterSet=charset, **STUDY, **{**PATIENT, "PatientName": name})
    _, objects = of_image(model, dicom_files.written(made, syntax), overlays=1)
    for one in map(read, objects):
        assert (one.SpecificCharacterSet, one.PatientName, one.PatientID) == (charset, name, PATIENT["PatientID"])


def test_odd_values_are_copied_without_a_warning(
    model: cxr_edge.Model, image: np.ndarray, capfd: pytest.CaptureFixture[str]
) -> None:
    made = dicom_files.written(dicom_files.image(image, **STUDY, **PATIENT))
    for good, odd in ((b"19330217", b"1933-?-?"), (b"20260101", b"Zyxwvut!")):
        assert good in made
        made = made.replace(good, odd)
    _, objects = of_image(model, made)
    assert b"1933-?-?" in objects[0].data
    printed = capfd.readouterr()
    assert not found(printed.out + printed.err)


def test_grey_levels_are_handed_on_to_the_presentation_state(model: cxr_edge.Model, image: np.ndarray) -> None:
    table = pydicom.Dataset()
    table.add_new(0x00283002, "US", [256, 0, 8])
    table.add_new(0x00283006, "OW", np.arange(256, dtype="<u2").tobytes())
    for levels, keyword in (
        ({"WindowCenter": 128, "WindowWidth": 256}, "SoftcopyVOILUTSequence"),
        ({"VOILUTSequence": [table]}, "SoftcopyVOILUTSequence"),
        ({"RescaleSlope": 2, "RescaleIntercept": -3}, "RescaleSlope"),
        ({"ModalityLUTSequence": [table]}, "ModalityLUTSequence"),
    ):
        _, objects = of_image(model, dicom_files.written(dicom_files.image(image, **STUDY, **levels)))
        state = read(objects[-1])
        assert keyword in state
        assert state.PresentationLUTShape == "IDENTITY"


def table(first: int, entries: np.ndarray, bits: int, vr: str = "US", *, count: int | None = None) -> pydicom.Dataset:
    """Return a look-up table; its entries are words, or packed bytes."""
    item = pydicom.Dataset()
    item.add_new(0x00283002, vr, [(len(entries) if count is None else count) % 65536, first, bits])
    item.add_new(0x00283006, "OW", (entries if entries.dtype == np.uint8 else entries.astype("<u2")).tobytes())
    return item


#: A sigmoid curve of 12 bits.
CURVE = (4095 / (1 + np.exp(-(np.arange(4096) - 2048) / 500))).astype(int)
#: Images whose levels a presentation state once got wrong: the change to 12-bit levels, and attributes.
LEVELS = {
    "a table of 12 bits": (0, {"VOILUTSequence": [table(0, CURVE, 12)]}),
    "a table of 16 bits": (0, {"VOILUTSequence": [table(0, CURVE * 16, 16)]}),
    "a table of 8 bits": (0, {"VOILUTSequence": [table(0, CURVE // 16, 8)]}),
    "a table of signed values": (-2048, {"VOILUTSequence": [table(-2048, CURVE, 12, "SS")]}),
    "a table below 0": (0, {"RescaleSlope": 1, "RescaleIntercept": -1024,
                            "VOILUTSequence": [table(-1024, CURVE, 12, "SS")]}),
    "a table of 12 bits that states 16": (0, {"VOILUTSequence": [table(0, CURVE, 16)]}),
    "a table of 12 bits that states 8": (0, {"VOILUTSequence": [table(0, CURVE, 8)]}),
    "a table of packed bytes": (0, {"VOILUTSequence": [table(0, (CURVE // 16).astype(np.uint8), 8)]}),
    "a table of packed bytes that states 16 bits": (0, {"VOILUTSequence": [
        table(0, (CURVE // 20).astype(np.uint8), 16)]}),
    "a table of fewer entries than stated": (0, {"VOILUTSequence": [table(0, CURVE[:3500], 12, count=4096)]}),
    "a table that begins below all levels": (0, {"VOILUTSequence": [table(-500, CURVE, 12, "SS")]}),
    "an empty table beside a window": (0, {"VOILUTSequence": [table(0, CURVE * 0, 12)], "WindowCenter": 1800,
                                           "WindowWidth": 3000}),
    "a slope of 0": (0, {"RescaleSlope": 0, "RescaleIntercept": 0, "WindowCenter": 1800, "WindowWidth": 3000}),
    "a modality table that is empty": (0, {"ModalityLUTSequence": [table(0, CURVE * 0, 16)]}),
    "a modality table of packed bytes": (0, {"ModalityLUTSequence": [table(0, (CURVE // 16).astype(np.uint8), 8)]}),
    "a width alone": (0, {"WindowWidth": 100}),
    "MONOCHROME1 that is stated as is": (0, {"PhotometricInterpretation": "MONOCHROME1",
                                             "PresentationLUTShape": "IDENTITY"}),
    "a modality table": (0, {"ModalityLUTSequence": [table(0, np.arange(4096) * 16, 16)],
                             "WindowCenter": 32768, "WindowWidth": 65536}),
    "an unknown function": (0, {"WindowCenter": 2048, "WindowWidth": 2000, "VOILUTFunction": "WEIRD"}),
    "an infinite width": (0, {"WindowCenter": 2048, "WindowWidth": 4096}),
    "no window, signed": (-2048, {}),
    "stretched": ("//8", {}),
    "small numbers": (0, {"RescaleSlope": "0.0002442", "RescaleIntercept": 0, "WindowCenter": "0.5",
                          "WindowWidth": "0.9", "VOILUTFunction": "LINEAR_EXACT"}),
    "a falling slope below 1": (0, {"RescaleSlope": "-0.25", "RescaleIntercept": 10, "WindowCenter": -500,
                                    "WindowWidth": 700}),
    "inverse": (0, {"PhotometricInterpretation": "MONOCHROME1", "WindowCenter": 1800, "WindowWidth": 3000}),
}  # fmt: skip


@pytest.mark.parametrize("kind", LEVELS)
def test_a_viewer_shows_with_the_state_what_was_decoded(
    model: cxr_edge.Model, image: np.ndarray, tmp_path: Path, kind: str
) -> None:
    change, attributes = LEVELS[kind]
    levels = image.astype(np.uint16) * 16 + 8
    levels = levels // 8 if change == "//8" else (levels.astype(np.int16) + change if change else levels)
    data = dicom_files.written(dicom_files.image(levels, bits=12, **STUDY, **PATIENT, **attributes))
    if kind == "an infinite width":
        data = data.replace(b"DS\x04\x004096", b"DS\x04\x00inf ")
    analysis = analysed(model, data, tta=False)
    findings = tuple(replace(f, positive=True) for f in analysis.result.findings[:1])
    drawn = replace(analysis, result=replace(analysis.result, findings=findings))
    *_, state = write_objects(drawn, overlays=1, colormap="turbo")
    (tmp_path / "image.dcm").write_bytes(data)
    (tmp_path / "state.dcm").write_bytes(state.data)
    assert not errors_of("dciodvfy", "-new", tmp_path / "state.dcm")
    command = [program("dcmp2pgm"), "-p", "state.dcm", "image.dcm", "shown.pgm"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    shown = cv2.imread(str(tmp_path / "shown.pgm"), cv2.IMREAD_GRAYSCALE)
    assert np.percentile(cv2.absdiff(shown, images.decode(data).pixels), 99) <= 2


def test_what_a_state_cannot_hold_costs_only_the_state(model: cxr_edge.Model, image: np.ndarray) -> None:
    huge = {
        "RescaleSlope": "6e305",
        "WindowCenter": "1.2e308",
        "WindowWidth": "8e307",
        "VOILUTFunction": "LINEAR_EXACT",
    }
    _, objects = of_image(model, dicom_files.written(dicom_files.image(image, **STUDY, **huge)), overlays=1)
    assert [made.name[33:40] for made in objects] == ["report.", "overlay"]
    assert "no outlines: the image's header has values" in objects[0].warnings[0].message


def test_a_shutter_that_cannot_be_used_is_left_out_and_the_report_says_so(
    model: cxr_edge.Model, image: np.ndarray
) -> None:
    for odd in ({"ShutterShape": "BITMAP"}, {"ShutterShape": "CIRCULAR", "CenterOfCircularShutter": [1, 1]}):
        report, _, state = one_of_each(model, dicom_files.image(image, **STUDY, **odd))
        assert "ShutterShape" not in state
        for group in report.ContentSequence[-1].ContentSequence:
            texts = [item.TextValue for item in group.ContentSequence if "TextValue" in item]
            assert any(text.startswith("warning=DICOM: the display shutter") for text in texts)


def test_grey_that_is_stored_as_colour_gets_no_state(model: cxr_edge.Model, image: np.ndarray) -> None:
    _, objects = of_image(
        model, dicom_files.written(dicom_files.image(np.repeat(image[..., None], 3, 2), **STUDY)), overlays=1
    )
    assert [made.name[33:40] for made in objects] == ["report.", "overlay"]
    assert "one sample per pixel" in objects[0].warnings[0].message


#: The context groups of PS3.16 (CID) that have a shipped label's code; the others are in none that we know of.
GROUPS = {"Effusion": 8134, "Infiltration": 6102, "Mass": 6102, "Nodule": 6102, "Pneumothorax": 6102, "Edema": 3700}


def test_codes_are_those_of_the_context_groups_that_have_them(model: cxr_edge.Model) -> None:
    groups = {
        (scheme, code): {group for group, has in cid_concepts.items() if keyword in has.get(scheme, ())}
        for scheme in ("SCT", "DCM")
        for keyword, named in concepts[scheme].items()
        for code in named
    }
    for label in model.labels:
        found = groups.get((label.coded.scheme, label.coded.value), set())
        assert (GROUPS[label.name] in found) if label.name in GROUPS else not found, label.name
    assert all(240 in groups["SCT", code.value] for code in (codes.PRESENT, codes.ABSENT))
    assert ("DCM", codes.PRESENCE.value) in groups


def test_other_pixels_or_another_study_give_other_objects(model: cxr_edge.Model, image: np.ndarray) -> None:
    same = {**STUDY, "SOPInstanceUID": "1.2.826.0.1.3"}

    def written(data: bytes) -> list[set[str]]:
        _, objects = of_image(model, data, overlays=1)
        made = list(map(read, objects))
        series, tracked = {one.SeriesInstanceUID for one in made}, set()
        for group in made[0].ContentSequence[-1].ContentSequence:
            tracked |= {item.UID for item in group.ContentSequence if "UID" in item}
        return [{one.name for one in objects}, {one.sop_instance for one in objects}, series, tracked]

    first = written(dicom_files.written(dicom_files.image(image, **same)))
    encoded_anew = dicom_files.written(dicom_files.compressed(dicom_files.image(image, **same), dicom_files.JPEG_2000))
    assert written(encoded_anew) == first
    for other in (
        dicom_files.image(image[:, ::-1].copy(), **same),
        dicom_files.image(image, **{**same, "StudyInstanceUID": "1.2.826.0.1.9"}),
        dicom_files.image(image, **{**same, "SOPInstanceUID": "1.2.826.0.1.4"}),
    ):
        assert all(not ours & theirs for ours, theirs in zip(first, written(dicom_files.written(other)), strict=True))


def test_long_values_are_cut(model: cxr_edge.Model, image: np.ndarray, tmp_path: Path) -> None:
    data = dicom_files.written(dicom_files.image(image, **STUDY))
    analysis = analysed(model, data)
    long = replace(analysis.provenance, name=f"{'n' * 64} {'v' * 64}")
    for made in write_objects(replace(analysis, provenance=long), overlays=1, colormap="turbo"):
        (tmp_path / "made.dcm").write_bytes(made.data)
        assert not errors_of("dciodvfy", "-new", tmp_path / "made.dcm")


@pytest.mark.parametrize("syntax", [None, ImplicitVRLittleEndian, "1.2.840.10008.1.2.2"])
def test_the_deidentification_method_is_copied(model: cxr_edge.Model, image: np.ndarray, syntax: str | None) -> None:
    method = pydicom.Dataset()
    method.CodeValue, method.CodingSchemeDesignator = "113100", "DCM"
    method.CodeMeaning = "Basic Application Confidentiality Profile"
    removed = {"PatientIdentityRemoved": "YES", "DeidentificationMethodCodeSequence": [method]}
    _, objects = of_image(model, dicom_files.written(dicom_files.image(image, **STUDY, **removed), syntax), overlays=1)
    for made in map(read, objects):
        assert made.DeidentificationMethodCodeSequence[0] == method


def test_an_empty_character_set_is_not_copied(model: cxr_edge.Model, image: np.ndarray) -> None:
    for made in one_of_each(model, dicom_files.image(image, **STUDY, SpecificCharacterSet="")):
        assert made.get("SpecificCharacterSet", "absent")


def test_the_picture_is_oriented_as_the_image(model: cxr_edge.Model, image: np.ndarray) -> None:
    for given, copied in ((["L", "F"], ["L", "F"]), (["A", "FR"], ["A", "FR"]), (["Q", "F"], []), ("L", [])):
        _, capture, state = one_of_each(model, dicom_files.image(image, **STUDY, PatientOrientation=given))
        assert list(capture.PatientOrientation or []) == copied
        assert (capture.Laterality, state.Laterality) == ("", "")


def test_small_and_narrow_images_fill_the_picture(model: cxr_edge.Model, image: np.ndarray) -> None:
    for size, shown in (((300, 360), (853, 1024)), ((400, 1024), (400, 1024))):
        sized = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        result, (_, made, *_) = of_image(model, dicom_files.written(dicom_files.image(sized, **STUDY)), overlays=1)
        capture = read(made)
        bands = [band(text, shown[0]).shape[0] for text in texts_of(result)]
        assert (capture.Columns, capture.Rows) == (shown[0], bands[0] + shown[1] + bands[1])


def texts_of(result: cxr_edge.Result) -> tuple[str, str]:
    """Return the text above and below the capture of the most probable positive finding."""
    first = next(finding for finding in result.findings if finding.positive)
    verdict = f"AI: {first.label} {first.probability:.2f} (threshold {first.threshold:.2f})"
    warnings = [f"WARNING: {doubt}." for doubt in result.doubts]
    return " ".join(["Research only, not for diagnosis.", *warnings]), f"{verdict}; colour: where the model looked"


def test_the_text_of_a_capture_covers_nothing_of_the_image(model: cxr_edge.Model, image: np.ndarray) -> None:
    """Sides are marked in the corners: a white one is seen there, whole, in every corner."""
    marked = image.copy()
    corners = [(slice(0, 60), slice(0, 60)), (slice(0, 60), slice(-60, None)), (slice(-60, None), slice(0, 60)),
               (slice(-60, None), slice(-60, None))]  # fmt: skip
    for corner in corners:
        marked[corner] = 255
    result, (_, capture, *_) = of_image(model, dicom_files.written(dicom_files.image(marked, **STUDY)), overlays=1)
    above, below = (band(text, 1024).shape[0] for text in texts_of(result))
    drawn = read(capture).pixel_array
    assert drawn.shape == (above + 1024 + below, 1024, 3)
    picture = drawn[above : above + 1024]
    for corner in corners:
        inside = picture[corner][4:-4, 4:-4]
        assert inside.max(axis=2).min() > 120  # the colour of a map may darken it to a half
    for text in (drawn[:above], drawn[above + 1024 :]):
        assert (text.max(axis=2) < 40).mean() > 0.6
        assert text.max() > 200


@pytest.mark.parametrize("side", [6, 64, 200, 400, 1024])
def test_a_caption_stays_within_its_picture(side: int) -> None:
    text = "Pleural_Thickening 0.55 positive  |  research only, not for diagnosis"
    drawn = caption(text, (400, side))
    assert drawn.shape[0] <= 400
    assert drawn.shape[1] <= side
    assert drawn.min() < 64  # at a side of 6, letters are everywhere
    if side >= 200:
        assert (drawn > 200).sum() > 100
        assert (drawn[:, -1] < 200).all()  # no letter is cut off at the edge


def test_colour_is_sampled_as_the_picture_states(model: cxr_edge.Model, image: np.ndarray, tmp_path: Path) -> None:
    _, capture, _ = one_of_each(model, dicom_files.image(image, **STUDY))
    stream = next(generate_frames(capture.PixelData, number_of_frames=1))
    assert simplejpeg.decode_jpeg_header(stream)[2:] == ("YCbCr", "422")
    assert capture.PhotometricInterpretation == "YBR_FULL_422"


def test_a_lossy_images_losses_stand_before_ours(model: cxr_edge.Model, image: np.ndarray) -> None:
    lossy = {"LossyImageCompression": "01", "LossyImageCompressionRatio": 10,
             "LossyImageCompressionMethod": "ISO_15444_1"}  # fmt: skip
    _, capture, _ = one_of_each(model, dicom_files.image(image, **STUDY, **lossy))
    assert capture.LossyImageCompressionMethod == ["ISO_15444_1", "ISO_10918_1"]
    assert capture.LossyImageCompressionRatio[0] == 10
    _, capture, _ = one_of_each(model, dicom_files.image(image, **STUDY, LossyImageCompression="00"))
    assert capture.LossyImageCompressionMethod == "ISO_10918_1"


@pytest.mark.parametrize(
    ("given", "keyword", "value"),
    [
        ({"PixelAspectRatio": [2, 1]}, "PresentationPixelAspectRatio", [2, 1]),
        ({"ImagerPixelSpacing": [0.4, 0.2]}, "PresentationPixelSpacing", [0.4, 0.2]),
        ({"ImagerPixelSpacing": [0.4, 0.2], "PixelSpacing": [0.3, 0.15]}, "PresentationPixelSpacing", [0.3, 0.15]),
    ],
)
def test_pixels_that_are_not_square(
    model: cxr_edge.Model, image: np.ndarray, tmp_path: Path, given: dict, keyword: str, value: list
) -> None:
    result, objects = of_image(
        model, dicom_files.written(dicom_files.image(image[::2].copy(), **STUDY, **given)), overlays=1
    )
    _, capture, state = map(read, objects)
    above, below = (band(text, 1024).shape[0] for text in texts_of(result))
    assert (capture.Rows, capture.Columns) == (above + 1024 + below, 1024)
    area = state.DisplayedAreaSelectionSequence[0]
    assert list(area[keyword].value) == value
    assert ("PresentationPixelSpacing" in area) != ("PresentationPixelAspectRatio" in area)
    (tmp_path / "state.dcm").write_bytes(objects[-1].data)
    assert not errors_of("dciodvfy", "-new", tmp_path / "state.dcm")


def test_the_images_shutter_is_kept(model: cxr_edge.Model, image: np.ndarray, tmp_path: Path) -> None:
    shutter = {
        "ShutterShape": ["RECTANGULAR", "CIRCULAR"], "ShutterLeftVerticalEdge": 100,
        "ShutterRightVerticalEdge": 900, "ShutterUpperHorizontalEdge": 50, "ShutterLowerHorizontalEdge": 950,
        "CenterOfCircularShutter": [512, 500], "RadiusOfCircularShutter": 480,
    }  # fmt: skip
    _, objects = of_image(model, dicom_files.written(dicom_files.image(image, **STUDY, **shutter)), overlays=1)
    state = read(objects[-1])
    assert {keyword: state[keyword].value for keyword in shutter} == shutter
    assert state.ShutterPresentationValue == 0
    picture = read(objects[1]).pixel_array[200:800]
    assert max(picture[:, :60].max(), picture[:, -60:].max()) < 40
    (tmp_path / "state.dcm").write_bytes(objects[-1].data)
    assert not errors_of("dciodvfy", "-new", tmp_path / "state.dcm")


def test_two_may_write_one_file(tmp_path: Path) -> None:
    path, contents = tmp_path / "made", [bytes([n]) * 100_000 for n in range(8)]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(50):
            list(pool.map(lambda n: write_atomically(path, contents[n], source=f"image {n}"), range(8)))
    assert path.read_bytes() in contents
    assert [found.name for found in tmp_path.iterdir()] == ["made"]


def test_an_image_without_findings_gets_its_report_alone(model: cxr_edge.Model) -> None:
    normal = next(path for path in sorted(Path("samples").glob("*.png")) if not any(
        f.positive for f in model.predict(path).findings))  # fmt: skip
    data = dicom_files.written(dicom_files.image(images.read_image(normal).pixels, **STUDY))
    _, objects = of_image(model, data)
    assert [made.name.rpartition("-")[2] for made in objects] == ["report.dcm"]


def test_what_has_no_identity_gets_no_results(model: cxr_edge.Model, image: np.ndarray, image_path: Path) -> None:
    with pytest.raises(NotDicom, match="expected a DICOM image"):
        of_image(model, image_path.read_bytes())
    for missing in ("StudyInstanceUID", "SeriesInstanceUID"):
        others = {keyword: value for keyword, value in STUDY.items() if keyword != missing}
        with pytest.raises(InvalidHeader, match=missing):
            of_image(model, dicom_files.written(dicom_files.image(image, **others)))


def test_other_classes_of_the_report_have_the_same_content(real: tuple, tmp_path: Path) -> None:
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
    assert not errors_of("dcentvfy", dicom_files.CHEST, *sorted(folder.iterdir()))


def test_dsrdump_finds_no_error(folder: Path) -> None:
    assert not errors_of("dsrdump", next(folder.glob("*-report.dcm")))


@pytest.mark.slow
def test_pixelmed_finds_no_error(folder: Path) -> None:
    assert not pixelmed_errors(next(folder.glob("*-report.dcm")))


@pytest.mark.slow
def test_infer_writes_them(tmp_path: Path, image_path: Path, folder: Path) -> None:
    study, out, for_archive = tmp_path / "study", tmp_path / "out", tmp_path / "study" / "results"
    study.mkdir()
    (study / "image.dcm").write_bytes(dicom_files.CHEST.read_bytes())
    (study / "image.png").write_bytes(image_path.read_bytes())
    command = [sys.executable, "-m", "cxr_edge", "infer", study, "--device", "cpu", "--json"]
    command += ["--out", out, "--dicom-out", for_archive]
    for _ in range(2):  # the second time the results are not inputs, and nothing is computed again
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
        of_dicom, of_png = map(json.loads, done.stdout.splitlines())
        assert sorted(of_dicom["dicom"]) == sorted(path.name for path in for_archive.iterdir())
        assert sorted(of_dicom["dicom"]) == sorted(path.name for path in folder.iterdir())
        assert of_png["dicom"] == []
        assert of_png["warnings"][-1]["code"] == "no_dicom_results"
    next(for_archive.glob("*-report.dcm")).unlink()
    subprocess.run(list(map(str, command)), capture_output=True, check=True)
    assert len(list(for_archive.iterdir())) == len(of_dicom["dicom"])


@pytest.mark.slow
def test_a_run_with_fewer_overlays_leaves_none_of_an_earlier_one(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "of-another.dcm").touch()
    command = [sys.executable, "-m", "cxr_edge", "infer", dicom_files.CHEST, "--device", "cpu", "--json", "--no-tta"]
    command += ["--dicom-out", tmp_path / "out", "--dicom-overlays"]
    for overlays in ("3", "0"):
        done = subprocess.run([*map(str, command), overlays], capture_output=True, text=True, check=True)
        left = {path.name for path in (tmp_path / "out").iterdir()}
        assert left == {*json.loads(done.stdout)["dicom"], "of-another.dcm"}
    assert len(left) == 2


def test_a_doubt_is_in_every_object(model: cxr_edge.Model) -> None:
    """The warning about a rotated image, or one whose header states a lateral view, is in every result object."""
    upright = images.read_image(dicom_files.CHEST).pixels
    rotated = dicom_files.image(np.ascontiguousarray(np.rot90(upright)), **STUDY)
    result, (report, capture, *_, state) = of_image(model, dicom_files.written(rotated))
    (doubt,) = result.doubts
    assert "mean little" in doubt.message
    assert doubt in result.warnings
    groups = read(report).ContentSequence[-1].ContentSequence
    for group in groups:
        assert f"warning={doubt}" in [item.TextValue for item in group.ContentSequence if "TextValue" in item]
    drawn = read(state).GraphicAnnotationSequence[0].TextObjectSequence[0].UnformattedTextValue
    assert "doubtful image" in drawn
    picture = read(capture)
    above = band(texts_of(result)[0], picture.Columns)[..., None]
    assert "WARNING" in texts_of(result)[0]
    assert np.abs(picture.pixel_array[: above.shape[0]].astype(int) - above).mean() < 5  # JPEG loses a little
    plain, _ = of_image(model, dicom_files.written(dicom_files.image(upright, **STUDY)))
    assert plain.doubts == ()
    lateral, _ = of_image(
        model,
        dicom_files.written(dicom_files.image(upright, ViewPosition="LL", **{**STUDY, "BodyPartExamined": "CHEST"})),
    )
    assert [warning.code for warning in lateral.doubts] == ["lateral_view"]
