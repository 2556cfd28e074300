"""Which sessions there are in data/features/."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd

from heimdall.core import params, paths, remedies
from heimdall.core.errors import HeimdallError
from heimdall.recordings import archive

INDEX_FILE = "index.parquet"


@dataclass(frozen=True)
class Session:
    """One session of the data.

    Attributes:
        session_id: Lower-case UUID.
        time: When it was recorded, UTC.
        frequency_mhz: Tuned frequency, MHz.
        receivers: Receivers with a recording.
        receivers_heard: Those of them that hear the signal.
        modulation: "unknown" where nobody said.
        split: "train", "val" or "test".
        source_id: Which known transmitter it is of; None where that is not known.
        region: The name of the receiver that is nearest to the transmitter.
        simulated: Whether a simulator made the recordings.
    """

    session_id: str
    time: datetime
    frequency_mhz: float
    receivers: int
    receivers_heard: int
    modulation: str
    split: str
    source_id: str | None
    region: str
    simulated: bool


def read_index(features: Path = paths.FEATURES) -> pd.DataFrame:
    """The index of the features, one row a recording, as docs/architecture.md says.

    Raises:
        HeimdallError: The file is missing or damaged.
    """
    file = features / INDEX_FILE
    try:
        return pd.read_parquet(file)
    except (ValueError, OSError) as error:
        raise remedies.of_output(file, error, "no parquet file") from None


def sessions(features: Path = paths.FEATURES, validation_split: float | None = None) -> list[Session]:
    """All sessions of the features, in the order of their times.

        heimdall.sessions()[-1]  # the latest one

    Args:
        features: The featurize stage's output; the snapshot is in the current folder, too.
        validation_split: Share of the development recordings that validate; None for that of params.yaml.

    Raises:
        HeimdallError: A file is missing or damaged.
    """
    if validation_split is None:
        validation_split = params.load().validation_split
    index = read_index(features)
    times = archive.read_measurements().groupby("session_id")["timestamp"].min()
    firsts = index.groupby("session_id", sort=False).first()
    firsts["receivers"] = index.groupby("session_id", sort=False).size()
    firsts["time"] = times.reindex(firsts.index)
    if firsts["time"].isna().any():
        cause = f"session {firsts.index[firsts['time'].isna()][0]} is not in {archive.SNAPSHOT}"
        raise HeimdallError(str(features / INDEX_FILE), cause, remedies.RESTORE)
    validates = firsts["validation_rank"] < validation_split
    firsts["split"] = np.where(firsts["split"] == "test", "test", np.where(validates, "val", "train"))
    return [
        Session(
            session_id=row["session_id"],
            time=row["time"].to_pydatetime(),
            frequency_mhz=row["frequency_mhz"],
            receivers=row["receivers"],
            receivers_heard=row["receivers_heard"],
            modulation=row["modulation"],
            split=row["split"],
            source_id=None if pd.isna(row["source_id"]) else row["source_id"],
            region=row["region"],
            simulated=row["simulated"],
        )
        for row in firsts.reset_index().sort_values("time", kind="stable").to_dict("records")
    ]
