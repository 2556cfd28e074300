"""The embedded PostgreSQL and S3 servers of a clone, DVC's remote on them, and a node of a Ray cluster.

Imports `core` and `storage`.
"""

__all__ = [
    "database_roles",
    "dvc_remote",
    "lifecycle",
    "ports",
    "postgres",
    "process",
    "ray_node",
    "seaweedfs",
]
