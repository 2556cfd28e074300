"""`heimdall locate`: where a transmitter is, by files of anybody, or of a session by every method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from heimdall.baselines.methods import METHODS as WITHOUT_LEARNING
from heimdall.commands import options, output, place, recording_options
from heimdall.core import artifacts, paths
from heimdall.core.errors import HeimdallError

if TYPE_CHECKING:
    from heimdall.commands.recording_options import Said
    from heimdall.core.provenance import Provenance
    from heimdall.localize.answer import Answer
    from heimdall.localize.location_page import Located

FUSION = "fusion"
METHODS = (*(name.replace("_", "-") for name in WITHOUT_LEARNING), FUSION)
NOTHING_KNOWN = 3  # 1 is a failure and 2 wrong usage, as of every command; `predict` has the same
_FOR_SESSIONS = ("methods", "data_dir", "one_place")
_FOR_BOTH = ("names", "model", "html_file", "png_file", "as_json")


@click.command(
    epilog="""\b
Example, KiwiSDRs, whose clocks GPS disciplines:
  heimdall locate *_iq.wav --receivers receivers.csv --kml answer.kml

\b
Example, other SDRs, whose clocks the column timing_sigma_ns tells:
  heimdall locate north.sigmf-meta south.sigmf-meta WEST=west.cu8 \\
           --receivers receivers.csv --sample-rate 2400000 \\
           --start 2026-02-01T12:00:00.000000000Z

\b
Example, arrival times, in columns event, receiver and time_ns:
  heimdall locate times.csv --receivers receivers.csv \\
           --altitude unknown --csv answers.csv

\b
Example, sessions of the data:
  heimdall locate 6f1c2a9e 7e088111 --method fusion --json
  heimdall locate 6f1c2a9e --html session.html --png session.png
  heimdall locate 6f1c2a9e 7e088111 --together
