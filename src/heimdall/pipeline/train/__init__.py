"""Stages pretrain and train: features -> weights, the same bytes however often it is interrupted.

Imports `core`, `geometry`, `signal`, `position` and `network`.
"""

__all__ = [
    "callbacks",
    "checkpoints",
    "exchange",
    "fit_loop",
    "history",
    "lightning_module",
    "ranks",
    "recording_task",
    "resumption",
    "session_task",
    "shard_loaders",
    "sharded_module",
    "task",
    "token_file",
    "training",
    "virtual_shards",
    "world_networks",
]
