"""From a finished fit to a report and a card: calibrate, export, evaluate, all real."""

import json
import subprocess
import sys

import cv2
import numpy as np
import pytest

from cxr_edge.images import read_image
from cxr_edge.model.bundle import read_bundle
from cxr_edge.model.preprocess import preprocess
from tests.conftest import ROOT, SAMPLES
from tests.training.conftest import NIH14
from training.data.nih import read_dataset
from training.errors import DataError
from training.evaluation.comparison import compare, read_predictions
from training.evaluation.evaluate import Extras, evaluate, look_of, part_of_split, write_evaluation
from training.evaluation.looks import record_look
from training.evaluation.report import card_figures
from training.evaluation.resampling import Bootstrap

BOOTSTRAP = Bootstrap(resamples=20, jobs=1)


@pytest.fixture(scope="module")
def bundle(finished, data, tmp_path_factory):
    from export.decisions import calibrate_run
    from export.publish import Description, export

    decisions = json.loads(calibrate_run(finished, data).read_text())
    training = json.loads((finished / "training.json").read_text())
    description = Description("small", "1", decisions, training, notes="")
    return export(finished / "model.keras", description, SAMPLES[0].parent, tmp_path_factory.mktemp("out") / "bundle")


@pytest.fixture(scope="module")
def report(bundle, data):
    read = read_bundle(bundle)
    images, held_out = part_of_split(read, read_dataset(data, NIH14), "test")
    return evaluate(read, images, "test", held_out, Extras(), BOOTSTRAP)


def test_a_report_has_every_figure_with_its_interval(report, tmp_path):
    written = write_evaluation(report, tmp_path)
    assert {path.name for path in written} == {
        "evaluation.json", "evaluation.md", "predictions.csv",
        "findings.png", "roc.png", "reliability.png", "subgroups.png",
    }  # fmt: skip
    recorded = json.loads((tmp_path / "evaluation.json").read_text())
    assert (recorded["images"], recorded["patients"]) == (15, 15)
    predictions = read_predictions(tmp_path / "predictions.csv", NIH14.findings)
    np.testing.assert_allclose(predictions.table.to_numpy(), report["curves"]["calibrated"], rtol=1e-5)
    for mode in ("single", "tta"):
        assert list(recorded["tta_modes"][mode]["findings"]) == list(NIH14.findings)
    assert set(recorded["operating_points"]) == {"max_f1", "youden", "sensitivity_80", "screening"}
    for point in recorded["operating_points"].values():
        assert set(point["mean"]) == {"precision", "recall", "f1", "specificity"}
    assert recorded["calibration"]["before"]["mean"]["ece"]["interval"]
    assert set(recorded["subgroups"]) == {"view", "sex", "age", "collection"}, (
        "all test images have blacked-out markers"
    )
    markdown = (tmp_path / "evaluation.md").read_text()
    assert "not for diagnosis" in markdown
    for heading in ("Ranking", "What TTA gains", "Stopping early", "`youden`", "Calibration", "Subgroups"):
        assert heading in markdown


def test_what_is_measured_is_what_the_sdk_returns(report, bundle, data):
    import cxr_edge

    model = cxr_edge.load(bundle, device="cpu", threads=1)
    images, _ = part_of_split(read_bundle(bundle), read_dataset(data, NIH14), "test")
    emitted = [model.predict(path).values for path in images["path"][:3]]
    emitted = np.array(emitted)[:, NIH14.finding_columns]
    np.testing.assert_allclose(report["curves"]["calibrated"][:3], emitted, atol=1e-6)
    thresholds = model.manifest.thresholds("max_f1", model.manifest.tta.default_mode)
    row = report["operating_points"]["max_f1"]["findings"]["Effusion"]
    assert row["threshold"] == thresholds["Effusion"]


def test_each_look_at_the_test_part_is_recorded(report, tmp_path):
    looks = tmp_path / "results" / "looks.jsonl"
    assert [record_look(look_of(report), looks) for _ in range(2)] == [1, 2]
    first = json.loads(looks.read_text().splitlines()[0])
    assert first["bundle_sha256"] == report["bundle_sha256"]
    assert first["mean_auc"]["tta"] == report["tta_modes"]["tta"]["mean"]["auc"]
    assert {"date", "commit", "model_sha256", "images"} <= set(first)


def test_other_images_than_those_of_the_split_are_refused(bundle, data):
    read = read_bundle(bundle)
    images = read_dataset(data, NIH14)
    with pytest.raises(DataError, match="could have seen some"):
        part_of_split(read, images[:-1], "test")


def test_a_bundle_that_does_not_record_its_split_is_refused(bundle, data):
    from dataclasses import replace

    import msgspec

    read = read_bundle(bundle)
    silent = replace(read, manifest=msgspec.structs.replace(read.manifest, training={}))
    with pytest.raises(DataError, match="does not record how its images were divided"):
        part_of_split(silent, read_dataset(data, NIH14), "test")