"""
)
@click.argument("names", nargs=-1, required=True, type=place.FileOrName(), metavar="FILE...|SESSION_ID...")
@recording_options.of_located_files
@click.option(
    "--receiver-errors",
    "errors_path",
    type=click.Path(path_type=Path),
    help="CSV file of the receivers' own errors, which `heimdall receivers FILE... --output` writes, to take "
    "them off.",
)
@options.written("csv", "CSV, a row for each second or event")
@options.written("geojson", "GeoJSON")
@options.written("kml", "KML")
@options.written("html", "a page with a map that works offline")
@options.written("png", "a picture of the map; of sessions one")
@click.option(
    "--method",
    "methods",
    multiple=True,
    type=click.Choice([*METHODS, "all"]),
    metavar="METHOD",
    default=["all"],
    show_default=True,
    help=f"Method that locates sessions: {', '.join(METHODS)} or all. Give this option again to choose "
    "several methods.",
)
@click.option(
    "--together",
    "one_place",
    is_flag=True,
    help="Say that all sessions are of one transmitter at one place, and locate it from all of them.",
)
@options.data_dir
@click.option(
    "--model",
    type=click.Path(path_type=Path),
    default=paths.WEIGHTS,
    help="File of the trained fusion model of sessions, its configuration beside it; for files an exported "
    f"model (.onnx), whose answers are said beside.  [default: {paths.WEIGHTS}; for files none]",
)
@options.as_json
@click.pass_context
def locate(
    context: click.Context,
    *,
    names: tuple[str, ...],
    said: Said,
    errors_path: Path | None,
    csv_file: Path | None,
    geojson_file: Path | None,
    kml_file: Path | None,
    html_file: Path | None,
    png_file: Path | None,
    methods: tuple[str, ...],
    one_place: bool,
    data_dir: Path,
    model: Path,
    as_json: bool,
) -> None:
    """Locate a transmitter from files of anybody, or those of sessions in the data by every method.

    FILES are recordings of one transmission by several receivers, in any format that `heimdall ingest` reads,
    or a table of arrival times. Nothing is trained, and no database is needed. Recordings are cut into whole
    GPS seconds, of which each has an answer; the first answer is that of all together. The name of a receiver
    stands in the name of its file, or is given as NAME=FILE. The exit code is 3 if nothing can be said of
    the place.

    A table has a row for each time, with columns receiver, time_ns and, of several events, event; or a column
    NAME_ns of times for each receiver; or columns receiver_a, receiver_b and tdoa_ns, the time of receiver_a
    minus that of receiver_b; or a column measurements, as LocaRDS has it. Columns sigma_ns and level_db are
    used if they are there.

    Of a session of the data the beginning of its identifier is enough if no other session begins with it.
    `heimdall session list` shows the identifiers. The methods without learning know from the stage evaluate
    what the training split told (data/baselines.json); without that file they are tuned first. If two
    receivers know the time, time of arrival and direct position use the levels, too; with fewer they give the
    answer of received power. All answers are mixtures of Gaussians. Of the methods without learning the point
    of the least expected distance is shown with the spread of the whole mixture, of the fusion model the
    dominant Gaussian. With --together there is one more answer: what all sessions tell of one place. Sessions
    of one transmitter share the ways to the receivers, so ten of them count as four independent ones.
    """
    typed = {
        param.name: param.opts[0]
        for param in context.command.params
        if param.name and context.get_parameter_source(param.name) is ParameterSource.COMMANDLINE
    }
    if not (typed.keys() & {"receivers_path", "sites"} or any(map(place.is_file, names))):
        _refuse(
            [option for name, option in typed.items() if name not in (*_FOR_SESSIONS, *_FOR_BOTH)], "files"
        )
        if png_file is not None and len(names) > 1 and not one_place:
            raise click.UsageError("--png shows one session: name one, or give --html")
        if one_place and len(names) < 2:
            raise click.UsageError("--together wants two sessions or more")
        written = _Written(html_file, png_file, as_json)
        _locate_sessions(names, methods, data_dir, model, written, one_place=one_place)
        return
    _refuse([option for name, option in typed.items() if name in _FOR_SESSIONS], "sessions")
    from heimdall.localize import locating

    given = said.given(model=model if "model" in typed else None, errors=errors_path)
    answer = locating.answer(names, given, output.progress("locate"))
    for file, text in (
        (csv_file, "fix_csv"),
        (geojson_file, "fix_geojson"),
        (kml_file, "fix_kml"),
        (html_file, "fix_page"),
    ):
        if file is not None:
            module = import_module(f"heimdall.localize.{text}")
            artifacts.write_bytes(file, module.text(answer).encode())
    if png_file is not None:
        from heimdall.localize import fix_page

        artifacts.write_bytes(png_file, fix_page.png(answer))
    _say(answer, as_json=as_json)
    if all(fix.kind == "nothing" for fix in answer.fixes):
        context.exit(NOTHING_KNOWN)


def _say(answer: Answer, *, as_json: bool) -> None:
    from heimdall.localize import fix_json, fix_text

    if as_json:
        click.echo(fix_json.text(answer), nl=False)
    else:
        click.echo(fix_text.text(answer), nl=False)


def _refuse(options_typed: Sequence[str], what: str) -> None:
    """Refuse options that mean nothing for what is to be located.

    Raises:
        click.UsageError: One of them is given.
    """
    if options_typed:
        raise click.UsageError(f"{options_typed[0]} is for {what}: leave it out")


@dataclass(frozen=True)
class _Written:
    """What is written of sessions: the files of a page and of a picture, and whether JSON is printed."""

    html: Path | None
    png: Path | None
    as_json: bool

    def pages(self, found: Sequence[Located], data: Provenance) -> None:
        """Write the page and the picture, if they are wanted."""
        from heimdall.localize import location_page

        if self.html is not None:
            artifacts.write_bytes(self.html, location_page.text(found, data).encode())
        if self.png is not None:
            artifacts.write_bytes(self.png, location_page.png(found[0], data))


def _locate_sessions(
    session_ids: tuple[str, ...],
    methods: tuple[str, ...],
    data_dir: Path,
    model: Path,
    written: _Written,
    *,
    one_place: bool,
) -> None:
    if place.clone_around(Path.cwd()) is None:
        cause = "not inside a clone of Heimdall's repository, which has the sessions"
        raise HeimdallError(
            str(Path.cwd()), cause, "Change to the folder of a clone, or name files to locate"
        )
    from heimdall.core import params
    from heimdall.session import identifiers

    identifiers.require_form(session_ids)
    validation_split = params.load().validation_split
    options.require_features(data_dir)
    from heimdall.core.provenance import provenance
    from heimdall.localize import location, location_text
    from heimdall.network import dataset
    from heimdall.network.dataset import DatasetConfig

    config = DatasetConfig(data_dir)
    network, receivers = dataset.read_network(config), dataset.read_receivers(config)
    existing = dataset.read_index(config)["session_id"].tolist()
    wanted = list(dict.fromkeys(identifiers.find(name, existing, str(data_dir)) for name in session_ids))
    chosen = METHODS if "all" in methods else methods
    say = output.progress("locate")
    fusion = None
    if FUSION in chosen:
        try:
            fusion = location.fusion(model, receivers)
        except HeimdallError as error:
            if FUSION in methods:
                raise
            say(f"the method fusion is left out: {error}")
    known = dataset.observations(config, "all", validation_split)
    tuned = [name for name in WITHOUT_LEARNING if name.replace("_", "-") in chosen]
    localizers = location.without_learning(tuned, known, validation_split, config, say)
    if fusion is not None:
        localizers[FUSION] = fusion
    row_of = {name: row for row, name in enumerate(known.table["session_id"])}
    rows = [row_of[name] for name in wanted]
    observations = [known.observations[row] for row in rows]
    sessions = known.table.iloc[rows].to_dict("records")
    answers = location.answers(sessions, observations, localizers, network.plane, one_place=one_place)
    if answers.doubt is not None:
        say(f"the sessions are said to be of one place, but {answers.doubt}")
    data = provenance(session["simulated"] for session in sessions)
    if written.html is not None or written.png is not None:
        from heimdall.localize import location_page

        network_known = location_page.Network(receivers, network.plane, config.receivers_file)
        written.pages(location_page.located(answers, network_known), data)
    if written.as_json:
        every = (*answers.located, answers.located_together)
        output.as_json([asdict(one) for of_session in every for one in of_session])
        return
    output.lines([*location_text.lines(answers), f"Data: {data}."])
