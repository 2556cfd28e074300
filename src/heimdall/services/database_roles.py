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
    """Make roles the owners of what versions without roles made: Heimdall's tables, Optuna's studies.

    Those versions made it as the user of this connection. What others made stays theirs, whatever its name,
    and so does what has our names without our marks.
    """
    ours = [*migrate.TABLES, connection.OWN_RECORD]
    own = dict.fromkeys((variables.DATABASE_SCHEMA.read(), migrate.FORMER_SCHEMA))
    for schema in own:
        found = _of_this_user(cursor, schema, ours)
        if found and migrate.made(cursor, schema):
            _give(cursor, found, roles.MIGRATOR)
    found = _of_this_user(cursor, roles.STUDIES, None)
    if found and _holds_studies(cursor):
        _give(cursor, found, roles.SWEEPER)


def _of_this_user(cursor: Cursor, schema: str, tables: list[str] | None) -> list[tuple[str, list[str]]]:
    """What the user of this connection owns of a schema: itself, tables, and the enumerations of Optuna.

    Args:
        cursor: In a transaction.
        schema: Its name.
        tables: Names of the tables that count; None: all of them, and the enumerations.

    Returns:
        Kind as ALTER takes it, and the parts of the name.
    """
    cursor.execute(
        "SELECT 'SCHEMA', ARRAY[nspname::text] FROM pg_namespace WHERE nspname = %(schema)s "
        "AND nspname <> 'public' AND pg_get_userbyid(nspowner) = current_user "
        "UNION ALL SELECT 'TABLE', ARRAY[nspname::text, relname::text] FROM pg_class "
        "JOIN pg_namespace ON pg_namespace.oid = relnamespace WHERE nspname = %(schema)s AND relkind = 'r' "
        "AND (%(all)s OR relname = ANY(%(tables)s)) AND pg_get_userbyid(relowner) = current_user "
        "UNION ALL SELECT 'TYPE', ARRAY[nspname::text, typname::text] FROM pg_type "
        "JOIN pg_namespace ON pg_namespace.oid = typnamespace WHERE nspname = %(schema)s AND typtype = 'e' "
        "AND %(all)s AND pg_get_userbyid(typowner) = current_user",
        {"schema": schema, "all": tables is None, "tables": tables or []},
    )
    return cursor.fetchall()


def _holds_studies(cursor: Cursor) -> bool:
    """Whether the schema of the studies has the record that Optuna makes in a database."""
    cursor.execute(
        "SELECT FROM information_schema.columns WHERE table_schema = %s AND table_name = 'version_info' "
        "AND column_name IN ('version_info_id', 'schema_version', 'library_version')",
        (roles.STUDIES,),
    )
    return cursor.rowcount == 3


def _give(cursor: Cursor, found: list[tuple[str, list[str]]], role: roles.Role) -> None:
    """Make a role the owner."""
    for kind, name in found:
        statement = sql.SQL(f"ALTER {kind} {{}} OWNER TO {{}}")
        cursor.execute(statement.format(sql.Identifier(*name), sql.Identifier(role.name)))
