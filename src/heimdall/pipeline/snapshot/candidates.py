"""Good rows with what the bucket lists of their objects, cut into groups that become shards."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from heimdall.core import artifacts
from heimdall.pipeline.snapshot.receivers import NUMBER
from heimdall.recordings import archive
from heimdall.storage.objectstore import OBJECT_PREFIX, ObjectInfo


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


def with_objects(
    rows: pd.DataFrame, bad: set[int], find: Callable[[list[str]], Mapping[str, ObjectInfo]]
) -> list[Candidate]:
    """The rows without a fault, in the order of their sessions' first approval, with their objects.

    Args:
        rows: As the source gives them, with `object_key`.
        bad: Positions of the rows that have a fault.
        find: What the bucket lists of some keys, by key.
    """
    rank = rows.groupby("session_id")["approved_at"].transform("min")
    ordered = rows.assign(rank=rank).drop(index=sorted(bad)).sort_values(["rank", "session_id", "websdr_id"])
    keys = ordered["object_key"].tolist()
    objects = find(keys)
    candidates = []
    for key, row, session_id, websdr_id, rate in zip(
        keys,
        ordered.index,
        ordered["session_id"],
        ordered["websdr_id"],
        ordered["sample_rate_hz"],
        strict=True,
    ):
        found = objects.get(key)
        etag, size = (found.etag, found.size) if found else (None, 0)
        candidates.append(Candidate(int(row), session_id, int(websdr_id), float(rate), key, etag, size))
    return candidates


def with_keys(rows: pd.DataFrame, bucket: str) -> pd.DataFrame:
    """Rows with the key of each object: as the row names it, else by session and receiver.

    Args:
        rows: As the source gives them, with `NUMBER`; `object_key` is a key, or s3://bucket/key.
        bucket: The bucket of the recordings. What lies in another one keeps its address, which is no key.
    """
    usual = OBJECT_PREFIX + rows["session_id"] + "/websdr_" + rows[NUMBER].astype("str") + ".npy"
    named = rows["object_key"].str.removeprefix(f"s3://{bucket}/")
    return rows.assign(object_key=named.where(named.notna(), usual))


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
