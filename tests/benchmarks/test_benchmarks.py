"""The comparisons run, and report what they measured."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from benchmarks.baselines.flops import count_flops
from benchmarks.baselines.images import show
from benchmarks.comparisons import COMPARISONS, EXPORTS, ROWS, choose_rows, comparisons_for
from benchmarks.images import SAMPLES, find_images, link_images
from benchmarks.measure import interleaved, machine, ratio, self_timed, spread, summary
from benchmarks.report import compare
from benchmarks.run import _compare_probabilities, _figure, faults
from benchmarks.workers import NotMeasured, Task, Worker, WorkerFailed
from cxr_edge.images import read_image
from cxr_edge.model.bundle import read_bundle
from cxr_edge.model.calibration import calibrate
from cxr_edge.model.preprocess import preprocess
from cxr_edge.model.tta import make_variants
from tests.conftest import ROOT

BASELINES = """
import os, sys, time

class Good:
    work = 2
    settings = {"threads": 1}
    def __init__(self, images, scale=1):
        self.images, self.scale = images, scale
    def run(self):
        print("a library that talks")
        return [[len(image) * self.scale] for image in self.images]

class Dies(Good):
    def run(self):
        print("out of luck", file=sys.stderr, flush=True)
        os._exit(7)

class Hangs(Good):
    def run(self):
        time.sleep(60)

class Raises(Good):
    def run(self):
        raise ValueError("an image of the wrong size")

class Lacks(Good):
    def __init__(self, images):
        raise ModuleNotFoundError("No module named 'openvino.runtime'", name="openvino.runtime")

class Typo(Good):
    def __init__(self, images):
        import nowhere_to_be_found
