"""Approved rows and their objects, as of one moment -> data/snapshot/ and the quarantine.

The output is defined by `snapshot.as_of`. Objects that a former snapshot holds, or that an interrupted one
fetched, are not downloaded again: the former measurements say which objects are good and where they lie, and
the work folder remembers the verdict on all objects of a shard, the bad ones included. Either may be missing;
then more is downloaded and the result is the same.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
from tqdm import tqdm

from heimdall.core import artifacts
from heimdall.core.errors import HeimdallError
from heimdall.core.params import SnapshotParams
from heimdall.core.provenance import provenance
from heimdall.pipeline.snapshot import schemas
from heimdall.recordings import archive, iq
from heimdall.recordings.archive import StoredRecording
from heimdall.recordings.shards import ShardStore
from heimdall.storage import objectstore, tables
from heimdall.storage.endpoints import RAW_BUCKET, Endpoints
from heimdall.storage.objectstore import ObjectInfo, ObjectStore

QUARANTINE = Path("data/quarantine.parquet")
METRICS = Path("metrics/snapshot.json")
WORK = Path(".heimdall/work/snapshot")
CHANGED = "changed"  # the object is not what the listing said a moment ago

QUARANTINE_SCHEMA = pa.schema(
    [
        ("measurement_id", pa.string()),
        ("session_id", pa.string()),
        ("websdr_id", pa.int32()),
        ("object_key", pa.string()),
        ("reason", pa.string()),
        ("detail", pa.string()),
    ]
)


@dataclass(frozen=True)
class Candidate:
    """A good row and what the listing says of its object.

    Attributes:
        row: Position of its row among the approved ones.
        session_id: UUID.
        websdr_id: Receiver.
        sample_rate_hz: Samples a second.
        key: Of the object.
        etag: Of the object; None where it is missing.
        size: Bytes; 0 where it is missing.
    """

    row: int
    session_id: str
    websdr_id: int
    sample_rate_hz: float
    key: str
    etag: str | None
    size: int

    @property
    def identity(self) -> list[str | int | float | None]:
        """What determines the recording in a shard; JSON."""
        return [self.session_id, self.websdr_id, self.sample_rate_hz, self.etag, self.size]


@dataclass(frozen=True)
class Verdict:
    """What was found in an object.

    Attributes:
        reason: None for a good recording, else a short code.
        detail: A sentence, empty for a good recording.
        samples: Number of samples, 0 for a bad recording.
        sha256: Of the object, empty for a bad recording.
    """

    reason: str | None
    detail: str
    samples: int
    sha256: str


@dataclass(frozen=True)
class Fetched:
    """A judged object, with its samples, shape (n,), complex64, if it is good."""

    verdict: Verdict
    samples: iq.Samples | None


@dataclass(frozen=True)
class Former:
    """What the present data/snapshot/ tells about objects.

    Attributes:
        verdicts: Number of samples and SHA-256 by object key, entity tag, size and sample rate.
        shards: Names of shards by key.
    """

    verdicts: dict[tuple[str, str, int, float], Verdict]
    shards: dict[str, str]


@dataclass(frozen=True)
class Summary:
    """What metrics/snapshot.json holds.

    Attributes:
        as_of: Moment of the snapshot, UTC.
        data: "simulated", "recorded" or "mixed".
        sessions: Sessions with at least one good recording.
        recordings: Good recordings.
        transmitters: Known sources among them.
        receivers: Receivers with a position.
        quarantined: Number of bad rows by reason.
        quarantined_fraction: Share of the approved rows.
        data_fingerprint: SHA-256 of rows, receivers and the objects' hashes; not of how they are stored.
    """

    as_of: str
    data: str
    sessions: int
    recordings: int
    transmitters: int
    receivers: int
    quarantined: dict[str, int]
    quarantined_fraction: float
    data_fingerprint: str


def take(params: SnapshotParams, endpoints: Endpoints, root: Path = Path()) -> Summary:
    """Take the snapshot and write data/snapshot/, data/quarantine.parquet and metrics/snapshot.json.

    Args:
        params: What the snapshot holds.
        endpoints: Where PostgreSQL and S3 are.
        root: The repository's root.

    Returns:
        What was written to metrics/snapshot.json.

    Raises:
        HeimdallError: PostgreSQL or S3 fails, nothing is approved, or too much is bad. Then the former
            snapshot stays as it was, and what was downloaded is used by the next run.
    """
    rows, receivers = _read_rows(params.as_of, endpoints)
    faults = schemas.measurement_faults(rows, receivers["websdr_id"].tolist())
    store = ObjectStore(endpoints, RAW_BUCKET)
    candidates = _candidates(rows, {fault.row for fault in faults}, store.head_all(objectstore.OBJECT_PREFIX))
    known_bad = [fault.reason for fault in faults] + [iq.MISSING for item in candidates if item.etag is None]
    _refuse_too_many(known_bad, rows, params)  # before any download

    former = _read_former(root)
    work = root / WORK
    shards = ShardStore(
        root / archive.SNAPSHOT / archive.IQ_FOLDER, archive.SHARD_SUFFIX, work, former.shards
    )
    collector = _Collector(params, store, shards, former, work / "verdicts")
    names: dict[int, str] = {}
    verdicts: dict[int, Verdict] = {}
    with (
        ThreadPoolExecutor(params.download_threads) as pool,
        tqdm(total=len(candidates), desc="snapshot", unit="recording", disable=None) as bar,
    ):
        for group in cut(candidates, params.shard_sessions):
            name, judged = collector.collect(group, pool)
            verdicts |= {item.row: verdict for item, verdict in judged.items()}
            names |= {item.row: name for item, verdict in judged.items() if name and verdict.reason is None}
            bar.update(len(group))

    faults += [schemas.Fault(row, v.reason, v.detail) for row, v in verdicts.items() if v.reason is not None]
    _refuse_too_many([fault.reason for fault in faults], rows, params)
    measurements = _measurements(rows, [item for item in candidates if item.row in names], verdicts, names)
    quarantine = _quarantine(rows, faults)
    summary = _summary(params.as_of, measurements, receivers, quarantine, len(rows))
    _commit(
        root, shards, measurements=measurements, receivers=receivers, quarantine=quarantine, summary=summary
    )
    collector.forget_others()
    return summary


def cut(candidates: Sequence[Candidate], shard_sessions: int) -> Iterator[list[Candidate]]:
    """Groups of whole sessions, one for each shard.

    A shard ends after a session whose identifier's hash is 0 modulo `shard_sessions`. So a session more or
    less touches one shard, and all others keep their content and name.

    Args:
        candidates: Ordered by session.
        shard_sessions: Sessions in a shard, on average.

    Yields:
        The candidates of a shard, in their order.
    """
    group: list[Candidate] = []
    for number, item in enumerate(candidates):
        group.append(item)
        last_of_session = (
            number + 1 == len(candidates) or candidates[number + 1].session_id != item.session_id
        )
        digest = hashlib.sha256(item.session_id.encode("ascii")).digest()
        if last_of_session and int.from_bytes(digest[:8], "big") % shard_sessions == 0:
            yield group
            group = []
    if group:
        yield group


def shard_key(good: Sequence[Candidate]) -> str:
    """Key of the shard that holds these recordings."""
    return artifacts.fingerprint([archive.SHARD_FORMAT, [item.identity for item in good]])


class _Collector:
    """Makes shards out of candidates, downloading as little as possible."""

    def __init__(
        self, params: SnapshotParams, store: ObjectStore, shards: ShardStore, former: Former, memory: Path
    ) -> None:
        self._params = params
        self._store = store
        self._shards = shards
        self._former = former
        self._memory = memory
        self._used: set[str] = set()

    def collect(
        self, group: Sequence[Candidate], pool: ThreadPoolExecutor
    ) -> tuple[str | None, dict[Candidate, Verdict]]:
        """Name of the shard of a group (None if nothing in it is good), and the verdict on each candidate."""
        memory = self._memory / f"{self._memory_key(group)}.json"
        self._used.add(memory.name)
        verdicts = _read_verdicts(memory, group) or self._verdicts_of_former(group)
        fetched = self._fetch([item for item in group if item not in verdicts], pool)
        verdicts |= {item: found.verdict for item, found in fetched.items()}
        good = [item for item in group if verdicts[item].reason is None]
        name = self._shards.find(shard_key(good)) if good else None
        if good and name is None:
            fetched |= self._fetch([item for item in good if item not in fetched], pool)
            verdicts |= {item: found.verdict for item, found in fetched.items()}
            good = [item for item in group if verdicts[item].reason is None]
            name = self._shards.add(shard_key(good), _pack(good, fetched)) if good else None
        if not any(item.etag and verdicts[item].reason in (iq.MISSING, CHANGED) for item in group):
            found = [asdict(verdicts[item]) for item in group]
            artifacts.write_json(memory, {"verdicts": found, "sha256": artifacts.fingerprint(found)})
        return name, {item: verdicts[item] for item in group}

    def forget_others(self) -> None:
        """Remove the verdicts that this run had no use for."""
        for path in sorted(self._memory.iterdir()) if self._memory.is_dir() else []:
            if path.name not in self._used:
                path.unlink()

    def _memory_key(self, group: Sequence[Candidate]) -> str:
        limits = [self._params.max_duration_s, iq.MIN_DURATION_S]
        return artifacts.fingerprint([limits, [item.identity for item in group]])

    def _verdicts_of_former(self, group: Sequence[Candidate]) -> dict[Candidate, Verdict]:
        """Verdicts on what the former snapshot holds unchanged, unless its limit of duration was another."""
        known: dict[Candidate, Verdict] = {}
        for item in group:
            verdict = self._former.verdicts.get((item.key, item.etag or "", item.size, item.sample_rate_hz))
            limit = iq.max_samples(item.sample_rate_hz, self._params.max_duration_s)
            if verdict is not None and verdict.samples <= limit:
                known[item] = verdict
        return known

    def _fetch(self, items: Sequence[Candidate], pool: ThreadPoolExecutor) -> dict[Candidate, Fetched]:
        return dict(zip(items, pool.map(self._judge, items), strict=True))

    def _judge(self, item: Candidate) -> Fetched:
        """Download and check one object; nothing larger than a recording may be is ever read."""
        try:
            content = self._content(item)
            samples = iq.decode(content, item.sample_rate_hz, self._params.max_duration_s)
        except iq.BadRecording as bad:
            return Fetched(Verdict(bad.reason, bad.detail, 0, ""), None)
        return Fetched(Verdict(None, "", len(samples), artifacts.sha256_bytes(content)), samples)

    def _content(self, item: Candidate) -> bytes:
        limit = iq.max_object_bytes(item.sample_rate_hz, self._params.max_duration_s)
        if item.etag is None:
            raise iq.BadRecording(iq.MISSING, "no such object in the bucket")
        if item.size > limit:
            cause = f"{item.size} bytes, more than {self._params.max_duration_s:g} s can have ({limit})"
            raise iq.BadRecording(iq.OVERSIZED, cause)
        try:
            return self._store.get(item.key, limit, item.etag)
        except objectstore.ObjectMissing:
            raise iq.BadRecording(iq.MISSING, "it was deleted during the snapshot") from None
        except objectstore.ObjectChanged:
            raise iq.BadRecording(CHANGED, "it was replaced during the snapshot") from None


def _pack(good: Sequence[Candidate], fetched: dict[Candidate, Fetched]) -> bytes:
    stored = []
    for item in good:
        samples = fetched[item].samples
        if samples is None:
            raise AssertionError(f"{item.key} was found good without samples")
        stored.append(StoredRecording(item.session_id, item.websdr_id, item.sample_rate_hz, samples))
    return archive.pack_shard(stored)


def _read_rows(as_of: dt.datetime, endpoints: Endpoints) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Approved rows, and the receivers that have a position."""
    receivers, rows = tables.read_snapshot_rows(endpoints, as_of)
    if rows.empty:
        cause = f"no measurement was approved at or before {_utc_text(as_of)}"
        raise HeimdallError(
            f"PostgreSQL {endpoints.database_name}",
            cause,
            "Approve measurements, or set snapshot.as_of in params.yaml",
        )
    table = pd.DataFrame([asdict(receiver) for receiver in receivers], columns=archive.RECEIVERS_SCHEMA.names)
    return rows, schemas.valid_receivers(table)


