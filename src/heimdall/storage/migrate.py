"""Makes PostgreSQL's tables by the SQL files of `migrations/`, which declare every column."""

from __future__ import annotations

import importlib.resources

from heimdall.core import artifacts
from heimdall.core.errors import HeimdallError
from heimdall.storage.connection import Connection, transaction

# Any constant that no other program on the server uses.
MIGRATION_LOCK = 4_172_031_177


def apply(connection: Connection) -> list[str]:
    """Apply the SQL files of `migrations/` that were not applied yet, in the order of their names.

    Each is a transaction of its own, recorded with its hash in `heimdall_migrations`; one process at a time.

    Args:
        connection: To a database in which the user may create tables.

    Returns:
        Names of the files applied now.

    Raises:
        HeimdallError: A file fails, or one that was applied has been changed since.
    """
    applied_now = []
    folder = importlib.resources.files("heimdall.storage") / "migrations"
    files = sorted(
        (item for item in folder.iterdir() if item.name.endswith(".sql")), key=lambda item: item.name
    )
    with transaction(connection) as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", (MIGRATION_LOCK,))
    try:
        with transaction(connection) as cursor:
            cursor.execute(
                "CREATE TABLE IF NOT EXISTS heimdall_migrations "
                "(name text PRIMARY KEY, sha256 text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
            )
            cursor.execute("SELECT name, sha256 FROM heimdall_migrations")
            known = dict(cursor.fetchall())
        for file in files:
            content = file.read_bytes()
            digest = artifacts.sha256_bytes(content)
            if known.get(file.name, digest) != digest:
                raise HeimdallError(
                    f"migrations/{file.name}",
                    "it was changed after it was applied",
                    "Restore it, and put the change into a new file",
                )
            if file.name not in known:
                with transaction(connection) as cursor:
                    cursor.execute(content)
                    cursor.execute(
                        "INSERT INTO heimdall_migrations (name, sha256) VALUES (%s, %s)", (file.name, digest)
                    )
                applied_now.append(file.name)
    finally:
        if not connection.closed:
            with transaction(connection) as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s)", (MIGRATION_LOCK,))
    return applied_now