"""


@pytest.fixture
def baselines(tmp_path, monkeypatch):
    (tmp_path / "made_up_baselines.py").write_text(BASELINES)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def task(name, **arguments):
        return Task(f"made_up_baselines:{name}", ["a", "bb"], arguments)

    return task


def test_interleaving_counts_every_candidate_alike():
    calls = []
    seconds = interleaved({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=4, warm_up=1)
    assert {name: len(times) for name, times in seconds.items()} == {"a": 4, "b": 4}
    assert "".join(calls) == "abbaabbaab"


def test_self_timed_seconds_are_those_of_the_counted_rounds():
    numbers = iter(range(100))
    seconds = self_timed({"a": lambda: float(next(numbers)), "b": lambda: float(next(numbers))}, rounds=2, warm_up=1)
    assert seconds == {"a": [3.0, 4.0], "b": [2.0, 5.0]}


def test_a_ratio_is_the_median_over_rounds():
    figures = summary({"base": [1.0, 2.0, 4.0], "other": [2.0, 2.0, 12.0]}, baseline="base")
    assert figures["n"] == 3
    assert figures["other"] == {"median_ms": 2000.0, "ratio": 2.0}
    assert ratio([2.0, 2.0, 12.0], [1.0, 2.0, 4.0])["median"] == 2.0
    assert spread(list(range(11))) == {"n": 11, "median": 5.0, "p10": 1.0, "p90": 9.0}


def test_the_machine_is_described():
    found = machine()
    assert found["packages"]["onnxruntime"]
    assert found["usable_cores"] >= 1
    if sys.platform == "linux":
        assert found["processor"]
        assert found["memory_gib"] > 0


def test_a_worker_runs_and_answers_whatever_its_library_prints(baselines):
    with Worker(baselines("Good", scale=3)) as worker:
        assert worker.run() >= 0
        assert worker.answers().tolist() == [[3.0], [6.0]]
        assert (worker.work, worker.settings) == (2, {"threads": 1})
        assert worker.peak_memory() > 10**6


def test_the_last_output_of_a_dead_worker_is_reported(baselines):
    with Worker(baselines("Dies")) as worker, pytest.raises(WorkerFailed, match=r"(?s)status 7.*out of luck"):
        worker.run()


def test_a_worker_that_takes_too_long_is_ended(baselines):
    with Worker(baselines("Hangs"), time_limit=5) as worker, pytest.raises(WorkerFailed, match="within 5 s"):
        worker.run()


def test_an_exception_is_reported(baselines):
    with (
        Worker(baselines("Raises")) as worker,
        pytest.raises(WorkerFailed, match="ValueError: an image of the wrong size"),
    ):
        worker.run()


def test_a_missing_package_is_reported_with_its_extra(baselines):
    with pytest.raises(NotMeasured, match=r"^openvino is not installed; pip install '\.\[openvino\]' in the clone$"):
        Worker(baselines("Lacks"))


def test_a_module_that_no_contestant_may_lack_is_a_failure(baselines):
    with pytest.raises(WorkerFailed, match="nowhere_to_be_found"):
        Worker(baselines("Typo"))


def test_rows_name_contestants_of_their_comparison():
    comparisons = {c.name: c for c in COMPARISONS}
    for row in ROWS:
        names = {c.name for c in comparisons[row.comparison].contestants}
        assert {row.subject, row.baseline} - {None} <= names
    assert len({row.name for row in ROWS}) == len(ROWS)
    assert {c.graph for k in COMPARISONS for c in k.contestants} - {None} == EXPORTS.keys()


def test_only_the_contestants_of_the_chosen_rows_run():
    (comparison,) = comparisons_for(choose_rows(["directory-slim"]))
    assert [c.name for c in comparison.contestants] == ["cxr-edge", "slim graph, serial"]
    assert {row.comparison for row in choose_rows(["engine"])} == {"engine"}
    with pytest.raises(ValueError, match="got no-such-row"):
        choose_rows(["no-such-row"])


def test_images_are_linked_under_distinct_names(tmp_path):
    images = find_images(SAMPLES)
    linked = link_images(images, 11, tmp_path)
    assert linked == sorted(map(str, tmp_path.iterdir()))
    assert len(linked) == 11
    assert (tmp_path / linked[8]).read_bytes() == images[0].read_bytes()


def test_the_baselines_variants_are_the_sdks():
    variants = read_bundle().manifest.tta.variants
    assert len(variants) > 1
    image = preprocess(read_image(find_images(SAMPLES)[0]).pixels, (224, 224))
    np.testing.assert_array_equal(show(image, variants), make_variants(image, variants))


def test_operations_are_counted_from_the_shapes():
    weights = {"kernel": (8, 1, 3, 3), "dense": (4, 8)}
    nodes = [
        helper.make_node("Conv", ["image", "kernel"], ["wide"], pads=[1, 1, 1, 1], strides=[2, 2], group=2),
        helper.make_node("ReduceMean", ["wide"], ["pooled"], axes=[2, 3], keepdims=0),
        helper.make_node("Gemm", ["pooled", "dense"], ["logits"], transB=1),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 2, 10, 10])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 4])
    initializers = [numpy_helper.from_array(np.zeros(shape, np.float32), name) for name, shape in weights.items()]
    graph = helper.make_graph(nodes, "small", [image], [logits], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    assert count_flops(model.SerializeToString()) == 2 * (8 * 5 * 5 * 3 * 3 + 8 * 4)


def test_operations_are_those_of_efficientnet_b0():
    bundle = read_bundle()
    flops = count_flops(bundle.files[bundle.manifest.variant("fp32").model])
    # Tan and Le (2019), table 2: 0.39 billion multiply-adds; a one-channel stem takes 0.007 billion less.
    assert flops == pytest.approx(2 * 0.39e9, rel=0.05)


def test_rows_report_rates_costs_and_memory():
    contestants = {
        "cxr-edge": {"seconds": [1.0, 1.0], "work": 8, "peak_mb": 400.0},
        "slow": {"seconds": [1.0, 3.0], "work": 4, "peak_mb": 400.0},
    }
    measured = {"boundary": "file → result", "contestants": contestants}
    row = replace(ROWS[0], subject="cxr-edge", baseline="slow", target=4.0, beyond=5.0)
    figure = _figure(row, measured)
    assert (figure["median"], figure["reaches_target"], figure["reaches_beyond"]) == (4.0, True, False)
    assert _figure(replace(row, kind="cost", target=0.2), measured)["median"] == pytest.approx((1 / 2 + 1 / 6) / 2)
    memory = _figure(replace(row, baseline=None, kind="memory", target=450.0, beyond=300.0), measured)
    assert (memory["reaches_target"], memory["reaches_beyond"]) == (True, False)
    contestants["slow"] = {"not_measured": "torch is not installed"}
    assert _figure(row, measured)["not_measured"] == "slow: torch is not installed"


def test_a_baseline_with_other_probabilities_is_a_failure():
    bundle = read_bundle()
    (comparison,) = comparisons_for(choose_rows(["directory-slim", "directory-keras"]))
    names = bundle.manifest.label_names
    raw = np.full((2, len(names)), 0.25)
    ours = calibrate(raw, bundle.manifest.curves("single"), names)
    answers = {"cxr-edge": ours, "slim graph, serial": raw, "Keras imread + predict(32)": raw + 0.01}
    contestants = {name: {} for name in answers}
    _compare_probabilities(bundle, comparison, answers, contestants)
    assert contestants["slim graph, serial"] == {"max_difference": 0.0}
    assert "computes something else" in contestants["Keras imread + predict(32)"]["failed"]
    (fault,) = faults({"comparisons": {"directory": {"contestants": contestants}}})
    assert fault.startswith("directory: Keras imread + predict(32): expected the probabilities of cxr-edge")


@pytest.mark.parametrize(
    ("kind", "now", "verdict"),
    [
        ("speed", {"median": 2.1, "p10": 2.0, "p90": 2.2}, "within noise"),
        ("speed", {"median": 2.5, "p10": 2.4, "p90": 2.6}, "better"),
        ("speed", {"median": 1.5, "p10": 1.4, "p90": 1.6}, "worse"),
        ("cost", {"median": 2.5, "p10": 2.4, "p90": 2.6}, "worse"),
        ("memory", {"median": 2.05, "p10": 2.05, "p90": 2.05}, "within noise"),
        ("memory", {"median": 1.5, "p10": 1.5, "p90": 1.5}, "better"),
        ("speed", {"median": 2.5, "p10": 2.5, "p90": 2.5, "n": 1}, "too few rounds"),
        ("speed", {"not_measured": "torch is not installed"}, "not comparable: not measured in both"),
    ],
)
def test_a_change_is_distinguished_from_noise(kind, now, verdict):
    before = {"title": "a row", "kind": kind, "n": 7, "median": 2.0, "p10": 1.9, "p90": 2.1}
    conditions = {"bundle": "b", "images": 8, "machine": {"processor": "p", "usable_cores": 2, "packages": {}}}
    new = {"title": "a row", "kind": kind, "n": 7, **now}
    report = compare({**conditions, "rows": {"row": before}}, {**conditions, "rows": {"row": new}})
    assert report.splitlines()[-1].endswith(f"| {verdict} |")
    assert "Not under the same conditions" not in report
    other = {**conditions, "images": 9, "rows": {"another": before}}
    report = compare({**conditions, "rows": {"row": before}}, other)
    assert "images: 8, now 9" in report
    assert [line.rsplit("| ", 1)[1] for line in report.splitlines()[-2:]] == [
        "not in this run |",
        "not in the old run |",
    ]


@pytest.mark.slow
@pytest.mark.training
def test_the_command_runs_and_reports_what_it_measured(tmp_path):
    stand_in = tmp_path / "path" / "openvino"
    stand_in.mkdir(parents=True)
    (stand_in / "__init__.py").write_text("raise ModuleNotFoundError('no module openvino', name='openvino')")
    out = tmp_path / "out"
    rows = ["directory-keras", "directory-slim", "directory-openvino", "directory-memory"]
    command = [sys.executable, "-m", "benchmarks", "--count", "2", "--rounds", "1", "--out", str(out)]
    command += [argument for row in rows for argument in ("--only", row)]
    environment = {**os.environ, "PYTHONPATH": str(stand_in.parent)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    record = json.loads((out / "figures.json").read_text())
    assert record["rows"]["directory-keras"]["median"] > 0
    assert record["rows"]["directory-memory"]["median"] > 10
    missing = "OpenVINO THROUGHPUT: openvino is not installed; pip install '.[openvino]' in the clone"
    assert record["rows"]["directory-openvino"]["not_measured"] == missing
    assert record["comparisons"]["directory"]["contestants"]["Keras imread + predict(32)"]["max_difference"] < 1e-4
    assert record["gates"]["fp32"]["images"] > 0
    assert "| directory, against Keras imread + predict(32) |" in done.stdout
    assert (out / "report.md").read_text().strip() == done.stdout.strip()
    assert (out / "ratios.png").stat().st_size > 1000


@pytest.mark.parametrize("wrong", [["--only", "no-such-row"], ["--images", "."], ["--compare", "old.json"]])
def test_wrong_usage_is_refused(tmp_path, wrong):
    (tmp_path / "old.json").write_text('{"machine": {}}')
    arguments = [*wrong[:1], str(tmp_path / wrong[1]) if wrong[0] != "--only" else wrong[1]]
    command = [sys.executable, "-m", "benchmarks", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 2, done.stderr