def _candidates(rows: pd.DataFrame, bad: set[int], objects: dict[str, ObjectInfo]) -> list[Candidate]:
    """The rows without a fault, in the order of their sessions' first approval, with their objects."""
    rank = rows.groupby("session_id")["approved_at"].transform("min")
    ordered = rows.assign(rank=rank).drop(index=sorted(bad)).sort_values(["rank", "session_id", "websdr_id"])
    candidates = []
    for row, session_id, websdr_id, rate in zip(
        ordered.index, ordered["session_id"], ordered["websdr_id"], ordered["sample_rate_hz"], strict=True
    ):
        key = objectstore.object_key(session_id, websdr_id)
        found = objects.get(key)
        etag, size = (found.etag, found.size) if found else (None, 0)
        candidates.append(Candidate(int(row), session_id, int(websdr_id), float(rate), key, etag, size))
    return candidates


def _refuse_too_many(reasons: Sequence[str], rows: pd.DataFrame, params: SnapshotParams) -> None:
    if len(reasons) <= params.max_quarantined_fraction * len(rows):
        return
    worst = ", ".join(f"{reason} {count}" for reason, count in _counts(reasons).items())
    raise HeimdallError(
        "snapshot",
        f"{len(reasons)} of {len(rows)} approved recordings are bad ({worst}), more than "
        f"{params.max_quarantined_fraction:.0%}; the former snapshot stays",
        "Mend them, withdraw their approval, or raise snapshot.max_quarantined_fraction",
    )


