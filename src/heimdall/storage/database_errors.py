"""What PostgreSQL or libpq refuses, as one line: the cause, and what ends the trouble. No secret is in it."""

from __future__ import annotations

import re
from collections.abc import Sequence

import psycopg2

from heimdall.core import variables
from heimdall.core.errors import HeimdallError
from heimdall.storage import roles

SELECT = "the SELECT in sql/ that snapshot.source names"
# Of a refused connection, where psycopg2 has no SQLSTATE: what is said, whether another try may mend it, and
# the remedy, in which {url} stands for the variable with the address. The first that fits counts.
CONNECTING: tuple[tuple[str, bool, str], ...] = (
    ("authentication failed", False, "Correct user and password in {url}"),
    ("no password supplied", False, "Put the password into {url}, or into ~/.pgpass"),
    ("not permitted to log in", False, "Name another user in {url}, or have this one given LOGIN"),
    ("root certificate file", False, "Name the file in {url}: sslrootcert=FILE, or sslrootcert=system"),
    ("certificate verify failed", False, "Add sslrootcert=FILE, with who signed it, to {url}"),
    ("server certificate for", False, "Set the host in {url} to a name that the certificate has"),
    (
        "server does not support SSL",
        False,
        "Switch `ssl` on in that server; in a network that you trust leave sslmode out, and name the host in "
        f"{variables.DATABASE_WITHOUT_TLS.name}",
    ),
    ("no encryption", False, "Add sslmode=require to {url}: the server wants TLS"),
    ("no pg_hba.conf entry", False, "Let the server's administrator admit this machine, user and database"),
    ("response to SSL negotiation", False, "Correct host and port in {url}: no PostgreSQL answers there"),
    ("expected authentication request", False, "Correct host and port in {url}: no PostgreSQL answers"),
    ("could not translate host name", False, "Correct the host in {url}, or this machine's name server"),
    ("definition of service", False, "Correct that name, or add the service to ~/.pg_service.conf"),
    ("permission denied for database", False, "Let its owner run GRANT CONNECT ON DATABASE for that user"),
    (
        "too many c",  # clients, connections for a role or a database
        True,
        "Close other connections (pg_stat_activity shows them), or have the limit raised; then run it again",
    ),
    (
        "connection slots are reserved",
        True,
        "Close other connections (pg_stat_activity shows them), or have max_connections raised; then run it "
        "again",
    ),
    ("the database system is", True, "Run it again when the server is up"),
    ('role "', False, "Create that user, or correct its name in {url}"),
    ("does not exist", False, "Create the database, or correct its name in {url}"),
    (
        "server closed the connection",
        True,
        "Run it again when the server is up; its log says why it closed it",
    ),
    ("Connection refused", True, "Start that server, or correct host and port in {url}"),
    ("No such file", True, "Start that server, or correct the folder of its socket in {url}"),
    ("timeout expired", True, "Correct host and port in {url}, or let the network between pass"),
)
_DOWN = ("Connection refused", "No such file")
# A server refuses a connection in the language of its lc_messages, and libpq passes no SQLSTATE on. Its word
# for FATAL, and two blanks, are before what it says; libpq's own messages have none.
_SERVER_SAYS = re.compile(r"(?:^| failed: )[^\s:]+:  \S")
_SEVERITY = re.compile(r"^[^\s:]+:  ")  # of a server's message, which psycopg2 leaves out if it is English
_OTHER_LANGUAGE = (
    "Correct user, password and database in {url}, and let the user have LOGIN and CONNECT; a server that "
    "is starting, or full, needs time"
)
DENIED, _NO_COLUMN = "42501", "42703"
# By SQLSTATE, or the first two characters of it.
REFUSALS = {
    "25006": "Use a server and a user that may write (no standby), or only commands that read",
    "40001": "Run it again; on a standby raise max_standby_streaming_delay, or set hot_standby_feedback",
    "42": f"Correct {SELECT}; `heimdall database check` tries it",
    "42804": f"Give both one type in {SELECT}, such as column::timestamptz",
    "42P07": (
        f"Heimdall did not make it: set {variables.DATABASE_SCHEMA.name} to another name for Heimdall's own "
        "tables"
    ),
    "42P01": (
        f"Correct the name in {SELECT}; `heimdall database migrate` makes Heimdall's own tables, which one "
        "sees after GRANT USAGE ON SCHEMA heimdall"
    ),
    _NO_COLUMN: f"Correct the name in {SELECT}: `\\d TABLE` in psql lists the columns that are there",
    "3F000": f"Correct the name in {SELECT}; `heimdall database migrate` makes Heimdall's own schema",
    "22": f"Correct that value in the table, or let {SELECT} leave it out",
    "53100": "Free space on the server's disk, then run it again",
    "53200": "Give the server more memory, or lower its work_mem; then run it again",
    "53300": "Close other connections (pg_stat_activity shows them), then run it again",
    "55P03": "Run it again when the other program that holds the table is done (see pg_stat_activity)",
    "57014": f"Run it again when the server is less busy, or make {SELECT} faster by an index",
    "57P": "Run it again when the server is up; `heimdall services status` tries it",
}
_WHAT_IS_DENIED = re.compile(
    r"(?:permission denied for|(?P<owner>must be owner of)) (?P<kind>\w+(?: \w+)?) (?P<name>\S+)$"
)
_ROW_SECURITY = "check_enable_rls"  # the server's function that refuses, in whatever language it speaks
_NO_TABLES = ("schema", "database", "sequence")
_WORK = {"INSERT": roles.OPERATOR, "UPDATE": roles.OPERATOR, "CREATE": roles.MIGRATOR}
_RIGHTS = ("SELECT", "INSERT", "UPDATE", "DELETE")


