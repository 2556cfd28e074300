"""Trainings of a single-receiver network on a tiny data/features/, and ways to kill them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest
import yaml

from heimdall.core import artifacts, params
from heimdall.core.params import Params
from tests import REPOSITORY

OUTPUTS = (
    "models/localizer.safetensors",
    "models/localizer.json",
    "plots/training.csv",
    "metrics/train.json",
)


class Killed(BaseException):
    """Stands for a SIGKILL: nothing of ours catches it."""


def values(**changes: Any) -> dict[str, Any]:  # noqa: ANN401
    loaded: dict[str, Any] = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    # One thread: two wait for each other longer than they compute, on batches as small as these.
    quick = {"epochs": 3, "batch_size": 8, "lr": 1e-3, "warmup_epochs": 1, "backbone": "atto", "threads": 1}
    single = {"model": loaded["model"] | {"name": "single"}}
    return loaded | quick | single | changes


def settings(**changes: Any) -> Params:  # noqa: ANN401
    return params.check(values(**changes), "test")


def digests(folder: Path) -> dict[str, str]:
    return {name: artifacts.sha256_file(folder / name) for name in OUTPUTS}


def every_digest(folder: Path) -> dict[str, str]:
    """Of all files below the folder: kept checkpoints, too, are the same bytes."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): artifacts.sha256_file(path) for path in files}


def dies(*_: object, **__: object) -> NoReturn:
    raise Killed


@contextmanager
def killed_at_call(number: int, owner: Any, name: str) -> Iterator[list[Any]]:  # noqa: ANN401
    """The process ends in this call of a function. Yields the arguments of every call."""
    function, seen = getattr(owner, name), []

    def dying(*given: object) -> object:
        seen.append(given)
        return dies() if len(seen) == number else function(*given)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(owner, name, dying)
        yield seen
