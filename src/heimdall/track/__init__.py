"""MLflow: what it is told of trainings and finished pipelines, and the spool for when it is down.

No stage depends on it. Imports `reproduce`, `services`, `storage` and `core`.
"""

__all__ = [
    "finished",
    "mlflow_store",
    "own_process",
    "run",
    "sending",
    "spool",
    "tracker",
    "tracking",
    "training",
    "ui",
    "view",
]
