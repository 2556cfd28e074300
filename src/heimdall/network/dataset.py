"""data/features/ as tensors: one item a recording, and the session view beside it.

Items are read from their shards when they are asked for. In memory is the index alone, so that a split may be
of any size; what is read twice is in the memory of the operating system.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, get_args, overload

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch.utils.data import Dataset

from heimdall.core import artifacts, paths, remedies
from heimdall.core.errors import HeimdallError
from heimdall.geometry.area import Receivers
from heimdall.geometry.geo import LocalFrame, TangentPlane
from heimdall.geometry.propagation import GROUND_ALTITUDE_M
from heimdall.signal import session_files
from heimdall.signal.arrival import Arrivals, Observation
from heimdall.signal.session_files import SessionFile
from heimdall.signal.sessions import SessionFeatures

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
    def elsewhere_file(self) -> Path:
        """One row for each receiver of a simulated world whose receivers are not those of the network."""
        return self.data_dir / paths.ELSEWHERE

    @property
    def tables(self) -> tuple[Path, ...]:
        """All that data/features/ has but the shards."""
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


def read_index(config: DatasetConfig, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Read index.parquet, every split.

    Args:
        config: Where the features are.
        columns: Which columns; None for all.

    Returns:
        One row a recording, columns as in docs/architecture.md.

    Raises:
        HeimdallError: The file is missing or damaged.
    """
    try:
        return pd.read_parquet(config.index_file, columns=None if columns is None else list(columns))
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
    return _receivers(_read_receivers(config.receivers_file))


def read_elsewhere(config: DatasetConfig) -> dict[str, Receivers]:
    """Read elsewhere.parquet, which only data/simulated/ has.

    Args:
        config: Where the features are.

    Returns:
        All receivers of each world whose receivers are others than those of the network, by the part that
        `source_id` of its transmitters begins with, up to the last hyphen.

    Raises:
        HeimdallError: The file is missing or damaged, or lacks a column.
    """
    table = _read_receivers(config.elsewhere_file, "world")
    return {str(name): _receivers(rows) for name, rows in table.groupby("world")}


_POSITION = ["east_m", "north_m", "up_m"]


def _read_receivers(file: Path, *more: str) -> pd.DataFrame:
    try:
        return pd.read_parquet(file, columns=[*more, "websdr_id", *_POSITION])
    except (ValueError, OSError) as error:
        raise remedies.of_output(file, error, "no table of receivers") from None


def _receivers(table: pd.DataFrame) -> Receivers:
    position_m = table[_POSITION].to_numpy(np.float64, copy=True)
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


def _of_split(
    config: DatasetConfig, split: Split, validation_split: float, columns: Sequence[str] | None = None
) -> pd.DataFrame:
    """The rows of a split.

    Raises:
        HeimdallError: The index is missing or damaged, or the split has no members.
    """
    index = read_index(config, columns)
    index = index[members(index, split, validation_split)].reset_index(drop=True)
    if index.empty:
        raise HeimdallError(
            str(config.index_file),
            f'the split "{split}" has no members',
            f"{remedies.APPROVE}; or change validation_split or split.test_fraction there",
        )
    return index


