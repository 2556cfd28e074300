"""data/features/ as tensors: one item a recording, and the session view beside it.

A split's shards are unpacked once and stay in memory as they are stored (mel in float16): about
25 kB a recording and at most 200 kB a session, so 2,000 sessions take 0.4 GB. DataLoader workers are
forked and share it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch.utils.data import Dataset
from tqdm import tqdm

from heimdall.core import artifacts, paths, remedies
from heimdall.core.errors import HeimdallError
from heimdall.core.params import FeatureParams
from heimdall.geometry.area import Receivers
from heimdall.geometry.geo import LocalFrame, TangentPlane
from heimdall.geometry.propagation import GROUND_ALTITUDE_M
from heimdall.signal import sessions
from heimdall.signal.arrival import Observation, arrivals

Features = npt.NDArray[np.float32]
Transform = Callable[[Features], Features]
Split = Literal["train", "val", "test", "all"]


class FeatureSource(Protocol):
    """What can say where features are, after it made them if need be."""

    def features(self) -> DatasetConfig:
        """Where they are."""


@dataclass(frozen=True)
class DatasetConfig:
    """Where the features are.

    Attributes:
        data_dir: The featurize stage's output.
    """

    data_dir: Path = paths.FEATURES

    def features(self) -> DatasetConfig:
        """Here they are."""
        return self

    @property
    def index_file(self) -> Path:
        """One row a recording."""
        return self.data_dir / "index.parquet"

    @property
    def network_file(self) -> Path:
        """Origin of the local frame and fingerprint of the data."""
        return self.data_dir / paths.NETWORK

    @property
    def receivers_file(self) -> Path:
        """One row a receiver of the network."""
        return self.data_dir / "receivers.parquet"

    @property
    def absent_file(self) -> Path:
        """One row for each receiver of which a session tells nothing."""
        return self.data_dir / "absent.parquet"

    @property
    def tables(self) -> tuple[Path, ...]:
        """All but the shards."""
        return self.index_file, self.network_file, self.receivers_file, self.absent_file

    def shard_path(self, name: str) -> Path:
        """Where a shard of the index is."""
        return self.data_dir / "shards" / name


@dataclass(frozen=True)
class Network:
    """What all recordings share.

    Attributes:
        frame: Local frame around the receivers' mean position.
        data_fingerprint: Identifies the content of the snapshot.
        features: The parameters that the features were made with.
        split: The parameters that the test set was held out with.
        calibration: What was taken off, by receiver.
    """

    frame: LocalFrame
    data_fingerprint: str
    features: dict[str, Any]
    split: dict[str, Any]
    calibration: dict[str, Any]

    @property
    def plane(self) -> TangentPlane:
        """The plane of the receivers' positions; transmitters are at an assumed altitude."""
        return TangentPlane(self.frame.latitude_deg, self.frame.longitude_deg, GROUND_ALTITUDE_M)


def read_network(config: DatasetConfig) -> Network:
    """Read network.json.

    Args:
        config: Where the features are.

    Returns:
        The local frame, the data fingerprint and the parameters.

    Raises:
        HeimdallError: The file is missing, no JSON, or lacks a field.
    """
    values = artifacts.read_json(config.network_file)
    try:
        frame = LocalFrame(float(values["latitude_deg"]), float(values["longitude_deg"]))
        described = (dict(values[name]) for name in ("features", "split", "calibration"))
        return Network(frame, str(values["data_fingerprint"]), *described)
    except (KeyError, TypeError, ValueError) as error:
        raise HeimdallError(str(config.network_file), f"no network ({error!r})", remedies.RESTORE) from None


def read_index(config: DatasetConfig) -> pd.DataFrame:
    """Read index.parquet, every split.

    Args:
        config: Where the features are.

    Returns:
        One row a recording, columns as in docs/architecture.md.

    Raises:
        HeimdallError: The file is missing or damaged.
    """
    try:
        return pd.read_parquet(config.index_file)
    except (ValueError, OSError) as error:
        raise remedies.of_output(config.index_file, error, "no parquet file") from None