def _counts(reasons: Iterable[str]) -> dict[str, int]:
    """Number of each reason, the most frequent first."""
    return dict(sorted(Counter(reasons).items(), key=lambda item: (-item[1], item[0])))


def _measurements(
    rows: pd.DataFrame, good: Sequence[Candidate], verdicts: dict[int, Verdict], names: dict[int, str]
) -> pd.DataFrame:
    """data/snapshot/measurements.parquet, in the order of the shards."""
    chosen = rows.loc[[item.row for item in good]]
    table: pd.DataFrame = chosen.assign(
        samples=[verdicts[item.row].samples for item in good],
        object_key=[item.key for item in good],
        object_etag=[item.etag or "" for item in good],
        object_bytes=[item.size for item in good],
        object_sha256=[verdicts[item.row].sha256 for item in good],
        shard=[names[item.row] for item in good],
    )
    columns: list[str] = archive.MEASUREMENTS_SCHEMA.names
    return table[columns].reset_index(drop=True)


def _quarantine(rows: pd.DataFrame, faults: Sequence[schemas.Fault]) -> pd.DataFrame:
    """data/quarantine.parquet, in the order of the approved rows."""
    faults = sorted(faults, key=lambda fault: fault.row)
    chosen = rows.loc[[fault.row for fault in faults], ["measurement_id", "session_id", "websdr_id"]]
    keys = [_key_or_none(row.session_id, row.websdr_id) for row in chosen.itertuples()]
    return chosen.assign(
        object_key=pd.Series(keys, chosen.index, "object"),
        reason=[fault.reason for fault in faults],
        detail=[fault.detail for fault in faults],
    ).reset_index(drop=True)