@dataclass(frozen=True, eq=False)
class Places:
    """Where n sessions and their N recordings lie in the shards.

    Attributes:
        config: Where the features are.
        session_id: Shape (n,), bytes.
        shard: File of each session, shape (n,), bytes.
        session_row: Its number there, shape (n,), int32.
        start: Where its recordings begin in the arrays below, and N, shape (n + 1,), int64.
        row: Of each recording in its shard, shape (N,), int32.
        websdr_id: Its receiver, shape (N,), int32.
    """

    config: DatasetConfig
    session_id: npt.NDArray[np.bytes_]
    shard: npt.NDArray[np.bytes_]
    session_row: npt.NDArray[np.int32]
    start: npt.NDArray[np.int64]
    row: npt.NDArray[np.int32]
    websdr_id: npt.NDArray[np.int32]

    @classmethod
    def of(cls, config: DatasetConfig, index: pd.DataFrame) -> tuple[Places, npt.NDArray[np.int64]]:
        """The sessions of rows of the index, in the order of their first recordings.

        Args:
            config: Where the features are.
            index: Columns `session_id`, `shard`, `session_row`, `row` and `websdr_id`.

        Returns:
            The sessions, and which rows their recordings are, shape (N,).

        Raises:
            HeimdallError: A session is in two places.
        """
        number, names = pd.factorize(index["session_id"])
        shard, shards = pd.factorize(index["shard"])
        session_row = index["session_row"].to_numpy(np.int32)
        order = np.argsort(number, kind="stable")
        start = np.searchsorted(number[order], np.arange(len(names) + 1))
        first = order[start[:-1]]
        apart = (session_row != session_row[first][number]) | (shard != shard[first][number])
        if apart.any():
            cause = f"the recordings of session {names[number[apart][0]]} are not together"
            raise HeimdallError(str(config.index_file), cause, remedies.RESTORE)
        places = cls(
            config,
            np.array(names, np.bytes_),
            np.array(shards, np.bytes_)[shard[first]],
            session_row[first],
            start,
            index["row"].to_numpy(np.int32)[order],
            index["websdr_id"].to_numpy(np.int32)[order],
        )
        return places, order

    def __len__(self) -> int:
        """How many sessions."""
        return len(self.session_row)

    def take(self, numbers: npt.NDArray[np.intp]) -> Places:
        """Some of the sessions, with nothing of the others."""
        count = np.diff(self.start)[numbers]
        start = np.concatenate([[0], np.cumsum(count)])
        of_rows = np.arange(start[-1]) + np.repeat(self.start[numbers] - start[:-1], count)
        of_sessions = (self.session_id[numbers], self.shard[numbers], self.session_row[numbers])
        return Places(self.config, *of_sessions, start, self.row[of_rows], self.websdr_id[of_rows])

    def file(self, number: int) -> SessionFile:
        """The shard of a session.

        Raises:
            HeimdallError: It is missing or damaged, or the index does not fit it.
        """
        found = session_files.verified(self.config.shard_path(self.shard[number].decode()))
        inside = self.session_row[number] < len(found)
        first, last = found.session_start[self.session_row[number] :][:2] if inside else (0, 0)
        for place in range(self.start[number], self.start[number + 1]):
            row, websdr_id = self.row[place], self.websdr_id[place]
            if not first <= row < last or found.websdr_id[row] != websdr_id:
                cause = f"row {row} is not receiver {websdr_id} of session {self.session_id[number].decode()}"
                raise HeimdallError(str(found.path), cause, remedies.RESTORE)
        return found


