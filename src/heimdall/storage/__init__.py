"""PostgreSQL and S3 as a client sees them: addresses, tables and their columns, object keys, retries.

`migrations/` declares the columns and `tables` reads and writes them; `retries` has every number of tries.
Imports `core`. Of the stages the snapshot alone uses it.
"""

__all__ = ["connection", "embedded", "endpoints", "migrate", "objectstore", "retries", "tables"]