def read_receivers(config: DatasetConfig) -> Receivers:
    """Read the positions of receivers.parquet: every receiver of the network.

    Args:
        config: Where the features are.

    Returns:
        The receivers, in the order of the file.

    Raises:
        HeimdallError: The file is missing or damaged, or lacks a column.
    """
    try:
        table = pd.read_parquet(config.receivers_file, columns=["websdr_id", "east_m", "north_m", "up_m"])
    except (ValueError, OSError) as error:
        raise remedies.of_output(config.receivers_file, error, "no table of receivers") from None
    position_m = table[["east_m", "north_m", "up_m"]].to_numpy(np.float64, copy=True)
    return Receivers(table["websdr_id"].to_numpy(np.int32, copy=True), position_m)


def read_absent(config: DatasetConfig) -> dict[str, tuple[int, ...]]:
    """Read absent.parquet.

    Args:
        config: Where the features are.

    Returns:
        By session the receivers whose missing recording does not mean that they heard nothing.

    Raises:
        HeimdallError: The file is missing or damaged, or lacks a column.
    """
    try:
        table = pd.read_parquet(config.absent_file, columns=["session_id", "websdr_id"])
    except (ValueError, OSError) as error:
        raise remedies.of_output(config.absent_file, error, "no table of absent receivers") from None
    return {str(name): tuple(rows.tolist()) for name, rows in table.groupby("session_id")["websdr_id"]}


def members(index: pd.DataFrame, split: Split, validation_split: float) -> pd.Series[bool]:
    """Which rows of the index belong to a split.

    Args:
        index: Rows of index.parquet; columns `split` and `validation_rank` are used.
        split: Development rows below `validation_split` are "val", the others "train"; "test" is held
            out; "all" is every row.
        validation_split: Share of the development rows that validate, in (0, 1).

    Returns:
        A mask, one value a row.
    """
    development = index["split"] == "development"
    validation = index["validation_rank"] < validation_split
    masks = {
        "train": development & ~validation,
        "val": development & validation,
        "test": index["split"] == "test",
        "all": development | ~development,
    }
    return masks[split]


