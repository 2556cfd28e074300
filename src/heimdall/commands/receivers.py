"""`heimdall receivers`: which receiver's clock is late, and whose filter bends the spectrum."""

from __future__ import annotations

import math
from pathlib import Path

import click
import pandas as pd

from heimdall.calibration import receiver_errors
from heimdall.calibration.receiver_errors import Hardware
from heimdall.commands import options
from heimdall.core import params
from heimdall.core.params import CalibrationParams
from heimdall.core.provenance import provenance
from heimdall.geometry.propagation import SPEED_OF_LIGHT_M_S
from heimdall.network import dataset
from heimdall.network.dataset import DatasetConfig, Sessions


@click.command(epilog="\b\nExample: heimdall receivers\nExample: heimdall receivers --data-dir data/features")
@options.data_dir
def receivers(data_dir: Path) -> None:
    """Which receiver's clock is late, and whose filter bends the spectrum.

    From the sessions of known transmitters that are not held out for the test: how late each receiver has
    a signal beside the median receiver, and its gain 4 kHz away from the signal's centre, each with two
    standard deviations. What stands out by four is named, with what to do.
    """
    config = DatasetConfig(data_dir)
    settings = params.load()
    network = dataset.read_network(config)
    websdr_ids = dataset.read_receivers(config).websdr_id.tolist()
    names = pd.read_parquet(config.receivers_file, columns=["websdr_id", "name"])
    known = _development(dataset.observations(config, "all", settings.validation_split))
    found = receiver_errors.measure(
        receiver_errors.differences(known, network.plane), websdr_ids, settings.seed
    )
    by_id = dict(zip(names["websdr_id"], names["name"], strict=True))
    click.echo(table(found, by_id))
    for one in found:
        for line in advice(one, CalibrationParams(**network.calibration)):
            click.echo(line)
    data = provenance(known.table["simulated"])
    click.echo(
        f"{len(known.table)} sessions, {known.table['source_id'].nunique()} transmitters, {data} data."
    )


def table(found: list[Hardware], names: dict[int, str]) -> str:
    """One line a receiver."""
    lines = [f"{'receiver':<24}{'sessions':>9}{'late by, us':>22}{'gain at 4 kHz, dB':>24}"]
    for one in found:
        label = f"{one.websdr_id} {names[one.websdr_id]}"[:23]
        late = _value(one.delay_s * 1e6, one.delay_sigma_s * 1e6, one.is_late)
        bent = _value(one.edge_db, one.edge_sigma_db, one.is_bent)
        lines.append(f"{label:<24}{one.sessions:>9}{late:>22}{bent:>24}")
    return "\n".join(lines)


def advice(one: Hardware, calibration: CalibrationParams) -> list[str]:
    """What stands out of one receiver beyond its calibration and what to do about it, a sentence each."""
    lines = []
    if one.is_late:
        name = f"websdr_{one.websdr_id}"
        delay_ns = calibration.delay_ns.get(name, 0) + round(one.delay_s * 1e9)
        path_m = abs(one.delay_s) * SPEED_OF_LIGHT_M_S
        late = f"{abs(one.delay_s) * 1e6:.2f} us {'late' if one.delay_s > 0 else 'early'}"
        lines.append(
            f"Receiver {one.websdr_id} is {late}, {path_m:.0f} m of path. If that is its clock or cable, "
            f"set calibration.delay_ns.{name} to {delay_ns} in params.yaml and run `dvc repro`."
        )
    if one.is_bent:
        lines.append(
            f"Receiver {one.websdr_id} has {one.edge_db:+.3f} dB at 4 kHz beside the others, which fusion "
            "takes for echoes. Undo its filter before ingesting (docs/beware.md)."
        )
    return lines


def _value(value: float, sigma: float, stands_out: bool) -> str:
    if math.isnan(value):
        return "too few sessions"
    return f"{value:+.3f} +- {2 * sigma:.3f}{' *' if stands_out else '  '}"


def _development(sessions: Sessions) -> Sessions:
    rows = [row for row, split in enumerate(sessions.table["split"]) if split != "test"]
    return Sessions([sessions.observations[row] for row in rows], sessions.table.iloc[rows])
