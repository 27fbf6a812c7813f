"""The network is the design's, normalises once, and starts from the weights that are asked for."""

import keras
import numpy as np
import pytest

from cxr_edge.images import read_image
from cxr_edge.model.preprocess import preprocess
from tests.conftest import SAMPLES
from tests.training.conftest import NIH14
from training.errors import DataError, FitError
from training.network.architecture import (
    LOGITS,
    at_size,
    build_network,
    last_convolution,
    round_kernels_to_half,
    set_weights,
    to_float32,
)
from training.network.initial_weights import initial_network

COUNT = len(NIH14)


def test_the_design():
    network = build_network(COUNT)
    assert network.count_params() == 4_840_626
    assert network.input_shape == (None, 224, 224, 1)
    assert network.output_shape == (None, COUNT)
    assert last_convolution(network).output.shape == (None, 7, 7, 1280)
    names = [layer.name for layer in network.layers]
    head = [network.get_layer(name) for name in names[names.index(last_convolution(network).name) + 1 :]]
    assert [type(layer).__name__ for layer in head] == [
        "GlobalAveragePooling2D", "Dense", "Dropout", "Dense", "Dropout", "Dense", "Activation",
    ]  # fmt: skip
    assert [getattr(layer, "units", getattr(layer, "rate", None)) for layer in head[1:6]] == [512, 0.3, 256, 0.2, COUNT]


def test_exactly_one_normalisation():
    kinds = [type(layer).__name__ for layer in build_network(COUNT).layers]
    assert kinds.count("Rescaling") == 1
    assert kinds.count("Normalization") == 1


def test_the_head_stays_in_float32_under_mixed_precision():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        network = build_network(COUNT)
    finally:
        keras.config.set_dtype_policy("float32")
    assert last_convolution(network).compute_dtype == "float16"
    for name in ("gap", "fc1", "fc2", LOGITS, "probabilities"):
        assert network.get_layer(name).compute_dtype == "float32"


def test_rounded_kernels_survive_half_precision():
    network = build_network(COUNT, 64)
    round_kernels_to_half(network)
    for weight in network.get_weights():
        if weight.ndim > 1:
            np.testing.assert_array_equal(weight, weight.astype(np.float16).astype(np.float32))


@pytest.mark.parametrize(("value", "message"), [(1e6, r"1\.0e\+06, beyond half precision"), (np.nan, "not a number")])
def test_weights_that_half_precision_cannot_hold_are_refused(value, message):
    network = build_network(COUNT, 32)
    kernel = network.get_layer(LOGITS).kernel
    kernel.assign(np.full(kernel.shape, value, np.float32))
    with pytest.raises(FitError, match=message):
        round_kernels_to_half(network)


def test_lite0_is_transferred(image):
    network = initial_network("lite0", COUNT)
    normalised = next(layer for layer in network.layers if isinstance(layer, keras.layers.Normalization)).output
    small = preprocess(image, (224, 224))
    (seen,) = np.asarray(keras.Model(network.input, normalised)(small[np.newaxis, ..., np.newaxis].astype(np.float32)))
    np.testing.assert_allclose(seen, np.repeat((small[..., np.newaxis] - 127.0) / 128, 3, axis=-1), atol=1e-5)


@pytest.mark.parametrize(("convolution", "norm"), [("stem_conv", "stem_bn"), ("block1a_dwconv", "block1a_bn")])
def test_lite0_kernels_arrive_in_their_right_order(convolution, norm):
    """Convolutions vary on real images as Lite0's BatchNorms expect; with scrambled kernels they do not."""
    network = initial_network("lite0", COUNT)
    small = np.stack([preprocess(read_image(path).pixels, (224, 224)) for path in SAMPLES])
    seen = np.asarray(keras.Model(network.input, network.get_layer(convolution).output)(small[..., None].astype("f4")))
    expected = network.get_layer(norm).get_weights()[3]
    assert np.corrcoef(np.log(seen.var(axis=(0, 1, 2)) + 1e-6), np.log(expected + 1e-6))[0, 1] > 0.8


