"""A PyTorch module as a classifier of a bundle; its code and weights run in a process of their own."""

import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import onnx

from export.errors import ExportError
from export.images import load_gate_images
from export.importing.ends import ImageInput
from export.importing.onnx_model import fed, from_onnx
from export.importing.source import Conventions, Imported, Range
from export.importing.torch_child import XRV, Spec
from training.files import hash_of_file


class Weights(msgspec.Struct, frozen=True):
    """A file of weights, and the hash that it must have.

    Attributes
    ----------
    file : Path
    sha256 : str
    """

    file: Path
    sha256: str

    def verified(self) -> Path:
        """Return the file.

        Raises
        ------
        ExportError
            Its hash is another.
        """
        if (found := hash_of_file(self.file)) != self.sha256.lower():
            raise ExportError(f"{self.file}: expected sha256 {self.sha256}, got {found}; fetch the weights again")
        return self.file


def read_torch(
    model: str, how: Conventions, channels: int, weights: Weights | None, images: Path, *, online: bool
) -> Imported:
    """Read a classifier from a function that returns a PyTorch module.

    The function is called without arguments, or, if it takes one, with the path of the weights; otherwise they are
    loaded as a state dict.

    Parameters
    ----------
    model : str
        ``module:function``, importable from the working directory.
    how : Conventions
        With `size` and `values`.
    channels : int
        Of the input, 1 or 3.
    weights : Weights or None
    images : Path
        Folder of the images of the gate, which the module answers in its own framework.
    online : bool
        Leave the network on for it.

    Raises
    ------
    ExportError
        The process failed; the message is its last line.
    """
    if how.size is None or how.values is None:
        raise ExportError("expected --size and --range: a module does not tell which images it takes")
    taken = ImageInput("image", "NCHW", channels, onnx.TensorProto.FLOAT, how.size, None)
    shown = fed(load_gate_images(images, how.size, how.fit), taken, how)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        np.save(scratch / "inputs.npy", shown)
        file = None if weights is None else str(weights.verified().resolve())
        _run(_spec(scratch, model, file, online=online, inputs=str(scratch / "inputs.npy")), scratch)
        graph, answers = onnx.load(scratch / "graph.onnx"), np.load(scratch / "answers.npy")
    origin = {
        "format": "torch",
        "model": model,
        "weights": "" if weights is None else weights.file.name,
        "sha256": "" if weights is None else weights.sha256,
        "producer": f"{graph.producer_name} {graph.producer_version}".strip(),
    }
    return from_onnx(graph, how, origin, _recorded(shown, answers))


def read_torchxrayvision(
    name: str, weights: Weights | None, images: Path, *, online: bool
) -> tuple[Imported, dict[str, float]]:
    """Read a model of torchxrayvision, by the conventions of that package: a central square, levels of ±1024.

    Parameters
    ----------
    name : str
        As in its ``model_urls``, or ``jfhealthcare``.
    weights : Weights or None
        None: random ones, to try the way.
    images : Path
    online : bool

    Returns
    -------
    Imported
        Outputs without a label or a threshold, which were not trained, are left out.
    dict
        Finding → threshold, those that the package publishes.
    """
    with tempfile.TemporaryDirectory() as folder:
        spec = _spec(Path(folder), XRV + name, None, online=online, inputs=None)
        _run(spec, Path(folder))
        stated: dict[str, Any] = msgspec.json.decode(Path(spec.description).read_bytes())
    how = Conventions(
        labels=tuple(label or None for label in stated["labels"]),
        values=Range(-1024, 1024),
        size=(stated["side"], stated["side"]),
        fit="crop",
        ends="logits",
    )
    imported = read_torch(XRV + name, how, 1, weights, images, online=online)
    limits = {
        label: limit
        for label, limit in zip(stated["labels"], stated["thresholds"], strict=True)
        if label and limit is not None
    }
    licence = "weights are their authors'; see the package's documentation"
    origin = {**imported.origin, "weights_url": stated["weights_url"], "licence": licence}
    return replace(imported, origin=origin), limits


def _spec(scratch: Path, model: str, weights: str | None, *, online: bool, inputs: str | None) -> Spec:
    graph, answers, description = (str(scratch / name) for name in ("graph.onnx", "answers.npy", "description.json"))
    return Spec(model, weights, online, inputs, graph, answers, description)


def _run(spec: Spec, scratch: Path) -> None:
    file = scratch / "spec.json"
    file.write_bytes(msgspec.json.encode(spec))
    command = [sys.executable, "-m", "export.importing.torch_child", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own module
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"it ended with status {done.returncode}"])[-1]
        lacks = re.search(r"No module named '(torch\w*|onnxscript)", last)
        remedy = "; in the clone: pip install -e '.[cpu]' --group import-torch" if lacks else ""
        raise ExportError(f"{spec.model}: {last[:500]}{remedy}")


def _recorded(inputs: npt.NDArray[np.float32], answers: npt.NDArray[Any]) -> Callable[[npt.NDArray[Any]], Any]:
    """Return the module's answers to the inputs that it was given, and to no others."""

    def answer(asked: npt.NDArray[Any]) -> npt.NDArray[Any]:
        if not np.array_equal(asked, inputs):
            raise ExportError("the module answered other images than those of the gate; name the same --images")
        return answers

    return answer
