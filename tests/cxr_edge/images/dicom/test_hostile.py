"""The hostile set, in this process and its decoders: each file costs one error, and the next image is read."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.dicom.dicom_files import image, written
from benchmarks.dicom.hostile import hostile_files
from cxr_edge import errors, images


@pytest.fixture(scope="module")
def pixels(image_path: Path) -> np.ndarray:
    return images.read_image(image_path).pixels


@pytest.mark.slow
def test_each_hostile_file_costs_one_error(pixels):
    good = written(image(pixels))
    expected = images.decode(good).pixels
    for name, data, codes in hostile_files(pixels):
        try:
            images.decode(data)
            code = "ok"
        except errors.InputError as error:
            code = error.code
        assert code in codes, name
        np.testing.assert_array_equal(images.decode(good).pixels, expected)
