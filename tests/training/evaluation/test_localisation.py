"""Heat maps against boxes: the measures on maps whose answer is known, and the real bundle on real images."""

import re

import numpy as np
import pandas as pd
import pytest

from tests.conftest import SAMPLES
from tests.training.conftest import NIH14
from training.errors import DataError
from training.evaluation.localisation import (
    CONTROLS,
    FRAME,
    IOUS,
    _centred,
    _covered,
    _enlarged,
    _mask,
    _scores,
    has_boxes,
    localise,
    read_boxes,
)
from training.evaluation.predictions import predict_images
from training.evaluation.report import localisation_section
from training.evaluation.resampling import Bootstrap


def test_boxes_are_scaled_to_the_image():
    drawn = pd.DataFrame({"x": [512.0], "y": [256.0], "w": [256.0], "h": [512.0]})
    inside = _mask(drawn, (512, 256))
    rows, columns = np.nonzero(inside)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (128, 383, 128, 191)


def test_a_perfect_map_a_missing_one_and_an_empty_one():
    inside = np.zeros((100, 100), bool)
    inside[20:40, 30:60] = True
    scores = _scores({"right": inside.astype(np.float32), "wrong": (~inside).astype(np.float32),
                      "empty": np.zeros((100, 100), np.float32)}, inside)  # fmt: skip
    assert (scores["right_hit"], scores["right_iou"]) == (1, 1)
    assert (scores["wrong_hit"], scores["wrong_iou"]) == (0, 0)
    assert (scores["empty_hit"], scores["empty_iou"]) == (0, 0)


def test_the_centred_control_points_at_the_middle():
    centre = _centred((101, 51))
    assert np.unravel_index(np.argmax(centre), centre.shape) == (50, 25)


def test_a_single_box_of_others_is_the_region_and_its_middle_the_highest_point():
    box = pd.DataFrame({"x": [200.0], "y": [300.0], "w": [400.0], "h": [200.0]})
    inside = _mask(box, (FRAME, FRAME))
    covered = _enlarged(_covered(box), (FRAME, FRAME))
    row, column = np.unravel_index(np.argmax(covered), covered.shape)
    assert (abs(row - 400), abs(column - 400)) < (60, 150)
    region = covered >= 0.5 * covered.max()
    assert (region & inside).sum() / (region | inside).sum() > 0.9


def test_boxes_on_both_sides_do_not_average_to_the_middle():
    """Coordinates of a left and two right boxes have their mean where no box is."""
    left, right = ({"x": [x], "y": [400.0], "w": [200.0], "h": [200.0]} for x in (100.0, 700.0))
    mean = np.mean([_covered(pd.DataFrame(box)) for box in (left, right, right)], axis=0)
    _, column = np.unravel_index(np.argmax(_enlarged(mean, (FRAME, FRAME))), (FRAME, FRAME))
    assert 700 < column < 900


def test_the_shipped_bundle_on_boxes(model):
    images = pd.DataFrame({"image": [path.name for path in SAMPLES], "path": SAMPLES, "patient": range(len(SAMPLES))})
    stems = [path.stem for path in SAMPLES[:3]]
    boxes = pd.DataFrame({"image": [*stems, stems[0]], "finding": ["Effusion", "Mass", "Effusion", "Effusion"],
                          "x": 300, "y": 300, "w": 400, "h": 400})  # fmt: skip
    of_one = pd.DataFrame({"image": stems[:1], "finding": ["Hernia"], "x": 1, "y": 1, "w": 9, "h": 9})
    boxes = pd.concat([boxes, boxes.assign(finding="Mass")[:1], of_one])
    mapped = has_boxes(images, boxes)
    assert mapped.tolist() == [True] * 3 + [False] * (len(SAMPLES) - 3)
    predictions = predict_images(model, images, mapped)
    found = localise(model, predictions, boxes, Bootstrap(20, jobs=1))
    assert (found["cases"], found["images"]) == (4, 3), "that of Hernia has no other patient"
    assert found["method"] == model.manifest.maps.method
    assert found["findings"]["Effusion"]["cases"] == 2
    for name in ("maps", *CONTROLS):
        above = [found[name]["iou_above"][str(limit)]["value"] for limit in IOUS]
        assert above == sorted(above, reverse=True)
    assert found["centred"]["pointing_game"]["value"] == 1
    assert found["mean_box"]["pointing_game"]["value"] == found["mean_box"]["iou_above"]["0.5"]["value"] == 1
    assert set(found["findings"]["Mass"]["controls"]) == set(CONTROLS)
    assert found["findings"]["Mass"]["controls"]["mean_box"] == 1
    pointing = found["maps"]["pointing_game"]["value"]
    assert 0 < found["random"]["energy"]["value"] < found["mean_box"]["energy"]["value"] <= 1
    assert found["gain_over"]["mean_box"]["value"] == pytest.approx(pointing - 1, abs=1e-3)
    section = localisation_section({"localisation": found})
    assert "mean box of the finding" in section
    assert re.search(r"By other measures a control is higher: .*IoU ≥ 0.5: mean box of the finding", section)
    assert "| Mass | 2 |" in section
    assert localise(model, predictions, boxes.assign(image="other"), Bootstrap(20, jobs=1)) is None


def test_nihs_own_list_of_boxes(tmp_path):
    file = tmp_path / "BBox_List_2017.csv"
    file.write_text(
        "Image Index,Finding Label,Bbox [x,y,w,h],,,,,,\n00013118_008.png,Infiltrate,225.08,547.01,86.77,79.18,,,\n"
    )
    (row,) = read_boxes(file, NIH14.findings).itertuples()
    assert (row.image, row.finding, row.x, row.h) == ("00013118_008", "Infiltration", 225.08, 79.18)


@pytest.mark.parametrize(
    ("text", "message"), [("image,finding,x\n", "lacking"), ("image,finding,x,y,w,h\na,Gout,1,1,1,1\n", "Gout")]
)
def test_a_wrong_list_of_boxes(tmp_path, text, message):
    (tmp_path / "boxes.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read_boxes(tmp_path / "boxes.csv", NIH14.findings)


def test_images_whose_names_are_not_unique_are_refused():
    images = pd.DataFrame({"image": ["a/view1.jpg", "b/view1.jpg"], "path": SAMPLES[:2], "patient": [0, 1]})
    boxes = pd.DataFrame({"image": ["view1"], "finding": ["Mass"], "x": 300, "y": 300, "w": 400, "h": 400})
    with pytest.raises(DataError, match="several images are called view1"):
        has_boxes(images, boxes)
