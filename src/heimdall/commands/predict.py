"""`heimdall predict`: the exported model on recordings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from heimdall.commands import options, output, place
from heimdall.core import artifacts, paths, remedies

if TYPE_CHECKING:
    from heimdall.inference.onnx_model import OnnxLocalizer
    from heimdall.localize.prediction import Prediction


NOTHING_HEARD = 3  # 1 is a failure and 2 wrong usage, as of every command


@click.command(
    epilog="""\b
Example: heimdall predict websdr_1.npy websdr_3.npy 4=other.npy \\
           --frequency-mhz 145.5 --times times.csv --html position.html
"""
)
@click.argument("files", nargs=-1, required=True, type=place.RecordingName(), metavar="[ID=]FILE.npy...")
@click.option(
    "--model",
    type=click.Path(path_type=Path),
    default=paths.ONNX,
    show_default=True,
    help="File of the exported model.",
)
@click.option(
    "--sample-rate-hz",
    type=options.FiniteRange(min=0, min_open=True),
    default=192_000.0,
    show_default=True,
    help="Sample rate of the recordings.",
)
@click.option(
    "--frequency-mhz", type=options.FrequencyMhz(), help="Frequency to which the receivers were tuned, MHz."
)
@click.option(
    "--times",
    type=click.Path(path_type=Path),
    help="CSV file with the GPS time of each first sample, in the columns websdr_id, start_gps_ns and "
    "timing_sigma_ns.",
)
@click.option(
    "--absent",
    type=int,
    multiple=True,
    metavar="ID",
    help="A receiver that was switched off: it says nothing. Several times for several.",
)
@options.written("html", "a page with a map that works offline")
@options.written("png", "a picture of the map")
@options.as_json
@click.pass_context
def predict(
    context: click.Context,
    *,
    files: tuple[str, ...],
    model: Path,
    sample_rate_hz: float,
    frequency_mhz: float | None,
    times: Path | None,
    absent: tuple[int, ...],
    html_file: Path | None,
    png_file: Path | None,
    as_json: bool,
) -> None:
    """Locate the transmitter of a session from the recordings of its receivers.

    A recording is a one-dimensional .npy file of complex64 or complex128. Its name is websdr_ID.npy as in
    the bucket. Give a file of another name as ID=FILE. All files together are one session and get one
    answer. A receiver of the network without a file counts as one that recorded and heard nothing, if it is
    not --absent. Without --times the answer comes from received levels alone.

    A model of the kind "single" locates each file by itself. Then the names of the files do not matter, and
    --frequency-mhz, --times and --absent must be left out.

    The exit code is 0 if there is a position, 1 if the command failed, 2 if it was used wrongly, and 3 if no
    receiver hears a signal.
    """
    from heimdall.localize import session_files
    from heimdall.session import start_times

    session_files.require(files)
    starts = {} if times is None else start_times.read(times)
    artifacts.require(model, remedy=f"{remedies.BRING}; outside of a clone name a model with --model")
    from heimdall.inference.onnx_model import OnnxLocalizer
    from heimdall.inference.preprocessing import Preprocessing
    from heimdall.localize import prediction, prediction_text

    localizer = OnnxLocalizer.open(model)
    if localizer.kind == "single":
        if frequency_mhz is not None or times is not None or absent:
            raise click.UsageError(
                f"{model} locates single recordings: leave out --frequency-mhz, --times and --absent"
            )
        recorded = prediction.of_recordings(localizer, [Path(file) for file in files], model, sample_rate_hz)
        if html_file is not None or png_file is not None:
            _draw_recordings(localizer, recorded, html_file, png_file)
        _say(localizer, prediction_text.recordings(recorded), [asdict(one) for one in recorded], as_json)
        return
    if frequency_mhz is None:
        raise click.UsageError(f"{model} locates sessions: give --frequency-mhz")
    preprocessing = Preprocessing.of(localizer.metadata, str(model))
    named = session_files.named_files(files)
    recordings = session_files.read_session(named, sample_rate_hz, starts)
    found, observation = prediction.of_session(
        localizer, preprocessing, recordings, frequency_mhz * 1e6, absent=absent
    )
    for line in session_files.remarks(recordings, starts if times else None):
        output.progress("predict")(line)
    if html_file is not None or png_file is not None:
        from heimdall.localize import network_map, prediction_page
        from heimdall.recordings import archive

        tokenizer = preprocessing.tokenizer
        network = (tokenizer.receivers, tokenizer.plane)
        names = network_map.names(paths.FEATURES / archive.RECEIVERS_FILE, *network)
        stations = network_map.stations(observation, *network, names)
        scene = prediction_page.scene(
            f"Position at {frequency_mhz:.4f} MHz", found, stations, tokenizer.plane
        )
        trained_on = str(localizer.metadata.get("data", ""))
        if html_file is not None:
            artifacts.write_bytes(html_file, prediction_page.session(scene, found, trained_on).encode())
        if png_file is not None:
            artifacts.write_bytes(png_file, prediction_page.session_png(scene))
    _say(localizer, prediction_text.session(found), found.flat(), as_json)
    if found.place is None:
        context.exit(NOTHING_HEARD)


def _draw_recordings(
    localizer: OnnxLocalizer, recorded: Sequence[Prediction], html_file: Path | None, png_file: Path | None
) -> None:
    from heimdall.localize import prediction_page

    if html_file is not None:
        trained_on = str(localizer.metadata.get("data", ""))
        artifacts.write_bytes(html_file, prediction_page.recordings(recorded, trained_on).encode())
    if png_file is not None:
        artifacts.write_bytes(png_file, prediction_page.recordings_png(recorded))


def _say(localizer: OnnxLocalizer, text: str, content: object, as_json: bool) -> None:
    if as_json:
        output.as_json(content)
        return
    click.echo(text)
    data = localizer.metadata.get("data")
    if data is not None:
        click.echo(f"The model was trained on {data} data.")
