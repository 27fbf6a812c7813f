"""Companions of heads that Keras made, against its automatic differentiation."""

from collections.abc import Callable

import keras
import numpy as np
import onnx
import pytest
import tensorflow as tf
import tf2onnx
from keras import layers, ops

from cxr_edge.backends import open_graph
from cxr_edge.model.bundle import SHIPPED
from export.companion.build import companion
from export.companion.features import named_features
from export.companion.maps import METHODS
from export.errors import NoCompanion
from export.maps import largest_difference
from export.parity import TOLERANCES, gradient_tape_maps
from training.network.architecture import LOGITS

LABELS = 5


def mlp(features):
    x = layers.GlobalAveragePooling2D()(features)
    x = layers.Dropout(0.3)(layers.Dense(16, activation="silu")(x))
    return layers.Dense(LABELS)(layers.LayerNormalization()(x))


def gelu(features):
    """By the error function (Keras's own writes one that ONNX does not know), and by its approximation."""
    x = layers.Dense(16)(layers.GlobalAveragePooling2D()(features))
    x = x * (1 + ops.erf(x * 2**-0.5)) / 2
    return layers.Dense(LABELS)(ops.gelu(layers.Dense(16)(x), approximate=True))


def average_and_maximum(features):
    pooled = [layers.GlobalAveragePooling2D()(features), layers.GlobalMaxPooling2D()(features)]
    return layers.Dense(LABELS)(layers.Concatenate()(pooled))


def densenet(features):
    x = layers.BatchNormalization(moving_mean_initializer="random_normal", gamma_initializer="random_normal")(features)
    return layers.Dense(LABELS)(layers.GlobalAveragePooling2D()(layers.ReLU()(x)))


def pcam(features):
    """Probabilistic-CAM pooling (Ye et al. 2020): each label weighs positions by its own probability there."""
    logits = []
    for _ in range(LABELS):
        score = layers.Conv2D(1, 1)
        weights = ops.sigmoid(score(features))
        weights = weights / ops.sum(weights, axis=(1, 2), keepdims=True)
        pooled = ops.sum(features * weights, axis=(1, 2), keepdims=True)
        logits.append(layers.Flatten()(score(pooled)))
    return layers.Concatenate()(logits)


def attention_pooling(features):
    """Gated attention (Ilse et al. 2018)."""
    tokens = layers.Reshape((-1, features.shape[-1]))(features)
    gated = layers.Dense(8, activation="tanh")(tokens) * layers.Dense(8, activation="sigmoid")(tokens)
    weights = ops.softmax(layers.Dense(1)(gated), axis=1)
    return layers.Dense(LABELS)(ops.sum(tokens * weights, axis=1))


def multi_head_attention(features):
    tokens = layers.Reshape((-1, features.shape[-1]))(features)
    query = layers.GlobalAveragePooling1D(keepdims=True)(tokens)
    pooled = layers.MultiHeadAttention(num_heads=2, key_dim=6)(query, tokens)
    return layers.Dense(LABELS)(layers.Flatten()(pooled))


def convolution_squeeze_and_log_sum_exp(features):
    x = features + layers.DepthwiseConv2D(3, padding="same", activation="hard_silu")(features)
    gate = layers.Dense(features.shape[-1], activation="sigmoid")(layers.GlobalAveragePooling2D(keepdims=True)(x))
    x = layers.Conv2D(8, 3, strides=2, padding="same")(x * gate)
    return layers.Dense(LABELS)(ops.logsumexp(x, axis=(1, 2)))


def mean_of_members(features):
    members = [ops.sigmoid(mlp(features)), ops.sigmoid(average_and_maximum(features))]
    return (members[0] + members[1]) / 2


HEADS = (
    mlp,
    gelu,
    average_and_maximum,
    densenet,
    pcam,
    attention_pooling,
    convolution_squeeze_and_log_sum_exp,
    mean_of_members,
)


@pytest.fixture(scope="module", params=HEADS, ids=lambda head: head.__name__)
def head(request) -> tuple[keras.Model, onnx.ModelProto]:
    """A head with drawn weights, and the same as ONNX."""
    return converted(request.param)


def converted(make: Callable) -> tuple[keras.Model, onnx.ModelProto]:
    keras.utils.set_random_seed(3)
    features = keras.Input((6, 5, 12), name="features")
    model = keras.Model(features, make(features))
    signature = [tf.TensorSpec((None, 6, 5, 12), tf.float32, name="features")]
    graph, _ = tf2onnx.convert.from_keras(model, input_signature=signature, opset=17)
    return model, graph


@pytest.mark.parametrize("method", METHODS)
def test_the_maps_are_those_of_the_tape(head, method):
    model, graph = head
    features = np.random.default_rng(0).normal(size=(4, 6, 5, 12)).astype(np.float32)
    made = companion(graph, method, features="features", logits=graph.graph.output[0].name)
    (found,) = open_graph(made.SerializeToString()).run(["maps"], {"features": features})
    assert largest_difference(found, gradient_tape_maps(model, features, method)) < TOLERANCES.maps / 10


def test_heads_and_images_in_one_axis_are_refused():
    """As tf2onnx writes Keras's multi-head attention: there is no axis for the labels of an image."""
    _, graph = converted(multi_head_attention)
    with pytest.raises(NoCompanion, match=r"Reshape .* it joins the images of a batch with another axis"):
        companion(graph, features="features", logits=graph.graph.output[0].name)


@pytest.mark.parametrize("method", METHODS)
def test_a_cut_deep_in_the_shipped_network(trained_keras, method):
    """14x14 positions, before eleven blocks of EfficientNet: depthwise convolutions, squeeze and excite, additions."""
    network = keras.models.load_model(trained_keras, compile=False)
    deep = keras.Model(network.get_layer("block4a_project_bn").output, network.get_layer(LOGITS).output)
    values = np.random.default_rng(0).normal(size=(1, 14, 14, 80)).astype(np.float32)
    shipped = onnx.load(SHIPPED / "model.onnx")
    (name,) = (n.output[0] for n in shipped.graph.node if "block4a_project_conv" in " ".join(n.input))
    assert named_features(shipped, name, None).layout == "channels_first"
    made = companion(shipped, method, features=name)
    (found,) = open_graph(made.SerializeToString()).run(["maps"], {name: values.transpose(0, 3, 1, 2)})
    assert found.shape == (1, network.output_shape[-1], 14, 14)
    assert largest_difference(found, gradient_tape_maps(deep, values, method)) < TOLERANCES.maps
