"""Stages pretrain and train: features -> weights, the same bytes however often it is interrupted.

Imports `core`, `geometry`, `signal`, `position` and `network`.
"""

__all__ = ["checkpoints", "learners", "lightning_module", "training"]
