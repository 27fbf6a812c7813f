"""Files that are not frontal images of a chest are refused with a code and a hash of the SOP instance's UID."""

import hashlib
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.uid import ExplicitVRLittleEndian

import cxr_edge
from benchmarks.dicom import dicom_files
from benchmarks.dicom.dicom_files import JPEG_2000, image, with_stream, written
from cxr_edge import InputLimits, errors, images

STRICT = InputLimits(strict=True)


@pytest.fixture(scope="module")
def pixels(image_path) -> np.ndarray:
    return np.ascontiguousarray(images.read_image(image_path).pixels[::4, ::4])


def code(keyword_values: dict) -> Dataset:
    item = Dataset()
    for keyword, value in keyword_values.items():
        setattr(item, keyword, value)
    return item


@pytest.mark.parametrize(
    ("attributes", "error", "message"),
    [
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.1.1"}, errors.ForProcessing, "raw detector values"),
        ({"PresentationIntentType": "FOR PROCESSING"}, errors.ForProcessing, "raw detector values"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}, errors.UnsupportedObject, "CT Image Storage"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7.2"}, errors.MultiFrame, "multi-frame"),
        ({"NumberOfFrames": 3}, errors.MultiFrame, "multi-frame"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, errors.Colour, "palette"),
        ({"PhotometricInterpretation": "HSV"}, errors.InvalidHeader, "Photometric Interpretation"),
        ({"SamplesPerPixel": 4}, errors.InvalidHeader, "with 4 sample"),
        ({"BitsAllocated": 32}, errors.InvalidHeader, "32 allocated"),
        ({"BitsStored": 7}, errors.InvalidHeader, "7 stored"),
        ({"HighBit": 8}, errors.InvalidHeader, "High Bit 8"),
        ({"Rows": 30_000}, errors.TooLarge, "256x30000"),
        ({"Rows": 12_000, "Columns": 12_000}, errors.TooLarge, "100 megapixels"),
        ({"Columns": 10}, errors.TooSmall, "10x256"),
        ({"Rows": 257}, errors.Truncated, "expected 65792 bytes of pixels, got 65536"),
        ({"WindowCenter": "1\\2", "RescaleSlope": None}, None, ""),
    ],
)
def test_objects_that_are_not_read_are_refused(pixels, attributes, error, message):
    data = written(image(pixels, **attributes))
    if error is None:
        assert images.decode(data).pixels.shape == pixels.shape
        return
    with pytest.raises(error, match=message) as refused:
        images.decode(data)
    uid = image(pixels).SOPInstanceUID
    assert uid not in str(refused.value)
    assert f"hash of the SOP instance: {hashlib.sha256(uid.encode()).hexdigest()[:12]}" in str(refused.value)


