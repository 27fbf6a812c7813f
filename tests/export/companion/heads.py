"""Heads of networks as ONNX: drawn weights, and the features to run them on."""

import numpy as np
import onnx
import onnx.parser
from onnx import numpy_helper

from export.companion.build import companion
from export.companion.features import named_features
from export.companion.head import cut_head
from export.companion.oracle import Agreement, measure_companion

CHANNELS, HEIGHT, WIDTH, LABELS = 12, 5, 4, 3

#: Name → layout of the features A, and the head as ONNX's text; weights are drawn by the shapes that are declared.
HEADS = {
    "mlp": (
        "channels_last",
        """
        <float[12,8] w1, float[8] b1, float[8,3] w2, float[3] b2>
        p = ReduceMean<axes=[1,2], keepdims=0>(A)
        m = MatMul(p, w1)
        z = Add(m, b1)
        r = LeakyRelu(z)
        s = Sigmoid(r)
        t = Mul(r, s)
        logits = Gemm(t, w2, b2)
        """,
    ),
    "mean of everything": (
        "channels_first",
        """
        <float[1,3] w>
        m = ReduceMean<axes=[1,2,3], keepdims=0>(A)
        u = Unsqueeze(m, one_axis)
        logits = MatMul(u, w)
        """,
    ),
    "average and maximum": (
        "channels_first",
        """
        <float[3,24] w, float[3] b>
        p = GlobalAveragePool(A)
        q = GlobalMaxPool(A)
        j = Concat<axis=1>(p, q)
        f = Flatten(j)
        logits = Gemm<transB=1, alpha=0.5>(f, w, b)
        """,
    ),
    "densenet": (
        "channels_first",
        """
        <float[12] g, float[12] o, float[12] e, float[12] v, float[12,3] w>
        n = BatchNormalization(A, g, o, e, v)
        r = Relu(n)
        p = ReduceMean<axes=[2,3], keepdims=1>(r)
        f = Squeeze(p, axes)
        logits = MatMul(f, w)
        """,
    ),
    "gelu": (
        "channels_last",
        """
        <float[12,8] w1, float[8,3] w2>
        p = ReduceMean<axes=[1,2], keepdims=0>(A)
        z = MatMul(p, w1)
        d = Div(z, root2)
        e = Erf(d)
        c = Add(one, e)
        h = Mul(c, half)
        g = Mul(z, h)
        logits = MatMul(g, w2)
        """,
    ),
    "attention pooling": (
        "channels_first",
        """
        <float[2,12] q, float[24] s, float[24] o, float[24,3] w>
        t = Reshape(A, tokens)
        a = MatMul(q, t)
        a1 = Softmax<axis=-1>(a)
        u = Transpose<perm=[0,2,1]>(t)
        p = MatMul(a1, u)
        f = Flatten(p)
        l = LayerNormalization(f, s, o)
        logits = MatMul(l, w)
        """,
    ),
    "gated attention pooling, tokens first": (
        "channels_last",
        """
        <float[12,6] v, float[12,6] u, float[6,1] q, float[12,3] w>
        t = Reshape(A, tokens_last)
        tv = MatMul(t, v)
        tu = MatMul(t, u)
        h = Tanh(tv)
        g = Sigmoid(tu)
        hg = Mul(h, g)
        a = MatMul(hg, q)
        a1 = Softmax<axis=1>(a)
        at = Transpose<perm=[0,2,1]>(a1)
        p = MatMul(at, t)
        f = Squeeze(p, one_axis)
        logits = MatMul(f, w)
        """,
    ),
    "convolutions, squeeze and excite, log-sum-exp": (
        "channels_first",
        """
        <float[12,3,3,3] k1, float[12] b1, float[4,12,1,1] k2, float[12,4,1,1] k3, float[8,12,3,3] k4, float[8,3] w>
        c = Conv<pads=[1,1,1,1], group=4>(A, k1, b1)
        x = Add(A, c)
        s = GlobalAveragePool(x)
        s1 = Conv(s, k2)
        s2 = HardSwish(s1)
        s3 = Conv(s2, k3)
        s4 = HardSigmoid(s3)
        y = Mul(x, s4)
        d = Conv<pads=[0,1,1,0], strides=[2,2]>(y, k4)
        r = Elu(d)
        f = Reshape(r, eight_channels)
        l = ReduceLogSumExp<axes=[2], keepdims=0>(f)
        logits = MatMul(l, w)
        """,
    ),
    "mean of members": (
        "channels_first",
        """
        <float[12,3] w1, float[12,3] w2, float[3] b>
        p = GlobalAveragePool(A)
        f = Flatten(p)
        m1 = MatMul(f, w1)
        z1 = Add(m1, b)
        x = ReduceMax<axes=[2,3], keepdims=0>(A)
        z2 = MatMul(x, w2)
        s1 = Sigmoid(z1)
        s2 = Sigmoid(z2)
        s = Sum(s1, s2)
        logits = Mul(s, half)
        """,
    ),
    "parts of the channels, normalised": (
        "channels_first",
        """
        <float[6] g, float[6] o, float[6,3] w>
        a, b = Split<axis=1>(A, six_six)
        i = InstanceNormalization(a, g, o)
        n = Softplus(b)
        l = Log(n)
        e = Clip(l, low, high)
        x = Sub(i, e)
        q = AveragePool<kernel_shape=[2,2], strides=[2,1], pads=[1,0,0,1]>(x)
        v = Pow(q, two)
        u = ReduceMean<axes=[2,3], keepdims=1>(v)
        u1 = Add(u, one)
        r = Sqrt(u1)
        y = Div(q, r)
        k = Slice(y, start, end, axis)
        m = ReduceMean<axes=[2,3], keepdims=0>(k)
        logits = MatMul(m, w)
        """,
    ),
    "enlarged": (
        "channels_first",
        """
        <float[3,12,1,1] k>
        u = Resize<mode="linear", coordinate_transformation_mode="half_pixel">(A, , doubled)
        t = Tanh(u)
        c = Conv(t, k)
        p = Pad(c, frame)
        g = GlobalAveragePool(p)
        logits = Flatten(g)
        """,
    ),
}
CONSTANTS = {
    "axes": np.array([2, 3]),
    "root2": np.float32(2**0.5),
    "one": np.float32(1),
    "two": np.float32(2),
    "half": np.float32(0.5),
    "low": np.float32(-0.7),
    "high": np.float32(0.9),
    "tokens": np.array([0, CHANNELS, HEIGHT * WIDTH]),
    "tokens_last": np.array([0, HEIGHT * WIDTH, CHANNELS]),
    "eight_channels": np.array([0, 8, -1]),
    "one_axis": np.array([1]),
    "six_six": np.array([6, 6]),
    "start": np.array([-3]),
    "end": np.array([99]),
    "axis": np.array([2]),
    "doubled": np.float32([1, 1, 2, 1.5]),
    "frame": np.array([0, 0, 1, 0, 0, 0, 2, 1]),
}


