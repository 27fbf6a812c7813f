"""Fine maps: LayerCAM and HiResCAM fused on twice the cells, in a bundle of the shipped network."""

import json

import keras
import numpy as np
import pytest

import cxr_edge
from cxr_edge.model.bundle import read_bundle
from export.companion.fine import FINER, fused
from export.convert import convert
from export.errors import NoCompanion
from export.heatmaps import with_maps
from export.images import load_gate_images
from export.network_graph import network_graph
from export.publish import Description, publish
from tests.conftest import SAMPLES
from training.network.architecture import to_float32


@pytest.fixture(scope="module")
def network(trained_keras):
    return to_float32(keras.models.load_model(trained_keras, compile=False))


@pytest.fixture(scope="module")
def bundle(network, trained_keras, tmp_path_factory):
    training = json.loads(trained_keras.with_name("training.json").read_text())
    decisions = json.loads(trained_keras.with_name("decisions.json").read_text())
    described = Description("fine", "1", decisions, training, "", maps="fine")
    images = load_gate_images(SAMPLES[0].parent, (224, 224))[:2]
    return publish(network, convert(network, "fine"), described, images, tmp_path_factory.mktemp("fine") / "bundle")


def test_a_bundle_of_fine_maps(bundle, model):
    manifest = read_bundle(bundle).manifest
    assert (manifest.maps.method, manifest.maps.grid, manifest.maps.features) == ("fine", (14, 14), "finer")
    gate = manifest.gate("fp32")["largest_difference_to_numerical_gradient"]
    assert max(gate.values()) < 1e-4
    assert "LayerCAM and HiResCAM" in read_bundle(bundle).files["MODEL_CARD.md"].decode()
    fine = cxr_edge.load(bundle, device="cpu", threads=1)
    for path in SAMPLES[:2]:
        found, coarse = (one.predict(path, tta=False, heatmaps=True) for one in (fine, model))
        assert found.values == pytest.approx(coarse.values, abs=1e-5)
        assert found.maps.shape == (15, 14, 14)
        assert found.heatmap("Effusion").shape == found.size


def test_where_one_map_is_empty_the_other_remains():
    coarse, finer = np.zeros((1, 2, 2, 2)), np.zeros((1, 2, 4, 4))
    coarse[0, 0, 1, 1] = 4.0
    finer[0, 1, 0, 0] = 2.0
    found = fused(coarse, finer)
    assert found[0, 0].max() == pytest.approx((1 - FINER) * 4)
    assert np.unravel_index(found[0, 1].argmax(), (4, 4)) == (0, 0)
    assert found[0, 1].max() == pytest.approx(FINER * 2)
    assert not fused(np.zeros((1, 1, 2, 2)), np.zeros((1, 1, 4, 4))).any()


def test_a_network_without_a_stage_of_twice_the_cells_is_refused():
    image = keras.Input((64, 64, 1), name="image")
    x = keras.layers.Concatenate()([image, image, image])
    x = keras.layers.Conv2D(8, 3, strides=4, activation="relu", padding="same")(x)
    x = keras.layers.Conv2D(8, 3, strides=4, activation="relu", padding="same")(x)
    x = keras.layers.GlobalAveragePooling2D(name="gap")(x)
    x = keras.layers.Dense(3, name="logits")(x)
    small = keras.Model(image, keras.layers.Activation("sigmoid", name="probabilities")(x))
    with pytest.raises(NoCompanion, match="no tensor of 8x8 positions"):
        with_maps(network_graph(small), "fine")
