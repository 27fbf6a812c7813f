"""TensorRT engines: checked, built and kept on the machine they run on.

Two packages from NVIDIA have the same interface: ``tensorrt`` (10.3 to 11; builds on the GPU that is to
run the engine) and ``tensorrt_rtx`` (TensorRT for RTX; builds on any machine, for RTX GPUs). A network
is strongly typed: its precision is that of the ONNX file.
"""
