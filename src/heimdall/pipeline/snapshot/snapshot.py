"""Approved rows and their objects, as of one moment -> data/snapshot/ and the quarantine.

The output is defined by `snapshot.as_of`. Objects that a former snapshot holds, or that an interrupted one
fetched, are not downloaded again: the former measurements say which objects are good and where they lie, and
the work folder remembers the verdict on all objects of a shard, the bad ones included. Either may be missing;
then more is downloaded and the result is the same.
"""

from __future__ import annotations

import datetime as dt
import itertools
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from heimdall.core import artifacts, paths, variables, workers
from heimdall.core.child import Service
from heimdall.core.errors import HeimdallError
from heimdall.core.params import SnapshotParams
from heimdall.core.provenance import provenance
from heimdall.pipeline.snapshot import outcome, receivers, schemas
from heimdall.pipeline.snapshot.absent import absent
from heimdall.pipeline.snapshot.candidates import Candidate, Good, cut, with_keys, with_objects
from heimdall.pipeline.snapshot.checked import Reasons, check
from heimdall.pipeline.snapshot.collector import Memory, collected
from heimdall.pipeline.snapshot.former import METRICS, read_former, read_receivers
from heimdall.pipeline.snapshot.outcome import Outcomes
from heimdall.pipeline.snapshot.repeated import Repeated, repeated
from heimdall.pipeline.snapshot.rows import Rows
from heimdall.recordings import archive, iq
from heimdall.recordings.shards import ShardStore
from heimdall.storage import approved, sources
from heimdall.storage.endpoints import RAW_BUCKET, Database, Endpoints
from heimdall.storage.objectstore import ObjectStore
from heimdall.storage.sources import RowSource

WORK = Path(".heimdall/work/snapshot")
REFUSED = WORK / "quarantine.csv"  # of a snapshot that was refused: the former one keeps its own quarantine
_OF_ANOTHER_BUCKET = (iq.MISSING, schemas.BAD_OBJECT_KEY)

Say = Callable[[str], object]


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
    with _files(work) as (row_file, outcome_file, made):
        known = _read_rows(params, endpoints.database, source, row_file, say)
        for remark in receivers.renamed(read_receivers(root, source.name), known):
            say(f"receivers: {remark}")
        with Rows(row_file, lambda rows: with_keys(receivers.place(rows, known), RAW_BUCKET)) as rows:
            reasons, order = check(rows.batches(), len(rows), known["websdr_id"].tolist())
            store = ObjectStore(endpoints.s3, RAW_BUCKET)
            good = with_objects(rows, order, store.head_many)
            reasons.say(good.missing, iq.MISSING)
            _refuse_too_many(params, root, store, (rows, reasons, good, None, None))  # before any download

            former = read_former(root)
            shards = ShardStore(
                root / archive.SNAPSHOT / archive.IQ_FOLDER, archive.SHARD_SUFFIX, work, former.shards
            )
            memory = Memory(params, store, shards, former, work / "verdicts")
            groups = cut(good.candidates(rows), params.shard_sessions)
            names = _collect(memory, groups, len(good.order), reasons=reasons, target=outcome_file)
            with Rows(outcome_file) as outcomes:
                same = repeated(rows, reasons, good, outcomes)
                reasons.say(same.rows, schemas.REPEATED)
                content = rows, reasons, good, outcomes, same
                _refuse_too_many(params, root, store, content)
                seen = _Seen()
                batches = map(seen.pass_on, outcome.measurements(rows, reasons, good, outcomes))
                archive.write_batches(made, batches, archive.MEASUREMENTS_SCHEMA)
                used = receivers.used(known, seen.receivers)
                periods = known[known["websdr_id"].isin(seen.receivers)]
                missing = absent(rows, reasons, archive.iterate_measurements(made), periods)
                summary = _summary(params.as_of, source, seen, reasons, tables=(used, missing))
                quarantine = outcome.quarantine(*content)
                names = [name for name in names if name in seen.shards]
                tables = used, missing, quarantine
                _commit(root, shards, names, made, tables=tables, summary=summary)
    memory.forget_others()
    (root / REFUSED).unlink(missing_ok=True)
    return summary


@contextmanager
def _files(work: Path) -> Iterator[tuple[Path, Path, Path]]:
    """For the approved rows, for what is found in their objects, and for what becomes of them."""
    files = work / "rows.parquet", work / "outcomes.parquet", work / archive.MEASUREMENTS_FILE
    try:
        yield files
    finally:
        for file in files:
            file.unlink(missing_ok=True)


def _read_rows(
    params: SnapshotParams, database: Database, source: RowSource, target: Path, say: Say
) -> pd.DataFrame:
    """Write the approved rows to a file; the receivers."""
    found = approved.read(database, source, params.as_of, target)
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
        return receivers.pinned(source.pinned)
    if not source.is_own:
        pinned = source.path.with_suffix(".receivers.csv")
        say(f"receivers: as {source.path} gives them now; write {pinned} to pin which number is which")
    return receivers.selected(found.receivers, source.path)


