"""data/snapshot/ -> data/features/: every shard of recordings becomes one shard of session features."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from heimdall.core import artifacts, paths
from heimdall.core.errors import HeimdallError
from heimdall.core.params import UNCALIBRATED, CalibrationParams, FeatureParams, SplitParams
from heimdall.core.provenance import provenance
from heimdall.pipeline.featurize import places, split, tables, times
from heimdall.recordings import archive, shards
from heimdall.recordings.shards import ShardStore
from heimdall.signal import correlation, extraction, session_files

FEATURES = paths.FEATURES
METRICS_FILE = Path("metrics/features.json")
# Which inputs each shard was made of. Beside the features, not among them: it changes with the code, and
# a training whose features are the same bytes is not to run again.
KEYS_FILE = Path("data/feature_keys.json")
WORK = Path(".heimdall/work/featurize")
TIMING = ("websdr_id", "sample_rate_hz", "start_gps_ns", "timing_sigma_ns")  # as of ShardTask.sessions
# What the index and the doubts need of the measurements.
_COLUMNS = (
    "measurement_id",
    "session_id",
    "latitude_deg",
    "longitude_deg",
    "frequency_mhz",
    "samples",
    "source_id",
    "modulation",
    "simulated",
    "shard",
    *TIMING,
)
# Whose source decides a shard's bytes; together with the locked requirements, part of its key.
SHARD_ROOMS = ("geometry", "pipeline/featurize", "recordings", "signal")


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
        content = [self.source.name, self.sessions, positions, self.params.record(), dict(code)]
        return artifacts.fingerprint(content)


def run(
    params: FeatureParams,
    split_params: SplitParams,
    root: Path = Path(),
    *,
    calibration: CalibrationParams = UNCALIBRATED,
    say: Callable[[str], object] = lambda line: None,
) -> dict[str, Any]:
    """Make data/features/ and metrics/features.json from data/snapshot/.

    Shards whose inputs, parameters and code are unchanged are reused; the rest is computed on all cores
    (the bytes do not depend on how many).

    Args:
        params: Feature parameters.
        split_params: How test and validation are held out.
        root: The repository's root.
        calibration: What receivers add of their own, which is taken off.
        say: Is told in a line what contradicts the places of the receivers, and which times are left out.

    Returns:
        What metrics/features.json holds.

    Raises:
        HeimdallError: The snapshot is missing or damaged, a parameter does not fit a recording or a
            receiver, or a split has no members. The former features stay as they were.
    """
    fingerprint = archive.data_fingerprint(root)
    measurements = archive.read_measurements(root, _COLUMNS)
    receivers = archive.read_receivers(root)
    network, origin = tables.placed(receivers)
    _check(calibration, network)
    store = _store(root)
    code = shards.code(SHARD_ROOMS, root)
    tasks = ShardTasks(measurements, _positions(network), params, calibration, root, code)
    names = shards.build(tasks, featurize_shard, store, "featurize", files=_files)
    made_of = dict(zip((key for _, key in tasks), names, strict=True))
    shard_of = dict(zip(measurements["shard"].unique(), names, strict=True))
    index = tables.measured(measurements, network, store, shard_of)
    del measurements, tasks
    index["time_left_out"] = times.left_out(index)
    of_times = times.impossible(index), times.told(index, network)
    of_places = places.far(index, network), places.doubts(index, network)
    large = places.beyond_the_lags(network, params.correlation_max_lag_s)
    for doubt in itertools.chain(large, *of_places, *of_times):
        say(doubt)
    index[["split", "validation_rank"]] = split.assign(index, split_params)

    store.commit(names)
    made_with = {
        "features": params.record(),
        "split": asdict(split_params),
        "calibration": asdict(calibration),
    }
    described = origin | {"data_fingerprint": fingerprint} | made_with
    tables.write(root / FEATURES, index, network, described, absent=archive.read_absent(root))
    store.prune(names)
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
    positions = {websdr_id: np.array(position) for websdr_id, position in task.position_enu_m.items()}
    members_of = dict(task.sessions)
    found = []
    for session_id, iq in archive.iterate_shard(task.source):
        session = [
            correlation.Recording(websdr_id, iq[websdr_id], rate_hz, start_ns, sigma_ns)
            for websdr_id, rate_hz, start_ns, sigma_ns in members_of.get(session_id, ())
        ]
        if not session:  # all of it was found to be a repetition when the shard was there
            continue
        try:
            found.append(extraction.session_features(session, positions, task.params))
        except HeimdallError as error:
            subject = f"session {session_id}: {error.subject}"
            raise HeimdallError(subject, error.cause, error.remedy) from None
    return session_files.pack(found, task.params)


def _positions(network: pd.DataFrame) -> dict[int, tuple[float, float, float]]:
    """East, north and up of the receivers, metres, by websdr_id."""
    rows = network[["websdr_id", "east_m", "north_m", "up_m"]].itertuples(index=False, name=None)
    return {int(websdr_id): (float(east), float(north), float(up)) for websdr_id, east, north, up in rows}


def _files(task: ShardTask) -> tuple[Path]:
    return (task.source,)


def _store(root: Path) -> ShardStore:
    try:
        former = {str(key): str(name) for key, name in artifacts.read_json(root / KEYS_FILE).items()}
    except (HeimdallError, AttributeError):  # without it, more is computed, with the same result
        former = {}
    return ShardStore(root / FEATURES / "shards", tables.SHARD_SUFFIX, root / WORK, former)


def _check(calibration: CalibrationParams, network: pd.DataFrame) -> None:
    """Refuse a calibration of a receiver that is not there, a slip of the pen."""
    known = [f"websdr_{name}" for name in network["websdr_id"]]
    for name in calibration.delay_ns:
        if name not in known:
            cause = f"no receiver of the network, whose are {', '.join(known)}"
            raise HeimdallError(f"calibration.delay_ns.{name}", cause, "Correct params.yaml")


@dataclass(frozen=True, eq=False)
class ShardTasks:
    """One task for each shard of the snapshot, with its key, in the order of the snapshot; none is held.

    Attributes:
        measurements: The columns `shard`, `session_id` and `TIMING`, in the order of the shards.
        position_enu_m: As of `ShardTask`.
        params: Feature parameters.
        calibration: What receivers add of their own.
        root: The repository's root.
        code: As of `shards.code`, read once: a file may change while shards are made.
    """

    measurements: pd.DataFrame
    position_enu_m: Mapping[int, tuple[float, float, float]]
    params: FeatureParams
    calibration: CalibrationParams
    root: Path
    code: Mapping[str, str]

    def __iter__(self) -> Iterator[tuple[ShardTask, str]]:
        rows = times.useful(self.measurements)
        number, names = pd.factorize(rows["shard"])
        edges = np.flatnonzero(np.diff(number, prepend=-1, append=-1))
        for name, (first, last) in zip(names, itertools.pairwise(edges), strict=True):
            source = archive.shard_path(str(name), self.root)
            sessions = tuple(self._sessions(rows.iloc[first:last]))
            task = ShardTask(source, sessions, self.position_enu_m, self.params)
            yield task, task.key(self.code)

    def _sessions(self, rows: pd.DataFrame) -> Iterator[tuple[str, tuple[Any, ...]]]:
        columns = zip(*(rows[name].tolist() for name in TIMING), strict=True)
        timings = (_timing(timing, self.calibration) for timing in columns)
        members = zip(rows["session_id"].tolist(), timings, strict=True)
        for session_id, session in itertools.groupby(members, key=operator.itemgetter(0)):
            yield str(session_id), tuple(timing for _, timing in session)


def _timing(
    columns: tuple[Any, ...], calibration: CalibrationParams
) -> tuple[int, float, int | None, float | None]:
    """A receiver of a session, as of `ShardTask.sessions`; times may be missing in each way of pandas."""
    websdr_id, rate_hz, start_ns, sigma_ns = columns
    return (
        websdr_id,
        rate_hz,
        None if pd.isna(start_ns) else calibration.start_gps_ns(websdr_id, int(start_ns)),
        None if pd.isna(sigma_ns) else float(sigma_ns),
    )


def _summary(index: pd.DataFrame, fingerprint: str) -> dict[str, Any]:
    by_session = index.drop_duplicates("session_id")
    left_out = _counts(index["time_left_out"].dropna())
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
        **({"times_left_out": left_out} if left_out else {}),
    }


def _counts(column: pd.Series[Any]) -> dict[str, int]:
    return {str(value): int(count) for value, count in column.value_counts(sort=False).sort_index().items()}
