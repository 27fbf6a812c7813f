"""DICOM objects that hold no radiograph are named by their class."""

import io

import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian, UID_dictionary

import cxr_edge
from benchmarks.dicom import dicom_files
from benchmarks.dicom.dicom_files import DEFLATED
from cxr_edge import errors, images
from cxr_edge.images import decode
from cxr_edge.images.dicom.header.kinds import without_image
from cxr_edge.outputs.base import Analysis
from cxr_edge.outputs.dicom.objects import write_objects

PDF = "1.2.840.10008.5.1.4.1.1.104.1"
STRUCTURES = "1.2.840.10008.5.1.4.1.1.481.3"
DIRECTORY = "1.2.840.10008.1.3.10"
STORED = [uid for uid, (name, kind, *_) in UID_dictionary.items() if kind == "SOP Class" and "Storage" in name]


def without_pixels(sop_class: str, **attributes: object) -> Dataset:
    made = Dataset()
    made.SOPClassUID, made.SOPInstanceUID = sop_class, "1.2.3"
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    return made


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, DEFLATED])
@pytest.mark.parametrize(
    ("sop_class", "name"),
    [
        ("1.2.840.10008.5.1.4.1.1.88.34", "Comprehensive 3D SR Storage"),
        ("1.2.840.10008.5.1.4.1.1.88.67", "X-Ray Radiation Dose SR Storage"),
        ("1.2.840.10008.5.1.4.1.1.88.59", "Key Object Selection Document Storage"),
        ("1.2.840.10008.5.1.4.1.1.11.1", "Grayscale Softcopy Presentation State Storage"),
        (PDF, "Encapsulated PDF Storage"),
        ("1.2.840.10008.5.1.4.1.1.481.5", "RT Plan Storage"),
        ("1.2.840.10008.5.1.4.1.1.9.1.1", "12-lead ECG Waveform Storage"),
    ],
)
def test_an_object_without_an_image_is_named_not_called_cut_off(sop_class, name, syntax):
    data = dicom_files.written(without_pixels(sop_class), syntax)
    for source in (decode, lambda data: images.from_dataset(pydicom.dcmread(io.BytesIO(data)))):
        with pytest.raises(errors.UnsupportedObject, match=f"without an image .{name}.; leave it out") as raised:
            source(data)
        assert raised.value.content == name
        assert "hash of the SOP instance" in str(raised.value)


def test_the_dictionary_tells_images_from_other_objects():
    assert len(STORED) > 150
    for uid in STORED:
        assert bool(without_image(uid)) == ("Image" not in UID(uid).name)
    for unknown in ("", "1.2.3", "not a UID", "1.2.840.10008.1.2.1"):
        assert without_image(unknown) == ""


def test_an_object_over_the_limits_is_still_named():
    """Structures of radiotherapy have more elements than any header of an image."""
    contour = Dataset()
    contour.ROINumber = 1
    structures = without_pixels(STRUCTURES, StructureSetROISequence=Sequence([contour] * 30_000))
    with pytest.raises(errors.UnsupportedObject, match="RT Structure Set Storage"):
        decode(dicom_files.written(structures))


def test_a_dicomdir_has_its_class_in_its_meta_information_alone():
    directory = pydicom.dcmread(io.BytesIO(dicom_files.written(without_pixels(DIRECTORY))))
    del directory.SOPClassUID, directory.SOPInstanceUID
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, directory)
    with pytest.raises(errors.UnsupportedObject) as raised:
        decode(buffer.getvalue())
    assert raised.value.content == "Media Storage Directory Storage"


def test_an_image_class_whose_pixels_are_missing_is_still_cut_off(image):
    cut = dicom_files.image(image)
    del cut.PixelData
    with pytest.raises(errors.NoPixels, match="cut off") as raised:
        decode(dicom_files.written(cut))
    assert raised.value.content == ""


def test_the_class_of_the_data_set_counts_not_that_of_the_file(image):
    data = dicom_files.written(dicom_files.image(image))
    meta = pydicom.dcmread(io.BytesIO(data))
    meta.file_meta.MediaStorageSOPClassUID = PDF
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, meta, enforce_file_format=False)
    assert decode(buffer.getvalue()).pixels.shape == image.shape


def test_every_result_of_ours_is_refused_as_an_input(model: cxr_edge.Model, image):
    made = dicom_files.image(image, StudyInstanceUID="1.2.3.4", SeriesInstanceUID="1.2.3.5")
    decoded = decode(dicom_files.written(made))
    settings = model.settings(tta=False, heatmaps=True)
    result = model.decide(model.evaluate(decoded, settings), settings)
    analysis = Analysis("image", decoded, result, model.provenance(settings))
    objects = write_objects(analysis, overlays=1, colormap="turbo")
    assert len(objects) == 3
    contents = set()
    for each in objects:
        with pytest.raises(errors.UnsupportedObject) as raised:
            decode(each.data)
        contents.add(raised.value.content)
    assert contents == {
        "Comprehensive 3D SR Storage",
        "result of cxr-edge",
        "Grayscale Softcopy Presentation State Storage",
    }
