"""Approved rows and their objects, as of one moment -> data/snapshot/ and the quarantine.

The output is defined by `snapshot.as_of`. Objects that a former snapshot holds, or that an interrupted one
fetched, are not downloaded again: the former measurements say which objects are good and where they lie, and
the work folder remembers the verdict on all objects of a shard, the bad ones included. Either may be missing;
then more is downloaded and the result is the same.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from heimdall.core import artifacts
from heimdall.core.errors import HeimdallError
from heimdall.core.params import SnapshotParams
from heimdall.core.provenance import provenance
from heimdall.pipeline.snapshot import receivers, schemas
from heimdall.pipeline.snapshot.candidates import Candidate, cut, with_keys, with_objects
from heimdall.pipeline.snapshot.collector import Collector
from heimdall.pipeline.snapshot.former import METRICS, Verdict, read_former
from heimdall.recordings import archive, iq
from heimdall.recordings.shards import ShardStore
from heimdall.storage import approved, objectstore, sources
from heimdall.storage.endpoints import RAW_BUCKET, Database, Endpoints
from heimdall.storage.objectstore import ObjectStore
from heimdall.storage.sources import RowSource

QUARANTINE = Path("data/quarantine.parquet")
WORK = Path(".heimdall/work/snapshot")

Say = Callable[[str], object]
_NULLABLE = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}

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
class Summary:
    """What metrics/snapshot.json holds.

    Attributes:
        as_of: Moment of the snapshot, UTC.
        source: The file that selected the rows, its hash, and where the receivers are from.
        data: "simulated", "recorded" or "mixed".
        sessions: Sessions with at least one good recording.
        recordings: Good recordings.
        transmitters: Known sources among them.
        receivers: Receivers that have good recordings.
        quarantined: Number of bad rows by reason.
        quarantined_fraction: Share of the approved rows.
        data_fingerprint: SHA-256 of rows, receivers and the objects' hashes; not of how they are stored.
    """

    as_of: str
    source: dict[str, str]
    data: str
    sessions: int
    recordings: int
    transmitters: int
    receivers: int
    quarantined: dict[str, int]
    quarantined_fraction: float
    data_fingerprint: str


def take(
    params: SnapshotParams,
    endpoints: Endpoints,
    root: Path = Path(),
    *,
    queries: Path = sources.FOLDER,
    say: Say = lambda line: None,
) -> Summary:
    """Take the snapshot and write data/snapshot/, data/quarantine.parquet and metrics/snapshot.json.

    Args:
        params: What the snapshot holds.
        endpoints: Where PostgreSQL and S3 are.
        root: The repository's root.
        queries: Folder of the file that `snapshot.source` names.
        say: Is told in a line what a reader of the outputs would not see.

    Returns:
        What was written to metrics/snapshot.json.

    Raises:
        HeimdallError: PostgreSQL or S3 fails, nothing is approved, or too much is bad. Then the former
            snapshot stays as it was, and what was downloaded is used by the next run.
    """
    work = root / WORK
    source = sources.load(params.source, queries)
    rows, known = _read_rows(params, endpoints.database, source, work / "rows.parquet", say)
    faults = schemas.measurement_faults(rows, known["websdr_id"].tolist())
    store = ObjectStore(endpoints.s3, RAW_BUCKET)
    candidates = with_objects(rows, {fault.row for fault in faults}, store.head_many)
    missing = [schemas.Fault(item.row, iq.MISSING, "") for item in candidates if item.etag is None]
    _refuse_too_many(faults + missing, rows, params)  # before any download

    former = read_former(root)
    shards = ShardStore(
        root / archive.SNAPSHOT / archive.IQ_FOLDER, archive.SHARD_SUFFIX, work, former.shards
    )
    collector = Collector(params, store, shards, former, work / "verdicts")
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
    _refuse_too_many(faults, rows, params)
    measurements = _measurements(rows, [item for item in candidates if item.row in names], verdicts, names)
    used = receivers.used(known, measurements)
    quarantine = _quarantine(rows, faults)
    summary = _summary(
        params.as_of,
        source,
        measurements=measurements,
        receivers=used,
        quarantine=quarantine,
        approved_rows=len(rows),
    )
    _commit(root, shards, measurements=measurements, receivers=used, quarantine=quarantine, summary=summary)
    collector.forget_others()
    return summary


def _read_rows(
    params: SnapshotParams, database: Database, source: RowSource, spool: Path, say: Say
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Approved rows with identifiers of receivers and keys of objects, and the receivers."""
    found = approved.read(database, source, params.as_of, spool)
    if found.undated:
        say(f"{found.undated} approved rows are in no snapshot: they have no approved_at, or infinity")
    for remark in found.remarks:
        say(f"{source.path}: {remark}")
    if not found.count:
        cause = f"no measurement was approved at or before {_utc_text(params.as_of)} ({source.path})"
        raise HeimdallError(
            f"PostgreSQL {database.name}",
            cause,
            "Approve measurements, or set snapshot.as_of in params.yaml to a later time",
        )
    if source.pinned is not None:
        known = receivers.pinned(source.pinned)
    else:
        known = receivers.selected(found.receivers, source.path)
        if not source.is_own:
            pinned = source.path.with_suffix(".receivers.csv")
            say(f"receivers: as {source.path} gives them now; write {pinned} to pin which number is which")
    table = pq.read_table(spool).to_pandas(types_mapper=_NULLABLE.get)
    spool.unlink()
    return with_keys(receivers.place(table, known), RAW_BUCKET), known


