"""The cache: the SDK's pixels, every file checked, interrupted and resumed."""

import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from cxr_edge.images import read_image
from cxr_edge.model.preprocess import preprocess
from tests.conftest import ROOT
from tests.training.conftest import NIH14
from training.data import prepare as preparing
from training.data.cache import IDENTITY, TABLE, images_file
from training.data.images import load_part
from training.data.nih import COLUMNS, SIDE, hash_of_table, read_dataset
from training.data.prepare import prepare
from training.errors import DataError


@pytest.fixture
def cache(data, tmp_path):
    out = tmp_path / "cache"
    assert prepare(read_dataset(data, NIH14), out, (64, 32), NIH14).empty
    return out


def test_a_cache_holds_what_the_sdk_sees(data, cache):
    original, cached = read_dataset(data, NIH14), read_dataset(cache, NIH14)
    pd.testing.assert_frame_equal(cached[[*COLUMNS, *NIH14.names]], original[[*COLUMNS, *NIH14.names]])
    assert hash_of_table(cached, NIH14.names) == hash_of_table(original, NIH14.names)
    assert original[SIDE].isna().all()
    assert cached[SIDE].tolist() == [min(read_image(path).pixels.shape) for path in original["path"]]
    for size in (32, 64):
        images = load_part(cached.iloc[[5, 59, 0]], size, "some", NIH14).images
        for index, row in enumerate((5, 59, 0)):
            expected = preprocess(read_image(original["path"][row]).pixels, (size, size))
            np.testing.assert_array_equal(images[index], expected)


def test_a_missing_size(cache):
    with pytest.raises(DataError, match=r"images of \[32, 64\] pixels, not of 128"):
        load_part(read_dataset(cache, NIH14), 128, "all", NIH14)


@pytest.mark.parametrize("cut", [0, 1, 7])
def test_an_interrupted_run_is_resumed(data, cache, cut, monkeypatch):
    """Cut as a killed process leaves it: a cut line, images without a line, images half written."""
    whole = {path.name: path.read_bytes() for path in cache.iterdir()}
    lines = whole[TABLE].splitlines(keepends=True)
    (cache / TABLE).write_bytes(b"".join(lines[:31]) + lines[31][:cut])
    os.truncate(images_file(cache, 64), 33 * 64**2 + 100)
    os.truncate(images_file(cache, 32), 31 * 32**2)
    identity = json.loads(whole[IDENTITY])
    (cache / IDENTITY).write_text(json.dumps({**identity, "finished": False}))
    with pytest.raises(DataError, match="not finished"):
        read_dataset(cache, NIH14)
    read = []
    monkeypatch.setattr(preparing, "read_bytes", lambda path: read.append(path) or path.read_bytes())
    prepare(read_dataset(data, NIH14), cache, (32, 64), NIH14)
    assert len(read) == 30, "what was there is not read again"
    assert {path.name: path.read_bytes() for path in cache.iterdir()} == whole


def test_a_killed_process_can_be_resumed(data, tmp_path):
    command = [sys.executable, "-m", "training", "prepare", str(data), "--out", str(tmp_path / "c"), "--size", "64"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    while not (tmp_path / "c" / TABLE).exists():
        assert process.poll() is None
    process.kill()
    process.wait()
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    assert len(read_dataset(tmp_path / "c", NIH14)) == 60


@pytest.mark.parametrize("left", ["", "labels,im"])
def test_a_table_killed_before_its_first_line_is_begun_anew(data, tmp_path, left):
    images = read_dataset(data, NIH14)
    prepare(images, tmp_path, (32,), NIH14)
    (tmp_path / TABLE).write_text(left)
    assert prepare(images, tmp_path, (32,), NIH14).empty
    assert len(read_dataset(tmp_path, NIH14)) == 60


def test_unreadable_images_are_listed_and_must_be_mended_or_skipped(data, tmp_path):
    images = read_dataset(data, NIH14)
    broken = tmp_path / "broken.png"
    broken.write_bytes(images["path"][0].read_bytes()[:5000])
    good = images["path"][7]
    images.at[7, "path"] = broken
    out = tmp_path / "cache"
    (row,) = prepare(images, out, (32,), NIH14).itertuples()
    assert (row.image, row.code) == ("7_0.png", "truncated")
    assert "7_0.png" in (out / "unreadable.csv").read_text()
    with pytest.raises(DataError, match="not finished"):
        read_dataset(out, NIH14)
    assert len(prepare(images, out, (32,), NIH14, skip_unreadable=True)) == 1
    assert len(read_dataset(out, NIH14)) == 59
    images.at[7, "path"] = good
    assert prepare(images, out, (32,), NIH14).empty
    assert set(read_dataset(out, NIH14)["image"]) == set(images["image"])


def test_a_cache_belongs_to_one_table_and_its_sizes(data, cache, tmp_path):
    images = read_dataset(data, NIH14)
    with pytest.raises(DataError, match="other images or sizes"):
        prepare(images, cache, (32,), NIH14)
    with pytest.raises(DataError, match="other images or sizes"):
        prepare(images[:-1], cache, (32, 64), NIH14)
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "note.txt").write_text("mine")
    with pytest.raises(DataError, match="not empty and not a cache"):
        prepare(images, tmp_path / "else", (32,), NIH14)


def test_a_cache_of_a_cache_is_refused(cache, tmp_path):
    with pytest.raises(DataError, match="is a cache already"):
        prepare(read_dataset(cache, NIH14), tmp_path / "again", (32,), NIH14)
