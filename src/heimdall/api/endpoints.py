"""`heimdall.endpoints`, for a person's own scripts: both services, with all rights that the person has.

The pipeline's own processes ask `heimdall.storage.endpoints` for one service in one role.
"""

from __future__ import annotations

from pathlib import Path

from heimdall.storage import endpoints
from heimdall.storage.endpoints import DVC_BUCKET, MODELS_BUCKET, RAW_BUCKET, Endpoints
from heimdall.storage.identities import Identity

__all__ = ["DVC_BUCKET", "MODELS_BUCKET", "RAW_BUCKET", "Endpoints", "as_environment", "resolve"]


def resolve(root: Path = Path()) -> Endpoints:
    """Find both services: what the environment names, else the embedded servers as their owner.

    Nothing is contacted.

    Args:
        root: The repository.

    Raises:
        HeimdallError: An address is malformed or incomplete, or there is neither.
    """
    return Endpoints(endpoints.administrator(root), endpoints.s3(root, Identity.ADMIN))


def as_environment(found: Endpoints) -> dict[str, str]:
    """The variables by which another process finds the same services. They hold the credentials."""
    return found.as_environment()
