"""The roles of the embedded PostgreSQL: made, given a password each, and the owners of what is theirs."""

from __future__ import annotations

from contextlib import closing

from psycopg2 import sql

from heimdall.core import variables
from heimdall.storage import connection, migrate, roles
from heimdall.storage.connection import Cursor
from heimdall.storage.embedded import State
from heimdall.storage.endpoints import Database

_WITHOUT_TABLES = (roles.MIGRATOR, roles.SWEEPER, roles.TRACKER)


def make(settings: State) -> list[str]:
    """Make the database, its roles and, as the migrator, Heimdall's tables. What is there stays.

    Args:
        settings: Of a server that runs.

    Returns:
        What `migrate.apply` did.

    Raises:
        HeimdallError: The server refuses or cannot be reached.
    """
    everybody = Database(settings.database_url, embedded=True)
    connection.create_if_missing(everybody)
    with closing(connection.connect(everybody)) as opened:
        with connection.transaction(opened) as cursor:
            for role in _WITHOUT_TABLES:
                _make_role(cursor, role, settings)
            _hand_over(cursor)
        with closing(
            connection.connect(Database(settings.url_of(roles.MIGRATOR), embedded=True))
        ) as migrator:
            done = migrate.apply(migrator)
        with connection.transaction(opened) as cursor:
            for role in roles.ALL:
                if role not in _WITHOUT_TABLES:
                    _make_role(cursor, role, settings)
    return done


def _make_role(cursor: Cursor, role: roles.Role, settings: State) -> None:
    """Give a role its rights and its password."""
    for statement in roles.statements(role, database="heimdall"):
        cursor.execute(statement)
    password = sql.SQL("ALTER ROLE {} PASSWORD {}")
    cursor.execute(password.format(sql.Identifier(role.name), sql.Literal(settings.password_of(role))))


def _hand_over(cursor: Cursor) -> None:
    """Make the migrator the owner of tables that versions without roles made."""
    owner = sql.Identifier(roles.MIGRATOR.name)
    schema = variables.DATABASE_SCHEMA.read()
    cursor.execute("SELECT FROM pg_namespace WHERE nspname = %s", (schema,))
    if cursor.rowcount:
        cursor.execute(sql.SQL("ALTER SCHEMA {} OWNER TO {}").format(sql.Identifier(schema), owner))
    cursor.execute(
        "SELECT nspname::text, relname::text FROM pg_class "
        "JOIN pg_namespace ON pg_namespace.oid = relnamespace "
        "WHERE relkind = 'r' AND nspname = ANY(%s) AND relname = ANY(%s)",
        ([schema, migrate.FORMER_SCHEMA], [*migrate.TABLES, connection.OWN_RECORD]),
    )
    for name in cursor.fetchall():
        cursor.execute(sql.SQL("ALTER TABLE {} OWNER TO {}").format(sql.Identifier(*name), owner))
