"""An image classifier that runs as a Knative Service."""

import os

# ONNX Runtime's wheels send telemetry to their maker and keep a database for it in the home directory unless this
# variable is set before their first import. Source: onnxruntime's docs/Privacy.md and its pull request 27379.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
