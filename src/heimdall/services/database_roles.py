"""The roles of the embedded PostgreSQL: made, given a password each, and the owners of what is theirs."""

from __future__ import annotations

from contextlib import closing

from psycopg2 import extensions, sql

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
    """Give a role its rights and its password, of which the server sees no more than the SCRAM verifier."""
    for statement in roles.statements(role, database="heimdall"):
        cursor.execute(statement)
    verifier = extensions.encrypt_password(
        settings.password_of(role), role.name, cursor.connection, "scram-sha-256"
    )
    password = sql.SQL("ALTER ROLE {} PASSWORD {}")
    cursor.execute(password.format(sql.Identifier(role.name), sql.Literal(verifier)))


def _hand_over(cursor: Cursor) -> None:
    """Make roles the owners of what versions without roles made: Heimdall's tables, Optuna's studies."""
    schema = variables.DATABASE_SCHEMA.read()
    ours = [*migrate.TABLES, connection.OWN_RECORD]
    for owner, owned in ((roles.MIGRATOR, schema), (roles.SWEEPER, roles.STUDIES)):
        cursor.execute("SELECT FROM pg_namespace WHERE nspname = %s", (owned,))
        if cursor.rowcount:
            statement = sql.SQL("ALTER SCHEMA {} OWNER TO {}")
            cursor.execute(statement.format(sql.Identifier(owned), sql.Identifier(owner.name)))
    cursor.execute(
        "SELECT 'TABLE', nspname::text, relname::text, nspname = %(studies)s "
        "FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace WHERE relkind = 'r' "
        "AND (nspname = %(studies)s OR nspname = ANY(%(schemas)s) AND relname = ANY(%(ours)s)) "
        "UNION ALL SELECT 'TYPE', nspname::text, typname::text, true "  # Optuna's enumerations
        "FROM pg_type JOIN pg_namespace ON pg_namespace.oid = typnamespace "
        "WHERE typtype = 'e' AND nspname = %(studies)s",
        {"studies": roles.STUDIES, "schemas": [schema, migrate.FORMER_SCHEMA], "ours": ours},
    )
    for kind, owned, name, of_studies in cursor.fetchall():
        owner = roles.SWEEPER if of_studies else roles.MIGRATOR
        statement = sql.SQL(f"ALTER {kind} {{}} OWNER TO {{}}")
        cursor.execute(statement.format(sql.Identifier(owned, name), sql.Identifier(owner.name)))
