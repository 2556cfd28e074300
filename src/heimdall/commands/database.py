"""`heimdall database`: what a snapshot reads in PostgreSQL, and Heimdall's own tables there."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from heimdall.commands import options, output

if TYPE_CHECKING:
    from heimdall.storage.checking import Finding


KINDS = ("migrator", "reader", "operator", "sweeper", "tracker")


@click.group()
def database() -> None:
    """Check what a snapshot needs of PostgreSQL, and make Heimdall's own tables.

    Example: heimdall database check
    """


@database.command()
@click.option(
    "--source",
    help="Name of a file in sql/, without .sql. By default that of snapshot.source in params.yaml.",
)
@options.as_json
@click.pass_context
def check(context: click.Context, source: str | None, as_json: bool) -> None:
    """Say what the SELECT of a snapshot gives, column by column, and how many rows it takes.

    The command changes nothing. It uses the same rights as a snapshot, and names those that are missing. A
    line begins with `ok`, with `null` for something that a snapshot can do without, or with `bad`. The exit
    code is 1 if a line begins with `bad`.

    Example: heimdall database check --source specification
    """
    from heimdall.core import params, table
    from heimdall.storage import checking, connection, endpoints, sources

    settings = params.load().snapshot
    chosen = sources.load(source or settings.source)
    where = endpoints.database()
    with closing(connection.connect(where)) as opened:
        found = checking.check(opened, chosen, settings.as_of)
    if chosen.pinned is not None:
        found.append(_pinned(chosen.pinned))
    if as_json:
        document = {"database": where.name, "file": chosen.path, "findings": list(map(vars, found))}
        output.as_json(document)
    else:
        click.echo(f"{chosen.path} in PostgreSQL {where.name}")
        rows = [(one.verdict, one.subject, one.detail) for one in found]
        output.lines(table.lines(("", "", ""), rows))
    if any(one.verdict == checking.BAD for one in found):
        context.exit(1)


def _pinned(path: Path) -> Finding:
    """Whether the file that pins receivers can be read."""
    from heimdall.core.errors import HeimdallError
    from heimdall.pipeline.snapshot import receivers
    from heimdall.storage.checking import BAD, OK, Finding

    try:
        lines = receivers.pinned(path)
    except HeimdallError as error:
        return Finding(error.subject, BAD, f"{error.cause}. {error.remedy}")
    return Finding(str(path), OK, f"{lines['name'].nunique()} receivers")


@database.command()
def migrate() -> None:
    """Make Heimdall's own tables, or complete them.

    This is the only command that changes a schema. It changes only tables that Heimdall made, in the schema
    `heimdall` (HEIMDALL_DATABASE_SCHEMA names another one). Tables that versions without that setting made in
    the schema `public` are moved there with all their rows. `heimdall services up` does the same, but for the
    embedded server alone.

    Example: heimdall database migrate
    """
    from heimdall.storage import connection, endpoints, roles
    from heimdall.storage import migrate as migration

    where = endpoints.database(role=roles.MIGRATOR)
    with closing(connection.connect(where)) as opened:
        done = migration.apply(opened)
    for line in done or ["Nothing to do: all tables are there."]:
        click.echo(f"PostgreSQL {where.name}: {line}")


@database.command(
    epilog="Example: heimdall database roles reader | psql postgresql://postgres@db.example/radio"
)
@click.argument("kind", required=False, type=click.Choice(KINDS))
@click.option("--source", help="What the reader reads: a file in sql/. By default that of snapshot.source.")
def roles(kind: str | None, source: str | None) -> None:
    """Print the SQL that makes PostgreSQL's roles with the least rights, for an administrator and psql.

    Each kind of work has a role of its own: reader (dvc repro), operator (heimdall ingest), migrator
    (heimdall database migrate), sweeper (heimdall sweep), tracker (MLflow's store). Without KIND all of them
    are printed. The command connects to nothing. What it prints can be run again. The tables must be there
    before reader and operator get their rights: run the migrator's part, `heimdall database migrate`, then
    the others.
    """
    from heimdall.core import params
    from heimdall.storage import roles as all_roles
    from heimdall.storage import sources

    chosen = sources.load(source or params.load().snapshot.source)
    click.echo("\\set ON_ERROR_STOP on")
    for role in all_roles.ALL:
        if kind in (None, role.kind):
            click.echo(f"-- {role.kind}: {role.work}; its address goes into {role.variable.name}")
            for statement in all_roles.statements(role, chosen):
                click.echo(f"{statement};")
            click.echo(f"-- \\password {role.name}   (psql asks for it)\n")
