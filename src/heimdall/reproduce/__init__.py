"""A git revision rebuilt and compared bit for bit, and the way from a model file to its recordings.

`git`, `dvc_lock`, `files` and `checkout` are what is known of a revision; `verify` (with `differences`) and
`lineage` stand on them. Imports `services`, `recordings`, `network`, and what they import.
"""

__all__ = [
    "arrays",
    "checkout",
    "checks",
    "data_checks",
    "differences",
    "dvc_lock",
    "files",
    "git",
    "history",
    "lineage",
    "lineage_text",
    "model_file",
    "origin",
    "paths",
    "rows",
    "verify",
    "verify_text",
]
