"""Who may do what in PostgreSQL: a role for each kind of work, and the statements that make it.

`heimdall database roles` prints the statements; the embedded server runs them. What a role may do stands here
and nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from heimdall.core import variables
from heimdall.core.variables import Variable
from heimdall.storage.sources import RowSource, tables_in

STUDIES = "optuna"  # the schema of Optuna's studies
DATABASE = ':"DBNAME"'  # psql's variable: the database that it is connected to
# Who is no superuser may give a schema to a role, and rights to its tables, only as a member of it.
_MINE = ("GRANT {role} TO CURRENT_USER",)


@dataclass(frozen=True)
class Role:
    """A kind of work, and the least rights that it needs.

    Attributes:
        kind: As `heimdall database roles` takes it.
        work: What is done with it.
        variable: Has its address; the role of the tracker has MLflow's.
        rights: Statements without the semicolon. {role}, {schema} and {database} stand for names in quotes.
    """

    kind: str
    work: str
    variable: Variable
    rights: tuple[str, ...]

    @property
    def name(self) -> str:
        """Of the role in PostgreSQL."""
        return f"heimdall_{self.kind}"


READER = Role(
    "reader",
    "`dvc repro`, `heimdall monitor`, `heimdall database check`",
    variables.DATABASE_URL_READER,
    (
        "GRANT USAGE ON SCHEMA {schema} TO {role}",
        "GRANT SELECT ON {schema}.websdrs, {schema}.sources, {schema}.measurements TO {role}",
    ),
)
OPERATOR = Role(
    "operator",
    "`heimdall ingest`, `heimdall demo seed`",
    variables.DATABASE_URL_OPERATOR,
    (
        "GRANT USAGE ON SCHEMA {schema} TO {role}",
        "GRANT SELECT, INSERT ON {schema}.websdrs, {schema}.sources, {schema}.measurements TO {role}",
        "GRANT UPDATE (altitude_m) ON {schema}.websdrs TO {role}",
        "GRANT UPDATE (modulation) ON {schema}.sources TO {role}",
        "GRANT UPDATE (latitude, longitude, source_id, approved, approved_at, start_gps_ns, timing_sigma_ns) "
        "ON {schema}.measurements TO {role}",
    ),
)
MIGRATOR = Role(
    "migrator",
    "`heimdall database migrate`",
    variables.DATABASE_URL_MIGRATOR,
    (
        *_MINE,
        "CREATE SCHEMA IF NOT EXISTS {schema} AUTHORIZATION {role}",
        "GRANT USAGE, CREATE ON SCHEMA {schema} TO {role}",  # it may be another's, such as public
        "GRANT CREATE ON DATABASE {database} TO {role}",  # for the schema in which tables are compared
    ),
)
SWEEPER = Role(
    "sweeper",
    "`heimdall sweep`",
    variables.DATABASE_URL_SWEEPER,
    (*_MINE, f"CREATE SCHEMA IF NOT EXISTS {STUDIES} AUTHORIZATION {{role}}"),
)
TRACKER = Role(
    "tracker",
    "MLflow, if its store is in this database",
    variables.MLFLOW_TRACKING_URI,
    (
        *_MINE,
        "CREATE SCHEMA IF NOT EXISTS mlflow AUTHORIZATION {role}",
        "ALTER ROLE {role} IN DATABASE {database} SET search_path = mlflow",
    ),
)
ALL = (MIGRATOR, READER, OPERATOR, SWEEPER, TRACKER)  # the tables come before who uses them


def statements(role: Role, source: RowSource | None = None, database: str = DATABASE) -> list[str]:
    """What makes a role and gives it its rights. Run again they change nothing.

    Args:
        role: Which.
        source: What the reader reads, if not Heimdall's own tables.
        database: Name of the database, in quotes.

    Returns:
        Statements without the semicolon. The role has no password yet.
    """
    names = {
        "role": quoted(role.name),
        "schema": quoted(variables.DATABASE_SCHEMA.read()),
        "database": database,
    }
    rights = [right.format(**names) for right in role.rights]
    if role is READER and source is not None and not source.is_own:
        rights = _rights_to_read(tables_of(source), names["role"])
    create = f"CREATE ROLE {names['role']} LOGIN"
    return [
        f"DO $$ BEGIN {create}; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
        f"GRANT CONNECT ON DATABASE {database} TO {names['role']}",
        *rights,
    ]


def tables_of(source: RowSource) -> list[tuple[str, str]]:
    """As `sources.tables_in`, of all SELECTs of a source that are run."""
    selects = [source.receivers] if source.receivers and source.pinned is None else []
    return list(dict.fromkeys(pair for text in (*selects, source.measurements) for pair in tables_in(text)))


def quoted(name: str) -> str:
    """A name as SQL takes it."""
    return '"' + name.replace('"', '""') + '"'


def _rights_to_read(tables: Sequence[tuple[str, str]], role: str) -> list[str]:
    """Statements that let a role, whose name is in quotes, read tables."""
    schemas = dict.fromkeys(schema for schema, _ in tables if schema)
    names = ", ".join(f"{schema}.{name}" if schema else name for schema, name in tables)
    return [
        *(f"GRANT USAGE ON SCHEMA {schema} TO {role}" for schema in schemas),
        *([f"GRANT SELECT ON {names} TO {role}"] if tables else []),
    ]