def test_another_models_predictions_are_compared_image_by_image(report, bundle, data, tmp_path):
    images, _ = part_of_split(read_bundle(bundle), read_dataset(data, NIH14), "test")
    truth, scores = report["curves"]["truth"], report["curves"]["raw"]
    others = tmp_path / "others.csv"
    rows = [f"{name.removesuffix('.png')}.jpg,{a},{b}" for name, a, b in
            zip(images["image"][:10], truth[:10, 0], 1 - truth[:10, 2], strict=True)]  # fmt: skip
    others.write_text("\n".join(["image,Atelectasis,Effusion", *rows]) + "\n")
    found = compare(truth, scores, images, read_predictions(others, NIH14.findings), BOOTSTRAP)
    assert (found["images"], found["findings_compared"]) == (10, ["Atelectasis", "Effusion"])
    assert found["figures"]["Atelectasis"]["first"]["value"] == 1
    assert found["figures"]["Effusion"]["first"]["value"] == 0
    assert found["figures"]["Mass"]["first"]["value"] is None
    others.write_text("image,Gout\na,1\n")
    with pytest.raises(DataError, match="expected the columns image and any of Atelectasis, "):
        read_predictions(others, NIH14.findings)


def test_the_same_images_are_ranked_reduced_too(bundle, data, tmp_path):
    read = read_bundle(bundle)
    images, held_out = part_of_split(read, read_dataset(data, NIH14), "test")
    report = evaluate(read, images, "test", held_out, Extras(reduced_to=16), BOOTSTRAP)
    sharpness = report["sharpness"]
    assert sharpness["mean"]["second"] == report["tta_modes"]["tta"]["mean"]["auc"]
    assert sharpness["mean_within"]["second"] == report["tta_modes"]["tta"]["mean"]["auc_within"]
    assert sharpness["change"]["median"] > 0
    write_evaluation(report, tmp_path)
    assert "| mean ROC-AUC | reduced to 16 pixels | as they are |" in (tmp_path / "evaluation.md").read_text()
    reduced = tmp_path / "reduced"
    reduced.mkdir()
    for path in images["path"]:
        cv2.imwrite(str(reduced / path.name), preprocess(preprocess(read_image(path).pixels, (16, 16)), (64, 64)))
    images["path"] = [reduced / path.name for path in images["path"]]
    again = evaluate(read, images, "test", held_out, Extras(), BOOTSTRAP)
    assert again["tta_modes"]["tta"]["mean"]["auc"] == sharpness["mean"]["first"]
    with pytest.raises(DataError, match="a side below the 64 pixels"):
        evaluate(read, images, "test", held_out, Extras(reduced_to=64), BOOTSTRAP)


def test_one_collection_is_evaluated_by_itself(bundle, data, tmp_path):
    command = [sys.executable, "-m", "training", "evaluate", str(data), "--bundle", str(bundle), "--resamples", "20"]
    one, none = (
        subprocess.run([*command, "--out", str(tmp_path), "--collection", name], cwd=ROOT, check=False,
                       capture_output=True, text=True)
        for name in ("B", "Z")
    )  # fmt: skip
    assert one.returncode == 0, one.stderr
    found = json.loads((tmp_path / "evaluation.json").read_text())
    images, _ = part_of_split(read_bundle(bundle), read_dataset(data, NIH14), "validation")
    assert (found["collections"], found["images"]) == (["B"], (images["collection"] == "B").sum())
    assert none.returncode == 1
    assert none.stderr.splitlines()[-1] == "training: no image is of collection Z; there are A, B"


def test_the_card_contains_the_figures_and_refuses_those_of_another_model(report, bundle, tmp_path):
    files = []
    for name in ("validation", "test", "test-B"):
        part, _, collection = name.partition("-")
        written = {**report, "part": part, "collections": [collection] if collection else report["collections"]}
        write_evaluation(written, tmp_path / name)
        files += [f"--{part}", str(tmp_path / name / "evaluation.json")]
    command = [sys.executable, "-m", "export", "card", str(bundle), *files]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    read = read_bundle(bundle)
    card = read.files["MODEL_CARD.md"].decode()
    figures = json.loads((tmp_path / "test" / "evaluation.json").read_text())
    assert card_figures(figures, [figures], looks=0).split("looked at")[0].splitlines()[0] in card
    assert "# Test part, collection B: 15 images of 15 patients" in card
    assert "| mean of | validation, collections A, B | test, collections A, B | test, collection B |" in card
    assert f"{figures['tta_modes']['tta']['mean']['auc']['value']:.3f}" in card
    for text in ("Intended use", "not for diagnosis", "side by side", "looked at"):
        assert text in card
    for changed in ("model_sha256", "decisions_sha256"):
        (tmp_path / "test" / "evaluation.json").write_text(json.dumps({**figures, changed: "0" * 64}))
        refused = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
        assert refused.returncode == 1
        assert f"expected {changed}" in refused.stderr.splitlines()[-1]


def test_the_command_line_on_a_users_own_images(tmp_path):
    rows = [f"{path},{i},{i % 2},{(i + 1) % 2}" for i, path in enumerate(SAMPLES)]
    (tmp_path / "labels.csv").write_text("\n".join(["image,patient,Effusion,Mass", *rows, "gone.png,9,1,0"]) + "\n")
    command = [sys.executable, "-m", "training", "evaluate", str(tmp_path), "--dataset", "csv", "--out",
               str(tmp_path / "out"), "--resamples", "20"]  # fmt: skip
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    recorded = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert recorded["images"] == len(SAMPLES)
    assert [row["code"] for row in recorded["unreadable"]] == ["not_found"]
    assert recorded["tta_modes"]["tta"]["findings"]["Effusion"]["auc"]["value"] is not None
    assert recorded["tta_modes"]["tta"]["findings"]["Hernia"]["auc"]["value"] is None
    assert "gone.png" in (tmp_path / "out" / "evaluation.md").read_text()
