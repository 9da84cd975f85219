"""What produced the numbers in the README."""

import os

# onnxruntime's Linux wheels report usage to their maker unless told otherwise before they are imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
