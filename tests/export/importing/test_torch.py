"""PyTorch classifiers, imported: their code runs apart, without the network, and answers as in the bundle."""

import hashlib
import importlib.util
import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

import cxr_edge
from export.__main__ import app
from export.importing.torch_child import OPSET
from tests.conftest import ROOT, SAMPLES

#: The group is left out of CI: it is of several gigabytes.
needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None or importlib.util.find_spec("onnxscript") is None,
    reason="needs PyTorch (the group import-torch)",
)

THEIRS = """
import torch


def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 5, 4, 2), torch.nn.ReLU(), torch.nn.Conv2d(8, 16, 3, 2, 1), torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(16, 3), torch.nn.Sigmoid(),
    )


def phoning_home():
    import urllib.request
    urllib.request.urlopen("http://192.0.2.1/weights", timeout=5)
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "theirs.py").write_text(THEIRS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def imported(folder, *options):
    """Import by the command, which finds the module in the working directory."""
    command = [sys.executable, "-m", "export", "import", "torch", *options, "--size", "64", "--range", "0,1", "--out",
               str(folder / "bundle"), "--images", str(SAMPLES[0].parent)]  # fmt: skip
    return subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=folder, env={"PATH": "", "PYTHONPATH": str(ROOT)}
    )


@needs_torch
def test_a_module_becomes_a_bundle_that_answers_alike(module):
    import torch

    sys.path.insert(0, str(module))
    import theirs

    state = theirs.network().state_dict()
    torch.save({name: value + 0.01 for name, value in state.items()}, module / "weights.pt")
    digest = hashlib.sha256((module / "weights.pt").read_bytes()).hexdigest()
    done = imported(
        module, "theirs:network", "--labels", "Effusion,,Mass", "--weights", "weights.pt", "--sha256", digest
    )
    assert done.returncode == 0, done.stderr
    assert "Heat maps: layercam" in done.stdout
    network = theirs.network()
    network.load_state_dict(torch.load(module / "weights.pt", weights_only=True))
    model = cxr_edge.load(module / "bundle", device="cpu", threads=1)
    from cxr_edge.images import read_image
    from cxr_edge.model.preprocess import preprocess

    shown = preprocess(read_image(SAMPLES[0]).pixels, (64, 64)) / np.float32(255)
    with torch.no_grad():
        expected = network.eval()(torch.from_numpy(np.stack([shown] * 3)[None])).numpy()[0, [0, 2]]
    np.testing.assert_allclose(model.predict(SAMPLES[0]).values, expected, atol=1e-5)
    assert model.manifest.training["imported"]["sha256"] == digest


@needs_torch
def test_their_code_has_no_network(module):
    done = imported(module, "theirs:phoning_home", "--labels", "a,b,c")
    assert done.returncode == 1
    assert "Network is unreachable" in done.stderr


@needs_torch
@pytest.mark.parametrize("name", ["densenet121-res224-rsna", "jfhealthcare"])
def test_models_of_torchxrayvision_come_with_their_conventions(name, tmp_path):
    done = CliRunner().invoke(app, ["import", "torchxrayvision", name, "--random", "--out", str(tmp_path / "bundle")])
    assert done.exit_code == 0, done.output
    manifest = cxr_edge.load(tmp_path / "bundle", device="cpu").manifest
    assert manifest.input.fit == "crop"
    if name == "jfhealthcare":
        assert manifest.input.size == (512, 512)
        return
    assert manifest.label_names == ("Pneumonia", "Lung Opacity"), "outputs that were not trained are left out"
    thresholds = manifest.operating_points["imported"].single.thresholds
    assert thresholds == pytest.approx({"Pneumonia": 0.13486601, "Lung Opacity": 0.13511065})


def test_weights_of_another_hash_are_not_read(module):
    (module / "weights.pt").write_bytes(b"anything")
    done = imported(module, "theirs:network", "--labels", "a,b,c", "--weights", "weights.pt", "--sha256", "0" * 64)
    assert done.returncode == 1
    assert "fetch the weights again" in done.stderr.splitlines()[-1]


def test_a_process_apart_has_no_network():
    """Without PyTorch: what the child does first, and what it can then reach."""
    script = (
        "import socket; from export.importing.torch_child import leave_the_network; leave_the_network(); "
        'socket.create_connection(("192.0.2.1", 80), 5)'
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode != 0
    assert "Network is unreachable" in done.stderr or "--online runs the code with it" in done.stderr
    assert OPSET >= 17


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("theirs", "--labels", "a,b,c"), "MODULE:FUNCTION"),
        (("theirs:network", "--labels", "a,b,c", "--weights", "theirs.py"), "--weights and --sha256 together"),
        (("theirs:nothing", "--labels", "a,b,c"), "no attribute 'nothing'|No module named 'torch'"),
        (("nowhere:network", "--labels", "a,b,c"), "No module named 'nowhere'"),
    ],
)
def test_what_is_wrong_is_named(module, options, message):
    import re

    done = imported(module, *options)
    assert done.returncode in (1, 2)
    assert re.search(message, " ".join(done.stderr.replace("│", " ").split())), done.stderr
