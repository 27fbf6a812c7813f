"""The float16 variant: valid, half inside, float32 at its ends, rounded with care; judged as a GPU rounds."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from cxr_edge.backends import open_graph
from cxr_edge.model.bundle import read_bundle
from export.errors import ExportError
from export.float16 import emulated, to_float16
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def shipped() -> dict[str, onnx.ModelProto]:
    files = read_bundle().files
    return {name: onnx.load_from_string(files[name]) for name in ("model.onnx", "maps.onnx")}


@pytest.fixture(scope="module")
def half(shipped) -> onnx.ModelProto:
    return to_float16(shipped["model.onnx"])


def kernels(model: onnx.ModelProto) -> list[TensorProto]:
    names = {node.input[1] for node in model.graph.node if node.op_type == "Conv"}
    return [tensor for tensor in model.graph.initializer if tensor.name in names]


def types(model: onnx.ModelProto) -> dict[str, int]:
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    values = [*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output]
    return {v.name: v.type.tensor_type.elem_type for v in values}


def test_the_bundle_ships_what_the_converter_makes(shipped):
    files = read_bundle().files
    for name, model in shipped.items():
        assert to_float16(model).SerializeToString() == files[name.replace(".onnx", ".fp16.onnx")]


def test_every_convolution_is_half_and_the_ends_are_not(half):
    of = types(half)
    convolutions = [node for node in half.graph.node if node.op_type == "Conv"]
    assert len(convolutions) == 81
    assert {of[node.output[0]] for node in convolutions} == {TensorProto.FLOAT16}
    ends = {v.name: v.type.tensor_type.elem_type for v in (*half.graph.input, *half.graph.output)}
    assert ends.pop("image") == TensorProto.UINT8
    assert set(ends.values()) == {TensorProto.FLOAT}


def test_normalisation_and_final_sigmoid_stay_in_single_precision(half):
    of = types(half)
    before = half.graph.node[: next(i for i, node in enumerate(half.graph.node) if node.op_type == "Conv")]
    arithmetic = [node for node in before if node.op_type in ("Mul", "Add", "Sub", "Div")]
    assert arithmetic
    assert {of[node.output[0]] for node in arithmetic} == {TensorProto.FLOAT}
    (sigmoid,) = [node for node in half.graph.node if "probabilities" in node.output]
    assert sigmoid.op_type == "Sigmoid"
    assert list(sigmoid.input) == ["logits"]


def test_few_casts(half):
    assert sum(node.op_type == "Cast" for node in half.graph.node) == 5


def test_a_half_graph_cut_at_the_last_convolution_is_a_runnable_head(half):
    head = onnx.utils.Extractor(half).extract_model(["last_conv"], ["logits"])
    onnx.checker.check_model(head, full_check=True)
    (logits,) = open_graph(head.SerializeToString()).run(
        ["logits"], {"last_conv": np.ones((2, 7, 7, 1280), np.float32)}
    )
    assert np.isfinite(logits).all()


def test_a_weight_beyond_half_precision_is_named(shipped):
    model = onnx.ModelProto()
    model.CopyFrom(shipped["model.onnx"])
    tensor = kernels(model)[0]
    values = numpy_helper.to_array(tensor).copy()
    values.flat[0] = -65_536
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    with pytest.raises(ExportError, match=r"±65504.*got 65536") as refusal:
        to_float16(model)
    assert tensor.name in str(refusal.value)


def test_kernels_keep_their_sums(shipped, half):
    """Error diffusion leaves at most one rounding in a filter's sum, plain rounding a walk of all of them."""
    halves = {t.name: numpy_helper.to_array(t) for t in half.graph.initializer}
    diffused, plain = [], []
    for tensor in kernels(shipped["model.onnx"]):
        name, kernel = tensor.name, numpy_helper.to_array(tensor)
        exact = kernel.astype(np.float64).reshape(len(kernel), -1).sum(axis=1)
        rounded = halves[f"{name}/float16"]
        assert np.abs(rounded - kernel).max() <= np.abs(kernel).max() * 2**-10
        diffused.append(np.abs(rounded.astype(np.float64).reshape(len(kernel), -1).sum(axis=1) - exact).mean())
        nearest = kernel.astype(np.float16).astype(np.float64).reshape(len(kernel), -1)
        plain.append(np.abs(nearest.sum(axis=1) - exact).mean())
    assert np.mean(diffused) < 0.5 * np.mean(plain)


def test_the_emulation_rounds_more_than_the_cpu_does(shipped, half):
    """ONNX Runtime's CPU keeps float32 between half operators, so the gate does not rely on it."""
    from export.images import load_gate_images

    images = load_gate_images(ROOT / "samples", (224, 224))
    exact, on_cpu, rounded = (
        open_graph(model.SerializeToString()).run(["logits"], {"image": images})[0]
        for model in (shipped["model.onnx"], half, emulated(half))
    )
    assert 0 < np.abs(on_cpu - exact).mean() < np.abs(rounded - exact).mean() < 0.02


def test_emulated_values_are_numbers_of_half_precision(half):
    """Each tensor of the emulation that stands for a half one holds only what float16 can hold."""
    rounding = emulated(half)
    convolution = next(node.output[0].removesuffix("/exact") for node in rounding.graph.node if node.op_type == "Conv")
    rounding.graph.output.append(onnx.helper.make_tensor_value_info(convolution, TensorProto.FLOAT, None))
    (values,) = open_graph(rounding.SerializeToString()).run(
        [convolution], {"image": np.arange(224 * 224, dtype=np.uint8).reshape(1, 224, 224)}
    )
    np.testing.assert_array_equal(values, values.astype(np.float16).astype(np.float32))
