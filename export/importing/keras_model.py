"""A Keras file as a classifier of a bundle."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnxslim
import tensorflow as tf
import tf2onnx

from export.errors import ExportError
from export.importing.onnx_model import from_onnx
from export.importing.source import Conventions, Imported
from export.tensors import OPSET
from training.files import hash_of_file
from training.network.architecture import to_float32


def read_keras(file: Path, how: Conventions) -> Imported:
    """Read a classifier from a ``.keras`` file; its oracle is Keras.

    Raises
    ------
    ExportError
        The file is no Keras model, needs code that it does not contain, or has several inputs.
    """
    try:
        network = keras.models.load_model(file, compile=False, safe_mode=True)
    except (ValueError, TypeError, OSError, KeyError) as error:
        raise ExportError(
            f"{file} cannot be loaded by Keras ({str(error).splitlines()[0][:200]}); expected a .keras file of layers "
            "that Keras has, without code of its own"
        ) from error
    if len(network.inputs) != 1 or len(network.outputs) != 1:
        raise ExportError(f"{file}: expected a model with one input and one output; save the classifier alone")
    network = to_float32(network)
    (tensor,) = network.inputs
    shape = [None, *[length or side for length, side in zip(tensor.shape[1:], _sides(tensor, how), strict=True)]]
    signature = [tf.TensorSpec(shape, tensor.dtype, name="image")]
    converted, _ = tf2onnx.convert.from_keras(network, input_signature=signature, opset=OPSET)
    origin = {
        "format": "keras",
        "file": file.name,
        "sha256": hash_of_file(file),
        "producer": f"keras {keras.__version__}",
    }
    return from_onnx(onnxslim.slim(converted), how, origin, lambda fed: np.asarray(network(fed, training=False)))


def _sides(tensor: Any, how: Conventions) -> list[int | None]:
    """Return what stands for the open lengths of an input: the side that the user named, between batch and channels."""
    height, width = how.size or (None, None)
    rank = len(tensor.shape) - 1
    return [height, width, None][:rank] if rank > 1 else [None] * rank
