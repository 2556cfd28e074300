"""A database and a bucket to features in a folder of their own, in a process with the recipe's environment.

`python -m heimdall.api.features FOLDER [AS_OF]` is what `Settings.features` runs: the stages snapshot and
featurize with the parameters of the clone whose code runs.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from heimdall.core import artifacts, child, determinism, locks, params, paths
from heimdall.core.child import Service
from heimdall.core.errors import HeimdallError
from heimdall.storage import endpoints
from heimdall.storage.roles import READER

_SERVICES = (Service.LIBPQ, Service.S3)
FAILED = "failed: "  # before the JSON of an error


def make(folder: Path, as_of: str | None, environment: Mapping[str, str]) -> Path:
    """Take the snapshot and make its features, with progress on stderr.

    What a former call made of the same rows, objects and parameters is used again.

    Args:
        folder: Where `data/snapshot/`, `data/features/` and the scratch go.
        as_of: The moment of the snapshot, ISO 8601; None for that of params.yaml.
        environment: Variables that name the services.

    Returns:
        The folder of the features.

    Raises:
        HeimdallError: As of the two stages.
    """
    command = [sys.executable, "-m", __name__, str(folder), *filter(None, [as_of])]
    source = str(paths.CLONE / "src")
    done = subprocess.run(
        command,
        env=child.settled(
            child.environment(*_SERVICES)
            | endpoints.configured_environment(READER)
            | {"PYTHONPATH": source}
            | dict(environment)
        ),
        stdout=subprocess.PIPE,
        check=False,
        text=True,
    )
    if done.returncode != 0:
        said = [line.removeprefix(FAILED) for line in done.stdout.splitlines() if line.startswith(FAILED)]
        if said:
            raise HeimdallError(*json.loads(said[-1]))
        cause = f"the process that makes the features ended with {done.returncode}"
        raise HeimdallError(str(folder), cause, "What it printed on stderr says why")
    return folder / paths.FEATURES


def main() -> None:
    """Run both stages; what fails is a line of JSON on standard output."""
    determinism.ensure(paths.CLONE / determinism.PARAMS_FILE)
    folder, as_of = Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None
    try:
        _run(folder, as_of)
    except HeimdallError as error:
        print(FAILED + json.dumps([error.subject, error.cause, error.remedy]))
        sys.exit(1)


def _run(folder: Path, as_of: str | None) -> None:
    """The stages snapshot and featurize."""
    from heimdall.pipeline.featurize import featurize  # noqa: PLC0415 - after the recipe is set
    from heimdall.pipeline.snapshot import snapshot  # noqa: PLC0415
    from heimdall.storage.identities import Identity  # noqa: PLC0415

    given = params.load(paths.CLONE / determinism.PARAMS_FILE)
    if as_of is not None:
        values = asdict(given)
        given = params.check(values | {"snapshot": values["snapshot"] | {"as_of": as_of}}, "Settings")
    artifacts.copy(
        paths.CLONE / determinism.LOCK_FILE, folder / determinism.LOCK_FILE
    )  # part of the shards' keys
    with locks.alone(folder / ".heimdall/work/api"):
        snapshot.take(
            given.snapshot,
            endpoints.resolve(paths.CLONE, identity=Identity.SNAPSHOT),
            folder,
            queries=paths.CLONE / "sql",
        )
        featurize.run(given.features, given.split, folder, calibration=given.calibration)


if __name__ == "__main__":
    main()
