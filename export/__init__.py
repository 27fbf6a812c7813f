"""From a trained Keras model to a bundle: two ONNX graphs, a parity gate, a manifest."""
