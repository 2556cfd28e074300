"""The embedded PostgreSQL and S3 servers of a clone: start, stop, status, and DVC's remote on them.

Imports `core` and `storage`.
"""

__all__ = ["database_roles", "dvc_remote", "lifecycle", "ports", "postgres", "process", "seaweedfs"]
