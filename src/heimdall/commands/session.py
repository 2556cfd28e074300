"""`heimdall session`: the sessions in the data."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from heimdall.commands import options, output, place
from heimdall.core import artifacts, params, paths

if TYPE_CHECKING:
    from heimdall.session.catalogue import Session
    from heimdall.session.detail import Detail


@click.group(
    epilog="\b\nExample: heimdall session list --split test\n"
    "Example: heimdall session show 6f1c2a9e --html session.html\n"
    "Example: heimdall session fetch 6f1c2a9e"
)
def session() -> None:
    """List sessions, show one, or fetch its recordings.

    The sessions are read from data/features and data/snapshot. Neither the database nor the bucket is needed.
    The beginning of an identifier is enough if no other session begins with it.
    """


@session.command("list", epilog="\b\nExample: heimdall session list --split test --limit 10")
@click.option(
    "--split", type=click.Choice(["train", "val", "test"]), help="List only the sessions of this split."
)
@click.option("--limit", type=click.IntRange(min=1), help="List at most this many sessions, the latest ones.")
@options.as_json
def list_sessions(split: str | None, limit: int | None, as_json: bool) -> None:
    """List the sessions in the order of their times.

    "heard by 4 of 6" means that six receivers have a recording, and four of them hear the signal.
    """
    validation_split = params.load().validation_split
    options.require_features(paths.FEATURES)
    from heimdall.session import catalogue, session_text

    every = catalogue.sessions(paths.FEATURES, validation_split)
    chosen = [one for one in every if split in (None, one.split)]
    chosen = chosen[-limit:] if limit else chosen
    if as_json:
        output.as_json([_described(one) for one in chosen])
        return
    output.lines(session_text.listed(chosen, [one.session_id for one in every]))


@session.command(short_help="Show one session, receiver by receiver.",
                 epilog="\b\nExample: heimdall session show 6f1c2a9e\n"
                 "Example: heimdall session show 6f1c2a9e --html page.html --plot page.png")  # fmt: skip
@click.argument("session_id", metavar="ID")
@click.option(
    "--html",
    type=click.Path(path_type=Path, dir_okay=False),
    callback=options.in_a_folder,
    help="Write a page to this file that needs no network: why is the answer right or wrong?",
)
@click.option(
    "--plot",
    type=click.Path(path_type=Path, dir_okay=False),
    callback=options.in_a_folder,
    help="Draw spectra, correlations, residuals and a map to this file (PNG).",
)
@options.as_json
def show(session_id: str, html: Path | None, plot: Path | None, as_json: bool) -> None:
    """Show one session: what each receiver heard, when the signal came, and how late that is.

    The page and the picture also have what the trained localizer (models/localizer.safetensors) says, if it
    is there, and what is found without learning; with them the residuals of each receiver, and what was taken
    from its correlation as the arrival time.
    """
    one = _found(session_id)
    from heimdall.session import detail, session_text

    found = detail.read_session(one)
    if html is not None or plot is not None:
        _draw(found, html, plot)
    if as_json:
        position = {"latitude_deg": found.latitude_deg, "longitude_deg": found.longitude_deg}
        receivers = {"receivers": [asdict(each) for each in found.receivers]}
        output.as_json(_described(one) | position | receivers)
        return
    output.lines(session_text.one(found))


def _draw(found: Detail, html: Path | None, plot: Path | None) -> None:
    """Write the page and the picture of a session."""
    from heimdall.session import located, picture, session_page

    answers = located.locate_session(found, say=output.progress("session show"))
    if html is not None:
        artifacts.write_bytes(html, session_page.text(found, answers).encode("utf-8"))
    if plot is not None:
        artifacts.write_bytes(plot, picture.draw_session(found, answers))


@session.command(short_help="Write the recordings of one session.",
                 epilog="\b\nExample: heimdall session fetch 6f1c2a9e\n"
                 "Example: heimdall session fetch 6f1c2a9e --output recordings")  # fmt: skip
@click.argument("session_id", metavar="ID")
@click.option(
    "--output",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for the files.  [default: session-ID, with the first digits of the identifier]",
)
@options.as_json
def fetch(session_id: str, folder: Path | None, as_json: bool) -> None:
    """Write the recordings of one session, and print the command that locates them.

    The folder gets a file websdr_ID.npy for each receiver, and times.csv with the GPS time of each first
    sample. `heimdall predict` takes these files. For `heimdall locate`, which needs no model, receivers.csv
    has the places of the receivers, and a .json beside each recording its time.
    """
    one = _found(session_id)
    from heimdall.session import files, session_text

    name = f"session-{one.session_id[: session_text.SHORTEST]}"
    written = files.write(one, folder or Path(place.as_typed(name)))
    if as_json:
        output.as_json(
            {
                "session_id": written.session_id,
                "recordings": [str(path) for path in written.recordings],
                "times": None if written.times is None else str(written.times),
                "sample_rates_hz": written.sample_rates_hz,
                "predict": written.command,
                "locate": written.without_model,
            }
        )
        return
    note = output.progress("session fetch")
    if written.times is None:
        note("no receiver knows the GPS time, so there is no times.csv")
    if len(written.sample_rates_hz) > 1:
        note(f"the sample rates differ, and `heimdall predict` takes one: heimdall locate {one.session_id}")
    note(f"without a model: {written.without_model}")
    where = f"{len(written.recordings)} recordings are in {written.recordings[0].parent}"
    note(where if written.command is None else f"{where}. This locates them:")
    if written.command is not None:
        click.echo(written.command)


def _found(typed: str) -> Session:
    """The session that a person means."""
    from heimdall.session import identifiers

    identifiers.require_form([typed])
    validation_split = params.load().validation_split
    options.require_features(paths.FEATURES)
    from heimdall.session import catalogue

    every = catalogue.sessions(paths.FEATURES, validation_split)
    names = [one.session_id for one in every]
    wanted = identifiers.find(typed, names, str(paths.FEATURES))
    return every[names.index(wanted)]


def _described(one: Session) -> dict[str, Any]:
    return asdict(one) | {"time": one.time.isoformat().replace("+00:00", "Z")}
