"""Every backbone: fitted for an epoch, calibrated, exported within the parity gate, and run by the SDK."""

import subprocess
import sys
from typing import get_args

import keras
import pytest

import cxr_edge
from cxr_edge.model.bundle import read_bundle
from tests.conftest import ROOT, SAMPLES
from tests.training.conftest import NIH14
from training.errors import DataError
from training.network.architecture import build_network, last_convolution
from training.network.initial_weights import initial_network
from training.recipe import Backbone, Network

SIDE = 64
BACKBONES = get_args(Backbone)


def run(*command: object) -> None:
    """Run a command in a process of its own: what TensorFlow keeps of a network ends with it."""
    done = subprocess.run(
        [sys.executable, "-m", *map(str, command)], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("backbone", [name for name in BACKBONES if name != "EfficientNetB0"])
def test_a_backbone_from_fit_to_result(backbone, data, tmp_path):
    fitted, bundle = tmp_path / "run", tmp_path / "bundle"
    changes = [f"network.backbone={backbone}", "network.head=[64]", "network.dropout=[0.2]", "initial=random",
               f"stages=[{{size={SIDE},epochs=1,learning_rate=1e-3}}]", "split.validation=0.4"]  # fmt: skip
    run("training", "fit", data, "--out", fitted, *[part for change in changes for part in ("--set", change)])
    run("training", "calibrate", fitted, data)
    run("export", fitted / "model.keras", "--out", bundle)
    read = read_bundle(bundle)
    assert (read.manifest.input.size, read.manifest.maps.grid) == ((SIDE, SIDE), (2, 2))
    assert f"{backbone} with a head of 2 dense layers" in read.files["MODEL_CARD.md"].decode()
    result = cxr_edge.load(bundle, device="cpu", threads=1).predict(SAMPLES[0], heatmaps=True)
    assert result.maps.shape == (len(NIH14), 2, 2)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_backbone_is_one_flat_network_with_positions(backbone):
    network = build_network(len(NIH14), 64, Network(backbone))
    assert network.input_shape == (None, 64, 64, 1)
    assert last_convolution(network).output.shape[1:3] == (2, 2)
    assert not any(isinstance(layer, keras.Model) for layer in network.layers)


def test_weights_of_another_backbone_are_refused(tmp_path):
    build_network(len(NIH14), 32, Network("MobileNetV3Large")).save(tmp_path / "mobile.keras")
    with pytest.raises(DataError, match="expected a network of EfficientNetB0, got cxr_mobilenetv3large"):
        initial_network(str(tmp_path / "mobile.keras"), len(NIH14), 64)
    with pytest.raises(DataError, match="lite0 has weights of EfficientNetB0, not of ResNet50"):
        initial_network("lite0", len(NIH14), 64, Network("ResNet50"))
