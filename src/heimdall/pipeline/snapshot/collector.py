"""The objects of candidates: downloaded where nothing remembers them, judged, packed into shards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from heimdall.core import artifacts
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

CHANGED = "changed"  # the object is not what the listing said a moment ago


@dataclass(frozen=True)
class Fetched:
    """A judged object, with its samples, shape (n,), complex64, if it is good."""

    verdict: Verdict
    samples: iq.Samples | None


class Collector:
    """Makes shards out of candidates, downloading as little as possible.

    Args:
        params: What the snapshot holds.
        store: The bucket of the recordings.
        shards: Where the shards go.
        former: What the present snapshot says about objects.
        memory: Folder that remembers the verdicts on the objects of each shard, the bad ones included.
    """

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
            verdict = self._former.find(item)
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
            raise iq.BadRecording(iq.MISSING, schemas.NO_OBJECT)
        if item.size > limit:
            cause = f"{item.size} bytes, more than {self._params.max_duration_s:g} s can have ({limit})"
            raise iq.BadRecording(iq.OVERSIZED, cause)
        try:
            return self._store.get(item.key, limit, ObjectInfo(item.etag, item.size))
        except objectstore.ObjectMissing:
            raise iq.BadRecording(iq.MISSING, "it was deleted during the snapshot") from None
        except objectstore.ObjectChanged:
            raise iq.BadRecording(CHANGED, "it was replaced during the snapshot") from None


def _pack(good: Sequence[Candidate], fetched: Mapping[Candidate, Fetched]) -> bytes:
    stored = []
    for item in good:
        samples = fetched[item].samples
        if samples is None:
            raise AssertionError(f"{item.key} was found good without samples")
        stored.append(StoredRecording(item.session_id, item.websdr_id, item.sample_rate_hz, samples))
    return archive.pack_shard(stored)


def _read_verdicts(path: Path, group: Sequence[Candidate]) -> dict[Candidate, Verdict]:
    """Remembered verdicts on a group, or nothing: what is damaged is found out again."""
    try:
        memory = artifacts.read_json(path)
        if artifacts.fingerprint(memory["verdicts"]) != memory["sha256"]:
            return {}
        return {item: Verdict(**v) for item, v in zip(group, memory["verdicts"], strict=True)}
    except (HeimdallError, KeyError, TypeError, ValueError):
        return {}
