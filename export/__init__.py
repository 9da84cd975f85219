"""Checkpoints to ONNX to a Triton model repository, with parity checks."""
