"""Stage export: the network -> ONNX behind the parity gate, quantized ONNX, the model card.

Imports `network`, `metrics`, `inference`, and what they import.
"""

__all__ = ["card", "export", "graphs", "onnx_file", "parity", "reference"]
