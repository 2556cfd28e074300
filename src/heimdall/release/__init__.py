"""Versions that never change: their files and page in S3, the log, the champion, tags, MLflow's registry.

Imports `reproduce`, `track`, `storage` and `core`.
"""

__all__ = ["attestation", "mlflow_registry", "promotion", "registry", "release", "releases_text"]
