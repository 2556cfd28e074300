"""Take the snapshot: approved rows and their recordings, as of one moment.

python stages/snapshot.py
"""

from __future__ import annotations

from heimdall.core import determinism, locks, stage

determinism.ensure()

import argparse

from heimdall.core import params
from heimdall.pipeline.snapshot import snapshot
from heimdall.recordings import archive
from heimdall.storage import endpoints


def main() -> None:
    """Read parameters, take the snapshot, say what it holds."""
    parser = argparse.ArgumentParser(
        description="PostgreSQL and S3 -> data/snapshot/, data/quarantine.parquet, metrics/snapshot.json",
        epilog="Example: python stages/snapshot.py    (what it holds: `snapshot.*` in params.yaml)",
    )
    parser.parse_args()
    with locks.alone(snapshot.WORK):
        summary = snapshot.take(params.load().snapshot, endpoints.resolve())
    print(
        f"{summary.recordings} recordings ({summary.data}) of {summary.sessions} sessions and "
        f"{summary.transmitters} known transmitters, as of {summary.as_of}: {archive.SNAPSHOT}/"
    )
    reasons = ", ".join(f"{reason} {count}" for reason, count in summary.quarantined.items()) or "nothing"
    print(f"in quarantine: {reasons} ({summary.quarantined_fraction:.1%}): {snapshot.QUARANTINE}")


stage.run(main)
