"""Makes Heimdall's own tables by the SQL files of `migrations/`, which declare every column.

They live in a schema of their own. Tables that others made are never altered, whatever their names. Earlier
revisions made ours in the schema public: these are moved, with all rows, if they are exactly what we made and
no later revision keeps them there.
"""

from __future__ import annotations

import importlib.resources
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from psycopg2 import sql

from heimdall.core import artifacts, variables
from heimdall.core.errors import HeimdallError
from heimdall.storage.connection import OWN_RECORD as RECORD
from heimdall.storage.connection import Connection, Cursor, transaction

# Any constant that no other program on the server uses.
MIGRATION_LOCK = 4_172_031_177
LOCK_TIMEOUT = "10s"  # while it waits for a table, everybody else who wants the table waits, too
TABLES = ("websdrs", "sources", "measurements")
FORMER_SCHEMA = "public"
_SCRATCH = "heimdall_scratch_of_a_migration"  # made and undone within the transaction
_FIRST_OF_SCHEMAS = "004_place_may_be_unknown.sql"  # came with HEIMDALL_DATABASE_SCHEMA
# 003 as it was until it left the rows of existing tables where they are.
_FORMER_SHA256 = {"003_hypertable.sql": "807acbc0b78a5835608c60c000f1ec8d2e6886b27a6fca4837b3d7f5c55366d9"}


@dataclass(frozen=True)
class Migration:
    """A file of `migrations/`."""

    name: str
    content: bytes

    @property
    def sha256(self) -> str:
        """Its hash, which is recorded when it is applied."""
        return artifacts.sha256_bytes(self.content)


def files() -> list[Migration]:
    """The files of `migrations/`, in the order of their names."""
    folder = importlib.resources.files("heimdall.storage") / "migrations"
    found = [item for item in folder.iterdir() if item.name.endswith(".sql")]
    return [Migration(item.name, item.read_bytes()) for item in sorted(found, key=lambda item: item.name)]


def apply(connection: Connection) -> list[str]:
    """Make or complete our own tables: one transaction, one process at a time, nothing half done.

    Args:
        connection: To a database in which the user may create a schema and tables.

    Returns:
        What was done, a sentence each; nothing where nothing was left to do.

    Raises:
        HeimdallError: A table of one of our names is in our schema that we did not make, a file fails or has
            been changed since it was applied, or another program holds a table. Then nothing is changed.
    """
    schema = variables.DATABASE_SCHEMA.read()
    with transaction(connection) as cursor:
        # Of the transaction, so that a pooler cannot keep it; its wait is not limited, that for tables is.
        cursor.execute("SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0")
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", (MIGRATION_LOCK,))
        cursor.execute("SET LOCAL lock_timeout = %s", (LOCK_TIMEOUT,))
        if _is_complete(cursor, schema):
            _refuse_dropped(cursor, schema)
            return []
        done = []
        cursor.execute("SELECT to_regnamespace(quote_ident(%s)) IS NULL", (schema,))
        if cursor.fetchone() == (True,):  # IF NOT EXISTS would demand the right to create it all the same
            cursor.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
        if schema != FORMER_SCHEMA:
            done += _move_former(cursor, schema)
        return done + _apply_missing(cursor, schema)


def made(cursor: Cursor, schema: str) -> bool:
    """Whether the tables of a schema are what its record says that we made.

    Args:
        cursor: In a transaction of a user who may create a schema.
        schema: Its name.
    """
    known = _recorded(cursor, schema)
    ours = bool(known) and known["001_measurements.sql"] == files()[0].sha256
    return ours and _are_ours(cursor, schema, known)


def _is_complete(cursor: Cursor, schema: str) -> bool:
    """Whether every file is recorded; it needs no right to create anything."""
    known = _recorded(cursor, schema)
    _refuse_changed(known)
    return all(file.name in known for file in files())


def _apply_missing(cursor: Cursor, schema: str) -> list[str]:
    """Apply the files that the schema's record lacks."""
    known = _recorded(cursor, schema)
    _refuse_changed(known)
    _refuse_foreign(cursor, schema, known)
    _refuse_not_owned(cursor, schema)
    with _names_of(cursor, schema):
        cursor.execute(
            f"CREATE TABLE IF NOT EXISTS {RECORD} "
            "(name text PRIMARY KEY, sha256 text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
        )
        missing = [file for file in files() if file.name not in known]
        for file in missing:
            cursor.execute(file.content)
            statement = f"INSERT INTO {RECORD} (name, sha256) VALUES (%s, %s)"  # noqa: S608 - a constant
            cursor.execute(statement, (file.name, file.sha256))
    return [f"applied {file.name} in schema {schema}" for file in missing]


