"""Several devices, and Keras's JAX back end: two virtual CPU devices stand in for GPUs, the rest is real."""

import importlib.util
import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT

SCRIPT = """
import sys
from pathlib import Path
backend, data, out = sys.argv[1:]
if backend == "tensorflow":
    import tensorflow as tf
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import keras
from training import fit, run
from training.recipe import Recipe, Stage
from training.splits import Split
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
    import keras

    network = keras.models.load_model(tmp_path / "run" / "model.keras", compile=False)
    assert network.count_params() == 4_840_626
    assert len((tmp_path / "run" / "history.csv").read_text().splitlines()) == 3
