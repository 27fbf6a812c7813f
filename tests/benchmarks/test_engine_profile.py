"""The profile of the network has every node once, and products with their operations."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks.baselines.flops import count_flops
from benchmarks.engine_profile import flops, main, operators, profile
from cxr_edge.model.bundle import read_bundle

RUNS = 3


@pytest.fixture(scope="module")
def graph():
    bundle = read_bundle()
    return bundle.files[bundle.manifest.variant("fp32").model]


@pytest.fixture(scope="module")
def events(graph):
    return profile(graph, "probabilities", {"image": np.zeros((1, 224, 224), np.uint8)}, RUNS)


def test_every_node_is_timed_in_every_run(events):
    names = [event["name"] for event in events]
    assert {names.count(name) for name in names} == {RUNS}
    assert sum(row["nodes"] for row in operators(events, RUNS)) == len(set(names))


def test_the_operations_are_those_of_the_graph_but_for_padded_channels(events, graph):
    counted = sum(flops(event["args"]) for event in events) / RUNS
    assert 1 <= counted / count_flops(graph) < 1.1


def test_products_have_a_rate_and_the_shares_are_of_one_whole(events):
    rows = operators(events, RUNS)
    assert sum(row["share"] for row in rows) == pytest.approx(1)
    assert {row["operator"] for row in rows if row["gflops"]} >= {"Conv", "Conv, depthwise"}
    assert not any(row["gflops"] for row in rows if row["operator"] in {"QuickGelu", "Mul"})


def test_the_command_prints_the_share_in_reach(tmp_path):
    import typer

    app = typer.Typer()
    app.command()(main)
    done = CliRunner().invoke(app, ["--runs", "2", "--out", str(tmp_path / "profile.json")])
    assert done.exit_code == 0, done.output
    figures = json.loads((tmp_path / "profile.json").read_text())
    assert figures["share_of_sgemm"] < figures["share_of_sgemm_if_products_alone"]
    assert f"{figures['share_of_sgemm']:.0%}" in done.output
