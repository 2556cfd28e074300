"""What the present data/snapshot/ says about objects, so that they need not be downloaded again."""

from __future__ import annotations

import hashlib
import itertools
import json
import operator
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from heimdall.core import artifacts
from heimdall.core.errors import HeimdallError
from heimdall.pipeline.snapshot.candidates import Candidate, shard_key
from heimdall.recordings import archive

METRICS = Path("metrics/snapshot.json")


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


# A recording, compactly: half of the hash of what an object is found by, its SHA-256, its samples.
_KEPT = np.dtype([("low", np.uint64), ("sha256", np.uint8, 32), ("samples", np.int64)])


@dataclass(frozen=True)
class Former:
    """What the present data/snapshot/ tells about objects.

    Attributes:
        addresses: The other half of each hash, ascending, shape (n,).
        kept: `_KEPT` of each recording, shape (n,); 56 bytes with its address.
        shards: Names of shards by key.
    """

    addresses: npt.NDArray[np.uint64]
    kept: npt.NDArray[np.void]
    shards: dict[str, str]

    def find(self, item: Candidate) -> Verdict | None:
        """The verdict on an object of the same key, entity tag and size, at the same sample rate."""
        high, low = np.frombuffer(_address(item), np.uint64)
        begin, end = (int(np.searchsorted(self.addresses, high, side)) for side in ("left", "right"))
        for one in self.kept[begin:end]:
            if one["low"] == low:
                return Verdict(None, "", int(one["samples"]), one["sha256"].tobytes().hex())
        return None


def read_former(root: Path) -> Former:
    """What the present snapshot knows; nothing where there is none, or one that is not as it was written."""
    try:
        former, fingerprint = _read(root)
        if fingerprint == artifacts.read_json(root / METRICS)["data_fingerprint"]:
            return former
    except (HeimdallError, KeyError, TypeError, ValueError):
        pass
    return Former(np.empty(0, np.uint64), np.empty(0, _KEPT), {})


def read_receivers(root: Path, source: str) -> pd.DataFrame | None:
    """The receivers of the present snapshot; None where there is none, or it is of another source."""
    try:
        if artifacts.read_json(root / METRICS)["source"]["name"] == source:
            return archive.read_receivers(root)
    except (HeimdallError, KeyError, TypeError):
        pass
    return None


def _read(root: Path) -> tuple[Former, str]:
    """What it knows, and the fingerprint of what it holds."""
    fingerprint = archive.DataFingerprint()
    addresses: list[npt.NDArray[np.uint64]] = [np.empty(0, np.uint64)]
    kept: list[npt.NDArray[np.void]] = [np.empty(0, _KEPT)]

    def recordings() -> Iterator[tuple[str, Candidate]]:
        for rows in archive.iterate_measurements(root / archive.SNAPSHOT / archive.MEASUREMENTS_FILE):
            fingerprint.add(rows)
            items = [_candidate(row) for row in rows.to_dict("records")]
            halves = np.frombuffer(b"".join(map(_address, items)), np.uint64).reshape(-1, 2)
            addresses.append(halves[:, 0].copy())
            kept.append(_compact(halves[:, 1], rows))
            yield from zip(rows["shard"], items, strict=True)

    shards = {}
    for name, pairs in itertools.groupby(recordings(), key=operator.itemgetter(0)):
        key = shard_key([item for _, item in pairs])
        if archive.is_current(archive.shard_path(name, root)):
            shards[key] = name
    found = np.concatenate(addresses)
    order = np.argsort(found)
    tables = archive.read_receivers(root), archive.read_absent(root)
    return Former(found[order], np.concatenate(kept)[order], shards), fingerprint.of(*tables)


def _candidate(row: dict[Any, Any]) -> Candidate:
    return Candidate(
        row=0,
        session_id=row["session_id"],
        websdr_id=row["websdr_id"],
        sample_rate_hz=row["sample_rate_hz"],
        key=row["object_key"],
        etag=row["object_etag"],
        size=row["object_bytes"],
    )


def _compact(low: npt.NDArray[np.uint64], rows: pd.DataFrame) -> npt.NDArray[np.void]:
    """The recordings of some rows as `_KEPT`."""
    made = np.empty(len(rows), _KEPT)
    made["low"] = low
    hashes = bytes.fromhex("".join(rows["object_sha256"]))
    made["sha256"] = np.frombuffer(hashes, np.uint8).reshape(-1, 32)
    made["samples"] = rows["samples"]
    return made


def _address(item: Candidate) -> bytes:
    """16 bytes that name an object and how it is read."""
    found = json.dumps([item.key, item.etag or "", item.size, item.sample_rate_hz])
    return hashlib.blake2b(found.encode(), digest_size=16).digest()
