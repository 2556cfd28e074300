"""An exported ONNX model at work: its inputs from recordings, and its answers.

Imports `network`, `metrics`, and what they import.
"""

__all__ = ["onnx_model", "preprocessing"]