def shape_of(layout: str) -> tuple[int, int, int]:
    return (HEIGHT, WIDTH, CHANNELS) if layout == "channels_last" else (CHANNELS, HEIGHT, WIDTH)


def read_head(layout: str, text: str, opset: int = 17) -> onnx.ModelProto:
    """A head from its text: weights are drawn, and constants taken from `CONSTANTS`."""
    declared, body = ("", text) if "<float" not in text else text.split(">", 1)
    batch = ", ".join(map(str, ("N", *shape_of(layout))))
    graph = f"head (float[{batch}] A) => (float[N, {LABELS}] logits) {declared}{'>' if declared else ''} {{ {body} }}"
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}]> {graph}')
    rng = np.random.default_rng(7)
    drawn = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in model.graph.value_info}
    weights = {name: rng.normal(size=dims).astype(np.float32) for name, dims in drawn.items()}
    if "v" in weights and weights["v"].ndim == 1:
        weights["v"] = np.abs(weights["v"]) + 0.5  # a variance
    read = {name for node in model.graph.node for name in node.input}
    weights |= {name: value for name, value in CONSTANTS.items() if name in read}
    del model.graph.value_info[:]
    model.graph.initializer.extend(numpy_helper.from_array(np.asarray(value), n) for n, value in weights.items())
    onnx.checker.check_model(model, full_check=True)
    return model


def values(layout: str, images: int = 3) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(images, *shape_of(layout))).astype(np.float32)


def agreement(model: onnx.ModelProto, layout: str, method: str) -> Agreement:
    made = companion(model, method, features="A", layout=layout)
    features, head = named_features(model, "A", layout), cut_head(model, "A", "logits")
    return measure_companion(made, head, features, method, values(layout))
