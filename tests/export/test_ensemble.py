"""Ensembles: weights that fit, a gain that is asked for, and a bundle that answers as it was fitted."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import msgspec
import numpy as np
import onnx
import pandas as pd
import pytest
from typer.testing import CliRunner

import cxr_edge
from cxr_edge.images import read_image
from cxr_edge.model.bundle import SHIPPED, Bundle, read_bundle
from cxr_edge.model.calibration import log_odds
from cxr_edge.model.model import Model
from export.__main__ import app
from export.ensembles.candidates import Candidate
from export.ensembles.publish import NoGain, make_ensemble
from export.ensembles.weights import fit_weights, gain_over_best
from export.errors import ExportError
from tests.bundles import make_bundle
from tests.conftest import ROOT, SAMPLES
from tests.export.importing.classifiers import Kind, classifier
from training.evaluation.predictions import predict_images
from training.labels import LabelSet

LABELS = LabelSet.of(read_bundle().manifest.labels)
COUNT = len(LABELS)
PLAIN = {name: {} for name in LABELS.names}


def synthetic(noises: list[float], images: int = 600) -> tuple[list[Candidate], pd.DataFrame]:
    """Return members that know the truth but for noise of their own."""
    rng = np.random.default_rng(0)
    z = rng.normal(-1, 1.5, (images, COUNT))
    truth = rng.random(z.shape) < 1 / (1 + np.exp(-z))
    table = pd.DataFrame(dict(zip(LABELS.names, truth.T.astype(int), strict=True)))
    table = table.assign(patient=np.arange(images) // 2, collection=np.where(np.arange(images) % 4 < 2, "A", "B"))
    members = [z + rng.normal(0, noise, z.shape) for noise in noises]
    return [
        Candidate(read_bundle(), f"m{i}", (1 / (1 + np.exp(-m)))[:, None].astype(np.float32))
        for i, m in enumerate(members)
    ], table


def test_weights_follow_what_the_members_know():
    candidates, table = synthetic([1.0, 1.0, 4.0])
    weights = fit_weights(candidates, table, LABELS)
    assert weights.sum() == pytest.approx(1)
    assert weights[0] == pytest.approx(weights[1], abs=0.1)
    assert weights[2] < 0.1


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Bundle:
    """The shipped network at 64 pixels: another opinion of the same labels, and different enough to add something."""
    return read_bundle(make_bundle(tmp_path_factory.mktemp("small") / "bundle", PLAIN, size=64))


@pytest.fixture(scope="module")
def labelled(small, tmp_path_factory) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """Parts of the samples, and the log-odds of both networks for them."""
    folder, rng, rows = tmp_path_factory.mktemp("images"), np.random.default_rng(0), []
    for number in range(96):
        pixels = read_image(SAMPLES[number % len(SAMPLES)]).pixels
        top, left = rng.integers(0, 200, 2)
        cv2.imwrite(str(folder / f"{number}.png"), pixels[top : top + 800, left : left + 800])
        rows.append({"image": f"{number}.png", "path": folder / f"{number}.png", "patient": number, "collection": "A"})
    table = pd.DataFrame(rows)
    bundles = {"whole": read_bundle(), "small": small}
    odds = {name: log_odds(predict_images(Model(bundle, "cpu"), table).per_variant.mean(axis=1, dtype=np.float64))
            for name, bundle in bundles.items()}  # fmt: skip
    return table, odds


def with_labels(table: pd.DataFrame, odds: np.ndarray) -> pd.DataFrame:
    """Label the half of the images positive that has the higher log-odds."""
    return table.assign(**dict(zip(LABELS.names, (odds > np.median(odds, axis=0)).T.astype(int), strict=True)))


def test_an_ensemble_that_gains_is_written_and_answers_as_it_was_fitted(small, labelled, tmp_path):
    table, odds = labelled
    together = with_labels(table, odds["whole"] + odds["small"])
    out = tmp_path / "joined"
    found = make_ensemble({"whole": read_bundle(), "small": small}, together, "parts of samples", ("joined", "1"), out)
    assert found["gain"]["difference"]["value"] > 0
    assert min(found["weights"].values()) > 0.2
    bundle = read_bundle(out)
    assert [member.name for member in bundle.manifest.members] == ["whole", "small"]
    assert [member.weight for member in bundle.manifest.members] == pytest.approx(list(found["weights"].values()))
    assert bundle.files["whole.onnx"] == read_bundle().files["model.onnx"]
    assert "parts of samples" in bundle.manifest.calibration.fitted_on + bundle.files["MODEL_CARD.md"].decode()
    model = cxr_edge.load(out, device="cpu", threads=1)
    ranked = predict_images(Model(bundle, "cpu"), together).raw["tta"]
    truth = together[list(LABELS.names)].to_numpy()
    for column in LABELS.finding_columns:
        positive, negative = ranked[truth[:, column] == 1, column], ranked[truth[:, column] == 0, column]
        assert (positive[:, None] > negative).mean() > 0.9
    assert model.predict(SAMPLES[0], heatmaps=True).heatmap("Effusion").max() == pytest.approx(1)


def test_an_ensemble_that_gains_nothing_is_not_written(small, labelled, tmp_path):
    table, odds = labelled
    alone = with_labels(table, odds["whole"])
    with pytest.raises(NoGain, match=r"small would have a weight below|expected a gain over whole"):
        make_ensemble({"whole": read_bundle(), "small": small}, alone, "x", ("joined", "1"), tmp_path / "joined")
    assert not (tmp_path / "joined").exists()


def test_a_classifier_from_elsewhere_is_a_member_for_the_labels_it_has(labelled, tmp_path):
    """It has one TTA variant, another input, one label of ours and one of its own."""
    onnx.save(classifier(Kind(layout="NHWC", labels=2)), tmp_path / "theirs.onnx")
    done = CliRunner().invoke(app, ["import", "onnx", str(tmp_path / "theirs.onnx"), "--labels", "Effusion,Scoliosis",
                                    "--range", "0,1", "--maps", read_bundle().manifest.maps.method,
                                    "--out", str(tmp_path / "theirs")])  # fmt: skip
    assert done.exit_code == 0, done.output
    theirs, (table, odds) = read_bundle(tmp_path / "theirs"), labelled
    of_theirs = log_odds(predict_images(Model(theirs, "cpu"), table).per_variant.mean(axis=1, dtype=np.float64))
    ours = odds["whole"][:, LABELS.names.index("Effusion")]
    together = sum((z - z.mean()) / z.std() for z in (ours, of_theirs[:, 0]))
    effusion = np.random.default_rng(0).random(len(table)) < 1 / (1 + np.exp(-2 * together))
    scoliosis = of_theirs[:, 1] > np.median(of_theirs[:, 1])
    truth = with_labels(table, odds["whole"]).assign(Effusion=effusion.astype(int), Scoliosis=scoliosis.astype(int))
    bundles = {"shipped": read_bundle(), "theirs": theirs}
    make_ensemble(bundles, truth, "parts of samples", ("joined", "1"), tmp_path / "joined")
    joined = cxr_edge.load(tmp_path / "joined", device="cpu", threads=1)
    assert joined.manifest.label_names == (*LABELS.names, "Scoliosis")
    assert [len(member.labels) for member in joined.manifest.members] == [15, 2]
    result = joined.predict(SAMPLES[0], tta=True, heatmaps=True)
    assert result.variants == 6
    assert result.heatmap("Scoliosis").shape == result.size
    ranked = predict_images(Model(read_bundle(tmp_path / "joined"), "cpu"), truth).raw["tta"][:, -1]
    own = truth["Scoliosis"].to_numpy()
    assert (ranked[own == 1][:, None] > ranked[own == 0]).mean() > 0.9, "its own label is its answer"


def test_bundles_that_do_not_fit_together_are_refused(small, labelled, tmp_path):
    table = with_labels(*(labelled[0], labelled[1]["whole"]))
    renamed = make_bundle(tmp_path / "renamed", PLAIN | {"Mass": {"display": {"en": "Lump"}}})
    for bundles, message in (
        ({"one": small}, "two bundles or more"),
        ({"one": small, "two": read_bundle(renamed)}, "its label 'Mass' differs"),
    ):
        with pytest.raises(ExportError, match=message):
            make_ensemble(bundles, table, "x", ("joined", "1"), tmp_path / "joined")


def changed(root: Path, **changes: object) -> Bundle:
    """Return a bundle whose manifest is changed."""
    manifest = json.loads((root / "manifest.json").read_text())
    (root / "manifest.json").write_text(json.dumps({**manifest, **changes}))
    return read_bundle(root)


def test_what_a_member_lacks_is_told_before_anything_is_computed(small, labelled, tmp_path):
    """Another view, a network of one image at a time, a label whose members have no maps, a broken image."""
    table = with_labels(labelled[0], labelled[1]["whole"])
    lateral = changed(make_bundle(tmp_path / "lateral", PLAIN), view="lateral")
    imported = {}
    for name, batch, maps in (("one", 1, read_bundle().manifest.maps.method), ("flat", "N", "none")):
        onnx.save(classifier(Kind(labels=2, batch=batch)), tmp_path / f"{name}.onnx")
        command = ["import", "onnx", str(tmp_path / f"{name}.onnx"), "--labels", "Effusion,Scoliosis", "--range", "0,1"]
        done = CliRunner().invoke(app, [*command, "--maps", maps, "--out", str(tmp_path / name)])
        assert done.exit_code == 0, done.output
        imported[name] = read_bundle(tmp_path / name)
    for other, message in (
        (lateral, "expected bundles of one view, got frontal, lateral"),
        (imported["one"], "other: its network takes one image at a time"),
        (imported["flat"], "no bundle with heat maps has Scoliosis"),
    ):
        with pytest.raises(ExportError, match=message):
            make_ensemble({"small": small, "other": other}, table, "x", ("joined", "1"), tmp_path / "joined")
    (tmp_path / "broken.png").write_bytes(b"broken")
    broken = table.assign(path=[tmp_path / "broken.png", *table["path"][1:]])
    with pytest.raises(ExportError, match=r"0\.png cannot be read"):
        make_ensemble({"one": read_bundle(), "two": small}, broken, "x", ("joined", "1"), tmp_path / "joined")


def test_a_member_of_one_finding_is_not_what_the_others_are_compared_with(tmp_path):
    """Its mean is over the one finding that it has, and says nothing of the others."""
    candidates, table = synthetic([1.0, 1.5])
    few = read_bundle(make_bundle(tmp_path / "few", {"Effusion": {}, "No Finding": {}}))
    columns = [LABELS.names.index(name) for name in few.manifest.label_names]
    one = Candidate(few, "one", candidates[0].per_variant[..., columns])
    assert gain_over_best([one, *candidates], table, LABELS)["best"] == "m0"
    apart = replace(few, manifest=msgspec.structs.replace(few.manifest, labels=few.manifest.labels[1:]))
    normal = Candidate(apart, "normal", candidates[0].per_variant[..., columns[1:]])
    with pytest.raises(ExportError, match="have a finding in common"):
        gain_over_best([candidates[0], normal], table, LABELS)


def test_the_command_on_a_users_own_images(labelled, small, tmp_path):
    table, odds = labelled
    together = with_labels(table, odds["whole"] + odds["small"]).drop(columns=["path", "collection"])
    together.to_csv(tmp_path / "labels.csv", index=False)
    command = [sys.executable, "-m", "export", "ensemble", str(SHIPPED), f"small={small.root}", "--images",
               str(table["path"][0].parent), "--labels", str(tmp_path / "labels.csv"), "--out",
               str(tmp_path / "joined"), "--version", "2"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "Weights: default 0." in done.stdout
    manifest = json.loads((tmp_path / "joined" / "manifest.json").read_text())
    assert [member["name"] for member in manifest["members"]] == ["default", "small"]
    done = subprocess.run([*command[:4], *command[5:]], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "export: expected two bundles or more, got 1"
