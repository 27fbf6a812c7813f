"""Several devices, and Keras's JAX back end: two virtual CPU devices stand in for GPUs, the rest is real."""

import importlib.util
import os
import subprocess
import sys

import keras
import msgspec
import numpy as np
import pytest

from tests.conftest import ROOT
from tests.training.conftest import RECIPE
from training.fitting import fit as fitting
from training.fitting import run
from training.fitting.callbacks import averaged_weights
from training.network.architecture import last_convolution, to_float32
from training.recipe import Stage

SCRIPT = """
import sys
from pathlib import Path
backend, data, out = sys.argv[1:]
if backend == "tensorflow":
    import tensorflow as tf
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import keras
from training.fitting import fit, run
from training.recipe import Recipe, Stage
from training.recipe import Split
used = []
def two_devices():
    used.extend(["cpu:0", "cpu:1"])
    return ["cpu:0", "cpu:1"]
fit.gpus = two_devices
assert keras.config.backend() == backend
recipe = Recipe("random", (Stage(32, 2, 1e-3),), batch=8, split=Split(validation=0.4))
run.fit_run(Path(data), Path(out), recipe)
assert used
"""


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_a_fit_on_two_devices(data, tmp_path, backend):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"needs {backend}")
    environment = {**os.environ, "KERAS_BACKEND": backend, "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    command = [sys.executable, "-c", SCRIPT, backend, str(data), str(tmp_path / "run")]
    done = subprocess.run(command, cwd=ROOT, env=environment, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    network = keras.models.load_model(tmp_path / "run" / "model.keras", compile=False)
    assert network.count_params() == 4_840_626
    assert len((tmp_path / "run" / "history.csv").read_text().splitlines()) == 3


@pytest.fixture
def half_precision(monkeypatch):
    """What a GPU computes in; a CPU can do it too, slowly."""
    monkeypatch.setattr(fitting, "dtype_policy", lambda: "mixed_float16")
    yield
    keras.config.set_dtype_policy("float32")


@pytest.mark.usefixtures("half_precision")
def test_a_fit_in_half_precision_is_a_model_in_single(data, tmp_path):
    recipe = msgspec.structs.replace(RECIPE, stages=(Stage(size=32, epochs=1, learning_rate=1e-3),))
    network = keras.models.load_model(run.fit_run(data, tmp_path, recipe), compile=False)
    assert last_convolution(network).compute_dtype == "float16"
    assert all(np.isfinite(weight).all() for weight in network.get_weights())
    keras.config.set_dtype_policy("float32")
    assert {layer.compute_dtype for layer in to_float32(network).layers} == {"float32"}


def test_the_average_of_weights_is_found_under_loss_scaling():
    """In half precision Keras wraps the optimizer, which hides that it keeps an average."""
    network = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    optimizer = keras.optimizers.AdamW(0.1, use_ema=True, ema_momentum=0.5)
    network.compile(keras.optimizers.LossScaleOptimizer(optimizer), "mse")
    for _ in range(8):
        network.train_on_batch(np.ones((4, 4), np.float32), np.ones(4, np.float32))
    raw = network.get_weights()[0]
    with averaged_weights(network):
        average = network.get_weights()[0]
    np.testing.assert_array_equal(network.get_weights()[0], raw)
    np.testing.assert_array_equal(average, optimizer._model_variables_moving_average[0])
    assert not np.allclose(average, raw)
