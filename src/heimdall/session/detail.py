"""One session of the data, receiver by receiver."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from heimdall.core import artifacts, paths, remedies
from heimdall.core.params import FeatureParams
from heimdall.geometry import geo
from heimdall.position.arrival import Arrivals, Observation, arrivals
from heimdall.recordings import archive
from heimdall.session.catalogue import Session, read_index
from heimdall.signal import coherence, sessions


@dataclass(frozen=True)
class Receiver:
    """What one receiver of the network has of a session.

    Attributes:
        websdr_id: The receiver.
        name: Its name.
        latitude_deg: Latitude, degrees.
        longitude_deg: Longitude, degrees.
        distance_m: From the transmitter, metres; None where that is not known.
        recorded: Whether there is a recording; without one the receiver says nothing.
        detected: Whether it hears the signal.
        snr_db: Signal to noise in the correlation's band, dB; None without a recording.
        has_gps_time: Whether the start of the recording is known, and used.
        time_left_out: Why the start of the recording, which is known, is not used: a reason of
            `signal.coherence`; None if it is used or not known.
        delay_usable: Whether it has an arrival time that localization uses.
        delay_s: When the signal came, less the median of all receivers with a time, seconds;
            None where it is not usable.
    """

    websdr_id: int
    name: str
    latitude_deg: float
    longitude_deg: float
    distance_m: float | None
    recorded: bool
    detected: bool
    snr_db: float | None
    has_gps_time: bool
    time_left_out: str | None
    delay_usable: bool
    delay_s: float | None


@dataclass(frozen=True, eq=False)
class Detail:
    """One session.

    Attributes:
        session: What it is.
        latitude_deg: Of the transmitter, degrees.
        longitude_deg: Of the transmitter, degrees.
        receivers: Every receiver of the network, by number.
        observation: Features and arrival times.
        params: The parameters that the features were made with.
        measurements: Its rows of the snapshot.
    """

    session: Session
    latitude_deg: float
    longitude_deg: float
    receivers: tuple[Receiver, ...]
    observation: Observation
    params: FeatureParams
    measurements: pd.DataFrame


def read(session: Session, features: Path = paths.FEATURES) -> Detail:
    """Read one session.

    Args:
        session: One of `catalogue.sessions`.
        features: The featurize stage's output.

    Raises:
        HeimdallError: A file is missing or damaged.
    """
    index = read_index(features)
    rows = index[index["session_id"] == session.session_id]
    first = rows.iloc[0]
    stored = sessions.unpack(features / "shards" / first["shard"])[int(first["session_row"])]
    measurements = archive.read_measurements()
    measurements = measurements[measurements["session_id"] == session.session_id]
    params = _params(features / paths.NETWORK)
    duration_s = float((measurements["samples"] / measurements["sample_rate_hz"]).min())
    found = arrivals(stored, params, duration_s)
    reasons = _times_left_out(measurements, stored)
    truth_deg = float(first["latitude_deg"]), float(first["longitude_deg"])
    return Detail(
        session=session,
        latitude_deg=truth_deg[0],
        longitude_deg=truth_deg[1],
        receivers=tuple(
            _receiver(row, stored, found, truth_deg, reasons)
            for row in archive.read_receivers().to_dict("records")
        ),
        observation=Observation(stored, found, session.frequency_mhz * 1e6),
        params=params,
        measurements=measurements,
    )


def _receiver(
    row: Mapping[Hashable, Any],
    stored: sessions.SessionFeatures,
    found: Arrivals,
    truth_deg: tuple[float, float],
    reasons: Mapping[int, str | None],
) -> Receiver:
    usable = found.information_s2 > 0
    (places,) = np.nonzero(stored.websdr_id == row["websdr_id"])
    at = int(places[0]) if len(places) else None
    timed = at is not None and bool(usable[at])
    distance_m = geo.distance_m(row["latitude_deg"], row["longitude_deg"], *truth_deg).item()
    return Receiver(
        websdr_id=row["websdr_id"],
        name=row["name"],
        latitude_deg=row["latitude_deg"],
        longitude_deg=row["longitude_deg"],
        distance_m=distance_m if np.isfinite(distance_m) else None,
        recorded=at is not None,
        detected=at is not None and bool(stored.detected[at]),
        snr_db=None if at is None else float(stored.snr_db[at]),
        has_gps_time=at is not None and bool(np.isfinite(stored.timing_sigma_s[at])),
        time_left_out=reasons.get(row["websdr_id"]),
        delay_usable=timed,
        delay_s=float(found.delay_s[at] - np.median(found.delay_s[usable]))
        if timed and at is not None
        else None,
    )


def _times_left_out(measurements: pd.DataFrame, stored: sessions.SessionFeatures) -> dict[int, str | None]:
    """Why the start times of a session's recordings are not used, by receiver."""
    rows = measurements.set_index("websdr_id").loc[stored.websdr_id.tolist()]
    found = coherence.reasons(
        [None if pd.isna(start) else int(start) for start in rows["start_gps_ns"]],
        rows["timing_sigma_ns"].to_list(),
        float((rows["samples"] / rows["sample_rate_hz"]).max()),
        np.isfinite(stored.timing_sigma_s).tolist(),
    )
    return dict(zip(stored.websdr_id.tolist(), found, strict=True))


def _params(file: Path) -> FeatureParams:
    """The parameters that the features say they were made with."""
    try:
        return FeatureParams(**artifacts.read_json(file)["features"])
    except (KeyError, TypeError, ValueError) as error:
        raise remedies.of_output(file, error, "no parameters of features") from None
