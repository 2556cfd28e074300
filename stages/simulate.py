"""Simulate sessions of other worlds for pretraining.

This writes the features of the sessions to data/simulated/.

Example:
    python stages/simulate.py
"""

from __future__ import annotations

import argparse

from heimdall.core import locks, params, stage
from heimdall.core.child import Service


def main() -> None:
    """Read the parameters, simulate, say what came out."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.parse_args()
    parameters = params.load()
    from heimdall.pipeline.simulate import simulated

    with locks.alone(simulated.WORK):
        summary = simulated.run(parameters.pretrain, parameters.features)
    print(
        f"simulate: {summary['recordings']} recordings of {summary['sessions']} sessions in "
        f"{summary['worlds']} worlds, simulated: {simulated.SIMULATED}/"
    )


if __name__ == "__main__":
    stage.run(main, Service.CLUSTER)
