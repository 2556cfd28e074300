"""Stages pretrain and train: features -> weights, the same bytes however often it is interrupted.

Imports `core`, `geometry`, `signal`, `position` and `network`.
"""

__all__ = [
    "callbacks",
    "checkpoints",
    "fit_loop",
    "history",
    "lightning_module",
    "recording_task",
    "resumption",
    "session_task",
    "task",
    "token_file",
    "training",
]
