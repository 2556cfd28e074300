"""Take a snapshot of the approved rows and their recordings as of one moment.

python stages/snapshot.py
"""

from __future__ import annotations

import argparse

from heimdall.core import locks, params, paths, stage, variables
from heimdall.core.child import Service


def main() -> None:
    """Read parameters, take the snapshot, say what it holds."""
    parser = argparse.ArgumentParser(
        description="Take a snapshot of the approved rows in PostgreSQL and their recordings in S3, as of "
        "one moment. This writes data/snapshot/, data/quarantine.parquet and metrics/snapshot.json. The "
        "section `snapshot` of params.yaml says what the snapshot includes.",
        epilog="Example: python stages/snapshot.py",
    )
    parser.parse_args()
    settings = params.load()
    from heimdall.storage import endpoints
    from heimdall.storage.identities import Identity

    services = endpoints.resolve(identity=Identity.SNAPSHOT)
    from heimdall.pipeline.snapshot import snapshot
    from heimdall.recordings import archive

    with locks.alone(snapshot.WORK):
        summary = snapshot.take(settings.snapshot, services, say=print)
    print(
        f"{summary.recordings} recordings ({summary.data}) of {summary.sessions} sessions and "
        f"{summary.transmitters} known transmitters, as of {summary.as_of}: {archive.SNAPSHOT}/"
    )
    reasons = ", ".join(f"{reason} {count}" for reason, count in summary.quarantined.items()) or "nothing"
    print(f"in quarantine: {reasons} ({summary.quarantined_fraction:.1%}): {paths.QUARANTINE}")


if __name__ == "__main__":
    reader = variables.DATABASE_URL_READER
    address = reader if reader.read() else variables.DATABASE_URL
    stage.run(main, Service.LIBPQ, Service.S3, Service.CLUSTER, database=address)
