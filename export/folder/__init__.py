"""Contents of a model folder: ONNX graphs, precisions, parity checks."""