def _move_former(cursor: Cursor, schema: str) -> list[str]:
    """Move the tables of earlier revisions out of public, or say why they stay."""
    if _recorded(cursor, schema):
        return []
    if _has_record(cursor, FORMER_SCHEMA):
        _refuse_unread(cursor, FORMER_SCHEMA)
    known = _recorded(cursor, FORMER_SCHEMA)
    if not known:
        return []
    variable = variables.DATABASE_SCHEMA.name
    if _FIRST_OF_SCHEMAS in known:
        return [
            f"Heimdall's tables in schema {FORMER_SCHEMA} stay there, for they were made or completed since "
            f"{variable} is known; set {variable}={FORMER_SCHEMA} to use them"
        ]
    if not made(cursor, FORMER_SCHEMA):
        return [
            f"{FORMER_SCHEMA}.{RECORD} is there, but the tables beside it are not all of Heimdall's making: "
            f"they stay as they are. If your recordings are in them, set {variable}={FORMER_SCHEMA}"
        ]
    _refuse_foreign(cursor, schema, {})
    _refuse_not_owned(cursor, FORMER_SCHEMA)
    for table in (*TABLES, RECORD):
        statement = sql.SQL("ALTER TABLE {} SET SCHEMA {}")
        cursor.execute(statement.format(sql.Identifier(FORMER_SCHEMA, table), sql.Identifier(schema)))
    return [f"moved {', '.join(TABLES)} from schema {FORMER_SCHEMA} to {schema}"]


def _recorded(cursor: Cursor, schema: str) -> dict[str, str]:
    """Names and hashes of the files that a schema's record has; empty where there is no record of ours."""
    if not _has_record(cursor, schema):
        return {}
    cursor.execute(sql.SQL("SELECT name, sha256 FROM {}").format(sql.Identifier(schema, RECORD)))
    known = dict(cursor.fetchall())
    return known if "001_measurements.sql" in known else {}


def _has_record(cursor: Cursor, schema: str) -> bool:
    return _shape(cursor, schema, RECORD) == [
        ("name", "text", True),
        ("sha256", "text", True),
        ("applied_at", "timestamp with time zone", True),
    ]


def _refuse_unread(cursor: Cursor, schema: str) -> None:
    """A record that may not be read does not say whose tables are beside it."""
    cursor.execute(
        "SELECT FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace "
        "WHERE nspname = %s AND relname = %s AND NOT (has_schema_privilege(pg_namespace.oid, 'USAGE') "
        "AND has_table_privilege(pg_class.oid, 'SELECT'))",
        (schema, RECORD),
    )
    if cursor.rowcount:
        told = sql.SQL("GRANT USAGE ON SCHEMA {} TO {user}; GRANT SELECT ON TABLE {} TO {user}").format(
            sql.Identifier(schema), sql.Identifier(schema, RECORD), user=_user(cursor)
        )
        raise HeimdallError(
            f"schema {schema}",
            f"{RECORD} may not be read, which says what becomes of the tables beside it; nothing was changed",
            f"Let its owner run: {told.as_string(cursor)}",
        )


def _refuse_not_owned(cursor: Cursor, schema: str) -> None:
    """Only their owner may alter or move tables."""
    cursor.execute(
        "SELECT relname::text FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace "
        "WHERE nspname = %s AND relname = ANY(%s) AND relkind IN ('r', 'p') "
        "AND NOT pg_has_role(relowner, 'USAGE') ORDER BY 1",
        (schema, [*TABLES, RECORD]),
    )
    others = [name for (name,) in cursor.fetchall()]
    if others:
        statement = sql.SQL("ALTER TABLE {} OWNER TO {}")
        told = [
            statement.format(sql.Identifier(schema, name), _user(cursor)).as_string(cursor) for name in others
        ]
        raise HeimdallError(
            f"schema {schema}",
            f"{', '.join(others)} are Heimdall's, and another user owns them; nothing was changed",
            f"Let an administrator run: {'; '.join(told)}",
        )


def _user(cursor: Cursor) -> sql.Identifier:
    cursor.execute("SELECT current_user::text")
    ((user,),) = cursor.fetchall()
    return sql.Identifier(user)


def _refuse_changed(known: dict[str, str]) -> None:
    for file in files():
        digest = known.get(file.name, file.sha256)
        if digest not in (file.sha256, _FORMER_SHA256.get(file.name)):
            raise HeimdallError(
                f"migrations/{file.name}",
                "it was changed after it was applied",
                "Restore it, and put the change into a new file",
            )