@pytest.mark.parametrize("keyword", ["Rows", "Columns", "BitsAllocated", "BitsStored"])
def test_a_missing_attribute_is_named(pixels, keyword):
    ds = image(pixels)
    delattr(ds, keyword)
    with pytest.raises(errors.InvalidHeader, match=f"one number in {keyword}"):
        images.decode(written(ds))


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, dicom_files.DEFLATED])
def test_a_cut_image_is_identified_by_a_hash(pixels, syntax):
    ds = image(pixels)
    known = hashlib.sha256(ds.SOPInstanceUID.encode()).hexdigest()[:12]
    data = written(ds, syntax)
    with pytest.raises(errors.Truncated, match=known):
        images.decode(data[: len(data) * 9 // 10])


def test_an_object_without_pixels_is_refused(pixels):
    ds = image(pixels)
    del ds.PixelData
    with pytest.raises(errors.NoPixels):
        images.decode(written(ds))
    ds.FloatPixelData = pixels.astype(np.float32).tobytes()
    with pytest.raises(errors.NoPixels, match="floating-point"):
        images.decode(written(ds))
    with pytest.raises(errors.NoPixels, match="data set with Pixel Data"):
        images.from_dataset(ds)
    with pytest.raises(errors.InvalidArray, match="TransferSyntaxUID"):
        images.from_dataset(Dataset())


def test_a_codestream_of_another_size_is_refused_before_it_is_decoded(pixels):
    whole = dicom_files.compressed(image(pixels), JPEG_2000)
    whole.Rows = 255
    with pytest.raises(errors.HeaderMismatch, match=r"states 256x255 .* the codestream 256x256"):
        images.decode(written(whole))


def test_a_syntax_that_is_not_read_is_named(pixels):
    video = with_stream(image(pixels), "1.2.840.10008.1.2.4.100", b"\0" * 100)
    with pytest.raises(errors.UnsupportedFormat, match=r"1\.2\.840\.10008\.1\.2\.4\.100 is not read"):
        images.decode(written(video))


@pytest.mark.parametrize(
    ("attributes", "error"),
    [
        ({"Modality": "MR"}, errors.NotAChestImage),
        ({"BodyPartExamined": "ANKLE"}, errors.NotAChestImage),
        (
            {
                "BodyPartExamined": "",
                "AnatomicRegionSequence": [code({"CodeValue": "344001", "CodingSchemeDesignator": "SCT"})],
            },
            errors.NotAChestImage,
        ),
        ({"ViewPosition": "LL"}, errors.LateralView),
        ({"ViewPosition": "LATERAL"}, errors.LateralView),
        ({"ViewCodeSequence": [code({"CodeValue": "R-10236", "CodingSchemeDesignator": "SRT"})]}, errors.LateralView),
        ({"PatientOrientation": ["A", "F"]}, errors.LateralView),
        ({"ViewPosition": "", "Laterality": "L"}, errors.LateralView),
        ({"PatientOrientation": ["P", "F"]}, errors.LateralView),
        ({"PatientOrientation": ["F", "A"]}, errors.LateralView),
        ({"PatientOrientation": ["L", "P"]}, errors.LateralView),
        ({"ViewPosition": "", "ImageLaterality": "R"}, errors.LateralView),
    ],
)
def test_another_subject_gives_a_warning_or_with_strict_a_refusal(pixels, attributes, error):
    data = written(image(pixels, **attributes))
    warning = images.decode(data).warnings[-1]
    assert "the model knows upright frontal chest radiographs only" in warning.message
    assert (warning.code, warning.is_doubt) == (error.code, True)
    with pytest.raises(error, match="expected an upright frontal chest radiograph"):
        images.decode(data, STRICT)


@pytest.mark.parametrize(
    ("view", "of_image", "code"),
    [("frontal", "LL", "lateral_view"), ("frontal", "PA", None), ("lateral", "LL", None), ("lateral", "", None),
     ("lateral", "PA", "frontal_view"), ("lateral", "AP", "frontal_view"), (None, "PA", None), (None, "LL", None)],
)  # fmt: skip
def test_the_view_is_that_of_the_model(pixels, view, of_image, code):
    data, limits = written(image(pixels, ViewPosition=of_image)), InputLimits(view=view)
    found = [warning.code for warning in images.decode(data, limits).warnings if warning.code.endswith("_view")]
    assert found == ([] if code is None else [code])
    strict = replace(limits, strict=True)
    if code is None:
        images.decode(data, strict)
    else:
        with pytest.raises(errors.InputError, match=f"expected an upright {view} chest radiograph"):
            images.decode(data, strict)


def turned(pixels: np.ndarray, change: str) -> tuple[np.ndarray, list[str]]:
    """Change an upright image by functions of numpy; return it and its Patient Orientation, from the images of axes."""
    grid = np.zeros((3, 3, 2))  # to the patient's left, and to the feet
    grid[..., 0], grid[..., 1] = np.meshgrid(range(3), range(3))
    for name in change.split():
        function = {"mirror": np.fliplr, "flip": np.flipud, "quarter": np.rot90}[name]
        pixels, grid = function(pixels), function(grid)
    steps = grid[1, 2] - grid[1, 1], grid[2, 1] - grid[1, 1]
    directions = {(1, 0): "L", (-1, 0): "R", (0, 1): "F", (0, -1): "H"}
    return np.ascontiguousarray(pixels), [directions[tuple(step)] for step in steps]


@pytest.mark.parametrize("finer", ["", "A"])
@pytest.mark.parametrize(
    ("change", "stated"),
    [
        ("mirror", "mirrored"),
        ("flip", "mirrored and turned by 180°"),
        ("mirror flip", "turned by 180°"),
        ("quarter", "turned by 90 degrees"),
        ("quarter quarter quarter", "turned by 90 degrees"),
        ("mirror quarter", "mirrored and turned by 90 degrees"),
        ("flip quarter", "mirrored and turned by 90 degrees"),
    ],
)
def test_an_image_that_is_not_upright_gives_a_warning_or_with_strict_a_refusal(pixels, change, stated, finer):
    changed, (rows, columns) = turned(pixels, change)
    data = written(image(changed, PatientOrientation=[rows + finer, columns]))
    warning = images.decode(data).warnings[-1]
    assert warning.message.startswith(f"DICOM: by its Patient Orientation it is {stated}:")
    assert (warning.code, warning.is_doubt) == ("wrong_orientation", True)
    with pytest.raises(errors.WrongOrientation, match=stated):
        images.decode(data, STRICT)


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"BodyPartExamined": "THORAX"},
        {"BodyPartExamined": "", "ViewPosition": ""},
        {"ViewPosition": "AP", "PatientOrientation": ["L", "F"]},
        {"PatientOrientation": ["LF", "FR"]},
        {"PatientOrientation": ""},
        {"ViewPosition": "PA", "Laterality": "R"},
        {"ViewPosition": "", "ImageLaterality": "U"},
        {
            "AnatomicRegionSequence": [code({"CodeValue": "51185008", "CodingSchemeDesignator": "SCT"})],
            "BodyPartExamined": "",
        },
    ],
)
def test_a_frontal_chest_image_has_no_such_warning(pixels, attributes):
    assert len(images.decode(written(image(pixels, **attributes)), STRICT).warnings) == 1


