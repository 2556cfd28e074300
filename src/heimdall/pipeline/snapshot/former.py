"""What the present data/snapshot/ says about objects, so that they need not be downloaded again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

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


@dataclass(frozen=True)
class Former:
    """What the present data/snapshot/ tells about objects.

    Attributes:
        verdicts: Number of samples and SHA-256 by object key, entity tag, size and sample rate.
        shards: Names of shards by key.
    """

    verdicts: dict[tuple[str, str, int, float], Verdict]
    shards: dict[str, str]


def read_former(root: Path) -> Former:
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
