"""Good rows with what the bucket lists of their objects, cut into groups that become shards."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from heimdall.core import artifacts
from heimdall.pipeline.snapshot import schemas
from heimdall.pipeline.snapshot.receivers import NUMBER
from heimdall.pipeline.snapshot.rows import Positions, Rows, slices
from heimdall.recordings import archive
from heimdall.storage.objectstore import OBJECT_PREFIX, ObjectInfo

LISTED_KEYS = 5000


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
class Good:
    """The rows without a fault, with their objects, in compact columns in the order of their sessions.

    Attributes:
        order: Positions of their rows among the approved ones, shape (n,).
        etags: Of each object, n strings; null where it is missing.
        sizes: Of each object in bytes, shape (n,); 0 where it is missing.
    """

    order: Positions
    etags: pa.Array
    sizes: npt.NDArray[np.int64]

    @property
    def missing(self) -> Positions:
        """Positions, among the approved rows, of those whose object is missing."""
        missing: npt.NDArray[np.bool_] = self.etags.is_null().to_numpy(zero_copy_only=False)
        return self.order[missing]

    def candidates(self, rows: Rows) -> Iterator[Candidate]:
        """One by one, in their order."""
        for places in slices(np.arange(len(self.order))):
            batch = rows.take(self.order[places])
            for row, session_id, websdr_id, rate, key, etag, size in zip(
                batch.index,
                batch["session_id"],
                batch["websdr_id"],
                batch["sample_rate_hz"],
                batch["object_key"],
                self.etags.slice(places[0], len(places)).to_pylist(),
                self.sizes[places],
                strict=True,
            ):
                yield Candidate(int(row), session_id, int(websdr_id), float(rate), key, etag, int(size))


def with_objects(rows: Rows, order: Positions, find: Callable[[list[str]], Mapping[str, ObjectInfo]]) -> Good:
    """What the bucket lists of the objects of some rows.

    Keys are looked up in their own order, `LISTED_KEYS` at a time: then each listing is of a part of the
    bucket, and of no part twice.

    Args:
        rows: All approved rows, with `object_key`.
        order: Positions of the rows without a fault, in the order of their sessions.
        find: What the bucket lists of some keys, by key.
    """
    parts = [pa.array(rows.take(part)["object_key"], pa.large_string()) for part in slices(order)]
    keys = pa.chunked_array(parts, pa.large_string()).combine_chunks()
    del parts
    by_key = pc.sort_indices(keys).to_numpy().astype(np.int64)
    etags: list[pa.Array] = [pa.array([], pa.large_string())]
    sizes = np.zeros(len(order), np.int64)
    for start in range(0, len(order), LISTED_KEYS):
        places = by_key[start : start + LISTED_KEYS]
        wanted = keys.take(pa.array(places)).to_pylist()
        listed = find(wanted)
        found = [listed.get(key) for key in wanted]
        etags.append(pa.array([item.etag if item else None for item in found], pa.large_string()))
        sizes[places] = [item.size if item else 0 for item in found]
    del keys
    return Good(order, pa.concat_arrays(etags).take(pa.array(np.argsort(by_key))), sizes)


def with_keys(rows: pd.DataFrame, bucket: str) -> pd.DataFrame:
    """Rows with the key of each object: as the row names it, else by session and receiver.

    Args:
        rows: As the source gives them, with `NUMBER`; `object_key` is a key, or s3://bucket/key.
        bucket: The bucket of the recordings. What lies in another one keeps its address, which is no key.

    Returns:
        The rows; a key is NA where none is named, and session and receiver make none of the usual form.
    """
    usual = OBJECT_PREFIX + rows["session_id"] + "/websdr_" + rows[NUMBER].astype("str") + ".npy"
    is_usual = rows["session_id"].str.fullmatch(schemas.UUID, na=False)
    is_usual &= rows[NUMBER].ge(0).fillna(False).astype(bool)
    named = rows["object_key"].str.removeprefix(f"s3://{bucket}/")
    return rows.assign(object_key=named.where(named.notna(), usual.where(is_usual)))


def cut(candidates: Iterable[Candidate], shard_sessions: int) -> Iterator[list[Candidate]]:
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
    for session_id, items in itertools.groupby(candidates, key=lambda item: item.session_id):
        group += items
        digest = hashlib.sha256(session_id.encode("ascii")).digest()
        if int.from_bytes(digest[:8], "big") % shard_sessions == 0:
            yield group
            group = []
    if group:
        yield group


def shard_key(good: Sequence[Candidate]) -> str:
    """Key of the shard that holds these recordings."""
    return artifacts.fingerprint([archive.SHARD_FORMAT, [item.identity for item in good]])
