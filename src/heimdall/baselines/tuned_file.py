"""What the training split told the baselines, kept in a file beside the data that it is from.

The file says of which features and by which code it was made, and is used with these alone.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from heimdall.baselines.fitted import Tuned
from heimdall.core import artifacts, paths, rooms
from heimdall.core.errors import HeimdallError

# What tuning depends on; the arrival times are made by `position` from features that name their own code.
_ROOMS = ("baselines", "geometry", "position")
_FEATURES = ("index.parquet", "receivers.parquet", "absent.parquet", paths.NETWORK)


def made_of(data_dir: Path, validation_split: float) -> dict[str, Any]:
    """What identifies a tuning: its features, the share of them that validates, and the code.

    Args:
        data_dir: The featurize stage's output.
        validation_split: Share of the development rows that is not trained on.

    Raises:
        HeimdallError: A file of the features is missing.
    """
    files = [data_dir / name for name in _FEATURES]
    artifacts.require(*files)
    return {
        "features": {file.name: artifacts.sha256_file(file) for file in files},
        "validation_split": validation_split,
        "code": artifacts.fingerprint(rooms.hashes(*_ROOMS)),
    }


def content(tuned: Tuned, made: dict[str, Any]) -> dict[str, Any]:
    """What the file holds, as JSON values."""
    return {"made_of": made, "tuned": dataclasses.asdict(tuned)}


def read(file: Path, made: dict[str, Any]) -> Tuned | str:
    """What was kept, or why it is of no use: half a sentence.

    Args:
        file: Where it is kept.
        made: What it must have been made of, of `made_of`.
    """
    if not file.exists():
        return f"{file.name} is missing beside the features"
    try:
        values = artifacts.read_json(file)
        kept = values["made_of"]
        if kept.get("code") != made["code"]:
            return f"{file.name} was made by other code"
        tuned = Tuned.from_dict(values["tuned"])
    except (HeimdallError, AttributeError, KeyError, TypeError, ValueError):
        return f"{file.name} is damaged"
    return tuned if kept == made else f"{file.name} was made from other data"