def _refuse_dropped(cursor: Cursor, schema: str) -> None:
    """What the record says was made, and somebody dropped, is not made anew: values are lost."""
    there = {table: [name for name, *_ in _shape(cursor, schema, table)] for table in TABLES}
    missing = [table for table in TABLES if not there[table]]
    additions = []
    if not missing:
        for table, name, definition in _made_columns(cursor, _recorded(cursor, schema)):
            if name not in there[table]:
                missing.append(f"{table}.{name}")
                additions.append((table, name, definition))
    if not missing:
        return
    if additions and all(definition for *_, definition in additions):
        statement = sql.SQL("; ").join(
            sql.SQL(f"ALTER TABLE {{}} ADD COLUMN {{}} {definition}").format(
                sql.Identifier(schema, table), sql.Identifier(name)
            )
            for table, name, definition in additions
        )
        lost, after = "values", "then this again"
    else:
        left = [table for table in (*TABLES, RECORD) if there.get(table, True)]
        statement = sql.SQL("DROP TABLE {}").format(
            sql.SQL(", ").join(sql.Identifier(schema, table) for table in left)
        )
        lost, after = "rows", "then this again, which makes all of them anew"
    raise HeimdallError(
        f"schema {schema}",
        f"{', '.join(missing)} were made and are not there: somebody dropped or renamed them",
        f"Restore them from a backup. If their {lost} may be lost, run {statement.as_string(cursor)} as "
        f"their owner, {after}",
    )


def _made_columns(cursor: Cursor, known: dict[str, str]) -> list[tuple[str, str, str | None]]:
    """Table, name and definition of each column that the recorded files make.

    The definition is None where rows cannot do without a value, and none is usual. The list is empty for who
    may not create the schema in which the files are tried.
    """
    cursor.execute(
        "SELECT has_database_privilege(current_database(), 'CREATE') "
        "AND current_setting('transaction_read_only') = 'off'"
    )
    if cursor.fetchone() != (True,):
        return []
    with _as_made(cursor, known):
        cursor.execute(
            "SELECT relname::text, attname::text, CASE WHEN attnotnull AND adbin IS NULL OR EXISTS ("
            "SELECT FROM pg_index WHERE indrelid = attrelid AND indisprimary AND attnum = ANY(indkey)) "
            "THEN NULL ELSE concat_ws(' ', format_type(atttypid, atttypmod), "
            "CASE WHEN attnotnull THEN 'NOT NULL' END, 'DEFAULT ' || pg_get_expr(adbin, adrelid)) END "
            "FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid "
            "JOIN pg_namespace ON pg_namespace.oid = relnamespace "
            "LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum "
            "WHERE nspname = %s AND relname = ANY(%s) AND attnum > 0 AND NOT attisdropped "
            "ORDER BY relname, attnum",
            (_SCRATCH, list(TABLES)),
        )
        return cursor.fetchall()


def _refuse_foreign(cursor: Cursor, schema: str, known: dict[str, str]) -> None:
    """A table of one of our names that is not as the applied files made it is somebody else's."""
    present = [table for table in (*TABLES, RECORD) if _shape(cursor, schema, table)]
    if present and not (known and _are_ours(cursor, schema, known)):
        raise HeimdallError(
            f"schema {schema}",
            f"it has tables called {', '.join(present)} that Heimdall did not make; nothing was changed",
            f"Set {variables.DATABASE_SCHEMA.name} to another name for Heimdall's own tables, or read those "
            "tables by a file of your own in sql/",
        )


def _are_ours(cursor: Cursor, schema: str, known: dict[str, str]) -> bool:
    """Whether the tables of a schema are what the recorded files make, column by column."""
    with _as_made(cursor, known):
        made = [_shape(cursor, _SCRATCH, table) for table in TABLES]
    return made == [_shape(cursor, schema, table) for table in TABLES]


@contextmanager
def _as_made(cursor: Cursor, known: dict[str, str]) -> Iterator[None]:
    """Within the block the tables of the recorded files are in `_SCRATCH`, as they were made."""
    cursor.execute("SAVEPOINT compare")
    cursor.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(_SCRATCH)))
    with _names_of(cursor, _SCRATCH):
        for file in files():
            if file.name in known:
                cursor.execute(file.content)
    yield
    cursor.execute("ROLLBACK TO SAVEPOINT compare")


def _shape(cursor: Cursor, schema: str, table: str) -> list[tuple[str, str, bool]]:
    """Name, type and NOT NULL of each column; empty where there is no such table."""
    cursor.execute(
        "SELECT attname::text, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute "
        "JOIN pg_class ON pg_class.oid = attrelid JOIN pg_namespace ON pg_namespace.oid = relnamespace "
        "WHERE nspname = %s AND relname = %s AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
        (schema, table),
    )
    return cursor.fetchall()


@contextmanager
def _names_of(cursor: Cursor, schema: str) -> Iterator[None]:
    """Let unqualified names mean this schema alone, so that no file touches a table of another one."""
    cursor.execute(sql.SQL("SET LOCAL search_path TO {}").format(sql.Identifier(schema)))
    yield
    cursor.execute("SET LOCAL search_path TO DEFAULT")