def test_a_fit_can_start_from_a_file(trained_keras):
    reference = keras.models.load_model(trained_keras, compile=False)
    for mine, theirs in zip(
        initial_network(str(trained_keras), COUNT).get_weights(), reference.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(mine, theirs)


def test_a_fit_that_starts_from_a_file_computes_what_the_file_does(trained_keras, image):
    reference = keras.models.load_model(trained_keras, compile=False)
    small = preprocess(image, (224, 224))[np.newaxis, ..., np.newaxis].astype(np.float32)
    np.testing.assert_array_equal(
        np.asarray(initial_network(str(trained_keras), COUNT)(small)), np.asarray(reference(small))
    )


@pytest.fixture
def downloaded(monkeypatch, tmp_path):
    """Keras's own ImageNet path, with random weights where it would download."""
    path = tmp_path / "weights.weights.h5"
    color = keras.Input((224, 224, 3))
    keras.applications.EfficientNetB0(include_top=False, weights=None, input_tensor=color).save_weights(path)
    monkeypatch.setattr("keras.src.applications.efficientnet.file_utils.get_file", lambda *_, **__: str(path))


def test_what_was_trained_from_imagenet_is_never_rebuilt_without_its_rescaling(downloaded, image, tmp_path):
    """Keras adds a Rescaling layer with ImageNet weights, which weights alone do not bring along (tensorflow#62193)."""
    first = initial_network("imagenet", COUNT, 64)
    kinds = [type(layer).__name__ for layer in first.layers]
    assert kinds.count("Rescaling") == 2
    first.save(tmp_path / "stage-1.keras")
    second = initial_network(str(tmp_path / "stage-1.keras"), COUNT, 96)
    assert second.input_shape == (None, 96, 96, 1)
    assert [type(layer).__name__ for layer in second.layers] == kinds
    small = preprocess(image, (96, 96))[np.newaxis, ..., np.newaxis].astype(np.float32)
    expected, found = (
        np.asarray(keras.Model(n.input, _named(n, "stem_conv").output)(small)) for n in (at_size(first, 96), second)
    )
    np.testing.assert_array_equal(found, expected)
    without = initial_network("random", COUNT, 96)
    set_weights(without, first.get_weights())
    assert not np.allclose(np.asarray(keras.Model(without.input, _named(without, "stem_conv").output)(small)), found)


@pytest.mark.parametrize("size", [64, 160, 224])
def test_weights_serve_any_size(trained_keras, image, size):
    network = initial_network(str(trained_keras), COUNT, size)
    small = preprocess(image, (size, size))[np.newaxis, ..., np.newaxis].astype(np.float32)
    assert network.input_shape == (None, size, size, 1)
    assert np.isfinite(np.asarray(network(small))).all()


def test_float32_from_half_precision_computes_the_same(image):
    """With Lite0's normalisation, which set_weights alone would lose."""
    keras.config.set_dtype_policy("mixed_float16")
    try:
        mixed = initial_network("lite0", COUNT, 64)
    finally:
        keras.config.set_dtype_policy("float32")
    single = to_float32(mixed)
    assert {layer.compute_dtype for layer in single.layers} == {"float32"}
    small = preprocess(image, (64, 64))[np.newaxis, ..., np.newaxis].astype(np.float32)
    for name in ("normalization", "stem_bn"):
        expected, found = (
            np.asarray(keras.Model(n.input, _named(n, name).output)(small), np.float32) for n in (mixed, single)
        )
        np.testing.assert_allclose(found, expected, atol=2e-2 * np.abs(expected).max())


def _named(network, name):
    return next(layer for layer in network.layers if layer.name.startswith(name))


def test_missing_weights():
    with pytest.raises(DataError, match=r"missing\.keras"):
        initial_network("missing.keras", COUNT)


def test_weights_of_another_number_of_labels(trained_keras):
    with pytest.raises(DataError, match=f"expected a network of 5 labels, got one of {COUNT}"):
        initial_network(str(trained_keras), 5)
