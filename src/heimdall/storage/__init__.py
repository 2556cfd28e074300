"""PostgreSQL and S3 as a client sees them: addresses, tables and their columns, object keys, retries.

`migrations/` declares the columns, `tables` reads and writes them; `retries` says how often a server that
does not answer is tried again. `s3_access` finds the credentials of S3; `s3_errors` and `database_errors` say
what servers refuse.
Imports `core`. The only stage that uses it is the snapshot.
"""

__all__ = [
    "approved",
    "checking",
    "columns",
    "connection",
    "database_errors",
    "database_url",
    "embedded",
    "endpoints",
    "identities",
    "ingestion",
    "migrate",
    "objectstore",
    "retries",
    "roles",
    "s3_access",
    "s3_errors",
    "sources",
    "tables",
]
