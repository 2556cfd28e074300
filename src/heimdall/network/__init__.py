"""The networks: data/features/ as tensors, LocalizationNet, FusionNet and its tokens, the loss.

Imports `core`, `geometry`, `signal` and `position`.
"""

__all__ = ["dataset", "fusion_net", "localization_net", "loss", "tokens"]
