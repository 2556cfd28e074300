"""`heimdall demo`: the simulated world in the database and the bucket."""

from __future__ import annotations

import click

from heimdall.core.params import FIRST_OTHER_WORLD

# The world of the README: enough sessions to train on, in minutes.
SESSIONS = 320
TRANSMITTERS = 100
SEED = 42


@click.group(epilog="Example: heimdall demo seed")
def demo() -> None:
    """Write a simulated demo world to the database and the bucket."""


@demo.command(epilog="Example: heimdall demo seed --sessions 320 --seed 42")
@click.option(
    "--sessions",
    type=click.IntRange(1, 10_000),
    default=SESSIONS,
    show_default=True,
    help="Number of sessions in the world.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, FIRST_OTHER_WORLD - 1),
    default=SEED,
    show_default=True,
    help="Number of the world. The worlds from 1000 on are for pretraining.",
)
@click.option(
    "--transmitters",
    type=click.IntRange(1, 10_000),
    default=TRANSMITTERS,
    show_default=True,
    help="Number of transmitters in the world. Each session has one of them.",
)
@click.option(
    "--processes",
    type=click.IntRange(1, 64),
    default=2,
    show_default=True,
    help="Number of processes. The bytes do not depend on it.",
)
@click.option(
    "--bad",
    type=click.Choice(["none", "every"]),
    default="every",
    show_default=True,
    help="Kinds of broken rows and objects: none, or every kind, one in each fourth session.",
)
def seed(sessions: int, seed: int, transmitters: int, processes: int, bad: str) -> None:
    """Write simulated sessions of a network of seven receivers.

    The same seed gives the same bytes. Rows and objects that are already there are not changed. So a second
    run changes nothing, and a run after an interruption completes the world. All data are marked as
    simulated.
    """
    from heimdall.ingest import demo as world
    from heimdall.storage import endpoints, roles
    from heimdall.storage.identities import Identity

    summary = world.seed_world(
        endpoints.resolve(role=roles.OPERATOR, identity=Identity.WRITER),
        seed=seed,
        sessions=sessions,
        transmitters=transmitters,
        processes=processes,
        with_broken=bad == "every",
    )
    click.echo(
        f"simulated world of seed {seed}: {summary.transmitters} transmitters, {summary.sessions} sessions, "
        f"{summary.recordings} recordings, {summary.bytes_stored / 1e6:.0f} MB"
    )
    click.echo(
        f"{summary.unapproved} of the recordings are not approved, {summary.late} are approved after "
        f"{world.LATE:%Y-%m-%d}, and {len(summary.broken)} are broken on purpose"
    )
    if summary.objects_written or summary.rows_written:
        click.echo(f"wrote {summary.objects_written} objects and {summary.rows_written} rows")
    else:
        click.echo("Nothing was changed: all rows and objects were already there.")
