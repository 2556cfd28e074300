"""Who is held out: whole transmitters or whole sessions, spread over the regions, never a part of one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from heimdall.core.errors import HeimdallError
from heimdall.core.params import SplitParams
from heimdall.core.randomness import generator
from heimdall.geometry import geo, transmitters

GOLDEN_RATIO_FRACTION = (5**0.5 - 1) / 2


def regions(
    latitude_deg: npt.NDArray[np.float64], longitude_deg: npt.NDArray[np.float64], receivers: pd.DataFrame
) -> list[str]:
    """The region of each position: the name of the nearest receiver.

    Args:
        latitude_deg: Latitudes, degrees, shape (n,).
        longitude_deg: Longitudes, degrees, shape (n,).
        receivers: Columns `name`, `latitude_deg`, `longitude_deg`; R rows.

    Returns:
        n names. Of receivers at equal distance the first counts.
    """
    names = [str(name) for name in receivers["name"]]
    positions = receivers[["latitude_deg", "longitude_deg"]].to_numpy(np.float64)
    distances = np.stack(
        [
            geo.distance_m(latitude_deg, longitude_deg, latitude, longitude)
            for latitude, longitude in positions
        ]
    )  # (R, n)
    return [names[nearest] for nearest in np.argmin(distances, axis=0)]


def assign(recordings: pd.DataFrame, params: SplitParams) -> pd.DataFrame:
    """Assign every recording to test or development, and rank the latter for validation.

    Units (transmitters, or sessions) are shuffled within their region and laid in a row; unit number r
    gets x = frac(r * 0.618... + u). The golden-ratio sequence is evenly spread over every stretch of the
    row, so any interval of x takes the same share of each region: [0, test_fraction) is the test set, and
    any lower part of the rest is a validation set.

    Args:
        recordings: Columns `session_id`, `source_id` (may be null), `latitude_deg`, `longitude_deg` and
            `region`. `transmitters.by_place` says which sessions are of one transmitter. The region of a
            unit is that of its session with the smallest `session_id`.
        params: By what to split, test fraction and seed.

    Returns:
        Columns `split` ("development" or "test") and `validation_rank` in [0, 1), float64 (validation is
        every development row below the validation fraction), in the rows' order and with their index.

    Raises:
        HeimdallError: One of the two has no members.
    """
    session = recordings["session_id"].astype(str)
    unit = transmitters.by_place(recordings) if params.by == "transmitter" else session
    first = (
        pd.DataFrame({"unit": unit, "session": session, "region": recordings["region"]})
        .drop_duplicates(["unit", "session"])
        .sort_values(["unit", "session"])
        .drop_duplicates("unit")
    )
    row: list[str] = []
    for region, members in first.sort_values(["region", "unit"]).groupby("region", sort=True):
        order = generator(params.seed, f"split {region}").permutation(len(members))
        row += [str(members["unit"].iloc[place]) for place in order]
    offset = generator(params.seed, "split offset").random()
    x = {name: (place * GOLDEN_RATIO_FRACTION + offset) % 1.0 for place, name in enumerate(row)}
    value = unit.map(x).astype(float)
    test = value < params.test_fraction
    rank = (value - params.test_fraction) / (1 - params.test_fraction)
    for name, held in (("test", test), ("development", ~test)):
        if not held.any():
            raise HeimdallError(
                f"split.by={params.by}",
                f"the {name} split has no members ({len(row)} units at test_fraction {params.test_fraction})",
                "Approve recordings of more transmitters, or change split.by or split.test_fraction",
            )
    return pd.DataFrame(
        {"split": np.where(test, "test", "development"), "validation_rank": rank.where(~test, 0.0)},
        index=recordings.index,
    )