def explained(
    name: str,
    error: psycopg2.Error,
    *,
    user: str = "",
    password: str = "",
    embedded: bool = False,
    variable: str = variables.DATABASE_URL.name,
    schemas: Sequence[str] = (),
) -> HeimdallError:
    """The error that a person reads.

    Args:
        name: `host:port/database`.
        error: The server's, or libpq's where no connection comes about.
        user: As whom a statement was run.
        password: It is not repeated, were it a part of a malformed address that libpq repeats.
        embedded: Whether it is the embedded server.
        variable: Has the address of another one.
        schemas: Those with a table of the name of `denied`.
    """
    cause, code = cause_of(error), error.pgcode or ""
    remedy = REFUSALS.get(code) or REFUSALS.get(code[:3]) or REFUSALS.get(code[:2])
    if not code:
        remedy = next((remedy for said, _, remedy in CONNECTING if said in cause), None)
        if remedy is None and _SERVER_SAYS.search(str(error)):
            remedy = _OTHER_LANGUAGE
        remedy = remedy and remedy.replace("{url}", variable)
        if embedded and any(said in cause for said in _DOWN):
            remedy = "Run `heimdall services up`, which starts it"
        elif embedded and any(f'"{role.name}"' in cause for role in roles.ALL):
            remedy = "Run `heimdall services up`, which makes the roles that this version has"
    elif error.diag.source_function == _ROW_SECURITY:
        remedy = rows_hidden_from(user)
    elif code == DENIED:
        remedy = _grant(cause, str(error.cursor.query if error.cursor else ""), user, schemas)
    hint = (error.diag.message_hint or "").strip().rstrip(".")
    if hint and code == _NO_COLUMN:
        cause = f"{cause} ({hint})"
    if password:
        cause = cause.replace(password, "***")
    remedy = remedy or "Run it again; `heimdall services status` tries the server"
    return HeimdallError(f"PostgreSQL {name}", cause, remedy)


