"""What writes measurements into database and bucket: other programs' recordings, the demo world.

Imports `core`, `recordings`, `formats`, `storage` and `simulate`.
"""

__all__ = ["demo", "ingest"]
