"""NVIDIA's own parser and builder, without a GPU: TensorRT for RTX accepts the shipped model and builds it."""

import json
import subprocess
import sys

import onnx
import pytest
from onnx import TensorProto, helper

from cxr_edge.backends.tensorrt.build import Profile, Settings, build_engine
from cxr_edge.backends.tensorrt.library import load_library
from cxr_edge.backends.tensorrt.parse import parsed, refusals
from cxr_edge.errors import DeviceUnavailable, EngineBuildFailed, ModelRefused
from cxr_edge.model.bundle import read_bundle


@pytest.fixture(scope="module")
def library():
    return load_library("tensorrt_rtx")


@pytest.fixture(scope="module")
def files():
    return read_bundle().files


@pytest.fixture(scope="module")
def strange(files) -> bytes:
    """Return the shipped model with a node that TensorRT does not support."""
    model = onnx.load_from_string(files["model.fp16.onnx"])
    model.graph.node.append(helper.make_node("Unique", ["logits"], ["seldom"], name="the_strange_one"))
    model.graph.output.append(helper.make_tensor_value_info("seldom", TensorProto.FLOAT, [None]))
    return model.SerializeToString()


@pytest.mark.parametrize("name", ["model.fp16.onnx", "maps.fp16.onnx", "model.onnx", "maps.onnx"])
def test_the_parser_accepts_the_whole_graph(library, files, name):
    assert refusals(library, files[name]) == []


def test_every_convolution_is_parsed_in_half_precision(library, files):
    trt = library.module
    with parsed(library, files["model.fp16.onnx"]) as parsing:
        layers = [parsing.network.get_layer(index) for index in range(parsing.network.num_layers)]
        convolutions = [layer for layer in layers if layer.type == trt.LayerType.CONVOLUTION]
        assert len(convolutions) == 81
        assert {layer.get_output(0).dtype for layer in convolutions} == {trt.float16}
        image = parsing.network.get_input(0)
        assert (image.dtype, tuple(image.shape)) == (trt.uint8, (-1, 224, 224))
        outputs = [parsing.network.get_output(index) for index in range(parsing.network.num_outputs)]
        assert {output.dtype for output in outputs} == {trt.float32}
        assert {output.name for output in outputs} == {"probabilities", "logits", "last_conv"}
        del layers, convolutions, image, outputs


@pytest.mark.parametrize("architecture", ["sm_75", "sm_80", "sm_86", "sm_89", "sm_120"])
def test_an_engine_is_built_for_each_architecture(library, files, architecture):
    phases = {}

    def progress(name, done):
        phases[name] = done

    built = build_engine(library, files["model.fp16.onnx"], Settings(architecture), progress=progress)
    assert len(built.plan) > len(files["model.fp16.onnx"])
    assert phases
    assert set(phases.values()) == {1.0}


def test_the_companion_and_single_precision_are_built(library, files):
    for name in ("maps.fp16.onnx", "maps.onnx"):
        assert len(build_engine(library, files[name], Settings("sm_86")).plan) > 10**6


def test_half_precision_engines_are_smaller(library, files):
    half, single = (
        len(build_engine(library, files[name], Settings("sm_86")).plan) for name in ("model.fp16.onnx", "model.onnx")
    )
    assert half < 0.75 * single


def test_an_unknown_architecture_is_refused_with_a_list_of_the_known(library, files):
    with pytest.raises(DeviceUnavailable, match=r"builds for sm_75, .*, sm_86, .*, not for 'sm_70'"):
        build_engine(library, files["maps.fp16.onnx"], Settings("sm_70"))


def test_a_node_that_is_refused_is_named(library, strange):
    (refusal,) = refusals(library, strange)
    assert (refusal.operator, refusal.node) == ("Unique", "the_strange_one")
    with pytest.raises(ModelRefused, match="Unique the_strange_one"):
        build_engine(library, strange, Settings("sm_86"))


def test_nonsense_is_refused(library):
    assert refusals(library, b"no graph")
    with pytest.raises(ModelRefused):
        build_engine(library, b"no graph", Settings("sm_86"))


@pytest.mark.parametrize(
    "settings", [Settings("sm_86", hardware="ampere_plus"), Settings("sm_86", version_compatible=True)]
)
def test_rtx_builds_for_one_gpu_and_version(library, files, settings):
    with pytest.raises(EngineBuildFailed, match="leave both options out"):
        build_engine(library, files["maps.fp16.onnx"], settings)


def test_what_progress_raises_ends_the_build(library, files):
    def interrupted(phase, done):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_engine(library, files["model.fp16.onnx"], Settings("sm_86"), progress=interrupted)


@pytest.mark.parametrize("sizes", [(0, 1, 2), (6, 1, 32), (1, 32, 6), (1, 6, 5000)])
def test_batches_must_rise(sizes):
    with pytest.raises(ValueError, match="rising order"):
        Profile(*sizes)


def test_check_on_the_command_line(strange, tmp_path):
    (tmp_path / "strange.onnx").write_bytes(strange)
    command = [sys.executable, "-m", "cxr_edge", "engine", "check"]
    shipped = subprocess.run(command, capture_output=True, text=True, check=False)
    accepted = "model.fp16.onnx: all nodes accepted\nmaps.fp16.onnx: all nodes accepted\n"
    assert (shipped.returncode, shipped.stdout) == (0, accepted)
    refused = subprocess.run([*command, tmp_path / "strange.onnx"], capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert "1 node refused\n  Unique the_strange_one: " in refused.stdout
    listed = subprocess.run(
        [*command, tmp_path / "strange.onnx", "--json"], capture_output=True, text=True, check=False
    )
    ((found,),) = json.loads(listed.stdout)["refused"].values()
    assert found["node"] == "the_strange_one"
