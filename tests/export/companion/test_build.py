"""The generated graph: any batch, any opset, the features it finds, and what it refuses."""

from collections import Counter

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from cxr_edge.backends import open_graph
from cxr_edge.model.bundle import SHIPPED
from export.companion import oracle
from export.companion.build import companion
from export.companion.features import find_features, named_features
from export.companion.head import cut_head
from export.companion.maps import METHODS
from export.companion.rules import RULES
from export.companion.step import Back, Step
from export.errors import ExportError, NoCompanion
from export.float16 import to_float16
from tests.export.companion.heads import HEADS, agreement, read_head, values


def kinds(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


def maps_of(model: onnx.ModelProto, features: np.ndarray) -> np.ndarray:
    (maps,) = open_graph(model.SerializeToString()).run(["maps"], {model.graph.input[0].name: features})
    return maps


@pytest.fixture(scope="module")
def shipped() -> onnx.ModelProto:
    return onnx.load(SHIPPED / "model.onnx")


@pytest.fixture(scope="module")
def last_conv() -> np.ndarray:
    drawn = np.random.default_rng(2).normal(size=(3, 7, 7, 1280))
    return np.maximum(drawn, -0.2).astype(np.float32)


@pytest.mark.parametrize("method", METHODS)
def test_the_gradient_of_a_mean_is_not_written_out_for_each_position(shipped, method):
    made = companion(shipped, method)
    assert "Expand" not in kinds(made)
    assert made.ByteSize() < (SHIPPED / "maps.onnx").stat().st_size * 1.01
    assert len(made.graph.node) < 30
    assert [(o.domain, o.version) for o in made.opset_import] == [("", 17)]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", HEADS)
def test_an_image_has_the_same_maps_alone_and_in_any_batch(name, method):
    layout, text = HEADS[name]
    made, features = companion(read_head(layout, text), method, features="A", layout=layout), values(layout, 5)
    together = maps_of(made, features)
    alone = np.concatenate([maps_of(made, image[np.newaxis]) for image in features])
    np.testing.assert_allclose(together, alone, atol=1e-5 * alone.max())


def test_a_batch_of_a_fixed_length():
    layout, text = HEADS["attention pooling"]
    model = read_head(layout, text)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 2
    made = companion(model, features="A", layout=layout)
    assert (
        maps_of(made, values(layout, 2)).shape[0] == made.graph.output[0].type.tensor_type.shape.dim[0].dim_value == 2
    )


def test_half_precision_of_a_companion():
    layout, text = HEADS["convolutions, squeeze and excite, log-sum-exp"]
    made = companion(read_head(layout, text), features="A", layout=layout)
    exact, half = (maps_of(graph, values(layout)) for graph in (made, to_float16(made)))
    np.testing.assert_allclose(half, exact, atol=0.02 * exact.max())


def test_a_rule_that_is_wrong_is_found(monkeypatch, shipped, last_conv):
    right = RULES["Relu"]

    def slightly_off(step: Step) -> Back:
        return {0: step.writer.op("Mul", right(step)[0], step.writer.constant(1.001))}

    for wrong in (lambda step: {0: step.cotangent}, slightly_off):
        monkeypatch.setitem(RULES, "Relu", wrong)
        made, features = companion(shipped), find_features(shipped, "logits")
        head = cut_head(shipped, "last_conv", "logits")
        found = oracle.measure_companion(made, head, features, "layercam", last_conv)
        with pytest.raises(ExportError, match="gradient of the companion graph: expected"):
            oracle.require_agreement(found)


def test_what_is_not_a_number_is_refused():
    with pytest.raises(ExportError, match="maps of the companion graph: expected"):
        oracle.require_agreement(oracle.Agreement(gradient=0, maps=float("nan")))


def test_a_dead_head_has_empty_maps():
    text = """
    <float[12,3] w>
    p = GlobalAveragePool(A) n = Abs(p) m = Neg(n) r = Relu(m) f = Flatten(r) logits = MatMul(f, w)
    """
    found = agreement(read_head("channels_first", text), "channels_first", "layercam")
    assert found == oracle.Agreement(0, 0)


@pytest.mark.parametrize(
    "norm",
    [
        "n = ReduceL2<axes=[1], keepdims=1>(A)",
        "s = ReduceSumSquare<axes=[1], keepdims=1>(A) n = Sqrt(s)",
        "s = ReduceSumSquare<axes=[1], keepdims=1>(A) n = Pow(s, half)",
    ],
)
def test_a_position_of_zeros_does_not_spoil_the_map(norm):
    """Behind a ReLU, in a black corner: the norm of nothing has no derivative."""
    text = f"""
    <float[12,3] w>
    {norm} d = Clip(n, half) u = Div(A, d) p = GlobalAveragePool(u) f = Flatten(p) logits = MatMul(f, w)
    """
    made = companion(read_head("channels_first", text), features="A", layout="channels_first")
    corner = np.abs(values("channels_first"))
    corner[:, :, 0, 0] = 0
    maps = maps_of(made, corner)
    assert np.isfinite(maps).all()
    assert maps.any()


# Opsets


def test_axes_as_inputs_and_an_even_split_of_opset_18():
    text = """
    <float[6,3] w>
    a, b = Split<axis=1, num_outputs=2>(A)
    m = ReduceMean<keepdims=0>(a, axes)
    x = ReduceMax<keepdims=0>(b, axes)
    s = Add(m, x)
    logits = MatMul(s, w)
    """
    model = read_head("channels_first", text, opset=18)
    assert agreement(model, "channels_first", "layercam").gradient < 1e-5
    assert companion(model, features="A", layout="channels_first").opset_import[0].version == 17


def test_axes_as_attributes_of_opset_11():
    text = """
    <float[12,3] w>
    s = ReduceSum<axes=[2,3], keepdims=1>(A)
    f = Squeeze<axes=[2,3]>(s)
    logits = MatMul(f, w)
    """
    assert agreement(read_head("channels_first", text, opset=11), "channels_first", "gradcam").gradient < 1e-5


# Features


def network(body: str, **constants: np.ndarray) -> onnx.ModelProto:
    """A network of two convolutions, (N, 6, 8, 8), and what follows them."""
    text = f"""
    <ir_version: 8, opset_import: ["" : 17]>
    net (float[N, 1, 16, 16] image) => (float[N, 3] logits) {{
        c1 = Conv<strides=[2,2], pads=[0,0,1,1]>(image, k1)
        r1 = Relu(c1)
        c2 = Conv<pads=[1,1,1,1]>(r1, k2)
        r2 = Relu(c2)
        {body}
    }}
    """
    model = onnx.parser.parse_model(text)
    rng = np.random.default_rng(0)
    shapes = {"k1": (4, 1, 3, 3), "k2": (6, 4, 3, 3), "w": (6, 3), "w10": (10, 3)}
    constants |= {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    read = {name for node in model.graph.node for name in node.input}
    model.graph.initializer.extend(numpy_helper.from_array(np.asarray(v), n) for n, v in constants.items() if n in read)
    onnx.checker.check_model(model, full_check=True)
    return model


POOLED = "g = GlobalAveragePool(r2) f = Flatten(g) logits = MatMul(f, w)"


@pytest.mark.parametrize(
    ("body", "name", "layout"),
    [
        (POOLED, "r2", "channels_first"),
        (
            "t = Transpose<perm=[0,2,3,1]>(r2) g = ReduceMean<axes=[1,2], keepdims=0>(t) logits = MatMul(g, w)",
            "t",
            "channels_last",
        ),
        (
            "s = Sigmoid(r2) e = Mul(r2, s) g = GlobalMaxPool(e) f = Flatten(g) logits = MatMul(f, w)",
            "e",
            "channels_first",
        ),
        # Attention weighs positions, but its weights are beside the features, not on the way.
        (
            "t = Reshape(r2, tokens) q = ReduceMean<axes=[1]>(t) a = Softmax(q) u = Mul(t, a) "
            "g = ReduceSum<keepdims=0>(u, last) logits = MatMul(g, w)",
            "r2",
            "channels_first",
        ),
    ],
)
def test_the_features_are_found(body, name, layout):
    model = network(body, tokens=np.array([0, 6, -1]), last=np.array([2]))
    found = find_features(model, "logits")
    assert (found.name, found.layout) == (name, layout)
    assert found.grid == (8, 8)
    assert found.channels == 6
    made = companion(model)
    assert made.graph.input[0].name == name
    assert [d.dim_value or d.dim_param for d in made.graph.output[0].type.tensor_type.shape.dim] == ["N", 3, 8, 8]


def test_features_by_name_deeper_in_the_network():
    found = companion(network(POOLED), features="r1")
    assert [d.dim_value for d in found.graph.output[0].type.tensor_type.shape.dim][1:] == [3, 8, 8]
    assert named_features(network(POOLED), "r1", None).layout == "channels_first"
    pooled = "g = GlobalAveragePool(s2) f = Flatten(g) logits = MatMul(f, w)"
    assert named_features(network(f"s2 = Sum(r2, c2) {pooled}"), "s2", None).layout == "channels_first"
    with pytest.raises(NoCompanion, match="channels of 's2' come first or last does not follow"):
        named_features(network(f"l2 = Shape(r2) s2 = Reshape(r2, l2) {pooled}"), "s2", None)


# Refusals


def refusal(model: onnx.ModelProto, **options: str) -> str:
    with pytest.raises(NoCompanion) as refused:
        companion(model, **options)
    return str(refused.value)


def test_an_operator_without_a_rule_is_named():
    body = "g = GlobalAveragePool(r2) f = Flatten(g) c = CumSum(f, one) logits = MatMul(c, w)"
    message = refusal(network(body, one=np.array(1)))
    assert "CumSum 'c', between 'r2' and 'logits': this operator has no rule" in message
    assert "--maps none" in message


def test_a_form_without_a_rule_is_named():
    body = 'u = Resize<mode="cubic">(r2, , scales) g = GlobalAveragePool(u) f = Flatten(g) logits = MatMul(f, w)'
    message = refusal(network(body, scales=np.float32([1, 1, 2, 2])), features="r2")
    assert "Resize 'u', between 'r2' and 'logits': expected linear" in message


def test_an_input_that_must_be_constant():
    body = """
    g = GlobalAveragePool(r2) f = Flatten(g) s = ReduceMax<axes=[0], keepdims=0>(f)
    n = LayerNormalization(f, s) logits = MatMul(n, w)
    """
    message = refusal(network(body))
    assert "LayerNormalization 'n', between 'r2' and 'logits': its input 's' is computed from the features" in message


def test_logits_that_depend_on_earlier_tensors_besides():
    body = """
    g = GlobalAveragePool(r2) f = Flatten(g) a = GlobalAveragePool(r1) b = Flatten(a)
    j = Concat<axis=1>(f, b) logits = MatMul(j, w10)
    """
    message = refusal(network(body), features="r2")
    assert "'logits' depend on 'r2' and on 'b' (an input of Concat) besides" in message
    assert companion(network(body), features="r1").graph.input[0].name == "r1"


def test_a_batch_that_is_read_from_the_image():
    body = """
    s = Shape<end=1>(image) j = Concat<axis=0>(s, six) g = GlobalAveragePool(r2) f = Reshape(g, j)
    logits = MatMul(f, w)
    """
    assert "Reshape between 'r2' and 'logits' takes indices that are counted from the length of the batch" in refusal(
        network(body, six=np.array([6])), features="r2"
    )


def test_a_vision_transformer_has_no_positions():
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    vit (float[N, 1, 16, 16] image) => (float[N, 3] logits) {
        p = Conv<strides=[4,4]>(image, k)
        t = Reshape(p, tokens)
        x = Transpose<perm=[0,2,1]>(t)
        q = MatMul(x, wq)
        a = MatMul(q, t)
        s = Softmax(a)
        v = MatMul(s, x)
        y = Add(x, v)
        m = ReduceMean<axes=[1], keepdims=0>(y)
        logits = MatMul(m, w)
    }
    """
    model = onnx.parser.parse_model(text)
    rng = np.random.default_rng(0)
    weights = {"k": (8, 1, 4, 4), "wq": (8, 8), "w": (8, 3)}
    constants = {name: rng.normal(size=shape).astype(np.float32) for name, shape in weights.items()}
    constants["tokens"] = np.array([0, 8, 16])
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    assert "(a vision transformer has none)" in refusal(model)
    assert "expected four axes of known lengths, got [0, 16, 8]" in refusal(model, features="y")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"features": "nothing"}, "no tensor 'nothing'"),
        ({"logits": "nothing"}, "no tensor 'nothing'"),
        ({"features": "f"}, "'f' has no positions: expected four axes of known lengths, got [0, 6]"),
        ({"features": "r2", "logits": "g"}, "expected one logit for each label"),
        ({"features": "r2", "logits": "r1"}, "'r1' do not depend on 'r2'"),
    ],
)
def test_names_that_do_not_fit(options, message):
    assert message in refusal(network(POOLED), **options)


def test_logits_without_a_gradient():
    model = network("g = GlobalAveragePool(r2) f = Flatten(g) h = Floor(f) logits = MatMul(h, w)")
    assert "have no gradient by 'r2'" in refusal(model)


def test_a_head_of_half_precision_is_differentiated_in_single():
    model = network(
        "h = Cast<to=10>(r2) c = Cast<to=1>(h) g = GlobalAveragePool(c) f = Flatten(g) logits = MatMul(f, w)"
    )
    assert "expected a float32 tensor" in refusal(model, features="h")
    double = network(
        "h = Cast<to=11>(r2) c = Cast<to=1>(h) g = GlobalAveragePool(c) f = Flatten(g) logits = MatMul(f, w)"
    )
    assert "'r2' and 'logits': the head computes in another precision" in refusal(double, features="r2")
    features = np.random.default_rng(0).random((2, 6, 8, 8), np.float32)
    single = network("g = GlobalAveragePool(r2) f = Flatten(g) logits = MatMul(f, w)")
    made, expected = (companion(m, "layercam", features="r2", layout="channels_first") for m in (model, single))
    np.testing.assert_array_equal(maps_of(made, features), maps_of(expected, features))


def test_an_opset_that_has_no_way_back():
    text = "<float[12,3] w> p = GlobalAveragePool(A) s = Swish(p) f = Flatten(s) logits = MatMul(f, w)"
    model = read_head("channels_first", text, opset=24)
    assert "export the model to ONNX with opset 17" in refusal(model, features="A", layout="channels_first")


def test_a_method_that_is_none():
    with pytest.raises(ValueError, match="expected one of the methods layercam, gradcam, got 'eigencam'"):
        companion(network(POOLED), "eigencam")