def _refuse_too_many(faults: Sequence[schemas.Fault], rows: pd.DataFrame, params: SnapshotParams) -> None:
    if len(faults) <= params.max_quarantined_fraction * len(rows):
        return
    counts = _counts(fault.reason for fault in faults)
    worst = ", ".join(f"{reason} {count}" for reason, count in counts.items())
    row = min(fault.row for fault in faults if fault.reason == next(iter(counts)))
    first = str(rows.at[row, "measurement_id"])
    raise HeimdallError(
        "snapshot",
        f"{len(faults)} of {len(rows)} approved recordings are bad ({worst}), more than "
        f"{params.max_quarantined_fraction:.0%}; the former snapshot stays",
        f"Mend them (such as measurement {first}), withdraw their approval, or raise "
        "snapshot.max_quarantined_fraction",
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
    chosen = rows.loc[[fault.row for fault in faults]]
    keys = [_key_of(row) for row in chosen.to_dict("records")]
    numbers = chosen[receivers.NUMBER]
    return chosen.assign(
        websdr_id=numbers.where(numbers.between(-(2**31), 2**31 - 1)),  # as far as 32 bits have room
        object_key=pd.Series(keys, chosen.index, "object"),
        reason=[fault.reason for fault in faults],
        detail=[fault.detail for fault in faults],
    ).reset_index(drop=True)


def _record(source: RowSource) -> dict[str, str]:
    """What metrics/snapshot.json says of the source."""
    written = {"name": source.name, "sha256": source.sha256, "receivers": "as the database had them"}
    if source.pinned is None:
        return written
    pinned = {"receivers": source.pinned.name, "receivers_sha256": artifacts.sha256_file(source.pinned)}
    return written | pinned


def _key_of(row: Mapping[Any, Any]) -> str | None:
    """The object of a bad row; None where session and receiver would make no key of the usual form."""
    key, session_id, number = row["object_key"], row["session_id"], row[receivers.NUMBER]
    if not pd.isna(key) and not str(key).startswith(objectstore.OBJECT_PREFIX):
        return str(key)
    try:
        return objectstore.object_key(str(session_id), int(number))
    except (HeimdallError, TypeError, ValueError):
        return None


def _summary(
    as_of: dt.datetime,
    source: RowSource,
    *,
    measurements: pd.DataFrame,
    receivers: pd.DataFrame,
    quarantine: pd.DataFrame,
    approved_rows: int,
) -> Summary:
    return Summary(
        as_of=_utc_text(as_of),
        source=_record(source),
        data=provenance(measurements["simulated"]),
        sessions=int(measurements["session_id"].nunique()),
        recordings=len(measurements),
        transmitters=int(measurements["source_id"].nunique()),
        receivers=len(receivers),
        quarantined=_counts(quarantine["reason"]),
        quarantined_fraction=len(quarantine) / approved_rows,
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


def _utc_text(moment: dt.datetime) -> str:
    return moment.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")
