"""What is tried: lists and ranges, and those that cannot be."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from heimdall.core.errors import HeimdallError
from heimdall.sweep import space as spaces
from tests import REPOSITORY

PARAMS = REPOSITORY / "params.yaml"
PARAMETERS: dict[str, Any] = yaml.safe_load(PARAMS.read_text(encoding="utf-8"))


def test_lists_and_ranges_are_read() -> None:
    words = ["lr=1e-5:1e-3:log", "dropout_rate=0.0,0.1,0.2", "batch_size=16:64", "pretrain.lr=1e-4:1e-3"]
    assert spaces.parse(words, PARAMETERS) == {
        "lr": FloatDistribution(1e-5, 1e-3, log=True),
        "dropout_rate": CategoricalDistribution((0.0, 0.1, 0.2)),
        "batch_size": IntDistribution(16, 64),
        "pretrain.lr": FloatDistribution(1e-4, 1e-3),
    }
    assert spaces.parse(["backbone=atto,femto"], PARAMETERS) == {
        "backbone": CategoricalDistribution(("atto", "femto"))
    }


def test_the_default_is_the_specifications_grid() -> None:
    space = spaces.parse(spaces.GRID, PARAMETERS)
    sizes = [len(item.choices) for item in space.values() if isinstance(item, CategoricalDistribution)]
    assert sizes == [3, 3, 3, 3]


def test_a_grid_is_every_combination_of_the_lists_once() -> None:
    grid = spaces.combinations(spaces.parse(spaces.GRID, PARAMETERS))
    assert len(grid) == 81
    assert len({tuple(item.items()) for item in grid}) == 81
    assert grid[0] == {"lr": 1e-4, "batch_size": 16, "dropout_rate": 0.1, "weight_decay": 1e-5}
    assert grid[-1] == {"lr": 1e-2, "batch_size": 64, "dropout_rate": 0.3, "weight_decay": 1e-3}
    assert [item["lr"] for item in spaces.combinations(spaces.parse(["lr=0.2,0.1"], PARAMETERS))] == [
        0.2,
        0.1,
    ]


def test_a_range_has_no_grid() -> None:
    with pytest.raises(HeimdallError, match="--space batch_size: a range has no end of values"):
        spaces.combinations(spaces.parse(["lr=0.1,0.2", "batch_size=16:64"], PARAMETERS))


def test_params_yaml_is_blamed_for_what_is_wrong_in_it() -> None:
    with pytest.raises(HeimdallError, match=r"^params\.yaml: epochs: "):
        spaces.parse(["lr=0.1,0.2"], PARAMETERS | {"epochs": -1})


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        (["learning=1,2"], "params.yaml has no 'learning'"),
        (["lr"], "a value is missing"),
        (["lr=0.1,,0.2"], "a value is missing"),
        (["lr=0.1,0.1"], "a value is there twice"),
        (["lr=1e-3:1e-5"], "the lower one first"),
        (["lr=a:b"], "are numbers"),
        (["lr=1e-5:1e-3:linear"], "only `log`"),
        (["lr=-0.1,0.1"], "lr: "),
        (["dropout_rate=0.1:1.5"], "dropout_rate: "),
        (["lr=0.1,0.2", "lr=0.3,0.4"], "lr is there twice"),
        (["split.seed=1,2"], "could not be compared"),
        (["validation_split=0.1,0.2"], "could not be compared"),
    ],
)
def test_a_space_that_cannot_be_is_refused_before_any_work(words: list[str], cause: str) -> None:
    with pytest.raises(HeimdallError, match=cause):
        spaces.parse(words, PARAMETERS)
