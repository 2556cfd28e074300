"""`heimdall locate`: where the transmitter of a session is, by every method side by side."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from heimdall.baselines.methods import METHODS as WITHOUT_LEARNING
from heimdall.commands import options, output
from heimdall.core import params, paths
from heimdall.core.errors import HeimdallError

FUSION = "fusion"
METHODS = (*(name.replace("_", "-") for name in WITHOUT_LEARNING), FUSION)


@click.command(
    epilog="""\b
Example: heimdall locate 6f1c2a9e
Example: heimdall locate 6f1c2a9e 7e088111 --method fusion --json
"""
)
@click.argument("session_ids", nargs=-1, required=True, metavar="SESSION_ID...")
@click.option(
    "--method",
    "methods",
    multiple=True,
    type=click.Choice([*METHODS, "all"]),
    default=["all"],
    show_default=True,
    help="Method that locates. Give this option again to choose several methods.",
)
@options.data_dir
@click.option(
    "--model",
    type=click.Path(path_type=Path),
    default=paths.WEIGHTS,
    show_default=True,
    help="File of the trained fusion model. Its configuration stands beside it.",
)
@options.as_json
def locate(
    session_ids: tuple[str, ...], methods: tuple[str, ...], data_dir: Path, model: Path, as_json: bool
) -> None:
    """Locate the transmitters of sessions from the recordings of all their receivers.

    The beginning of an identifier is enough if no other session begins with it. `heimdall session list`
    shows the identifiers.

    The methods without learning are first tuned on the training split. If fewer than three receivers know
    the time, time of arrival and direct position give the answer of received power. The fusion model answers
    with a mixture of Gaussians, of which the dominant one is shown.
    """
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
    fusion = None
    if FUSION in chosen:
        try:
            fusion = location.fusion(model, receivers)
        except HeimdallError as error:
            if FUSION in methods:
                raise
            output.progress("locate")(f"the method fusion is left out: {error}")
    known = dataset.observations(config, "all", validation_split)
    tuned = [name for name in WITHOUT_LEARNING if name.replace("_", "-") in chosen]
    localizers = location.without_learning(tuned, known, receivers, network, config)
    if fusion is not None:
        localizers[FUSION] = fusion
    row_of = {name: row for row, name in enumerate(known.table["session_id"])}
    rows = [row_of[name] for name in wanted]
    observations = [known.observations[row] for row in rows]
    sessions = known.table.iloc[rows].to_dict("records")
    by_method = [
        location.locations(sessions, name, localizer(observations), network.plane)
        for name, localizer in localizers.items()
    ]
    if as_json:
        found = [asdict(one) for located in zip(*by_method, strict=True) for one in located]
        output.as_json(found)
        return
    for session, observation, *located in zip(sessions, observations, *by_method, strict=True):
        click.echo(location_text.headline(session, observation))
        click.echo(location_text.table(located))
    click.echo(f"Data: {provenance(session['simulated'] for session in sessions)}.")