def denied(error: psycopg2.Error) -> str | None:
    """The table that may not be used; None where it is something else that was refused."""
    found = _WHAT_IS_DENIED.search(cause_of(error)) if error.pgcode == DENIED else None
    return found["name"] if found and found["kind"] not in _NO_TABLES else None


def rows_hidden_from(user: str) -> str:
    """What helps where a table's policies may hide rows from a user."""
    return (
        f'Row-level security may hide rows of it: let an administrator run ALTER ROLE "{user}" BYPASSRLS, or '
        f"let {SELECT} read a view that the table's owner made of the rows that count"
    )


def is_hopeless(error: psycopg2.Error, names: Sequence[str] = ()) -> bool:
    """Whether another try to connect cannot end otherwise.

    Args:
        error: What was said.
        names: User and database. A server that refuses them repeats one, in whatever language; one that
            starts, or is full, names neither.
    """
    cause = cause_of(error)
    known = [again for said, again, _ in CONNECTING if said in cause]
    if not known and _SERVER_SAYS.search(str(error)):
        return any(re.search(rf"(?<!\w){re.escape(name)}(?!\w)", cause) for name in names if name)
    return not all(known)


def cause_of(error: psycopg2.Error) -> str:
    """The server's or libpq's message in one line, without what the subject says already."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    tries = [line for line in lines if line.startswith("connection to server")]
    if len(tries) > 1:  # several hosts: what each of them said
        return "; ".join(tries)
    said = lines[0].split(" failed: ", 1)[-1] if tries else lines[0]
    return _SEVERITY.sub("", said).strip()


def _grant(cause: str, query: str, user: str, schemas: Sequence[str]) -> str:
    """The statement that gives the right which a statement lacked, or whose work the statement is."""
    words = query.removeprefix("b").strip("\"'").split()
    statement = words[0].upper() if words else ""
    lacking = _lacking(cause, query, statement, user, schemas)
    own = next((role for role in roles.ALL if role.name == user), None)
    if own is not None:
        return _of_role(own, statement, lacking, studies=roles.STUDIES in words)
    if lacking is None:  # the server speaks another language
        needed = _WORK.get(statement)
        told = f"roles {needed.kind}` prints the rights that" if needed else "check` says which GRANT"
        return f'Let the owner give that right to "{user}": `heimdall database {told} this work needs'
    return f"Let the owner run: {lacking}"


def _lacking(cause: str, query: str, statement: str, user: str, schemas: Sequence[str]) -> str | None:
    """The statement that gives a right; None where the cause does not say which one lacks."""
    found = _WHAT_IS_DENIED.search(cause)
    if found is None:
        return None
    kind, thing = found["kind"].upper(), found["name"]
    if found["owner"]:
        return f'ALTER {kind} {thing} OWNER TO "{user}"'
    if statement == "CREATE":
        right = "CREATE"
    elif found["kind"] in _NO_TABLES:
        right = "CONNECT" if kind == "DATABASE" else "USAGE"
    else:
        right, kind = statement if statement in _RIGHTS else "SELECT", "TABLE"  # or a view
        named = [schema for schema in schemas if f"{schema}.{thing}" in query]
        thing = f"{(named or list(schemas))[0]}.{thing}" if schemas else thing
    return f'GRANT {right} ON {kind} {thing} TO "{user}"'


def _of_role(own: roles.Role, statement: str, lacking: str | None, *, studies: bool) -> str:
    """What to do where one of Heimdall's roles may not run a statement."""
    needed = roles.SWEEPER if studies else _WORK.get(statement, own)
    printed = f"`heimdall database roles {needed.kind}`"
    if needed is own:
        more = f"; if that does not help, let the owner run {lacking}" if lacking else ""
        return f"Let an administrator run in psql what {printed} prints: the rights of this role{more}"
    return (
        f"This is the work of another role: set {needed.variable.name} to the address of {needed.name}, "
        f"which {printed} makes"
    )
