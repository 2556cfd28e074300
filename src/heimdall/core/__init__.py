"""What every room stands on: errors, parameters, whole files, locks, random generators, reproducibility.

Which rooms a stage is made of stands here, too (`rooms`). Imports no other room; a change here runs every
stage again.
"""

__all__ = [
    "artifacts",
    "child",
    "determinism",
    "errors",
    "locks",
    "machine",
    "numbers",
    "params",
    "paths",
    "provenance",
    "pytest_recipe",
    "randomness",
    "ray_address",
    "ray_cluster",
    "remedies",
    "rooms",
    "stage",
    "strict_yaml",
    "table",
    "variables",
    "workers",
]
