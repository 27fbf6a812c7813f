"""A Keras classifier, imported: another backbone and size, its answers and heat maps those of Keras."""

import keras
import numpy as np
import pytest
from typer.testing import CliRunner

import cxr_edge
from cxr_edge.images import read_image
from cxr_edge.model.bundle import read_bundle
from cxr_edge.model.preprocess import preprocess
from export.__main__ import app
from tests.conftest import SAMPLES

SIDE = 96


@pytest.fixture(scope="module")
def network():
    """DenseNet121 with random weights, whose BatchNorm has seen radiographs: its answers vary."""
    keras.utils.set_random_seed(0)
    backbone = keras.applications.DenseNet121(include_top=False, weights=None, input_shape=(SIDE, SIDE, 3))
    for layer in backbone.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    for _ in range(2):
        backbone(shown(), training=True)
    x = keras.layers.GlobalAveragePooling2D()(backbone.output)
    x = keras.layers.Dense(3, kernel_initializer=keras.initializers.RandomNormal(stddev=0.1), name="scores")(x)
    return keras.Model(backbone.input, keras.layers.Activation("sigmoid")(x))


def shown():
    grey = np.stack([preprocess(read_image(path).pixels, (SIDE, SIDE)) for path in SAMPLES])
    return np.repeat(grey[..., np.newaxis] / np.float32(255), 3, axis=-1)


def test_a_keras_classifier_becomes_a_bundle(network, tmp_path):
    network.save(tmp_path / "dense.keras")
    command = ["import", "keras", str(tmp_path / "dense.keras"), "--labels", "Effusion,Mass,Normal", "--normal",
               "Normal", "--range", "0,1", "--out", str(tmp_path / "bundle")]  # fmt: skip
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert "Heat maps: layercam" in done.output
    expected = np.asarray(network(shown(), training=False))
    model = cxr_edge.load(tmp_path / "bundle", device="cpu", threads=1)
    found = [model.predict(path, heatmaps=True) for path in SAMPLES]
    np.testing.assert_allclose([result.values for result in found], expected, atol=1e-4)
    assert expected.std(axis=0).min() > 0.02, "the answers differ from image to image"
    manifest = read_bundle(tmp_path / "bundle").manifest
    assert (manifest.input.size, manifest.maps.grid) == ((SIDE, SIDE), (3, 3))
    assert manifest.training["imported"]["producer"].startswith("keras")
    # LayerCAM by hand: the mean and one matrix behind the last activation give a gradient that is the same everywhere.
    features = keras.Model(network.input, network.get_layer("relu").output)(shown()[:1])
    weights = np.maximum(network.get_layer("scores").get_weights()[0], 0)
    by_hand = np.einsum("hwk,kl->lhw", np.asarray(features)[0], weights) / 9
    np.testing.assert_allclose(found[0].maps, by_hand, rtol=1e-3, atol=1e-5)


def test_a_file_that_needs_code_is_refused(tmp_path):
    image = keras.Input((64, 64, 1))
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Lambda(lambda x: x * 2)(image))
    keras.Model(image, keras.layers.Dense(2, activation="sigmoid")(pooled)).save(tmp_path / "lambda.keras")
    command = ["import", "keras", str(tmp_path / "lambda.keras"), "--labels", "a,b", "--range", "0,1", "--out",
               str(tmp_path / "bundle")]  # fmt: skip
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 1
    assert "cannot be loaded by Keras" in done.output
    assert not (tmp_path / "bundle").exists()
