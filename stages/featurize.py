"""Make the features of the snapshot.

This reads data/snapshot/, and writes data/features/ and metrics/features.json.

Example:
    python stages/featurize.py
"""

from __future__ import annotations

import argparse

from heimdall.core import locks, params, stage
from heimdall.core.child import Service


def main() -> None:
    """Read the parameters, featurize, say what came out."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.parse_args()
    parameters = params.load()
    from heimdall.pipeline.featurize import featurize

    with locks.alone(featurize.WORK):
        summary = featurize.run(
            parameters.features, parameters.split, calibration=parameters.calibration, say=print
        )
    print(
        f"featurize: {summary['recordings']} recordings ({summary['recordings_detected']} detected) of "
        f"{summary['sessions']} sessions, {summary['data']}"
    )


if __name__ == "__main__":
    stage.run(main, Service.CLUSTER)