class HeimdallDataset(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Recordings of one split.

    An item is `(features, label)`: features (3, n_mels, frames) float32, log-mel of I, Q and magnitude
    in dB, not normalised; label (2,) float64, latitude and longitude in degrees (float32 degrees
    resolve only 0.4 m). It is read when it is asked for, and a damaged shard is refused then.

    Args:
        config: The folder of the features, or what knows or makes one: `heimdall.Settings`.
        split: Which recordings, see `members`.
        transform: Applied to the features of each item, such as `heimdall.augment_features`; None for none.
        validation_split: Share of the development recordings that validate.

    Raises:
        HeimdallError: A file is missing, the index is damaged, or the split has no members.
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
        self.index = _of_split(self.config, split, validation_split)
        self.split = split
        self.transform = transform
        self._label_deg = torch.from_numpy(
            self.index[["latitude_deg", "longitude_deg"]].to_numpy(np.float64, copy=True)
        )
        artifacts.require(*(self.config.shard_path(name) for name in self.index["shard"].unique()))
        self._places, order = Places.of(self.config, self.index)
        self._session = np.empty(len(order), np.int32)  # of each recording
        self._session[order] = np.repeat(np.arange(len(self._places)), np.diff(self._places.start))
        self._row = self.index["row"].to_numpy(np.int32)

    @property
    def session_ids(self) -> list[str]:
        """The sessions, in the order of the index."""
        return [name.decode() for name in self._places.session_id]

    def __len__(self) -> int:
        return len(self.index)

    def features(self, position: int) -> Features:
        """Features (3, n_mels, frames) float32, dB, of one recording, before any transform.

        Raises:
            HeimdallError: Its shard is missing or damaged, or the index does not fit it.
        """
        file = self._places.file(int(self._session[position]))
        return file.mel(int(self._row[position])).astype(np.float32)

    def label(self, position: int) -> torch.Tensor:
        """Latitude and longitude in degrees, (2,) float64, of one recording's transmitter."""
        return self._label_deg[position]

    def __getitem__(self, position: int) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.features(position)
        if self.transform is not None:
            features = self.transform(features)
        return torch.from_numpy(features), self.label(position)

    def session(self, number: int) -> SessionFeatures:
        """The session `self.session_ids[number]`, all its receivers, as fusion sees it."""
        return self._places.file(number).session(int(self._places.session_row[number]))


@dataclass(frozen=True, eq=False)
class StoredObservations(Sequence[Observation]):
    """Sessions that are read from their shards when they are asked for.

    What it holds is small and goes to other processes whole; of a slice, only what it needs.

    Attributes:
        places: Where they lie.
        frequency_hz: Carriers, Hz, shape (n,).
        absent: Receivers of which each session tells nothing, by its identifier.
    """

    places: Places
    frequency_hz: npt.NDArray[np.float64]
    absent: dict[bytes, tuple[int, ...]]

    def __len__(self) -> int:
        """How many sessions."""
        return len(self.places)

    @overload
    def __getitem__(self, number: int) -> Observation: ...

    @overload
    def __getitem__(self, number: slice) -> StoredObservations: ...

    def __getitem__(self, number: int | slice) -> Observation | StoredObservations:
        """One session, or some of them.

        Raises:
            HeimdallError: The shard is missing or damaged, or the index does not fit it.
        """
        if isinstance(number, slice):
            return self.take(np.arange(len(self))[number])
        number = range(len(self))[number]
        file, row = self.places.file(number), int(self.places.session_row[number])
        missing = self.absent.get(self.places.session_id[number], ())
        return Observation(file.session(row), file.arrivals(row), float(self.frequency_hz[number]), missing)

    def arrivals(self, number: int) -> Arrivals:
        """The arrival times of one session; errors as of `__getitem__`."""
        return self.places.file(number).arrivals(int(self.places.session_row[number]))

    @property
    def files(self) -> tuple[Path, ...]:
        """The shards that they are read from."""
        names = dict.fromkeys(self.places.shard.tolist())
        return tuple(self.places.config.shard_path(name.decode()) for name in names)

    def take(self, numbers: npt.NDArray[np.intp]) -> StoredObservations:
        """Some of the sessions, with nothing of the others."""
        places = self.places.take(numbers)
        names = set(places.session_id.tolist()) & self.absent.keys()
        return StoredObservations(
            places, self.frequency_hz[numbers], {name: self.absent[name] for name in names}
        )


@dataclass(frozen=True, eq=False)
class Sessions:
    """Sessions of one split, as localization sees them.

    Attributes:
        observations: One a session; those of data/features/ are read when they are asked for.
        table: One row a session, in the same order: the columns of index.parquet that all recordings of a
            session share (`session_id`, `source_id`, `latitude_deg`, `longitude_deg`, `frequency_mhz`,
            `modulation`, `region`, `simulated`, `receivers_heard`), `snr_db`, the highest of the session,
            `split`: "train", "val" or "test", and `recordings`, their number.
    """

    observations: Sequence[Observation]
    table: pd.DataFrame

    def of_split(self, split: Split) -> Sessions:
        """Those of one split, in the same order."""
        return self.rows(np.flatnonzero((self.table["split"] == split) | (split == "all")))

    def rows(self, rows: npt.NDArray[np.intp]) -> Sessions:
        """Those at some places, (n,), in the order of these."""
        found, table = self.observations, self.table.iloc[rows].reset_index(drop=True)
        if isinstance(found, StoredObservations):
            return Sessions(found.take(rows), table)
        return Sessions([found[row] for row in rows], table)

    def arrival_times(self) -> npt.NDArray[np.int64]:
        """How many arrival times each session has, (n,); nothing else of a stored one is read."""
        found = self.observations
        if isinstance(found, StoredObservations):
            arrivals = (found.arrivals(number) for number in range(len(found)))
        else:
            arrivals = (item.arrivals for item in found)
        return np.array([np.count_nonzero(one.information_s2) for one in arrivals], np.int64)

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
)
_OF_A_PLACE = ("websdr_id", "shard", "row", "session_row")


def observations(config: DatasetConfig, split: Split, validation_split: float) -> Sessions:
    """The sessions of a split with their arrival times.

    Args:
        config: Where the features are.
        split: Which sessions, see `members`.
        validation_split: Share of the development recordings that validate.

    Returns:
        The sessions, in the order of the index.

    Raises:
        HeimdallError: A file is missing, a table is damaged, or the split has no members.
    """
    columns = (*_OF_A_SESSION, "snr_db", "split", "validation_rank", *_OF_A_PLACE)
    index = _of_split(config, split, validation_split, columns)
    places, order = Places.of(config, index)
    first = order[places.start[:-1]]
    table = index.iloc[first].reset_index(drop=True)
    splits: list[Split] = ["train", "val", "test"]
    masks = [members(table, name, validation_split).to_numpy() for name in splits]
    table = table[list(_OF_A_SESSION)].assign(
        snr_db=np.fmax.reduceat(index["snr_db"].to_numpy(np.float64)[order], places.start[:-1]),
        split=np.select(masks, splits, default=""),
        recordings=np.diff(places.start),
    )
    absent = {name.encode(): receivers for name, receivers in read_absent(config).items()}
    frequency_hz = table["frequency_mhz"].to_numpy(np.float64) * 1e6
    return Sessions(StoredObservations(places, frequency_hz, absent), table)
