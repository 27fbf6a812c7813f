"""Runs code and weights of others in a process of its own, without the network: ``python -m …torch_child SPEC.json``.

The process builds a PyTorch module, writes it as ONNX, and answers some inputs with it. What it is asked for, and where
it writes, is in SPEC.json; see `Spec`.
"""

import ctypes
import importlib
import inspect
import json
import math
import os
import sys
from pathlib import Path
from typing import Any, Final

import msgspec

#: Flags of unshare(2): a user namespace, which needs no privilege, and a network without any device in it.
_NEW_USER: Final = 0x10000000
_NEW_NETWORK: Final = 0x40000000

OPSET: Final = 18

#: Weights of torchxrayvision's DenseNets are pickled modules; those of its ResNet a state dict.
XRV: Final = "torchxrayvision/"


class Spec(msgspec.Struct, frozen=True):
    """What the process is asked for.

    Attributes
    ----------
    model : str
        ``module:function``, or ``torchxrayvision/NAME``.
    weights : str or None
        Their file.
    online : bool
        Leave the network on.
    inputs : str or None
        A .npy of inputs, (N, C, H, W) float32; None to describe a model of torchxrayvision.
    graph, answers, description : str
        Where to write the ONNX graph, the answers (.npy), and what a model of torchxrayvision states of itself (JSON).
    """

    model: str
    weights: str | None
    online: bool
    inputs: str | None
    graph: str
    answers: str
    description: str


def main() -> None:
    """Do what the specification asks for."""
    spec = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Spec)
    if not spec.online:
        leave_the_network()
    if spec.inputs is None:
        Path(spec.description).write_text(json.dumps(describe(spec.model.removeprefix(XRV))), encoding="utf-8")
        return
    write(build(spec), spec)


def leave_the_network() -> None:
    """Move this process into a network that has no device; before NumPy is imported, whose threads forbid it."""
    libc = ctypes.CDLL(None, use_errno=True) if os.name == "posix" else None
    if libc is None or not hasattr(libc, "unshare") or libc.unshare(_NEW_USER | _NEW_NETWORK):
        why = os.strerror(ctypes.get_errno()) if hasattr(libc, "unshare") else "this system has no unshare(2)"
        sys.exit(f"a process without the network cannot be made here ({why}); --online runs the code with it")


def build(spec: Spec) -> Any:
    """Build the module, with its weights."""
    if spec.model.startswith(XRV):
        return _of_torchxrayvision(spec.model.removeprefix(XRV), spec.weights)
    module, _, name = spec.model.partition(":")
    sys.path.insert(0, os.getcwd())
    function = getattr(importlib.import_module(module), name)
    if spec.weights is None:
        return function()
    if inspect.signature(function).parameters:
        return function(spec.weights)
    import torch

    network = function()
    network.load_state_dict(torch.load(spec.weights, map_location="cpu", weights_only=True))
    return network


def describe(name: str) -> dict[str, Any]:
    """Return what torchxrayvision states of a model: labels, thresholds, side of the input."""
    if name == "jfhealthcare":
        labels = ["Cardiomegaly", "Edema", "Consolidation", "Atelectasis", "Effusion"]
        return {"labels": labels, "thresholds": [None] * len(labels), "side": 512, "weights_url": ""}
    from torchxrayvision.models import model_urls

    if name not in model_urls:
        sys.exit(f"torchxrayvision has no model {name!r}; it has {', '.join(sorted(model_urls))}, jfhealthcare")
    stated = model_urls[name]
    limits = [None if math.isnan(limit) else float(limit) for limit in stated["op_threshs"]]
    trained = [bool(label) and limit is not None for label, limit in zip(stated["labels"], limits, strict=True)]
    return {
        "labels": [label if known else "" for label, known in zip(stated["labels"], trained, strict=True)],
        "thresholds": limits,
        "side": stated["input_resolution"],
        "weights_url": stated["weights_url"],
    }


def _of_torchxrayvision(name: str, weights: str | None) -> Any:
    """Build a network of torchxrayvision that returns logits; without weights it has random ones."""
    import torch
    import torchvision
    import torchxrayvision as xrv

    torch.manual_seed(0)
    loaded = None if weights is None else torch.load(weights, map_location="cpu", weights_only=False)
    state = loaded.state_dict() if isinstance(loaded, torch.nn.Module) else loaded
    if name == "jfhealthcare":
        return _jfhealthcare(state)
    count = len(describe(name)["labels"])
    if name.startswith("resnet"):
        network = torchvision.models.resnet50(num_classes=count, weights=None)
        network.conv1 = torch.nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3, bias=False)
    else:
        network = xrv.models.DenseNet(weights=None, num_classes=count)
    if state is not None:
        network.load_state_dict({key: value for key, value in state.items() if key in network.state_dict()})
    return network


def _jfhealthcare(state: Any) -> Any:
    """Build the classifier of jfhealthcare, with the scaling that torchxrayvision puts before it."""
    import torch
    from torchxrayvision.baseline_models.jfhealthcare import thisfolder
    from torchxrayvision.baseline_models.jfhealthcare.model import classifier

    configuration = json.loads(Path(thisfolder, "config", "example.json").read_text(encoding="utf-8"))
    # Otherwise it fetches weights of ImageNet first, which the state then replaces.
    network = classifier.Classifier(type("Configuration", (), {**configuration, "pretrained": False}))
    if state is not None:
        network.load_state_dict(state)

    class Logits(torch.nn.Module):  # type: ignore[misc]
        """From levels of -1024 to 1024 to the logits, as torchxrayvision computes them."""

        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, x: Any) -> Any:
            logits, _ = self.network(x.repeat(1, 3, 1, 1) / 512)
            return torch.cat(logits, 1)

    return Logits()


def write(network: Any, spec: Spec) -> None:
    """Write the graph, and the network's own answers."""
    import numpy as np
    import torch

    inputs = np.load(str(spec.inputs))
    network.eval()
    with torch.no_grad():
        np.save(spec.answers, network(torch.from_numpy(inputs)).numpy())
    exported = torch.onnx.export(
        network,
        (torch.from_numpy(inputs[:2]),),
        dynamo=True,
        opset_version=OPSET,
        input_names=["image"],
        output_names=["answer"],
        dynamic_shapes=({0: torch.export.Dim("N", min=1, max=64)},),
        external_data=False,
        verbose=False,
    )
    exported.save(spec.graph)


if __name__ == "__main__":
    main()
