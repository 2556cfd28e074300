"""One session of the data, receiver by receiver."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from heimdall.core import artifacts, paths, remedies
from heimdall.core.params import FeatureParams
from heimdall.geometry import geo
from heimdall.geometry.geo import TangentPlane
from heimdall.geometry.propagation import GROUND_ALTITUDE_M
from heimdall.recordings import archive
from heimdall.session import lateness
from heimdall.session.catalogue import Session, read_index
from heimdall.signal import coherence
from heimdall.signal.arrival import Observation, arrivals
from heimdall.signal.session_files import SessionFile
from heimdall.signal.sessions import SessionFeatures


@dataclass(frozen=True)
class Receiver:
    """What one receiver of the network has of a session.

    Attributes:
        websdr_id: The receiver.
        name: Its name.
        latitude_deg: Latitude, degrees.
        longitude_deg: Longitude, degrees.
        altitude_m: Altitude above the ellipsoid, metres.
        distance_m: From the transmitter, metres; None where that is not known.
        recorded: Whether there is a recording; without one the receiver says nothing.
        detected: Whether it hears the signal.
        snr_db: Signal to noise in the correlation's band, dB; None without a recording.
        level_db: Power in that band, dB of full scale; None without a recording.
        carrier_offset_hz: Carrier less the tuned frequency, Hz; None where it does not hear the signal.
        has_gps_time: Whether the start of the recording is known, and used.
        time_left_out: Why the start of the recording, which is known, is not used: a reason of
            `signal.coherence`; None if it is used or not known.
        delay_usable: Whether it has an arrival time that localization uses.
        delay_s: When the signal came, less the median of all receivers with a time, seconds;
            None where it is not usable.
        delay_sigma_s: Stated standard deviation of that, noise and clock together, seconds; None as that.
        late_s: By how much it came later than from the known position, seconds, as `lateness.late_s` says;
            None where it is not usable or the position not known.
        quarantined: Why its recording is in the quarantine; None if it is not there.
    """

    websdr_id: int
    name: str
    latitude_deg: float
    longitude_deg: float
    altitude_m: float
    distance_m: float | None
    recorded: bool
    detected: bool
    snr_db: float | None
    level_db: float | None
    carrier_offset_hz: float | None
    has_gps_time: bool
    time_left_out: str | None
    delay_usable: bool
    delay_s: float | None
    delay_sigma_s: float | None
    late_s: float | None
    quarantined: str | None

    @property
    def label(self) -> str:
        """Its number and its name."""
        return f"{self.websdr_id} {self.name}"


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
        plane: Of the receivers' positions in the features.
        measurements: Its rows of the snapshot.
        quarantined: Why recordings of it are in the quarantine, by the number of the receiver, which need not
            be one of the network.
    """

    session: Session
    latitude_deg: float
    longitude_deg: float
    receivers: tuple[Receiver, ...]
    observation: Observation
    params: FeatureParams
    plane: TangentPlane
    measurements: pd.DataFrame
    quarantined: Mapping[int, str]

    @property
    def has_truth(self) -> bool:
        """Whether the position of the transmitter is known."""
        return bool(np.isfinite([self.latitude_deg, self.longitude_deg]).all())

    def name(self, row: int) -> str:
        """Number and name of the receiver of a row of the observation."""
        number = int(self.observation.session.websdr_id[row])
        return next(one.label for one in self.receivers if one.websdr_id == number)


@dataclass(frozen=True, eq=False)
class _Found:
    """What is known of the recordings of a session, by row, and what the snapshot says of receivers."""

    observation: Observation
    late_s: npt.NDArray[np.float64]
    sigma_s: npt.NDArray[np.float64]
    truth_deg: tuple[float, float]
    times_left_out: Mapping[int, str | None]
    quarantined: Mapping[int, str]


