"""A git revision rebuilt and compared bit for bit, and the way from a model file to its recordings.

`revision` reads a commit's dvc.lock and makes a clean checkout. Imports `services`, `recordings`,
`network`, and what they import.
"""

__all__ = [
    "differences",
    "history",
    "lineage",
    "lineage_text",
    "outputs",
    "revision",
    "verify",
    "verify_text",
]
