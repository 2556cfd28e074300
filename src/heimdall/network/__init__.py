"""The networks: data/features/ as tensors, LocalizationNet, FusionNet and its tokens, losses, model files.

Imports `core`, `geometry`, `signal` and `position`.
"""

__all__ = [
    "attention",
    "dataset",
    "degree_polynomial",
    "filters",
    "fusion_net",
    "left_out",
    "localization_net",
    "localize",
    "loss",
    "measured_times",
    "mixture",
    "model_file",
    "temperature_scaling",
    "tile_evidence",
    "tokens",
]
