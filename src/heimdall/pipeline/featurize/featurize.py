"""data/snapshot/ -> data/features/: every shard of recordings becomes one shard of session features."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
from tqdm import tqdm

from heimdall.core import artifacts, paths, rooms
from heimdall.core.errors import HeimdallError
from heimdall.core.params import UNCALIBRATED, CalibrationParams, FeatureParams, SplitParams
from heimdall.core.provenance import provenance
from heimdall.geometry import geo
from heimdall.pipeline.featurize import split
from heimdall.recordings import archive
from heimdall.recordings.shards import ShardStore
from heimdall.signal import correlation, extraction, sessions

Task = TypeVar("Task")

FEATURES = paths.FEATURES
METRICS_FILE = Path("metrics/features.json")
# Which inputs each shard was made of. Beside the features, not among them: it changes with the code, and
# a training whose features are the same bytes is not to run again.
KEYS_FILE = Path("data/feature_keys.json")
WORK = Path(".heimdall/work/featurize")
RUNTIME_LOCK = Path("requirements/runtime.txt")
SHARD_SUFFIX = ".safetensors"
# Whose source decides a shard's bytes; together with the locked requirements, part of its key.
SHARD_ROOMS = ("geometry", "pipeline/featurize", "recordings", "signal")

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


@dataclass(frozen=True)
class ShardTask:
    """All that one shard of features is computed from.

    Attributes:
        source: The shard of recordings.
        sessions: For each session its identifier and, for each receiver in order, (websdr_id,
            sample_rate_hz, start_gps_ns or None, timing_sigma_ns or None).
        position_enu_m: East, north, up in metres by websdr_id.
        params: Feature parameters.
    """

    source: Path
    sessions: tuple[tuple[str, tuple[tuple[int, float, int | None, float | None], ...]], ...]
    position_enu_m: Mapping[int, tuple[float, float, float]]
    params: FeatureParams

    def key(self, code: Mapping[str, str]) -> str:
        """Hash of all that decides the bytes; `code` holds the hashes of the modules and of the lock."""
        positions = [[websdr_id, *position] for websdr_id, position in sorted(self.position_enu_m.items())]
        content = [self.source.name, self.sessions, positions, asdict(self.params), dict(code)]
        return artifacts.fingerprint(content)


def run(
    params: FeatureParams,
    split_params: SplitParams,
    root: Path = Path(),
    *,
    calibration: CalibrationParams = UNCALIBRATED,
) -> dict[str, Any]:
    """Make data/features/ and metrics/features.json from data/snapshot/.

    Shards whose inputs, parameters and code are unchanged are reused; the rest is computed on all cores
    (the bytes do not depend on how many).

    Args:
        params: Feature parameters.
        split_params: How test and validation are held out.
        root: The repository's root.
        calibration: What receivers add of their own, which is taken off.

    Returns:
        What metrics/features.json holds.

    Raises:
        HeimdallError: The snapshot is missing or damaged, a parameter does not fit a recording or a
            receiver, or a split has no members. The former features stay as they were.
    """
    measurements = archive.read_measurements(root)
    receivers = archive.read_receivers(root)
    network, origin = placed(receivers)
    _check(calibration, network)
    store = _store(root)
    tasks = _keys(_tasks(measurements, network, params, calibration, root), root)
    made = build(tasks, featurize_shard, store, "featurize")
    shard_of = {task.source.name: name for (task, _), name in zip(tasks, made, strict=True)}
    names = [shard_of[name] for name in measurements["shard"].unique()]
    index = measured(measurements, network, store, shard_of)
    index[["split", "validation_rank"]] = split.assign(index, split_params)

    store.commit(names)
    folder = root / FEATURES
    archive.write_table(folder / "receivers.parquet", network, NETWORK_SCHEMA)
    fingerprint = archive.data_fingerprint(measurements, receivers)
    made_with = {
        "features": asdict(params),
        "split": asdict(split_params),
        "calibration": asdict(calibration),
    }
    artifacts.write_json(folder / "network.json", origin | {"data_fingerprint": fingerprint} | made_with)
    archive.write_table(folder / "index.parquet", index, INDEX_SCHEMA)  # the commit point
    store.prune(names)
    made_of = {key: shard_of[task.source.name] for task, key in tasks}
    artifacts.write_json(root / KEYS_FILE, dict(sorted(made_of.items())))
    summary = _summary(index, fingerprint)
    artifacts.write_json(root / METRICS_FILE, summary)
    return summary


def featurize_shard(task: ShardTask) -> bytes:
    """The bytes of one shard of session features; pure but for reading the recordings.

    Raises:
        HeimdallError: The shard of recordings is missing or damaged, or the parameters do not fit one of
            its sessions, which is named.
    """
    iq = archive.read_shard(task.source)
    positions = {websdr_id: np.array(position) for websdr_id, position in task.position_enu_m.items()}
    found = []
    for session_id, members in task.sessions:
        session = [
            correlation.Recording(websdr_id, iq[session_id, websdr_id], rate_hz, start_ns, sigma_ns)
            for websdr_id, rate_hz, start_ns, sigma_ns in members
        ]
        try:
            found.append(extraction.session_features(session, positions, task.params))
        except HeimdallError as error:
            subject = f"session {session_id}: {error.subject}"
            raise HeimdallError(subject, error.cause, error.remedy) from None
    return sessions.pack(found)


def _store(root: Path) -> ShardStore:
    try:
        former = {str(key): str(name) for key, name in artifacts.read_json(root / KEYS_FILE).items()}
    except (HeimdallError, AttributeError):  # without it, more is computed, with the same result
        former = {}
    return ShardStore(root / FEATURES / "shards", SHARD_SUFFIX, root / WORK, former)


def placed(receivers: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, float]]:
    """Where the receivers of a network are.

    Args:
        receivers: Columns as in the snapshot's receivers.parquet.

    Returns:
        The receivers with `east_m`, `north_m` and `up_m` (float64) around their mean position, and that
        position, `latitude_deg` and `longitude_deg`.
    """
    origin = {name: float(np.mean(receivers[name])) for name in ("latitude_deg", "longitude_deg")}
    enu: npt.NDArray[np.float64] = np.stack(
        [
            geo.enu_m(latitude, longitude, altitude, origin["latitude_deg"], origin["longitude_deg"])
            for latitude, longitude, altitude in receivers[
                ["latitude_deg", "longitude_deg", "altitude_m"]
            ].to_numpy(np.float64)
        ]
    )
    return receivers.assign(east_m=enu[:, 0], north_m=enu[:, 1], up_m=enu[:, 2]), origin


def _check(calibration: CalibrationParams, network: pd.DataFrame) -> None:
    """Refuse a calibration of a receiver that is not there, a slip of the pen."""
    known = [f"websdr_{name}" for name in network["websdr_id"]]
    for name in calibration.delay_ns:
        if name not in known:
            cause = f"no receiver of the network, whose are {', '.join(known)}"
            raise HeimdallError(f"calibration.delay_ns.{name}", cause, "Correct params.yaml")


def _tasks(
    measurements: pd.DataFrame,
    network: pd.DataFrame,
    params: FeatureParams,
    calibration: CalibrationParams,
    root: Path,
) -> list[ShardTask]:
    """One task for each shard of the snapshot, in its order."""
    enu = network[["websdr_id", "east_m", "north_m", "up_m"]].itertuples(index=False, name=None)
    positions = {int(websdr_id): (float(east), float(north), float(up)) for websdr_id, east, north, up in enu}
    return [
        ShardTask(
            archive.shard_path(str(name), root),
            tuple(
                (str(session_id), tuple(_timing(session, calibration)))
                for session_id, session in shard.groupby("session_id", sort=False)
            ),
            positions,
            params,
        )
        for name, shard in measurements.groupby("shard", sort=False)
    ]


def _timing(
    session: pd.DataFrame, calibration: CalibrationParams
) -> list[tuple[int, float, int | None, float | None]]:
    columns = session[["websdr_id", "sample_rate_hz", "start_gps_ns", "timing_sigma_ns"]]
    return [
        (
            int(websdr_id),
            float(rate_hz),
            None if pd.isna(start_ns) else calibration.start_gps_ns(websdr_id, int(start_ns)),
            None if pd.isna(sigma_ns) else float(sigma_ns),
        )
        for websdr_id, rate_hz, start_ns, sigma_ns in columns.itertuples(index=False, name=None)
    ]


def _keys(tasks: Sequence[ShardTask], root: Path) -> list[tuple[ShardTask, str]]:
    """Each task with its key, which holds the code and the locked requirements, too."""
    code = rooms.hashes(*SHARD_ROOMS) | {"runtime": artifacts.sha256_file(root / RUNTIME_LOCK)}
    return [(task, task.key(code)) for task in tasks]


def build(
    tasks: Sequence[tuple[Task, str]], make: Callable[[Task], bytes], store: ShardStore, title: str
) -> list[str]:
    """Make the shards that are not there yet, on all cores, with a progress bar.

    Args:
        tasks: What each shard is made of, and the key of that.
        make: A module's function from a task to the shard's bytes, which must not depend on the process.
        store: Where shards are looked for and added.
        title: Of the bar.

    Returns:
        The shards' names, in the order of the tasks.

    Raises:
        HeimdallError: As `make` does; shards that were finished are kept.
    """
    found = [store.find(key) for _, key in tasks]
    missing = [(task, key) for (task, key), name in zip(tasks, found, strict=True) if name is None]
    done = len(tasks) - len(missing)
    made: list[str] = []
    with tqdm(total=len(tasks), initial=done, desc=title, unit="shard", disable=None) as progress:
        for (_, key), content in zip(missing, _map(make, [task for task, _ in missing]), strict=True):
            made.append(store.add(key, content))
            progress.update()
    fresh = iter(made)
    return [next(fresh) if name is None else name for name in found]


def _map(make: Callable[[Task], bytes], tasks: Sequence[Task]) -> Iterator[bytes]:
    processes = min(len(os.sched_getaffinity(0)), len(tasks))
    if processes <= 1:
        yield from map(make, tasks)
        return
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(make, tasks)


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
        The rows with the index's other columns but `split` and `validation_rank`.

    Raises:
        HeimdallError: A shard has vanished or is damaged.
    """
    parts = []
    for name, shard in rows.groupby("shard", sort=False):
        session_features = sessions.unpack(store.path(shard_of[str(name)]))
        heard = [np.full(len(found.detected), np.sum(found.detected)) for found in session_features]
        number = [np.full(len(found.detected), place) for place, found in enumerate(session_features)]
        parts.append(
            shard.assign(
                shard=shard_of[str(name)],
                row=np.arange(len(shard)),
                session_row=np.concatenate(number),
                receivers_heard=np.concatenate(heard),
                snr_db=np.concatenate([found.snr_db.astype(np.float64) for found in session_features]),
                detected=np.concatenate([found.detected.astype(bool) for found in session_features]),
            )
        )
    index = pd.concat(parts, ignore_index=True)
    index["modulation"] = index["modulation"].fillna("unknown")
    index["region"] = split.regions(
        index["latitude_deg"].to_numpy(np.float64), index["longitude_deg"].to_numpy(np.float64), network
    )
    return index


def _summary(index: pd.DataFrame, fingerprint: str) -> dict[str, Any]:
    by_session = index.drop_duplicates("session_id")
    return {
        "data": provenance(index["simulated"]),
        "data_fingerprint": fingerprint,
        "recordings": len(index),
        "recordings_detected": int(index["detected"].sum()),
        "sessions": len(by_session),
        "sessions_by_receivers_heard": _counts(by_session["receivers_heard"]),
        "sessions_by_region": _counts(by_session["region"]),
        "sessions_by_split": _counts(by_session["split"]),
        "snr_db": {
            f"p{percent}": float(np.percentile(index["snr_db"].to_numpy(np.float64), percent))
            for percent in (10, 50, 90)
        },
    }


def _counts(column: pd.Series[Any]) -> dict[str, int]:
    return {str(value): int(count) for value, count in column.value_counts(sort=False).sort_index().items()}
