"""A parameter is a number, in range and known, or the run does not start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from heimdall.core import params
from heimdall.core.errors import HeimdallError
from tests import REPOSITORY


@pytest.fixture
def values() -> dict[str, Any]:
    loaded = yaml.safe_load((REPOSITORY / "params.yaml").read_text(encoding="utf-8"))
    assert isinstance(loaded, dict)
    return loaded


def test_the_committed_parameters_are_valid(values: dict[str, Any]) -> None:
    assert params.load(REPOSITORY / "params.yaml") == params.check(values, "params.yaml")
    assert (values["seed"], values["validation_split"]) == (42, 0.2)


@pytest.mark.parametrize("text", ["1e-05", "1e-5", "0.00001"])
def test_a_small_learning_rate_is_a_number_however_it_is_written(values: dict[str, Any], text: str) -> None:
    assert params.check(values | yaml.safe_load(f"lr: {text}"), "test").lr == 1e-5


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"lrr": 0.1}, "lrr"),
        ({"lr": 0}, "lr"),
        ({"lr": "fast"}, "lr"),
        ({"lr": float("nan")}, "lr"),
        ({"lr": True}, "lr"),
        ({"epochs": True}, "epochs"),
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": 2.5}, "batch_size"),
        ({"dropout_rate": 1.0}, "dropout_rate"),
        ({"validation_split": 1.2}, "validation_split"),
        ({"backbone": "huge"}, "backbone"),
        ({"split": {"by": "coin", "test_fraction": 0.2, "seed": 1}}, "split.by"),
        ({"split": {"by": "session", "test_fraction": 0.2}}, "split.seed"),
        ({"threads": 0}, "threads"),
        ({"calibration": {"delay_ns": {"5": 100}}}, r"calibration\.delay_ns\.5\S*"),
        ({"calibration": {"delay_ns": {"websdr_5": "late"}}}, r"calibration\.delay_ns\.websdr_5"),
    ],
)
def test_a_bad_parameter_is_refused_by_name(
    values: dict[str, Any], change: dict[str, Any], named: str
) -> None:
    with pytest.raises(HeimdallError, match=rf"(^|\W){named}: "):
        params.check(values | change, "params.yaml")


def test_every_problem_is_named_at_once(values: dict[str, Any]) -> None:
    with pytest.raises(HeimdallError) as caught:
        params.check(values | {"lr": -1, "epochs": 0}, "params.yaml")
    assert "lr: " in str(caught.value)
    assert "epochs: " in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("moment", ["2026-03-01T00:00:00", "2026-03-01", "now", True])
def test_time_without_zone_is_refused(values: dict[str, Any], moment: object) -> None:
    values["snapshot"]["as_of"] = moment
    with pytest.raises(HeimdallError, match=r'as_of: give a moment with its zone, such as "2026-03-01T'):
        params.check(values, "params.yaml")


def test_mel_limits_must_be_ordered(values: dict[str, Any]) -> None:
    values["features"] |= {"f_min": 5000.0, "f_max": 4000.0}
    with pytest.raises(HeimdallError, match="f_max"):
        params.check(values, "params.yaml")


def test_a_missing_or_broken_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(HeimdallError, match="missing"):
        params.load(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_text("lr: [1,", encoding="utf-8")
    with pytest.raises(HeimdallError, match="not YAML"):
        params.load(tmp_path / "params.yaml")
