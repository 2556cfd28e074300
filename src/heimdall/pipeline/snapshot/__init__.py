"""Stage snapshot: approved rows and their objects as of one moment -> data/snapshot/, the quarantine.

Imports `core`, `recordings` and `storage`.
"""

__all__ = ["schemas", "snapshot"]
