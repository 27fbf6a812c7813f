"""What all graphs of our bundles share: the names of their tensors, and ONNX's operator set."""

from typing import Final

from cxr_edge.model.network import Tensors

#: The newest that tf2onnx writes without extra Transposes; TensorRT 10 reads it.
OPSET: Final = 17

TENSORS: Final = Tensors(
    image="image", probabilities="probabilities", logits="logits", features="last_conv", maps="maps"
)