def _collect(
    memory: Memory, groups: Iterable[list[Candidate]], count: int, *, reasons: Reasons, target: Path
) -> list[str]:
    """Judge every object and make the shards; the shards' names. The verdicts go to a file.

    Args:
        memory: What is known already.
        groups: Candidates, by shard.
        count: Of the candidates.
        reasons: Are told of bad objects.
        target: The file.

    Raises:
        HeimdallError: S3 fails. Groups that were finished by then are kept.
    """
    names: list[str] = []
    failures: list[HeimdallError] = []
    tasks, same = itertools.tee(memory.group(group) for group in groups if not failures)
    made = workers.mapped(collected, tasks, threads=memory.groups_at_once, services=(Service.S3,))
    with (
        Outcomes(target) as outcomes,
        tqdm(total=count, desc="snapshot", unit="recording", disable=None) as bar,
    ):
        for group, found in zip(same, made, strict=True):
            if isinstance(found, HeimdallError):
                failures.append(found)
                continue
            name = memory.keep(group, found)
            for item, verdict in zip(group.items, found.verdicts, strict=True):
                outcomes.add(verdict, name)
                if verdict.reason is not None:
                    reasons.say(item.row, verdict.reason)
            names += [name] if name else []
            bar.update(len(group.items))
    if failures:
        raise failures[0]
    return names


def _refuse_too_many(
    params: SnapshotParams,
    root: Path,
    store: ObjectStore,
    content: tuple[Rows, Reasons, Good, Rows | None, Repeated | None],
) -> None:
    """Refuse a snapshot of which too much is bad, and list the bad rows in `REFUSED`."""
    rows, reasons, *_ = content
    count = int(reasons.bad.sum())
    if count <= params.max_quarantined_fraction * len(reasons):
        return
    counts = reasons.counts()
    worst = ", ".join(f"{reason} {number}" for reason, number in counts.items())
    most = next(iter(counts))
    (first,) = rows.take(np.array([reasons.first(most)])).to_dict("records")
    with artifacts.atomic(root / REFUSED) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        for number, batch in enumerate(outcome.quarantine(*content)):
            batch[outcome.QUARANTINE_SCHEMA.names].to_csv(file, index=False, header=number == 0)
    mend = f"Mend them (such as measurement {first['measurement_id']})"
    if most in _OF_ANOTHER_BUCKET:
        place = f"{store.endpoint}/{store.bucket}"
        mend = (
            f"If they lie in another bucket than {place}, set {variables.RAW_BUCKET.name} to its name; else "
            f"put them there (such as {first['object_key']}, of measurement {first['measurement_id']})"
        )
    raise HeimdallError(
        "snapshot",
        f"{count} of {len(reasons)} approved recordings are bad ({worst}), more than "
        f"{params.max_quarantined_fraction:.0%}; {REFUSED} lists them, and a former snapshot stays",
        f"{mend}, withdraw their approval (docs/recordings.md), or raise snapshot.max_quarantined_fraction",
    )


def _record(source: RowSource) -> dict[str, str]:
    """What metrics/snapshot.json says of the source."""
    written = {"name": source.name, "sha256": source.sha256, "receivers": "as the database had them"}
    if source.pinned is None:
        return written
    pinned = {"receivers": source.pinned.name, "receivers_sha256": artifacts.sha256_file(source.pinned)}
    return written | pinned


def _summary(
    as_of: dt.datetime,
    source: RowSource,
    seen: _Seen,
    reasons: Reasons,
    *,
    tables: tuple[pd.DataFrame, pd.DataFrame],
) -> Summary:
    """What is said of the snapshot; the tables are its receivers and who was absent."""
    return Summary(
        as_of=_utc_text(as_of),
        source=_record(source),
        data=provenance(seen.simulated),
        sessions=seen.sessions,
        recordings=seen.recordings,
        transmitters=len(seen.sources),
        receivers=len(tables[0]),
        quarantined=reasons.counts(),
        quarantined_fraction=int(reasons.bad.sum()) / len(reasons),
        data_fingerprint=seen.fingerprint.of(*tables),
    )


def _commit(
    root: Path,
    shards: ShardStore,
    names: list[str],
    measurements: Path,
    *,
    tables: tuple[pd.DataFrame, pd.DataFrame, Iterable[pd.DataFrame]],
    summary: Summary,
) -> None:
    """Write everything; measurements.parquet, which names the shards, is the commit point.

    The tables are the receivers, who was absent, and the quarantine in batches.
    """
    folder = root / archive.SNAPSHOT
    receivers, missing, quarantine = tables
    shards.commit(names)
    archive.write_table(folder / archive.RECEIVERS_FILE, receivers, archive.RECEIVERS_SCHEMA)
    archive.write_table(folder / archive.ABSENT_FILE, missing, archive.ABSENT_SCHEMA)
    archive.write_batches(root / paths.QUARANTINE, quarantine, outcome.QUARANTINE_SCHEMA)
    artifacts.write_json(root / METRICS, asdict(summary))
    with artifacts.atomic(folder / archive.MEASUREMENTS_FILE) as partial:
        shutil.move(measurements, partial)
    shards.prune(names)


class _Seen:
    """What the summary says of the rows that it passed on."""

    def __init__(self) -> None:
        self.fingerprint = archive.DataFingerprint()
        self.receivers: set[int] = set()
        self.sources: set[str] = set()
        self.simulated: set[bool] = set()
        self.shards: set[str] = set()
        self.sessions = self.recordings = 0
        self._last = ""

    def pass_on(self, rows: pd.DataFrame) -> pd.DataFrame:
        """The same rows; the rows of a session stand together."""
        self.fingerprint.add(rows)
        self.receivers |= set(rows["websdr_id"])
        self.sources |= set(rows["source_id"].dropna())
        self.simulated |= set(rows["simulated"])
        self.shards |= set(rows["shard"])
        self.recordings += len(rows)
        self.sessions += int((rows["session_id"] != rows["session_id"].shift(fill_value=self._last)).sum())
        self._last = rows["session_id"].iloc[-1]
        return rows


def _utc_text(moment: dt.datetime) -> str:
    return moment.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")
