"""The fused kernels compute what Keras computes."""

import keras
import numpy as np
import pytest

from training.network.architecture import build_network
from training.network.kernels import use_fused_kernels
from training.recipe import Network

SIZE = 64
WITHOUT_CHANCE = Network(dropout=(0.0, 0.0))


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (8, SIZE, SIZE, 1)).astype(np.float32)
    return images, (rng.random((8, 3)) < 0.3).astype(np.float32)


def network(*, fused: bool) -> keras.Model:
    keras.utils.set_random_seed(0)
    made = build_network(3, SIZE, WITHOUT_CHANCE)
    for layer in made.layers:
        if isinstance(layer, keras.layers.Dropout):  # the backbone's stochastic depth
            layer.rate = 0.0
    if fused:
        use_fused_kernels(made)
    return made


def test_a_fit_is_the_same(batch, tmp_path):
    """Losses, moving averages and weights after three steps; and the file is an ordinary one."""
    fits = {fused: network(fused=fused) for fused in (False, True)}
    losses = {}
    for fused, made in fits.items():
        made.compile(keras.optimizers.SGD(0.01), "binary_crossentropy", jit_compile=False)
        losses[fused] = [float(made.train_on_batch(*batch)) for _ in range(3)]
    assert losses[True] == pytest.approx(losses[False], abs=1e-5)
    assert losses[True][2] < losses[True][0]
    for plain, fused in zip(fits[False].weights, fits[True].weights, strict=True):
        np.testing.assert_allclose(fused.numpy(), plain.numpy(), atol=2e-4, err_msg=plain.path)
    fits[True].save(tmp_path / "model.keras")
    read = keras.models.load_model(tmp_path / "model.keras", compile=False)
    assert [type(layer) for layer in read.layers] == [type(layer) for layer in fits[False].layers]
    np.testing.assert_allclose(read(batch[0]).numpy(), fits[True](batch[0], training=False).numpy(), atol=1e-5)


def test_they_are_in_effect(batch):
    """In TensorFlow's graph of a step there are the fused operations, and as many as there are layers."""
    import tensorflow as tf

    made = network(fused=True)
    step = tf.function(lambda images: made(images, training=True)).get_concrete_function(batch[0])
    operations = [operation.type for operation in step.graph.get_operations()]
    normalising = [layer for layer in made.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert operations.count("FusedBatchNormV3") == len(normalising) > 40


def test_half_precision_is_left_alone():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        made = build_network(3, SIZE, WITHOUT_CHANCE)
    finally:
        keras.config.set_dtype_policy("float32")
    use_fused_kernels(made)
    assert not [layer.name for layer in made.layers if "call" in vars(layer)]