def _key_or_none(session_id: Any, websdr_id: Any) -> str | None:  # noqa: ANN401 - values of a bad row
    try:
        return objectstore.object_key(str(session_id), int(websdr_id))
    except HeimdallError:
        return None


def _summary(
    as_of: dt.datetime,
    measurements: pd.DataFrame,
    receivers: pd.DataFrame,
    quarantine: pd.DataFrame,
    approved: int,
) -> Summary:
    return Summary(
        as_of=_utc_text(as_of),
        data=provenance(measurements["simulated"]),
        sessions=int(measurements["session_id"].nunique()),
        recordings=len(measurements),
        transmitters=int(measurements["source_id"].nunique()),
        receivers=len(receivers),
        quarantined=_counts(quarantine["reason"]),
        quarantined_fraction=len(quarantine) / approved,
        data_fingerprint=archive.data_fingerprint(measurements, receivers),
    )


def _commit(
    root: Path,
    shards: ShardStore,
    *,
    measurements: pd.DataFrame,
    receivers: pd.DataFrame,
    quarantine: pd.DataFrame,
    summary: Summary,
) -> None:
    """Write everything; measurements.parquet, which names the shards, is the commit point."""
    names = measurements["shard"].unique().tolist()
    folder = root / archive.SNAPSHOT
    shards.commit(names)
    archive.write_table(folder / archive.RECEIVERS_FILE, receivers, archive.RECEIVERS_SCHEMA)
    archive.write_table(root / QUARANTINE, quarantine, QUARANTINE_SCHEMA)
    artifacts.write_json(root / METRICS, asdict(summary))
    archive.write_table(folder / archive.MEASUREMENTS_FILE, measurements, archive.MEASUREMENTS_SCHEMA)
    shards.prune(names)


