"""An ONNX file as a classifier of a bundle."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from google.protobuf.message import DecodeError
from onnx import ModelProto, version_converter
from onnx.checker import ValidationError
from onnx.inliner import inline_local_functions
from scipy.special import expit, softmax

from cxr_edge.model.labels import Label, label_problems
from cxr_edge.model.network import InputFormat
from export.errors import ExportError
from export.importing.ends import IN_WORDS, ImageInput, Output, end_of, image_input, labels_output
from export.importing.source import Conventions, Imported, Range
from export.importing.wrap import PREFIX, opset_of, wrap
from training.files import hash_of_file
from training.labels import LabelSet, read_labels

#: What a model computes: its input → its output.
Run: TypeAlias = Callable[[npt.NDArray[Any]], npt.NDArray[Any]]

#: Of a file and its weights beside it.
MAX_BYTES: Final = 2 * 2**30
#: Names that mean the absence of findings, in lower case.
_NORMAL: Final = frozenset({"no finding", "nofinding", "normal", "healthy", "none"})
#: Of the operators around a model: some of them took their axes from attributes before.
OLDEST_OPSET: Final = 13


def read_onnx(file: Path, how: Conventions) -> Imported:
    """Read a classifier from an ONNX file.

    Parameters
    ----------
    file : Path
        Weights may be in files beside it.
    how : Conventions

    Returns
    -------
    Imported
        Its oracle is the graph as it came, in ONNX Runtime.

    Raises
    ------
    ExportError
        The file is no ONNX model, or what `how` leaves open cannot be told from it.
    """
    model, weights = _loaded(file)
    hashes = {"sha256": hash_of_file(file)}
    if weights:
        hashes["weights_sha256"] = ", ".join(f"{path.name}: {hash_of_file(path)}" for path in weights)
    return from_onnx(model, how, {"format": "onnx", "file": file.name, **hashes, **_producer(model)})


def from_onnx(model: ModelProto, how: Conventions, origin: dict[str, Any], run: Run | None = None) -> Imported:
    """Take a classifier from a graph in memory; see `read_onnx`.

    Parameters
    ----------
    model : ModelProto
    how : Conventions
    origin : dict
        Where it comes from.
    run : callable, optional
        The model in its own framework: input → output, as the graph has them; by default the graph in ONNX Runtime.
    """
    taken, output = image_input(model, how.size), labels_output(model, how.output)
    if taken.is_float and how.values is None:
        raise ExportError(
            f"{taken.name!r} takes floating-point numbers, and a file does not tell which are black and white: name "
            "both with --range, such as 0,1 or 0,255 or -1,1 (after it --mean and --std, if the model was trained so)"
        )
    if output.count not in (None, len(how.labels)):
        raise ExportError(
            f"expected {output.count} labels, as many as {output.name!r} has numbers, got {len(how.labels)}; "
            "leave a place empty for one that is not to be used (A,,C)"
        )
    if not any(how.labels):
        raise ExportError("expected a name for one output at least, got none in --labels")
    return Imported(
        network=wrap(_at_least(model), taken, output, how),
        oracle=_Oracle(run or _session(model, taken, output), taken, output, how),
        labels=_labels(how),
        input=InputFormat(taken.size, "grey", "0-255", "area", how.fit),
        features=None if how.features is None else PREFIX + how.features,
        origin={**origin, **_read_as(taken, output, how)},
        notes=tuple(_notes(how)),
    )


def _read_as(taken: ImageInput, output: Output, how: Conventions) -> dict[str, str]:
    """Return how the input and the output were read, in words."""
    height, width = taken.size
    kind = onnx.helper.tensor_dtype_to_np_dtype(taken.element).name
    colour = "grey" if taken.channels == 1 else "RGB"
    shades = fed(np.array([0, 255], np.uint8).reshape(2, 1, 1), taken, how)
    black, white = (", ".join(f"{v:.4g}" for v in dict.fromkeys(shade.ravel().tolist())) for shade in shades)
    return {
        "input": f"{taken.name!r}, {width}x{height} pixels, {colour} ({taken.layout}), {kind}, black {black}, "
        f"white {white}",
        "output": f"{output.name!r}, {IN_WORDS[end_of(output, how.ends)]}",
    }


def _notes(how: Conventions) -> Iterator[str]:
    """Yield what a user may not have meant."""
    known = {label.name.lower(): label.name for label in read_labels().records}
    for name in filter(None, how.labels):
        if name.lower().replace("_", " ") in _NORMAL and name not in how.normal:
            yield f"{name!r} is taken for a finding, positive in healthy images; that it means none, --normal says"
        elif (nih := known.get(name.lower().replace(" ", "_"), name)) != name:
            yield f"{name!r} has a code of a private scheme; call it {nih!r} for NIH's, with its DICOM code"


def _session(model: ModelProto, taken: ImageInput, output: Output) -> Run:
    quiet = onnxruntime.SessionOptions()
    quiet.log_severity_level = 3  # it warns of weights that no operator reads
    session = onnxruntime.InferenceSession(model.SerializeToString(), quiet, providers=["CPUExecutionProvider"])
    return lambda fed: np.asarray(session.run([output.name], {taken.name: fed})[0])


class _Oracle:
    """The model as it came: fed by NumPy with what its authors fed it with."""

    def __init__(self, run: Run, taken: ImageInput, output: Output, how: Conventions) -> None:
        self._run, self._taken, self._output, self._how = run, taken, output, how

    def __call__(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.floating[Any]]:
        """Return probabilities of pre-processed images, (N, labels)."""
        batches = images[:, np.newaxis] if self._taken.batch == 1 else images[np.newaxis]
        found = np.concatenate([self._run(fed(batch, self._taken, self._how)) for batch in batches]).astype(np.float64)
        kept = [place for place, label in enumerate(self._how.labels) if label is not None]
        end = end_of(self._output, self._how.ends)
        if end == "logits":
            return np.asarray(expit(found[:, kept]))
        if end == "softmax" and self._output.end != "softmax":
            return np.asarray(softmax(found, axis=1)[:, kept])
        if not ((found >= 0) & (found <= 1)).all():
            raise ExportError(
                f"expected probabilities from {self._output.name!r}, got numbers from {found.min():.3g} to "
                f"{found.max():.3g}: logits? Leave out --ends probabilities"
            )
        return np.asarray(found[:, kept])


def fed(images: npt.NDArray[np.uint8], taken: ImageInput, how: Conventions) -> npt.NDArray[Any]:
    """Return pre-processed images, (N, H, W) uint8, as the authors of a model would feed them to it."""
    axis = {"NCHW": 1, "NHWC": -1, "NHW": None}[taken.layout]
    shown = images if axis is None else np.expand_dims(images, axis)
    if taken.channels == 3 and axis is not None:
        shown = np.concatenate([shown] * 3, axis=axis)
    if not taken.is_float:
        return shown
    black, white = how.values or Range(0.0, 255.0)
    values = black + shown.astype(np.float64) / 255 * (white - black)
    mean, deviation = (np.asarray(numbers) for numbers in (how.mean, how.deviation))
    if taken.layout == "NCHW":
        mean, deviation = mean.reshape(-1, 1, 1), deviation.reshape(-1, 1, 1)
    dtype = onnx.helper.tensor_dtype_to_np_dtype(taken.element)
    return np.asarray((values - mean) / deviation, dtype)


def _loaded(file: Path) -> tuple[ModelProto, list[Path]]:
    """Read a model; also return the files beside it that hold its weights."""
    try:
        described = onnx.load(file, load_external_data=False)
        weights = sorted({file.parent / name for name in _external(described)})
        if (size := sum(path.stat().st_size for path in (file, *weights))) > MAX_BYTES:
            raise ExportError(f"{file}: expected at most {MAX_BYTES:,} bytes with its weights, got {size:,}")
        model = onnx.load(file) if weights else described
        onnx.checker.check_model(model)
    except OSError as error:
        raise ExportError(f"{error.filename or file} cannot be read: {error.strerror}") from error
    except (ValidationError, ValueError, DecodeError) as error:
        raise ExportError(
            f"{file} is not an ONNX model, or not whole ({str(error).splitlines()[0][:200]}); name another file, or "
            "export it again"
        ) from error
    return inline_local_functions(model) if model.functions else model, weights


def _external(model: ModelProto) -> Iterator[str]:
    """Yield the files that hold weights, as the model names them."""
    for tensor in model.graph.initializer:
        yield from (entry.value for entry in tensor.external_data if entry.key == "location")


def _at_least(model: ModelProto) -> ModelProto:
    """Write a model of an older opset in the one whose operators stand around it.

    Raises
    ------
    ExportError
    """
    opset = opset_of(model)
    if opset >= OLDEST_OPSET:
        return model
    try:
        return version_converter.convert_version(model, OLDEST_OPSET)
    except RuntimeError as error:
        raise ExportError(
            f"the model is of opset {opset} and cannot be written in opset {OLDEST_OPSET} "
            f"({str(error).splitlines()[0][:200]}); export it with opset {OLDEST_OPSET} or later"
        ) from error


def _producer(model: ModelProto) -> dict[str, str]:
    return {"producer": f"{model.producer_name} {model.producer_version}".strip()}


def _labels(how: Conventions) -> LabelSet:
    """Describe the labels; those of NIH's names with their codes.

    Raises
    ------
    ExportError
        A name is none, stands twice, or is not among the labels.
    """
    names = [label for label in how.labels if label is not None]
    if strange := set(how.normal) - set(names):
        raise ExportError(f"expected --normal to name labels, got {', '.join(sorted(strange))}")
    known = {label.name: label for label in read_labels().records}
    try:
        records = [
            msgspec.convert({"name": name, "role": "normal" if name in how.normal else "finding"}, Label)
            for name in names
        ]
    except msgspec.ValidationError as error:
        raise ExportError(f"labels: {error}; use letters, digits, spaces and . _ -, 64 at most") from error
    records = [known[r.name] if r.name in known and known[r.name].role == r.role else r for r in records]
    for problem in label_problems(records):
        raise ExportError(problem)
    return LabelSet.of(records)
