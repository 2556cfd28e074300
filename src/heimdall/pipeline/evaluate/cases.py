"""The table that metrics, slices and plots are made from: a row for each predictor's answer to a session."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from heimdall.baselines.cramer_rao import cramer_rao_m2
from heimdall.geometry.geo import TangentPlane
from heimdall.metrics.metrics import Errors, errors
from heimdall.network.dataset import Sessions
from heimdall.position.posterior import Posterior
from heimdall.signal.arrival import Observation

Array = npt.NDArray[np.float64]

WITHOUT_GPS = "test_without_gps"
SLICES = ("receivers_heard", "clock", "snr", "modulation", "region")

_SNR_EDGES_DB = (10.0, 30.0)
# A case's column for each field of `metrics.Errors`.
_ERROR_COLUMNS = {field.name: field.name for field in dataclasses.fields(Errors)} | {"distance_m": "error_m"}


def described(sessions: Sessions, clusters: Sequence[str], plane: TangentPlane) -> pd.DataFrame:
    """What the cases tell of each session, whatever a predictor answers.

    Args:
        sessions: Some of a split.
        clusters: The transmitter of each.
        plane: Tangent plane of the positions.
    """
    table = sessions.table
    timed = [int(np.count_nonzero(item.arrivals.information_s2)) for item in sessions.observations]
    return pd.DataFrame(
        {
            "session_id": table["session_id"],
            "cluster": list(clusters),
            "latitude_deg": table["latitude_deg"],
            "longitude_deg": table["longitude_deg"],
            "receivers_heard": table["receivers_heard"].map(_receivers_label),
            "clock": [_clock_label(count) for count in timed],
            "snr": table["snr_db"].map(_snr_label),
            "modulation": table["modulation"],
            "region": table["region"],
            "bound_m": [
                _bound_m(item, truth_m, plane)
                for item, truth_m in zip(sessions.observations, sessions.truth_m(plane), strict=True)
            ],
        }
    )


def _bound_m(observation: Observation, truth_m: Array, plane: TangentPlane) -> float:
    session = observation.session
    bound_m2 = cramer_rao_m2(
        truth_m,
        observation.arrivals.information_s2,
        session.timing_sigma_s,
        session.position_enu_m,
        plane,
    )
    return float(np.sqrt(bound_m2[0, 0] + bound_m2[1, 1]))


def case_table(
    split: str, predictor: str, rows: pd.DataFrame, posterior: Posterior, plane: TangentPlane
) -> pd.DataFrame:
    """The cases of one predictor.

    Args:
        split: Name for the column `split`.
        predictor: Name for the column `predictor`.
        rows: As of `described`, n sessions.
        posterior: The predictor's n answers.
        plane: Tangent plane of the positions.

    Returns:
        One row a session, columns as in `evaluation.Evaluation`.
    """
    error = errors(posterior, rows["latitude_deg"].to_numpy(), rows["longitude_deg"].to_numpy(), plane)
    table = rows.copy()
    table.insert(0, "predictor", predictor)
    table.insert(0, "split", split)
    position_m = posterior.position_m
    latitude_deg, longitude_deg = plane.to_degrees(position_m[:, 0], position_m[:, 1])
    table["estimated_latitude_deg"] = latitude_deg
    table["estimated_longitude_deg"] = longitude_deg
    table["sigma_east_m"], table["sigma_north_m"] = posterior.sigma_m.T
    table["correlation"] = posterior.medoid_covariance_m2[:, 0, 1] / posterior.sigma_m.prod(axis=1)
    for name, column in _ERROR_COLUMNS.items():
        table[column] = getattr(error, name)
    return table


def errors_of(cases: pd.DataFrame) -> Errors:
    """The errors in a table of cases, row by row."""
    return Errors(**{name: cases[column].to_numpy(np.float64) for name, column in _ERROR_COLUMNS.items()})


def reading_order(label: object) -> tuple[int, str]:
    """What is below the first edge comes first, what is above the last one last."""
    text = str(label)
    return {"<": 0, ">": 2}.get(text[:1], 1), text


def _receivers_label(count: int) -> str:
    if count < 3:
        return "<3"
    return str(count) if count < 7 else "7+"


def _clock_label(timed: int) -> str:
    """How many arrival times there are; fewer than three fix no position."""
    if timed < 3:
        return "0-2"
    return str(timed) if timed < 5 else "5+"


def _snr_label(snr_db: float) -> str:
    low_db, high_db = _SNR_EDGES_DB
    if np.isnan(snr_db):
        return "unknown"
    if snr_db < low_db:
        return f"<{low_db:g} dB"
    return f"{low_db:g}-{high_db:g} dB" if snr_db <= high_db else f">{high_db:g} dB"
