"""A fixed number of damaged images, always the same; `python -m tests.fuzzing` tries more."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cxr_edge import images
from tests.fuzzing.__main__ import IMAGE
from tests.fuzzing.seeds import SIDE, valid_images


def test_valid_images_are_read():
    for name, data in valid_images(IMAGE).items():
        if name != "a real DICOM header":
            assert images.decode(data).pixels.shape == (SIDE, SIDE), name


@pytest.mark.slow
def test_damaged_images_are_read_or_refused():
    inputs = 6000
    command = [sys.executable, "-m", "tests.fuzzing", "--inputs", str(inputs)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    report = json.loads(done.stdout)
    assert report["finds"] == []
    assert sum(report["outcomes"].values()) == inputs
    assert {"image", "truncated", "invalid_header"} <= set(report["outcomes"])
