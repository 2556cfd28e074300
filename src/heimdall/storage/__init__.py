"""PostgreSQL and S3 as a client sees them: addresses, tables and migrations, rows, object keys, retries.

Imports `core`. Of the stages the snapshot alone uses it.
"""

__all__ = ["database", "embedded", "endpoints", "objectstore"]
