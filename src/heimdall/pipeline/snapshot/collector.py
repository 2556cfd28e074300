"""The objects of candidates: downloaded where nothing remembers them, judged, packed into shards.

What is remembered is looked up here and now; the rest is done group by group, anywhere (`collected`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path

from heimdall.core import artifacts, workers
from heimdall.core.errors import HeimdallError
from heimdall.core.params import SnapshotParams
from heimdall.pipeline.snapshot import schemas
from heimdall.pipeline.snapshot.candidates import Candidate, shard_key
from heimdall.pipeline.snapshot.former import Former, Verdict
from heimdall.recordings import archive, iq
from heimdall.recordings.archive import StoredRecording
from heimdall.recordings.shards import ShardStore
from heimdall.storage import objectstore
from heimdall.storage.objectstore import ObjectInfo, ObjectStore
from heimdall.storage.s3_access import S3Access

CHANGED = "changed"  # the object is not what the listing said a moment ago


@dataclass(frozen=True)
class Group:
    """Candidates of one shard, and what is known of them.

    Attributes:
        items: The candidates.
        known: The verdict on each, None where its object must be looked at.
        there: Name of the shard of exactly those that are known to be good; None if it must be made.
        access: Where the objects are.
        bucket: The same.
        max_duration_s: Longest recording accepted, seconds.
        threads: That download at once.
    """

    items: tuple[Candidate, ...]
    known: tuple[Verdict | None, ...]
    there: str | None
    access: S3Access
    bucket: str
    max_duration_s: float
    threads: int


@dataclass(frozen=True)
class Collected:
    """What was found in the objects of a group.

    Attributes:
        verdicts: On each candidate.
        shard: Of the good recordings; None if there is none, or it is there already.
    """

    verdicts: tuple[Verdict, ...]
    shard: bytes | None


@dataclass(frozen=True)
class Fetched:
    """A judged object, with its samples, shape (n,), complex64, if it is good."""

    verdict: Verdict
    samples: iq.Samples | None


class Memory:
    """What is known of objects and shards without looking at them.

    Args:
        params: What the snapshot holds.
        store: The bucket of the recordings.
        shards: Where the shards go.
        former: What the present snapshot says about objects.
        folder: Remembers the verdicts on the objects of each shard, the bad ones included.
    """

    def __init__(
        self, params: SnapshotParams, store: ObjectStore, shards: ShardStore, former: Former, folder: Path
    ) -> None:
        self._params = params
        self._store = store
        self._shards = shards
        self._former = former
        self._folder = folder
        self._used: set[str] = set()

    @property
    def groups_at_once(self) -> int:
        """How many are collected at a time on this machine; they share the threads that download.

        Two for each core: while one is packed, the other keeps the link busy.
        """
        return min(2 * len(os.sched_getaffinity(0)), self._params.download_threads)

    def group(self, items: Sequence[Candidate]) -> Group:
        """Candidates of a shard with what is known of them."""
        file = self._file(items)
        self._used.add(file.name)
        known: Sequence[Verdict | None] = _read_verdicts(file, items)
        known = known or [self._of_former(item) for item in items]
        good = _good(items, known)
        return Group(
            tuple(items),
            tuple(known),
            self._shards.find(shard_key(good)) if good else None,
            self._store.access,
            self._store.bucket,
            self._params.max_duration_s,
            self._params.download_threads // self.groups_at_once,
        )

    def keep(self, group: Group, found: Collected) -> str | None:
        """Store what was found; the name of the group's shard, None if nothing in it is good."""
        good = _good(group.items, found.verdicts)
        name = group.there if good else None
        if found.shard is not None:
            name = self._shards.add(shard_key(good), found.shard)
        pairs = zip(group.items, found.verdicts, strict=True)
        if not any(item.etag and verdict.reason in (iq.MISSING, CHANGED) for item, verdict in pairs):
            verdicts = [asdict(verdict) for verdict in found.verdicts]
            content = {"verdicts": verdicts, "sha256": artifacts.fingerprint(verdicts)}
            artifacts.write_json(self._file(group.items), content)
        return name

    def forget_others(self) -> None:
        """Remove the verdicts that this run had no use for."""
        for path in sorted(self._folder.iterdir()) if self._folder.is_dir() else []:
            if path.name not in self._used:
                path.unlink()

    def _file(self, items: Sequence[Candidate]) -> Path:
        limits = [self._params.max_duration_s, iq.MIN_DURATION_S]
        return self._folder / f"{artifacts.fingerprint([limits, [item.identity for item in items]])}.json"

    def _of_former(self, item: Candidate) -> Verdict | None:
        """The verdict on what the former snapshot holds unchanged, if its limit of duration fits this one."""
        verdict = self._former.find(item)
        limit = iq.max_samples(item.sample_rate_hz, self._params.max_duration_s)
        return verdict if verdict is not None and verdict.samples <= limit else None


