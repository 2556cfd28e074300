"""Versions that never change: their files and page in S3, the log, the champion, tags, MLflow's registry.

`page` is the README.md of a version: the model card that `pipeline/export` writes, and what the release
adds. `registry` tells what there is, `release` makes a version, `promotion` moves the champion (the version
in use). Imports `reproduce`, `track`, `storage` and `core`.
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
