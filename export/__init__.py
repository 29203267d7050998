"""Artifacts of a device model for phones, held against one another, in one signed bundle."""

import os

# ONNX Runtime reports to its maker and leaves an identifier in the home folder unless this is set before it is loaded
# (its Privacy.md, "Disabling Telemetry").
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
