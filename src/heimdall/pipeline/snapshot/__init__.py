"""Stage snapshot: approved rows and their objects as of one moment -> data/snapshot/, the quarantine.

`snapshot` is the stage; `schemas` says which rows are bad, `candidates` which objects the good ones have, and
`collector` makes shards of them with what `former` remembers. Imports `core`, `recordings` and `storage`.
"""

__all__ = [
    "absent",
    "candidates",
    "checked",
    "collector",
    "former",
    "outcome",
    "receivers",
    "repeated",
    "rows",
    "schemas",
    "snapshot",
]
