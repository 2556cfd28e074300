"""`heimdall receivers`: the errors of each receiver's clock, place and filter."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from heimdall.commands import options, output, place, recording_options
from heimdall.core import params
from heimdall.core.errors import HeimdallError

if TYPE_CHECKING:
    from heimdall.commands.recording_options import Said

_FOR_BOTH = ("files", "as_json")
_FOR_SESSIONS = ("data_dir",)


@click.command(
    epilog="""\b
Example, the sessions of the data:
  heimdall receivers

\b
Example, a table of arrival times of many messages:
  heimdall receivers messages.csv --receivers receivers.csv --output errors.csv
  heimdall locate other.csv --receivers receivers.csv --receiver-errors errors.csv

\b
Example, recordings of a transmitter whose place is known:
  heimdall receivers *.sigmf-meta --receivers receivers.csv \\
           --transmitter 50.0152,9.0112
"""
)
@click.argument("files", nargs=-1, type=place.FileOrName(), metavar="[FILE...]")
@recording_options.of_located_files
@click.option("--known", is_flag=True, help="Use the positions of the transmitters that the table has.")
@click.option(
    "--transmitter",
    type=recording_options.LatitudeLongitudeType(),
    help="Latitude and longitude of the one transmitter of all files, degrees, if it is known.",
)
@click.option(
    "--output",
    "output_file",
    type=click.Path(path_type=Path, dir_okay=False),
    callback=options.in_a_folder,
    help="Also write the errors to this CSV file, and their correlations beside it; "
    "`heimdall locate --receiver-errors` takes both.",
)
@options.data_dir
@options.as_json
@click.pass_context
def receivers(
    context: click.Context,
    *,
    files: tuple[str, ...],
    said: Said,
    known: bool,
    transmitter: tuple[float, float] | None,
    output_file: Path | None,
    data_dir: Path,
    as_json: bool,
) -> None:
    """Measure the errors of each receiver's clock and place, and the shape of its filter.

    Of FILES, recordings or tables of arrival times as `heimdall locate` takes them, the events themselves
    tell how early or late each receiver is, how its times scatter, and how far it is from where it is said to
    be: where four receivers or more have an event, its times must fit one place. No transmitter has to be
    known; if it is, three receivers are enough. Each value has an interval of two standard deviations; what
    the events do not tell is unknown.
    Only differences between the receivers' offsets are known: they count from their median.

    Without FILES the command uses the sessions of known transmitters that are not held out for the test. The
    table says how much later each receiver has a signal than the median receiver, and the gain of the
    receiver 4 kHz away from the centre of the signal. If a value is beyond four standard deviations, a
    sentence below the table says so and what to do.
    """
    typed = {
        param.name: param.opts[0]
        for param in context.command.params
        if param.name and context.get_parameter_source(param.name) is ParameterSource.COMMANDLINE
    }
    for name, option in typed.items():
        if name not in _FOR_BOTH and (name in _FOR_SESSIONS) == bool(files):
            raise click.UsageError(f"{option} is for {'sessions' if files else 'files'}: leave it out")
    if not files:
        _of_sessions(data_dir, as_json=as_json)
        return
    from heimdall.localize import locating, receiver_errors_file, receiver_errors_text
    from heimdall.multilateration import receiver_errors
    from heimdall.multilateration.event import Position

    given = said.given()
    events = locating.read(files, given, output.progress("receivers")).events
    if transmitter is not None:
        events = tuple(replace(event, truth=Position(*transmitter, None)) for event in events)
    elif known and all(event.truth is None for event in events):
        remedy = "Give --transmitter LAT,LON if there is one, and its place is known, or leave --known out"
        raise HeimdallError("--known", "the files have no true position of a transmitter", remedy)
    measured = receiver_errors.centred(
        receiver_errors.measure(events, given.assumptions, known=known or transmitter is not None)
    )
    if output_file is not None:
        receiver_errors_file.write(output_file, measured)
    if as_json:
        shown = asdict(measured)
        del shown["correlation"]  # `--output` has it
        output.as_json(shown)
        return
    click.echo(receiver_errors_text.text(measured), nl=False)


def _of_sessions(data_dir: Path, *, as_json: bool) -> None:
    settings = params.load()
    options.require_features(data_dir)
    import pandas as pd

    from heimdall.calibration import receiver_errors, receivers_text
    from heimdall.core.provenance import provenance
    from heimdall.network import dataset
    from heimdall.network.dataset import DatasetConfig

    config = DatasetConfig(data_dir)
    network = dataset.read_network(config)
    websdr_ids = dataset.read_receivers(config).websdr_id.tolist()
    names = pd.read_parquet(config.receivers_file, columns=["websdr_id", "name"])
    known = receiver_errors.development(dataset.observations(config, "all", settings.validation_split))
    found = receiver_errors.measure(
        receiver_errors.differences(known, network.plane), websdr_ids, settings.seed
    )
    by_id = dict(zip(names["websdr_id"], names["name"], strict=True))
    calibration = params.CalibrationParams(**network.calibration)
    data = provenance(known.table["simulated"])
    count, transmitters = len(known.table), known.table["source_id"].nunique()
    if as_json:
        measured: list[dict[str, Any]] = [
            asdict(one)
            | {"name": by_id[one.websdr_id], "is_late": one.is_late, "is_bent": one.is_bent}
            | {"advice": receivers_text.advice(one, calibration)}
            for one in found
        ]
        counts = {"data": data, "sessions": count, "transmitters": transmitters}
        output.as_json(counts | {"receivers": measured})
        return
    click.echo(receivers_text.table(found, by_id))
    for one in found:
        output.lines(receivers_text.advice(one, calibration))
    click.echo(f"Measured in {count} sessions of {transmitters} transmitters, {data} data.")
