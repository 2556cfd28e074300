"""IQ recordings as the snapshot keeps them: one recording, shards of many, the tables beside them.

`iq` checks foreign bytes, `limits` says what numbers and names can be. Imports `core`: nothing here knows a
database or a bucket.
"""

__all__ = ["archive", "iq", "limits", "shards"]
