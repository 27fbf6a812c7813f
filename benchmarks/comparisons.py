"""What is compared with what: contestants, rows and their targets, as data."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

FILE_TO_RESULT: Final = "file → result"
ARRAY_TO_RESULT: Final = "array → result"
ENGINE: Final = "engine only"
PROCESS: Final = "process start → first result"

#: Graphs that are exported before anything is timed: name → class of `benchmarks.baselines.exports`.
EXPORTS: Final = {"plain.onnx": "PlainOnnx", "litert.tflite": "LiteRT"}

#: Largest difference of a probability from cxr-edge's, with the same weights.
ALIKE: Final = 1e-3


@dataclass(frozen=True)
class Contestant:
    """One way to do the work of a comparison.

    Attributes
    ----------
    name : str
    implementation : str
        ``module:Class`` below `benchmarks.baselines`.
    arguments : mapping
    graph : str or None
        One of `EXPORTS`, whose path the class takes as ``graph``.
    ours : bool
        Whether it is cxr-edge, whose probabilities are calibrated; those of all others are raw.
    alike : float or None
        Largest difference of a probability from the comparison's first contestant; None if it computes something else.
    """

    name: str
    implementation: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    graph: str | None = None
    ours: bool = False
    alike: float | None = ALIKE


@dataclass(frozen=True)
class Comparison:
    """Contestants that do the same work, measured interleaved.

    Attributes
    ----------
    name, title, boundary : str
    contestants : tuple of Contestant
        The first is cxr-edge, the reference of all probabilities.
    images : int or None
        Largest number of the run's images; None for all of them.
    unit : str
        Unit of the rate: ``images/s``, or ``GFLOP/s``.
    tta : bool
        Whether probabilities are averages over all TTA variants of the bundle.
    """

    name: str
    title: str
    boundary: str
    contestants: tuple[Contestant, ...]
    images: int | None
    unit: str = "images/s"
    tta: bool = False

    def only(self, names: Collection[str]) -> "Comparison":
        """Return the same comparison with these contestants and the reference alone."""
        kept = tuple(c for c in self.contestants if c.name in names or c is self.contestants[0])
        return Comparison(self.name, self.title, self.boundary, kept, self.images, self.unit, self.tta)


@dataclass(frozen=True)
class Row:
    """One figure: a ratio of rates (``speed``), of times (``cost``), or the peak memory in MB (``memory``).

    Attributes
    ----------
    name, title, comparison, subject : str
    baseline : str or None
        A contestant of the same comparison; None for ``memory``.
    kind : str
        More is better for ``speed``, less for ``cost`` and ``memory``.
    target, beyond : float or None
        What the figure must reach, and what it should reach.
    """

    name: str
    title: str
    comparison: str
    subject: str
    baseline: str | None = None
    kind: Literal["speed", "cost", "memory"] = "speed"
    target: float | None = None
    beyond: float | None = None

    def reaches(self, value: float, target: float) -> bool:
        """Return whether a figure is at the target or better."""
        return value >= target if self.kind == "speed" else value <= target


OURS: Final = "cxr-edge"

COMPARISONS: Final = (
    Comparison(
        "directory",
        "a directory of images → probabilities, one TTA variant",
        FILE_TO_RESULT,
        (
            Contestant(OURS, "ours:Directory", ours=True),
            Contestant("Keras imread + predict(32)", "keras:Directory"),
            Contestant("Keras tf.data + predict(32)", "keras:Dataset"),
            Contestant("plain ONNX Runtime", "onnxruntime:Plain", graph="plain.onnx"),
            Contestant("slim graph, serial", "onnxruntime:Slim"),
            Contestant("OpenVINO THROUGHPUT", "openvino:Directory"),
            Contestant("LiteRT", "litert:Directory", graph="litert.tflite"),
            Contestant("torchxrayvision", "torchxrayvision:Directory", alike=None),
        ),
        images=None,
    ),
    Comparison(
        "one-image",
        "one image at a time → probabilities, one TTA variant",
        ARRAY_TO_RESULT,
        (
            Contestant(OURS, "ours:Array", ours=True),
            Contestant("Keras predict", "keras:Array", {"call": "model.predict(x)"}),
            Contestant("Keras model(x)", "keras:Array", {"call": "model(x)"}),
            Contestant("tf.function", "keras:Array", {"call": "tf.function(model)(x)"}),
            Contestant("LiteRT", "litert:Array", graph="litert.tflite"),
            Contestant("OpenVINO LATENCY", "openvino:Array"),
        ),
        images=8,
    ),
    Comparison(
        "tta",
        "a directory of images → probabilities, average of all TTA variants",
        FILE_TO_RESULT,
        (
            Contestant(OURS, "ours:Directory", {"tta": True}, ours=True),
            Contestant("cxr-edge adaptive", "ours:Directory", {"tta": True, "adaptive": True}, ours=True, alike=None),
            Contestant("plain ONNX Runtime", "onnxruntime:Plain", {"tta": True}, graph="plain.onnx"),
        ),
        images=64,
        tta=True,
    ),
    Comparison(
        "heat-maps",
        "one image at a time → probabilities and Grad-CAM maps, one TTA variant",
        ARRAY_TO_RESULT,
        (
            Contestant(OURS, "ours:Array", ours=True),
            Contestant("cxr-edge, all maps", "ours:Array", {"heatmaps": True}, ours=True),
        ),
        images=64,
    ),
    Comparison(
        "tape",
        "one image at a time → probabilities and Grad-CAM maps, one TTA variant",
        ARRAY_TO_RESULT,
        (
            Contestant("cxr-edge, all maps", "ours:Array", {"heatmaps": True}, ours=True),
            Contestant("Keras GradientTape, top 3", "keras:GradientTape"),
        ),
        images=4,
    ),
    Comparison(
        "start",
        "one image in a process of its own",
        PROCESS,
        (
            Contestant(OURS, "processes:CxrEdge", ours=True),
            Contestant("TensorFlow import + load + predict", "processes:Keras"),
        ),
        images=1,
    ),
    Comparison(
        "engine",
        "the network on one thread, beside a matrix product",
        ENGINE,
        (
            Contestant("one variant", "engine:Engine", ours=True),
            Contestant("all variants", "engine:Engine", {"tta": True}, ours=True),
            Contestant("sgemm", "sgemm:Sgemm"),
        ),
        images=1,
        unit="GFLOP/s",
    ),
)

ROWS: Final = (
    Row("directory-keras", "directory, against Keras imread + predict(32)", "directory", OURS,
        "Keras imread + predict(32)", target=2.5, beyond=4.0),
    Row("directory-keras-dataset", "directory, against Keras tf.data + predict(32)", "directory", OURS,
        "Keras tf.data + predict(32)"),
    Row("directory-onnxruntime", "directory, against plain serial ONNX Runtime", "directory", OURS,
        "plain ONNX Runtime", target=2.0, beyond=3.0),
    Row("directory-slim", "directory, against a serial loop over our slim graph", "directory", OURS,
        "slim graph, serial", target=1.7, beyond=2.2),
    Row("directory-openvino", "directory, against OpenVINO", "directory", OURS, "OpenVINO THROUGHPUT"),
    Row("directory-litert", "directory, against LiteRT", "directory", OURS, "LiteRT"),
    Row("directory-torchxrayvision", "directory, against torchxrayvision", "directory", OURS, "torchxrayvision"),
    Row("directory-memory", "directory, peak memory (MB)", "directory", OURS, kind="memory", target=450, beyond=300),
    Row("one-image-keras-predict", "one image, against Keras predict", "one-image", OURS,
        "Keras predict", target=7.0, beyond=10.0),
    Row("one-image-keras-call", "one image, against Keras model(x)", "one-image", OURS, "Keras model(x)"),
    Row("one-image-tf-function", "one image, against tf.function", "one-image", OURS, "tf.function"),
    Row("one-image-litert", "one image, against LiteRT", "one-image", OURS, "LiteRT"),
    Row("one-image-openvino", "one image, against OpenVINO", "one-image", OURS, "OpenVINO LATENCY"),
    Row("tta-onnxruntime", "all TTA variants, against plain ONNX Runtime with all", "tta", OURS,
        "plain ONNX Runtime", target=1.4, beyond=1.6),
    Row("adaptive-onnxruntime", "adaptive TTA, against plain ONNX Runtime with all variants", "tta",
        "cxr-edge adaptive", "plain ONNX Runtime", target=2.2, beyond=3.0),
    Row("heat-maps-inference", "inference with all heat maps, against inference alone (time)", "heat-maps",
        "cxr-edge, all maps", OURS, kind="cost", target=1.10, beyond=1.05),
    Row("heat-maps-tape", "inference with all heat maps, against GradientTape for the top 3", "tape",
        "cxr-edge, all maps", "Keras GradientTape, top 3", target=50.0, beyond=100.0),
    Row("start-tensorflow", "process start to first result, against TensorFlow", "start", OURS,
        "TensorFlow import + load + predict", target=10.0, beyond=15.0),
    Row("engine-single", "engine, one TTA variant, share of one core's sgemm", "engine", "one variant", "sgemm",
        target=0.65, beyond=0.80),
    Row("engine-tta", "engine, all TTA variants, share of one core's sgemm", "engine", "all variants", "sgemm",
        target=0.65, beyond=0.80),
)  # fmt: skip


def choose_rows(names: Collection[str]) -> tuple[Row, ...]:
    """Return the rows of these names or comparisons; all rows if there are no names.

    Raises
    ------
    ValueError
        A name is neither a row nor a comparison.
    """
    known = {row.name for row in ROWS} | {comparison.name for comparison in COMPARISONS}
    if unknown := sorted(set(names) - known):
        raise ValueError(f"expected comparisons or rows among {', '.join(sorted(known))}; got {', '.join(unknown)}")
    return tuple(row for row in ROWS if not names or row.name in names or row.comparison in names)


def comparisons_for(rows: Collection[Row]) -> tuple[Comparison, ...]:
    """Return the comparisons of these rows, without contestants that none of them needs."""
    chosen = []
    for comparison in COMPARISONS:
        needed = {name for row in rows if row.comparison == comparison.name for name in (row.subject, row.baseline)}
        if needed:
            chosen.append(comparison.only({name for name in needed if name}))
    return tuple(chosen)