def read_session(session: Session, features: Path = paths.FEATURES) -> Detail:
    """Read one session: what each receiver has of it, its features and its arrival times.

        found = heimdall.read_session(heimdall.sessions()[-1])
        found.receivers[0].snr_db, found.observation.session.mel, found.observation.arrivals.delay_s

    Args:
        session: One of `catalogue.sessions`.
        features: The featurize stage's output; the snapshot is in the current folder, too.

    Raises:
        HeimdallError: A file is missing or damaged.
    """
    index = read_index(features)
    rows = index[index["session_id"] == session.session_id]
    first = rows.iloc[0]
    stored = SessionFile(features / "shards" / first["shard"]).session(int(first["session_row"]))
    measurements = archive.read_measurements()
    measurements = measurements[measurements["session_id"] == session.session_id]
    params, plane = _network(features / paths.NETWORK)
    duration_s = float((measurements["samples"] / measurements["sample_rate_hz"]).min())
    frequency_hz = session.frequency_mhz * 1e6
    absent = archive.absent_from(session.session_id)
    observation = Observation(stored, arrivals(stored, params, duration_s), frequency_hz, absent, duration_s)
    truth_deg = float(first["latitude_deg"]), float(first["longitude_deg"])
    found = _Found(
        observation,
        lateness.late_s(observation, lateness.travel_s(observation, *truth_deg, plane)),
        lateness.sigma_s(observation),
        truth_deg,
        _times_left_out(measurements, stored),
        _quarantined(session.session_id),
    )
    return Detail(
        session=session,
        latitude_deg=truth_deg[0],
        longitude_deg=truth_deg[1],
        receivers=tuple(_receiver(row, found) for row in archive.read_receivers().to_dict("records")),
        observation=observation,
        params=params,
        plane=plane,
        measurements=measurements,
        quarantined=found.quarantined,
    )


def _receiver(row: Mapping[Hashable, Any], found: _Found) -> Receiver:
    stored, number = found.observation.session, row["websdr_id"]
    usable = found.observation.arrivals.information_s2 > 0
    delay_s = found.observation.arrivals.delay_s
    (places,) = np.nonzero(stored.websdr_id == number)
    at = int(places[0]) if len(places) else None
    distance_m = geo.distance_m(row["latitude_deg"], row["longitude_deg"], *found.truth_deg).item()
    heard = at is not None and bool(stored.detected[at])
    timed = at is not None and bool(usable[at])
    return Receiver(
        websdr_id=number,
        name=row["name"],
        latitude_deg=row["latitude_deg"],
        longitude_deg=row["longitude_deg"],
        altitude_m=row["altitude_m"],
        distance_m=_known(distance_m),
        recorded=at is not None,
        detected=heard,
        snr_db=None if at is None else float(stored.snr_db[at]),
        level_db=None if at is None else float(stored.energy_db[at]),
        carrier_offset_hz=float(stored.cfo_hz[at]) if heard else None,
        has_gps_time=at is not None and bool(np.isfinite(stored.timing_sigma_s[at])),
        time_left_out=found.times_left_out.get(number),
        delay_usable=timed,
        delay_s=float(delay_s[at] - np.median(delay_s[usable])) if timed else None,
        delay_sigma_s=float(found.sigma_s[at]) if timed else None,
        late_s=_known(float(found.late_s[at])) if timed else None,
        quarantined=found.quarantined.get(number),
    )


def _known(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _quarantined(session_id: str) -> dict[int, str]:
    """Why recordings of a session are in the quarantine, by receiver; empty where there is no quarantine."""
    if not paths.QUARANTINE.exists():
        return {}
    try:
        rows = pd.read_parquet(paths.QUARANTINE, columns=["session_id", "websdr_id", "reason", "detail"])
    except (ValueError, OSError) as error:
        raise remedies.of_output(paths.QUARANTINE, error, "no parquet file") from None
    rows = rows[(rows["session_id"] == session_id) & rows["websdr_id"].notna()]
    said = zip(rows["websdr_id"], rows["reason"], rows["detail"], strict=True)
    return {int(number): f"{reason}: {detail}" for number, reason, detail in said}


def _times_left_out(measurements: pd.DataFrame, stored: SessionFeatures) -> dict[int, str | None]:
    """Why the start times of a session's recordings are not used, by receiver."""
    rows = measurements.set_index("websdr_id").loc[stored.websdr_id.tolist()]
    found = coherence.reasons(
        [None if pd.isna(start) else int(start) for start in rows["start_gps_ns"]],
        rows["timing_sigma_ns"].to_list(),
        float((rows["samples"] / rows["sample_rate_hz"]).max()),
        np.isfinite(stored.timing_sigma_s).tolist(),
    )
    return dict(zip(stored.websdr_id.tolist(), found, strict=True))


def _network(file: Path) -> tuple[FeatureParams, TangentPlane]:
    """The parameters that the features say they were made with, and the plane of their positions."""
    try:
        values = artifacts.read_json(file)
        origin_deg = float(values["latitude_deg"]), float(values["longitude_deg"])
        return FeatureParams(**values["features"]), TangentPlane(*origin_deg, GROUND_ALTITUDE_M)
    except (KeyError, TypeError, ValueError) as error:
        raise remedies.of_output(file, error, "no parameters of features") from None
