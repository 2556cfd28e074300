"""`heimdall receivers`: the delay of each receiver's clock, and the shape of its filter."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from heimdall.commands import options, output
from heimdall.core import params


@click.command(epilog="\b\nExample: heimdall receivers\nExample: heimdall receivers --data-dir data/features")
@options.data_dir
@options.as_json
def receivers(data_dir: Path, as_json: bool) -> None:
    """Measure the delay of each receiver's clock, and the shape of its filter.

    The command uses the sessions of known transmitters that are not held out for the test. The table says
    how much later each receiver has a signal than the median receiver, and the gain of the receiver 4 kHz
    away from the centre of the signal. Each value has an interval of two standard deviations. If a value is
    beyond four standard deviations, a sentence below the table says so and what to do.
    """
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
        measured = [
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
