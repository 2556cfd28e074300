"""Approved rows and their objects, as of one moment -> data/snapshot/ and the quarantine.

The output is defined by `snapshot.as_of`. Objects that a former snapshot holds, or that an interrupted one
fetched, are not downloaded again: the former measurements say which objects are good and where they lie, and
the work folder remembers the verdict on all objects of a shard, the bad ones included. Either may be missing;
then more is downloaded and the result is the same.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Sequence
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
from heimdall.pipeline.snapshot.candidates import Candidate, cut, with_objects
from heimdall.pipeline.snapshot.collector import Collector
from heimdall.pipeline.snapshot.former import METRICS, Verdict, read_former
from heimdall.recordings import archive, iq
from heimdall.recordings.shards import ShardStore
from heimdall.storage import objectstore, tables
from heimdall.storage.endpoints import RAW_BUCKET, Endpoints
from heimdall.storage.objectstore import ObjectStore

QUARANTINE = Path("data/quarantine.parquet")
WORK = Path(".heimdall/work/snapshot")

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
    candidates = with_objects(rows, {fault.row for fault in faults}, store.head_many)
    known_bad = [fault.reason for fault in faults] + [iq.MISSING for item in candidates if item.etag is None]
    _refuse_too_many(known_bad, rows, params)  # before any download

    former = read_former(root)
    work = root / WORK
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
    _refuse_too_many([fault.reason for fault in faults], rows, params)
    measurements = _measurements(rows, [item for item in candidates if item.row in names], verdicts, names)
    quarantine = _quarantine(rows, faults)
    summary = _summary(params.as_of, measurements, receivers, quarantine, len(rows))
    _commit(
        root, shards, measurements=measurements, receivers=receivers, quarantine=quarantine, summary=summary
    )
    collector.forget_others()
    return summary


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


def _utc_text(moment: dt.datetime) -> str:
    return moment.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")
