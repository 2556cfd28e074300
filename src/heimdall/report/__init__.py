"""The page of a run or of a git revision, for `heimdall report`.

`revision` and `run` collect what is known of a run; `figures` and `ellipses` say what it means, and
`questions` in sentences; `charts`, `evaluation`, `sessions` and `making` show it, and `report` is the page.

Imports `compare`, `reproduce`, `pipeline/evaluate`, `metrics`, `pages`, `maps` and `core`.
"""

__all__ = [
    "charts",
    "ellipses",
    "evaluation",
    "figures",
    "making",
    "questions",
    "report",
    "revision",
    "run",
    "sessions",
    "words",
]
