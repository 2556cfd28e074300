"""Versions that never change: their files and page in S3, the log, the champion, tags, MLflow's registry.

Imports `reproduce`, `track`, `storage` and `core`.
"""

__all__ = [
    "attestation",
    "audit_log",
    "bucket",
    "candidate",
    "mlflow_registry",
    "page",
    "pointer",
    "promotion",
    "registry",
    "release",
    "releases_text",
    "versions",
]
