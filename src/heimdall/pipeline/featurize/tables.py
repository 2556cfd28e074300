"""The tables of data/features/ and data/simulated/: a row a recording, a receiver, or an absent receiver."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from heimdall.core import artifacts
from heimdall.geometry import geo
from heimdall.pipeline.featurize import split
from heimdall.recordings import archive
from heimdall.recordings.shards import ShardStore
from heimdall.signal.session_files import SessionFile

SHARD_SUFFIX = ".safetensors"
INDEX_SCHEMA = pa.schema(
    [
        ("measurement_id", pa.string()),
        ("session_id", pa.string()),
        ("websdr_id", pa.int32()),
        ("source_id", pa.string()),
        ("latitude_deg", pa.float64()),
        ("longitude_deg", pa.float64()),
        ("frequency_mhz", pa.float64()),
        ("modulation", pa.string()),
        ("region", pa.string()),
        ("simulated", pa.bool_()),
        ("receivers_heard", pa.int32()),
        ("snr_db", pa.float64()),
        ("detected", pa.bool_()),
        ("split", pa.string()),
        ("validation_rank", pa.float64()),
        ("shard", pa.string()),
        ("row", pa.int32()),
        ("session_row", pa.int32()),
    ]
)
NETWORK_SCHEMA = pa.schema(
    [
        *archive.RECEIVERS_SCHEMA,
        ("east_m", pa.float64()),
        ("north_m", pa.float64()),
        ("up_m", pa.float64()),
    ]
)
# Of simulated worlds whose receivers are others than those of the network.
ELSEWHERE_SCHEMA = pa.schema(
    [
        ("world", pa.string()),
        ("websdr_id", pa.int32()),
        ("east_m", pa.float64()),
        ("north_m", pa.float64()),
        ("up_m", pa.float64()),
    ]
)


def placed(receivers: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, float]]:
    """Where the receivers of a network are.

    Args:
        receivers: Columns as in the snapshot's receivers.parquet.

    Returns:
        The receivers with `east_m`, `north_m` and `up_m` (float64) around their mean position, and that
        position, `latitude_deg` and `longitude_deg`.
    """
    origin = {name: float(np.mean(receivers[name])) for name in ("latitude_deg", "longitude_deg")}
    return around(receivers, origin), origin


def around(receivers: pd.DataFrame, origin: Mapping[str, float]) -> pd.DataFrame:
    """The receivers with `east_m`, `north_m` and `up_m` (float64) around an origin, as of `placed`."""
    enu: npt.NDArray[np.float64] = np.stack(
        [
            geo.enu_m(latitude, longitude, altitude, origin["latitude_deg"], origin["longitude_deg"])
            for latitude, longitude, altitude in receivers[
                ["latitude_deg", "longitude_deg", "altitude_m"]
            ].to_numpy(np.float64)
        ]
    )
    return receivers.assign(east_m=enu[:, 0], north_m=enu[:, 1], up_m=enu[:, 2])


def measured(
    rows: pd.DataFrame, network: pd.DataFrame, store: ShardStore, shard_of: Mapping[str, str]
) -> pd.DataFrame:
    """index.parquet without the split: rows of measurements with what was measured on their recordings.

    Args:
        rows: One row a recording, in the order of the shards' recordings; `shard` names what each was
            made of. `modulation` may be null.
        network: As `placed` gives it.
        store: Where the shards are.
        shard_of: Name of the shard of features by the value of `shard`.

    Returns:
        The rows with the index's other columns but `split` and `validation_rank`, and `timed`: whether the
        features use the recording's start time.

    Raises:
        HeimdallError: A shard has vanished or is damaged.
    """
    number, made_of = pd.factorize(rows["shard"])
    names = [shard_of[str(name)] for name in made_of]
    found = [_measured(SessionFile(store.path(name))) for name in names]
    columns = {name: np.concatenate([one[name] for one in found]) for name in found[0]}
    order = np.argsort(number, kind="stable")
    index = rows.iloc[order].reset_index(drop=True).assign(shard=np.array(names)[number[order]], **columns)
    index["modulation"] = index["modulation"].fillna("unknown")
    index["region"] = split.regions(
        index["latitude_deg"].to_numpy(np.float64), index["longitude_deg"].to_numpy(np.float64), network
    )
    return index


def _measured(file: SessionFile) -> dict[str, npt.NDArray[Any]]:
    """The index's columns of one shard that are not of the measurements; little of the file is read."""
    snr_db, detected, sigma_s = (file.tensor(name) for name in ("snr_db", "detected", "timing_sigma_s"))
    count = np.diff(file.session_start)
    heard = np.add.reduceat(detected, file.session_start[:-1], dtype=np.int64)
    return {
        "row": np.arange(len(snr_db)),
        "session_row": np.repeat(np.arange(len(count)), count),
        "receivers_heard": np.repeat(heard, count),
        "snr_db": snr_db.astype(np.float64),
        "detected": detected.astype(bool),
        "timed": np.isfinite(sigma_s),
    }


NONE_ABSENT = archive.ABSENT_SCHEMA.empty_table().to_pandas()


def write(
    folder: Path,
    index: pd.DataFrame,
    network: pd.DataFrame,
    described: Mapping[str, Any],
    *,
    absent: pd.DataFrame = NONE_ABSENT,
) -> None:
    """Write the tables and network.json, and, as the commit point, index.parquet; the shards are there.

    Args:
        folder: data/features/ or data/simulated/.
        index: One row a recording, columns `INDEX_SCHEMA`.
        network: As `placed` gives it.
        described: The origin of the local frame, and what the data were made with.
        absent: As `archive.read_absent` gives it.
    """
    archive.write_table(folder / "receivers.parquet", network, NETWORK_SCHEMA)
    archive.write_table(folder / archive.ABSENT_FILE, absent, archive.ABSENT_SCHEMA)
    artifacts.write_json(folder / "network.json", dict(described))
    archive.write_table(folder / "index.parquet", index, INDEX_SCHEMA)