@pytest.mark.parametrize(
    "orientation", [["X", "Y"], ["L"], ["L", ""], ["L", "R"], ["F", "F"], ["L", "F", "F"], ["LE", "CD"]]
)
def test_an_orientation_that_cannot_be_read_gives_a_warning_and_no_refusal(pixels, orientation):
    _, warning = images.decode(written(image(pixels, PatientOrientation=orientation)), STRICT).warnings
    assert (warning.code, warning.is_doubt) == ("attribute_left_out", False)
    assert "Patient Orientation cannot be read" in warning.message


def test_the_ankle_is_recognised_by_its_header():
    assert "another part of the body" in images.read_image(dicom_files.ANKLE).warnings[1].message
    model = cxr_edge.load(device="cpu", limits=STRICT)
    failure, chest = model.predict_batch([dicom_files.ANKLE, dicom_files.CHEST])
    assert failure.code == "not_a_chest_image"
    assert chest.findings


@pytest.mark.parametrize("package", ["pydicom", "imagecodecs"])
def test_without_the_extra_the_message_names_it(pixels, package, tmp_path):
    (tmp_path / "image.dcm").write_bytes(written(dicom_files.compressed(image(pixels), JPEG_2000)))
    script = (
        f"import sys; sys.modules['{package}'] = None\n"
        "from cxr_edge import errors, images\n"
        "try: images.read_image(sys.argv[1])\n"
        "except errors.MissingPackage as error: print(error)\n"
    )
    output = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "image.dcm"], capture_output=True, text=True, check=True
    ).stdout
    assert f"the package {package} is not installed; install the extra dicom: pip install '.[dicom]'" in output


def test_bounds_are_settings(pixels):
    data = written(image(pixels))
    for limits in (InputLimits(max_side=255), InputLimits(max_pixels=65_535)):
        with pytest.raises(errors.TooLarge):
            images.decode(data, limits)
    with pytest.raises(errors.TooSmall):
        images.decode(data, InputLimits(min_side=257))
    with pytest.raises(errors.TooLarge, match="attributes"):
        images.decode(data, InputLimits(max_header_elements=5))
    with pytest.raises(ValueError, match="max_side"):
        InputLimits(max_side=0)


def test_every_refusal_is_documented():
    assert all(f" {error.code}\n" in errors.__doc__ for error in errors.InputError.__subclasses__())


@pytest.mark.parametrize("rest", [b"", b"\0" * 100, b"\xff" * 100, b"hello, I am a text file" * 20])
def test_the_prefix_alone_is_not_an_image(rest):
    with pytest.raises(errors.InvalidHeader):
        images.decode(b"\0" * 128 + b"DICM" + rest)


def test_an_empty_attribute_of_an_unknown_kind_is_absent(pixels):
    data = written(image(pixels))
    at = data.index(b"\x02\0\x10\0UI")
    with pytest.raises(errors.InvalidHeader, match="expected a Transfer Syntax UID"):
        images.decode(data[:at] + b"\x02\0\x10\0U\0\0\0" + data[at + 28 :])


def test_a_damaged_htj2k_stream_is_refused(pixels):
    whole = dicom_files.compressed(image(pixels), "1.2.840.10008.1.2.4.201")
    stream = bytearray(next(generate_frames(whole.PixelData, number_of_frames=1)))
    stream[len(stream) // 2 :] = stream[len(stream) // 2 + 3000 :]
    with pytest.raises(errors.Truncated):
        images.decode(written(with_stream(whole, "1.2.840.10008.1.2.4.201", bytes(stream))))