def _read_former(root: Path) -> Former:
    """What the present snapshot knows; nothing where there is none, or one that is not as it was written."""
    try:
        rows = archive.read_measurements(root)
        written = artifacts.read_json(root / METRICS)["data_fingerprint"]
        if archive.data_fingerprint(rows, archive.read_receivers(root)) != written:
            return Former({}, {})
    except (HeimdallError, KeyError, TypeError):
        return Former({}, {})
    verdicts: dict[tuple[str, str, int, float], Verdict] = {}
    groups: dict[str, list[Candidate]] = {}
    for row in rows.to_dict("records"):
        item = Candidate(
            row=0,
            session_id=row["session_id"],
            websdr_id=row["websdr_id"],
            sample_rate_hz=row["sample_rate_hz"],
            key=row["object_key"],
            etag=row["object_etag"],
            size=row["object_bytes"],
        )
        address = (item.key, row["object_etag"], item.size, item.sample_rate_hz)
        verdicts[address] = Verdict(None, "", row["samples"], row["object_sha256"])
        groups.setdefault(row["shard"], []).append(item)
    current = {
        name: group for name, group in groups.items() if archive.is_current(archive.shard_path(name, root))
    }
    return Former(verdicts, {shard_key(group): name for name, group in current.items()})


def _read_verdicts(path: Path, group: Sequence[Candidate]) -> dict[Candidate, Verdict]:
    """Remembered verdicts on a group, or nothing: what is damaged is found out again."""
    try:
        memory = artifacts.read_json(path)
        if artifacts.fingerprint(memory["verdicts"]) != memory["sha256"]:
            return {}
        return {item: Verdict(**v) for item, v in zip(group, memory["verdicts"], strict=True)}
    except (HeimdallError, KeyError, TypeError, ValueError):
        return {}


def _utc_text(moment: dt.datetime) -> str:
    return moment.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")
