"""What runs: the embedded Triton and its stand-in ``onnxruntime`` backend."""
