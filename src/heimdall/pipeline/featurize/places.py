"""Whether what receivers hear fits the places that they and the transmitters are said to have.

Where a number means another receiver than was written down, distances are wrong and nothing fails. But then
the levels of that number fall with the distance from another receiver's place. Where coordinates are
exchanged, or the receivers are those of another network, transmitters stand farther away than anybody hears.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import numpy.typing as npt
import pandas as pd

from heimdall.geometry import geo
from heimdall.geometry.propagation import SPEED_OF_LIGHT_M_S

Array = npt.NDArray[np.float64]
LOSS_DB = 30.0  # in each decade of distance: between free space (20) and towns (40)
SESSIONS = 20  # that are judged together, in their order: a number may change its meaning on some day
BETTER = 3.0  # times less variance, and
LEAST_DB = 6.0  # so much scatter at its own place: with both, 72 worlds of right receivers raised no doubt
NEAR_M = 1000.0  # a transmitter nearer than this is taken to be as far
# Above this frequency nothing is heard from this far but satellites and rare reflections: between mountains
# of 3 km the horizon is at 450 km (ITU-R P.310, effective radius of the Earth of 8500 km).
HORIZON_MHZ = 30.0
BEYOND_HORIZON_M = 1e6


def doubts(index: pd.DataFrame, network: pd.DataFrame) -> list[str]:
    """What is to be said of receivers whose levels fit the place of another one far better than their own.

    Args:
        index: Rows of recordings in the order of their sessions: `session_id`, `websdr_id`, `latitude_deg`
            and `longitude_deg` of the transmitter, `detected`, `snr_db`.
        network: The receivers: `websdr_id`, `name`, `latitude_deg`, `longitude_deg`.

    Returns:
        A sentence for each receiver and each part of the sessions; nothing where all fits, or too few tell.
    """
    heard = index[index["detected"]]
    levels = heard.pivot(index="session_id", columns="websdr_id", values="snr_db")
    order = heard["session_id"].drop_duplicates()
    level_db = levels.reindex(index=order, columns=network["websdr_id"]).to_numpy(np.float64)  # (S, R)
    at = heard.drop_duplicates("session_id")[["latitude_deg", "longitude_deg"]].to_numpy(np.float64)
    loss_db = np.stack(
        [_loss_db(at, place) for place in network[["latitude_deg", "longitude_deg"]].to_numpy()], -1
    )
    numbers, names = network["websdr_id"].tolist(), network["name"].tolist()
    said = []
    for row, part in itertools.product(range(len(network)), _parts(level_db)):
        found = _fits_better(level_db[part], loss_db[part], row)
        if found is None:
            continue
        other, own_db, other_db = found
        first, *_, last = (str(name)[:8] for name in order.iloc[part])
        said.append(
            f"receiver {numbers[row]} ({names[row]}): in the sessions {first} to {last} its levels fit the "
            f"place of {names[other]} better than its own (they scatter by {other_db:.1f} instead of "
            f"{own_db:.1f} dB). Check which receiver had this number then"
        )
    return said


def far(index: pd.DataFrame, network: pd.DataFrame) -> list[str]:
    """What is to be said of sessions all of whose receivers stand beyond the transmitter's horizon.

    Args:
        index: As of `doubts`, and `frequency_mhz`.
        network: As of `doubts`.
    """
    rows = index[index["frequency_mhz"] >= HORIZON_MHZ].merge(
        network[["websdr_id", "latitude_deg", "longitude_deg"]], on="websdr_id", suffixes=("", "_receiver")
    )
    place, receiver = (
        (rows[f"latitude_deg{of}"].to_numpy(), rows[f"longitude_deg{of}"].to_numpy())
        for of in ("", "_receiver")
    )
    rows["far_m"] = geo.distance_m(*place, *receiver)
    nearest_m = rows.groupby("session_id", sort=False)["far_m"].min()
    beyond_m = nearest_m[nearest_m > BEYOND_HORIZON_M]
    if beyond_m.empty:
        return []
    first, far_km = str(beyond_m.index[0])[:8], beyond_m.iloc[0] / 1e3
    return [
        f"in {len(beyond_m)} of {index['session_id'].nunique()} sessions, first in {first}, the nearest "
        f"receiver stands {far_km:.0f} km from the transmitter. Check latitude and longitude of both, and "
        "that the receivers are those of this network"
    ]


def beyond_the_lags(network: pd.DataFrame, max_lag_s: float) -> list[str]:
    """What is to be said where light takes longer between two receivers than the correlations reach.

    Args:
        network: The receivers: `name`, `latitude_deg`, `longitude_deg`.
        max_lag_s: Largest lag, seconds.
    """
    latitude_deg, longitude_deg = network[["latitude_deg", "longitude_deg"]].to_numpy(np.float64).T
    far_m = geo.distance_m(latitude_deg[:, None], longitude_deg[:, None], latitude_deg, longitude_deg)
    needed_s = float(far_m.max()) / SPEED_OF_LIGHT_M_S
    if needed_s <= max_lag_s:
        return []
    one, other = (network["name"].iloc[int(row)] for row in divmod(int(np.argmax(far_m)), len(far_m)))
    return [
        f"{one} and {other} are {far_m.max() / 1e3:.0f} km apart, for which light takes {1e3 * needed_s:.2f} "
        f"ms. Arrival times that differ by more than {1e3 * max_lag_s:g} ms are not used: set "
        f"features.correlation_max_lag_s to {math.ceil(1e4 * needed_s) / 1e4:g} to use them"
    ]


def _loss_db(at: Array, place: Array) -> Array:
    """Loss on the way from each transmitter (S, 2) to a place (2,), (S,)."""
    far_m = geo.distance_m(at[:, 0], at[:, 1], place[0], place[1])
    return np.asarray(LOSS_DB * np.log10(np.maximum(far_m, NEAR_M)))


def _parts(level_db: Array) -> list[slice]:
    """The sessions in parts of at least `SESSIONS`."""
    count = len(level_db) // SESSIONS
    ends = [SESSIONS * number for number in range(count)] + [len(level_db)]
    return [slice(*pair) for pair in itertools.pairwise(ends)]


def _fits_better(level_db: Array, loss_db: Array, row: int) -> tuple[int, float, float] | None:
    """The receiver whose place fits the levels of `row` far better; the scatter at its own and there, dB.

    The power of each transmitter is what the other receivers say of it, each less what it hears too well.
    """
    power_db = level_db + loss_db  # (S, R)
    others = np.arange(level_db.shape[1]) != row
    usable = np.isfinite(level_db[:, row]) & (np.isfinite(level_db[:, others]).sum(1) >= 2)
    if usable.sum() < SESSIONS:
        return None
    power_db, loss_db, own_db = power_db[usable], loss_db[usable], level_db[usable, row]
    above_db = power_db - np.nanmedian(power_db, axis=1, keepdims=True)
    gain_db = pd.DataFrame(above_db).median().to_numpy(np.float64)  # NaN where nothing is heard
    sent_db = np.nanmedian((power_db - gain_db)[:, others], axis=1)
    scatter_db = np.std(own_db[:, None] + loss_db - sent_db[:, None], axis=0, ddof=1)  # (R,)
    best = int(np.argmin(scatter_db))
    if scatter_db[row] < LEAST_DB or scatter_db[row] ** 2 < BETTER * scatter_db[best] ** 2:
        return None
    return best, float(scatter_db[row]), float(scatter_db[best])