def collected(group: Group) -> Collected | HeimdallError:
    """Look at the objects of a group that are not known, and pack the good ones if that is to be done.

    Returns:
        What was found; the error where S3 cannot be reached or refuses, as other groups may be finished.
    """
    try:
        return _collected(group)
    except HeimdallError as error:
        return error


def _collected(group: Group) -> Collected:
    verdicts = dict(zip(group.items, group.known, strict=True))
    unknown = [item for item in group.items if verdicts[item] is None]
    held: dict[Candidate, Fetched] = {}
    if group.there is not None:  # it is all, if the others turn out to be bad
        held = dict(zip(unknown, _fetched(unknown, group), strict=True))
        verdicts |= {item: fetched.verdict for item, fetched in held.items()}
    good = set(_good(group.items, tuple(verdicts.values())))

    def recordings() -> Iterator[StoredRecording]:
        wanted = [item for item in group.items if verdicts[item] is None or item in good]
        missing = _fetched([item for item in wanted if item not in held], group)
        for item in wanted:
            fetched = held.pop(item) if item in held else next(missing)
            verdicts[item] = fetched.verdict
            if fetched.samples is not None:
                yield StoredRecording(item.session_id, item.websdr_id, item.sample_rate_hz, fetched.samples)

    shard = None
    if group.there is None or any(item in held for item in good):
        shard = archive.pack_shard(recordings())
    return Collected(tuple(verdict for verdict in verdicts.values() if verdict is not None), shard)


def _good(items: Sequence[Candidate], verdicts: Sequence[Verdict | None]) -> list[Candidate]:
    """Those that are known to be good."""
    pairs = zip(items, verdicts, strict=True)
    return [item for item, verdict in pairs if verdict is not None and verdict.reason is None]


def _fetched(items: Sequence[Candidate], group: Group) -> Iterator[Fetched]:
    """The objects of some candidates, in their order, downloaded some at a time."""
    return workers.in_threads(partial(_judged, group=group), items, group.threads)


def _judged(item: Candidate, group: Group) -> Fetched:
    """Download and check one object; nothing larger than a recording may be is ever read."""
    try:
        content = _content(item, group)
        samples = iq.decode(content, item.sample_rate_hz, group.max_duration_s)
    except iq.BadRecording as bad:
        return Fetched(Verdict(bad.reason, bad.detail, 0, ""), None)
    return Fetched(Verdict(None, "", len(samples), artifacts.sha256_bytes(content)), samples)


def _content(item: Candidate, group: Group) -> bytes:
    limit = iq.max_object_bytes(item.sample_rate_hz, group.max_duration_s)
    if item.etag is None:
        raise iq.BadRecording(iq.MISSING, schemas.NO_OBJECT)
    if item.size > limit:
        cause = f"{item.size} bytes, more than {group.max_duration_s:g} s can have ({limit})"
        raise iq.BadRecording(iq.OVERSIZED, cause)
    try:
        return _store(group.access, group.bucket).get(item.key, limit, ObjectInfo(item.etag, item.size))
    except objectstore.ObjectMissing:
        raise iq.BadRecording(iq.MISSING, "it was deleted during the snapshot") from None
    except objectstore.ObjectChanged:
        raise iq.BadRecording(CHANGED, "it was replaced during the snapshot") from None


@lru_cache(maxsize=1)
def _store(access: S3Access, bucket: str) -> ObjectStore:
    return ObjectStore(access, bucket)


def _read_verdicts(path: Path, items: Sequence[Candidate]) -> tuple[Verdict, ...]:
    """Remembered verdicts on a group, or nothing: what is damaged is found out again."""
    try:
        memory = artifacts.read_json(path)
        if artifacts.fingerprint(memory["verdicts"]) != memory["sha256"]:
            return ()
        found = tuple(Verdict(**verdict) for verdict in memory["verdicts"])
        return found if len(found) == len(items) else ()
    except (HeimdallError, KeyError, TypeError, ValueError):
        return ()
