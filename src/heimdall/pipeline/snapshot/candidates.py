"""Good rows with what the bucket lists of their objects, cut into groups that become shards."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from heimdall.core import artifacts
from heimdall.recordings import archive
from heimdall.storage import objectstore
from heimdall.storage.objectstore import ObjectInfo


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
        rows: As `tables.read_approved` returns them.
        bad: Positions of the rows that have a fault.
        find: What the bucket lists of some keys, by key.
    """
    rank = rows.groupby("session_id")["approved_at"].transform("min")
    ordered = rows.assign(rank=rank).drop(index=sorted(bad)).sort_values(["rank", "session_id", "websdr_id"])
    keys = [
        objectstore.object_key(session_id, websdr_id)
        for session_id, websdr_id in zip(ordered["session_id"], ordered["websdr_id"], strict=True)
    ]
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
