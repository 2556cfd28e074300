"""What a person types besides `dvc`: `heimdall COMMAND`, a module each.

May import every room, and does so when a command has its arguments, so that `--help` waits for no library.
"""

__all__ = [
    "cluster",
    "compare",
    "completion",
    "database",
    "demo",
    "doctor",
    "ingest",
    "lineage",
    "locate",
    "machine",
    "monitor",
    "options",
    "output",
    "place",
    "predict",
    "promote",
    "receivers",
    "recording_options",
    "release",
    "releases",
    "report",
    "review",
    "rollback",
    "services",
    "session",
    "sweep",
    "track",
    "train",
    "ui",
    "verify",
]