class HeimdallDataset(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Recordings of one split.

    An item is `(features, label)`: features (3, n_mels, frames) float32, log-mel of I, Q and magnitude
    in dB, not normalised; label (2,) float64, latitude and longitude in degrees (float32 degrees
    resolve only 0.4 m).

    Args:
        config: The folder of the features, or what knows or makes one: `heimdall.Settings`.
        split: Which recordings, see `members`.
        transform: Applied to the features of each item, such as `heimdall.augment_features`; None for none.
        validation_split: Share of the development recordings that validate.

    Raises:
        HeimdallError: A file is missing or damaged, or the split has no members.
        ValueError: There is no such split.
    """

    def __init__(
        self,
        config: FeatureSource | Path | str,
        split: Split = "train",
        transform: Transform | None = None,
        validation_split: float = 0.2,
    ) -> None:
        if split not in get_args(Split):
            raise ValueError(f"no split {split!r}: choose one of {', '.join(get_args(Split))}")
        source = DatasetConfig(Path(config)) if isinstance(config, Path | str) else config
        self.config = source.features()
        index = read_index(self.config)
        self.index = index[members(index, split, validation_split)].reset_index(drop=True)
        if self.index.empty:
            raise HeimdallError(
                str(self.config.index_file),
                f'the split "{split}" has no members',
                f"{remedies.APPROVE}; or change validation_split or split.test_fraction there",
            )
        self.split = split
        self.transform = transform
        self._label_deg = torch.from_numpy(
            self.index[["latitude_deg", "longitude_deg"]].to_numpy(np.float64, copy=True)
        )
        self.session_ids: list[str] = list(dict.fromkeys(self.index["session_id"]))
        self._sessions, self._mel_db = self._read_shards()

    def _read_shards(self) -> tuple[dict[str, sessions.SessionFeatures], list[npt.NDArray[np.float16]]]:
        """Sessions by id, and the mel (3, n_mels, frames) of each row of the index."""
        by_session: dict[str, sessions.SessionFeatures] = {}
        mel_db: list[npt.NDArray[np.float16]] = []
        # A split takes most sessions of a shard, so each shard is unpacked once and dropped at the end.
        stored: dict[str, list[sessions.SessionFeatures]] = {}
        columns = self.index[["shard", "session_id", "session_row", "row", "websdr_id"]]
        for shard, session_id, session_row, row, websdr_id in columns.itertuples(index=False, name=None):
            path = self.config.data_dir / "shards" / shard
            if shard not in stored:
                stored[shard] = sessions.unpack(path)
                if not artifacts.has_its_name(path):
                    raise HeimdallError(str(path), "damaged (its hash is not its name)", remedies.RESTORE)
            within = row - sum(len(session.websdr_id) for session in stored[shard][:session_row])
            session = stored[shard][session_row] if session_row < len(stored[shard]) else None
            if session is None or not (
                0 <= within < len(session.websdr_id) and session.websdr_id[within] == websdr_id
            ):
                cause = f"row {row} is not receiver {websdr_id} of session {session_id}"
                raise HeimdallError(str(path), cause, remedies.RESTORE)
            by_session[session_id] = session
            mel_db.append(session.mel[within])
        return by_session, mel_db

    def __len__(self) -> int:
        return len(self.index)

    def features(self, position: int) -> Features:
        """Features (3, n_mels, frames) float32, dB, of one recording, before any transform."""
        return self._mel_db[position].astype(np.float32)

    def label(self, position: int) -> torch.Tensor:
        """Latitude and longitude in degrees, (2,) float64, of one recording's transmitter."""
        return self._label_deg[position]

    def __getitem__(self, position: int) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.features(position)
        if self.transform is not None:
            features = self.transform(features)
        return torch.from_numpy(features), self.label(position)

    def session(self, number: int) -> sessions.SessionFeatures:
        """The session `self.session_ids[number]`, all its receivers, as fusion sees it."""
        return self._sessions[self.session_ids[number]]


@dataclass(frozen=True, eq=False)
class Sessions:
    """Sessions of one split, as localization sees them.

    Attributes:
        observations: One a session.
        table: One row a session, in the same order: the columns of index.parquet that all recordings of a
            session share (`session_id`, `source_id`, `latitude_deg`, `longitude_deg`, `frequency_mhz`,
            `modulation`, `region`, `simulated`, `receivers_heard`), `snr_db`, the highest of the session, and
            `split`: "train", "val" or "test".
    """

    observations: list[Observation]
    table: pd.DataFrame

    def of_split(self, split: Split) -> Sessions:
        """Those of one split, in the same order."""
        rows = np.flatnonzero((self.table["split"] == split) | (split == "all"))
        return self.rows(rows)

    def rows(self, rows: npt.NDArray[np.intp]) -> Sessions:
        """Those at some places, (n,), in the order of these."""
        return Sessions(
            [self.observations[row] for row in rows], self.table.iloc[rows].reset_index(drop=True)
        )

    def truth_m(self, plane: TangentPlane) -> npt.NDArray[np.float64]:
        """East and north of the transmitters, metres, shape (sessions, 2)."""
        return np.stack(plane.to_local(self.table["latitude_deg"], self.table["longitude_deg"]), axis=-1)


_OF_A_SESSION = (
    "session_id",
    "source_id",
    "latitude_deg",
    "longitude_deg",
    "frequency_mhz",
    "modulation",
    "region",
    "simulated",
    "receivers_heard",
    "shard",
)


def observations(config: DatasetConfig, split: Split, validation_split: float) -> Sessions:
    """The sessions of a split with their arrival times.

    Args:
        config: Where the features are.
        split: Which sessions, see `members`.
        validation_split: Share of the development recordings that validate.

    Returns:
        The sessions, in the order of the index.

    Raises:
        HeimdallError: A file is missing or damaged, or the split has no members.
    """
    dataset = HeimdallDataset(config, split, validation_split=validation_split)
    network = read_network(config)
    try:
        features = FeatureParams(**network.features)
    except (TypeError, ValueError) as error:
        raise remedies.of_output(config.network_file, error, "no parameters of features") from None
    by_session = dataset.index.groupby("session_id", sort=False)
    table = by_session[list(_OF_A_SESSION[1:])].first().reset_index()
    table["snr_db"] = by_session["snr_db"].max().to_numpy()
    first = by_session[["split", "validation_rank"]].first()
    splits: list[Split] = ["train", "val", "test"]
    masks = [members(first, name, validation_split).to_numpy() for name in splits]
    table["split"] = np.select(masks, splits, default="")
    absent = read_absent(config)
    found = []
    frequencies_mhz = tqdm(
        table["frequency_mhz"], desc="arrival times", unit="session", disable=None, delay=1
    )
    for number, frequency_mhz in enumerate(frequencies_mhz):
        session = dataset.session(number)
        missing = absent.get(dataset.session_ids[number], ())
        found.append(Observation(session, arrivals(session, features), frequency_mhz * 1e6, missing))
    return Sessions(found, table)
