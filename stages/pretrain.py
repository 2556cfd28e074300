"""Train the fusion model on simulated sessions; the stage train starts from it.

This reads data/simulated/ and writes models/pretrained.safetensors. After a
kill, the same command continues after the last epoch and ends with the same
bytes. --workers N trains with N processes of this machine, at most
`virtual_shards` of params.yaml, and writes the same bytes.

Example:
    python stages/pretrain.py
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from heimdall.core import params, stage
from heimdall.core.child import Service
from heimdall.pipeline.train import ranks

SIMULATED = Path("data/simulated")
WORK = Path(".heimdall/work/pretrain")


def main() -> None:
    """Read the parameters, train, say what came out."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workers", type=int, help="Processes that train together on this machine.")
    typed = parser.parse_args()
    settings = params.load()
    part = ranks.here(typed.workers, settings)
    from heimdall.pipeline.train import training
    from heimdall.track import tracking

    pipeline = training.pretraining(settings, SIMULATED, WORK, part)
    if not part.is_first:
        pipeline.follow()
        return
    # The tracker changes no output of the stage: its room is no dep of it.
    result = pipeline.run(Path(), tracker=partial(tracking.track, stage="pretrain"))
    print(f"pretrain: {result.sentence}")


if __name__ == "__main__":
    stage.run(main, Service.S3, Service.LIBPQ, Service.MLFLOW)
