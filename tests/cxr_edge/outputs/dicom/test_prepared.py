"""Prepared objects: byte for byte what highdicom and pydicom write for the same image."""

import copy
import io
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset

import cxr_edge
from benchmarks.dicom import dicom_files
from cxr_edge.images.dicom.header import tags
from cxr_edge.images.dicom.header.pixel_shape import pixel_shape
from cxr_edge.outputs.analysis import Analyser
from cxr_edge.outputs.base import Analysis
from cxr_edge.outputs.dicom import capture, presentation_state, report
from cxr_edge.outputs.dicom.geometry import put_shutter
from cxr_edge.outputs.dicom.header import Header, read_header
from cxr_edge.outputs.dicom.levels import put_levels
from cxr_edge.outputs.dicom.prepared import encoded, put_origin, stand_in
from cxr_edge.outputs.dicom.presentation_state import outline
from cxr_edge.outputs.dicom.template import Blank, Filled, encoded_data_set, encoded_element, find, leave_open, parse
from cxr_edge.outputs.drawing import encoded_planes
from tests.cxr_edge.outputs.dicom.test_identity import IDENTITY

MOMENT = datetime(2026, 3, 4, 5, 6, 7, 80009, tzinfo=timezone(timedelta(hours=1)))
KINDS = {
    "plain": {},
    "of another detector": {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.1", "Modality": "DX"},
    "a name of foreign letters": {"SpecificCharacterSet": "ISO_IR 192", "PatientName": "山田^太郎"},
    "in a time zone": {"TimezoneOffsetFromUTC": "+0900", "StudyDate": "20260101", "StudyTime": "003000"},
    "lateral": {"ViewPosition": "LL"},
    "of a hand, turned": {"BodyPartExamined": "HAND", "PatientOrientation": ["F", "L"]},
    "compressed before": {
        "LossyImageCompression": "01", "LossyImageCompressionRatio": 8, "LossyImageCompressionMethod": "ISO_10918_1",
    },
    "of pixels that are not square": {"PixelAspectRatio": [4, 3]},
    "with a shutter": {
        "ShutterShape": "RECTANGULAR", "ShutterLeftVerticalEdge": 10, "ShutterRightVerticalEdge": 900,
        "ShutterUpperHorizontalEdge": 20, "ShutterLowerHorizontalEdge": 1000,
    },
    "of long identifiers": {"StudyInstanceUID": "1.2." + "3" * 60},
}  # fmt: skip


def analysed(model: cxr_edge.Model, image: np.ndarray, kind: str) -> Analysis:
    data = dicom_files.written(dicom_files.image(image, **{**IDENTITY, **KINDS[kind]}))
    return Analyser.of(model, model.settings(heatmaps=True), ()).analyse(data, "image", path=None)


@pytest.fixture(scope="module", params=KINDS)
def analysis(request: pytest.FixtureRequest, model: cxr_edge.Model, image: np.ndarray) -> Analysis:
    return analysed(model, image, request.param)


@pytest.fixture(scope="module")
def plain(model: cxr_edge.Model, image: np.ndarray) -> Analysis:
    return analysed(model, image, "plain")


@pytest.fixture(scope="module")
def header(analysis: Analysis) -> Header:
    return read_header(analysis.image)


@pytest.fixture(scope="module")
def reference(header: Header) -> Dataset:
    """The image itself in the place of the stand-in."""
    image = stand_in()
    image.Rows, image.Columns = header.elements.word(tags.ROWS), header.elements.word(tags.COLUMNS)
    for keyword, uid in header.identifiers.items():
        setattr(image, keyword, uid.decode())
    return image


def written(made: Dataset, analysis: Analysis, header: Header) -> bytes:
    """Complete what highdicom built, and write it by pydicom."""
    put_origin(made, analysis.provenance, MOMENT)
    shared = b"".join(header.shared[tag] for tag in sorted(header.shared))
    made.update(read_dataset(DicomBytesIO(shared), is_implicit_VR=False, is_little_endian=True))
    return encoded(made)


def test_the_report(analysis: Analysis, header: Header, reference: Dataset) -> None:
    result, provenance = analysis.result, analysis.provenance
    findings = [
        (label, round(p, report.DIGITS), p >= provenance.thresholds[label.name]) for label, p in result.ranked()
    ]
    texts = [str(warning) for warning in result.warnings]
    built = report.built(reference, header.key, findings, texts, provenance)
    assert written(built, analysis, header) == report.structured_report(header, result, provenance, MOMENT)


def test_a_capture(analysis: Analysis, header: Header, reference: Dataset) -> None:
    result, provenance, finding = analysis.result, analysis.provenance, analysis.result.findings[0]
    drawn = capture._drawn(analysis.image.pixels, pixel_shape(header.elements).aspect, result, finding, "turbo")
    stream, blank = encoded_planes(drawn), np.zeros((*drawn.luma.shape, 3), np.uint8)
    built = capture.built(reference, header.key, blank, finding.label, provenance, number=2, colormap="turbo")
    ratios, methods = capture._losses(header.elements)
    built.LossyImageCompressionRatio = [*ratios, f"{blank.nbytes / len(stream):.1f}"]
    built.LossyImageCompressionMethod = [*methods, "ISO_10918_1"]
    built.PatientOrientation = [part for part in header.elements.text(tags.PATIENT_ORIENTATION).split("\\") if part]
    built.PixelData = encapsulate([stream])
    built["PixelData"].VR = "OB"
    built["PixelData"].is_undefined_length = True
    made = capture.secondary_capture(
        header, analysis.image.pixels, result, finding, provenance, MOMENT, number=2, colormap="turbo"
    )
    assert written(built, analysis, header) == made


def test_a_presentation_state(analysis: Analysis, header: Header, reference: Dataset) -> None:
    result, provenance, display = analysis.result, analysis.provenance, analysis.image.display
    shown = [finding for finding in result.findings if result.map_of(finding.label).any()][:2]
    outlines = [
        (f.label, presentation_state._text(result, f), outline(result.map_of(f.label), result.size)) for f in shown
    ]
    built = presentation_state.built(reference, header.key, outlines, provenance)
    area, shape = built.DisplayedAreaSelectionSequence[0], pixel_shape(header.elements)
    area.PresentationPixelAspectRatio = [*shape.ratio]
    put_levels(built, display, "US")
    if display.shutter is not None:
        put_shutter(built, display.shutter)
    made = presentation_state.presentation_state(header, display, result, shown, provenance, MOMENT)
    assert written(built, analysis, header) == made


@given(st.data())
def test_groups_are_in_the_order_of_each_image(plain: Analysis, data: st.DataObject) -> None:
    labels = len(plain.result.labels)
    values = data.draw(st.lists(st.floats(0, 1), min_size=labels, max_size=labels))
    result, provenance = replace(plain.result, values=tuple(values)), plain.provenance
    made = report.structured_report(read_header(plain.image), result, provenance, MOMENT)
    groups = pydicom.dcmread(io.BytesIO(made)).ContentSequence[-1].ContentSequence
    expected = [
        (f"cxr-edge {label.name}", round(p, 6), "Present" if p >= provenance.thresholds[label.name] else "Absent")
        for label, p in result.ranked()
    ]
    assert [(identifier(group), probability(group), decision(group)) for group in groups] == expected


def identifier(group: Dataset) -> str:
    return group.ContentSequence[0].TextValue


def probability(group: Dataset) -> float:
    (value,) = (item.MeasuredValueSequence[0] for item in group.ContentSequence if item.ValueType == "NUM")
    assert float(value.NumericValue) == pytest.approx(value.FloatingPointValue, abs=1e-15)
    return value.FloatingPointValue


def decision(group: Dataset) -> str:
    (made,) = (i for i in group.ContentSequence if i.ConceptNameCodeSequence[0].CodeMeaning == "Presence of property")
    return made.ConceptCodeSequence[0].CodeMeaning


NESTED = Dataset()
NESTED.PatientID = "A1"
NESTED.ReferencedImageSequence = [Dataset(), Dataset()]
NESTED.ReferencedImageSequence[1].ReferencedSOPInstanceUID = "1.2.3"


@pytest.mark.parametrize("value", [b"", b"1", b"1.2.3", b"9" * 64])
def test_lengths_are_counted_anew(value: bytes) -> None:
    item = leave_open(parse(encoded_data_set(NESTED)), {b"1.2.3": "uid"})
    filled = parse(Filled(item).filled({"uid": value}))
    expected = copy.deepcopy(NESTED)
    expected.ReferencedImageSequence[1].ReferencedSOPInstanceUID = value.decode()
    assert filled == parse(encoded_data_set(expected))
    assert find(item, 0x00081140).items[1][0].value == Blank("uid")


def test_a_value_too_long_for_its_representation_is_of_none() -> None:
    """PS3.5, 6.2.2, note 3."""
    (element,) = parse(encoded_element(0x00081030, b"LO", b"x" * 70_000))
    assert (element.vr, len(element.value)) == (b"UN", 70_000)
