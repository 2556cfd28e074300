"""`heimdall locate`: where the transmitter of a session is, by every method side by side."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd

from heimdall.baselines import baselines
from heimdall.commands import options
from heimdall.core import params
from heimdall.core.errors import HeimdallError
from heimdall.core.provenance import provenance
from heimdall.geometry import geo
from heimdall.geometry.area import Receivers
from heimdall.geometry.geo import TangentPlane
from heimdall.metrics.metrics import chi_square_2
from heimdall.network import dataset, model_file
from heimdall.network.dataset import DatasetConfig, Network, Sessions
from heimdall.network.fusion_net import FusionNet
from heimdall.network.localize import localize
from heimdall.position.arrival import Observation
from heimdall.position.posterior import Posterior

METHODS = (*(name.replace("_", "-") for name in baselines.METHODS), "fusion")
Localizer = Callable[[Sequence[Observation]], Posterior]


@dataclass(frozen=True)
class Location:
    """Where one method says that one session's transmitter is.

    Attributes:
        session_id: The session.
        split: "train" where the methods were tuned on it; "val" or "test".
        method: One of `METHODS`.
        latitude_deg: Latitude, degrees.
        longitude_deg: Longitude, degrees.
        sigma_east_m: Standard deviation to the east, metres.
        sigma_north_m: Standard deviation to the north, metres.
        ellipse_95_major_m: Larger semi-axis of the 95 % ellipse, metres.
        ellipse_95_minor_m: Smaller semi-axis, metres.
        ellipse_azimuth_deg: Direction of the larger axis, degrees from north to the east, in [0, 180).
        error_m: Distance from the true position, metres; None where that is not known.
    """

    session_id: str
    split: str
    method: str
    latitude_deg: float
    longitude_deg: float
    sigma_east_m: float
    sigma_north_m: float
    ellipse_95_major_m: float
    ellipse_95_minor_m: float
    ellipse_azimuth_deg: float
    error_m: float | None


@click.command(epilog="\b\nExample: heimdall locate 6f1c2a9e-0b7d-4c3e-9a51-2f8e4d7b1c60 --method all --json")
@click.argument("session_ids", nargs=-1, required=True, metavar="SESSION_ID...")
@click.option(
    "--method",
    "methods",
    multiple=True,
    type=click.Choice([*METHODS, "all"]),
    default=["all"],
    show_default=True,
    help="May be given more than once.",
)
@options.data_dir
@click.option(
    "--model",
    type=click.Path(path_type=Path),
    default=Path("models/localizer.safetensors"),
    show_default=True,
    help="The trained fusion model, its configuration beside it.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list instead of tables.")
def locate(
    session_ids: tuple[str, ...], methods: tuple[str, ...], data_dir: Path, model: Path, as_json: bool
) -> None:
    """Where the transmitters of sessions are, from the recordings of all their receivers.

    The methods without learning are tuned on the training split first. Time of arrival and direct position
    answer as received power does where fewer than three receivers know the time. Of a fusion model's mixture
    the dominant Gaussian is shown.
    """
    config = DatasetConfig(data_dir)
    validation_split = params.load().validation_split
    network = dataset.read_network(config)
    index = dataset.read_index(config)
    wanted = list(dict.fromkeys(name.lower() for name in session_ids))
    _check_sessions(wanted, index, config)
    chosen = [name for name in METHODS if name in methods or "all" in methods]
    receivers = dataset.read_receivers(config)
    trained = _fusion(model, receivers, required="fusion" in methods) if "fusion" in chosen else None
    known = dataset.observations(config, "all", validation_split)
    localizers = _baselines(chosen, known, receivers, network, config)
    if trained is not None:
        localizers["fusion"] = trained
    place = {name: row for row, name in enumerate(known.table["session_id"])}
    rows = [place[name] for name in wanted]
    observations = [known.observations[row] for row in rows]
    sessions = known.table.iloc[rows].to_dict("records")
    by_method = [
        _locations(sessions, name, localizer(observations), network.plane)
        for name, localizer in localizers.items()
    ]
    if as_json:
        found = [asdict(one) for located in zip(*by_method, strict=True) for one in located]
        click.echo(json.dumps(found, indent=2))
        return
    for session, observation, *located in zip(sessions, observations, *by_method, strict=True):
        click.echo(headline(session, observation))
        click.echo(table(located))
    click.echo(f"Data: {provenance(session['simulated'] for session in sessions)}.")


def headline(session: Mapping[Hashable, Any], observation: Observation) -> str:
    """One line on a session: what it is, how many receivers hear it and how many know when."""
    heard = int(np.count_nonzero(observation.session.detected))
    timed = int(np.count_nonzero(observation.arrivals.information_s2 > 0))
    return (
        f"{session['session_id']} ({session['split']}): {session['modulation']} at "
        f"{session['frequency_mhz']:.4f} MHz, heard by {heard}, timed by {timed}"
    )


def table(locations: Sequence[Location]) -> str:
    """Locations of one session as lines of text, lengths in metres."""
    lines = [
        f"{'method':<16}  {'latitude':>10}  {'longitude':>10}  {'sigma E x N, m':>17}"
        f"  {'95 % ellipse, m':>17}  {'azimuth':>7}  {'error, m':>9}"
    ]
    for one in locations:
        sigma = f"{one.sigma_east_m:.0f} x {one.sigma_north_m:.0f}"
        ellipse = f"{one.ellipse_95_major_m:.0f} x {one.ellipse_95_minor_m:.0f}"
        error = "unknown" if one.error_m is None else f"{one.error_m:.0f}"
        lines.append(
            f"{one.method:<16}  {one.latitude_deg:>10.5f}  {one.longitude_deg:>10.5f}  {sigma:>17}"
            f"  {ellipse:>17}  {one.ellipse_azimuth_deg:>7.0f}  {error:>9}"
        )
    return "\n".join(lines)


def _check_sessions(wanted: Sequence[str], index: pd.DataFrame, config: DatasetConfig) -> None:
    existing = set(index["session_id"])
    unknown = [name for name in wanted if name not in existing]
    if unknown:
        test = index["session_id"][index["split"] == "test"].drop_duplicates().tolist()
        others = ", ".join([*test, *index["session_id"].drop_duplicates()][:3])
        cause = f"there is no session {', '.join(unknown)}"
        raise HeimdallError(str(config.index_file), cause, f"Some that are there: {others}")


def _baselines(
    chosen: Sequence[str], known: Sessions, receivers: Receivers, network: Network, config: DatasetConfig
) -> dict[str, Localizer]:
    """The methods without learning that were chosen, tuned on the training split."""
    methods = [name for name in baselines.METHODS if name.replace("_", "-") in chosen]
    if not methods:
        return {}
    training = known.of_split("train")
    if not training.observations:
        cause = "the training split has no sessions to tune the methods on"
        raise HeimdallError(str(config.index_file), cause, "Approve more sessions")
    fitted = baselines.fit(
        training.observations,
        training.truth_m(network.plane),
        receivers,
        network.plane,
        float(network.features["correlation_rate_hz"]),
    )

    def localizer(method: baselines.Method) -> Localizer:
        return lambda observations: Posterior.concatenate(
            [baselines.locate(method, observation, fitted) for observation in observations]
        )

    return {method.replace("_", "-"): localizer(method) for method in methods}


def _fusion(model: Path, receivers: Receivers, *, required: bool) -> Localizer | None:
    """The trained fusion model; None, and why on stderr, where there is none and none is required."""
    try:
        network, _ = model_file.load(model, model.with_suffix(".json"))
        if not isinstance(network, FusionNet):
            remedy = "Train one with model.name: fusion in params.yaml and `dvc repro train`"
            raise HeimdallError(str(model), "it is no fusion model", remedy)
    except HeimdallError as error:
        if required:
            raise
        click.echo(f"fusion is left out: {error}", err=True)
        return None
    found = network
    return lambda observations: localize(found, observations, receivers)


def _locations(
    sessions: Sequence[Mapping[Hashable, Any]], method: str, posterior: Posterior, plane: TangentPlane
) -> list[Location]:
    """One method's answers, in the order of the sessions."""
    position_m, sigma_m = posterior.position_m, posterior.sigma_m
    latitude_deg, longitude_deg = plane.to_degrees(position_m[:, 0], position_m[:, 1])
    truth_deg = [
        np.array([session[name] for session in sessions]) for name in ("latitude_deg", "longitude_deg")
    ]
    error_m = geo.distance_m(latitude_deg, longitude_deg, *truth_deg)
    radius = math.sqrt(chi_square_2(0.95))
    variance_m2, axes = np.linalg.eigh(posterior.medoid_covariance_m2)  # ascending
    locations = []
    for number, session in enumerate(sessions):
        east, north = axes[number, :, 1].tolist()
        minor_m, major_m = (radius * np.sqrt(variance_m2[number])).tolist()
        locations.append(
            Location(
                session_id=session["session_id"],
                split=session["split"],
                method=method,
                latitude_deg=float(latitude_deg[number]),
                longitude_deg=float(longitude_deg[number]),
                sigma_east_m=float(sigma_m[number, 0]),
                sigma_north_m=float(sigma_m[number, 1]),
                ellipse_95_major_m=major_m,
                ellipse_95_minor_m=minor_m,
                ellipse_azimuth_deg=math.degrees(math.atan2(east, north)) % 180,
                error_m=float(error_m[number]) if np.isfinite(error_m[number]) else None,
            )
        )
    return locations
