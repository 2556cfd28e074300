"""Tables and figure from hand-made cases."""

from __future__ import annotations

import io

import matplotlib.image
import numpy as np
import pandas as pd
import pytest

from heimdall.pipeline.evaluate import plots
from heimdall.pipeline.evaluate.cases import WITHOUT_GPS
from heimdall.pipeline.evaluate.predictors import LOCALIZER, PREDICTORS, UNCALIBRATED

MEAN_POSITION = "mean_position"


@pytest.fixture
def cases() -> pd.DataFrame:
    """Four test cases a predictor with errors of 10, 100, 1000 and 10000 m east and a sigma of 100 m."""
    error_m = np.array([10.0, 100.0, 1000.0, 10_000.0])
    own = pd.DataFrame(
        {
            "split": "test",
            "session_id": ["a", "b", "c", "d"],
            "latitude_deg": 45.0,
            "longitude_deg": [8.0, 8.1, 8.2, 8.3],
            "receivers_heard": ["<3", "3", "3", "7+"],
            "estimated_latitude_deg": 45.0,
            "estimated_longitude_deg": [8.0, 8.1, 8.2, 8.4],
            "error_m": error_m,
            "sigma_east_m": 100.0,
            "sigma_north_m": 100.0,
            "correlation": 0.5,
            "sigma_m": 141.0,
            "rms_m": 141.0,
            "ellipse_m": 245.0,
            "level": [0.01, 0.4, 0.9, 1.0],
            "log_density": -20.0,
            "within_1km": 1.0,
            "bound_m": [50.0, 5.0, np.inf, 500.0],
        }
    )
    others = [own.assign(split=split, error_m=1.0) for split in ("val", WITHOUT_GPS)]  # must not be seen
    names = (*PREDICTORS, UNCALIBRATED)
    return pd.concat([table.assign(predictor=name) for name in names for table in (own, *others)])


@pytest.fixture
def receivers() -> pd.DataFrame:
    return pd.DataFrame({"name": ["A", "B"], "latitude_deg": [45.0, 45.1], "longitude_deg": [8.0, 8.2]})


def test_error_cdf_counts_errors_up_to_each_length(cases: pd.DataFrame) -> None:
    table = plots.error_cdf(cases).set_index("error_m")
    assert list(table.columns) == list(PREDICTORS)
    column = table[LOCALIZER]
    assert column.loc[10.0] == 0.25
    assert column.loc[100.0] == 0.5
    assert column[column.index < 99.0].max() == 0.25
    assert column.loc[1_000_000.0] == 1


def test_reliability_is_the_share_inside_each_region(cases: pd.DataFrame) -> None:
    before = cases["predictor"] == UNCALIBRATED
    table = plots.reliability(cases.assign(level=cases["level"].mask(before, 1.0))).set_index("nominal")
    assert list(table.columns) == ["ideal", *PREDICTORS, UNCALIBRATED]
    assert table.loc[0.05, MEAN_POSITION] == 0.25
    assert table.loc[0.35, MEAN_POSITION] == 0.25
    assert table.loc[0.4, MEAN_POSITION] == 0.5
    assert (table[UNCALIBRATED] == 0).all()
    assert (table["ideal"] == table.index).all()


def test_error_bound_has_one_row_a_session_with_a_bound(cases: pd.DataFrame) -> None:
    farther = cases["predictor"] == LOCALIZER
    table = plots.error_bound(cases.assign(error_m=cases["error_m"].mask(farther, 7.0)))
    assert list(table.columns) == ["session_id", "bound_m", *PREDICTORS]
    assert table["session_id"].tolist() == ["b", "a", "d"]
    assert table["bound_m"].tolist() == [5, 50, 500]
    assert table[MEAN_POSITION].tolist() == [100, 10, 10_000]
    assert table[LOCALIZER].tolist() == [7, 7, 7]


def test_map_has_one_row_a_test_session(cases: pd.DataFrame) -> None:
    table = plots.estimate_map(cases)
    assert table["session_id"].tolist() == ["a", "b", "c", "d"]
    assert table["estimated_longitude_deg"].tolist() == [8.0, 8.1, 8.2, 8.4]
    assert table["error_m"].tolist() == [10, 100, 1000, 10_000]
    assert table["correlation"].tolist() == [0.5] * 4
    assert table["level"].tolist() == [0.01, 0.4, 0.9, 1.0]


def test_csv_has_line_feeds_and_no_index(cases: pd.DataFrame) -> None:
    content = plots.csv_bytes(plots.estimate_map(cases))
    assert content.startswith(b"session_id,latitude_deg,")
    assert content.count(b"\n") == 5
    assert b"\r" not in content


def test_figure_repeats_and_shows_the_data(cases: pd.DataFrame, receivers: pd.DataFrame) -> None:
    content = plots.draw(cases, receivers, "simulated")
    assert plots.draw(cases, receivers, "simulated") == content
    assert plots.draw(cases, receivers, "recorded") != content  # the title says it
    farther = cases.assign(error_m=cases["error_m"].where(cases["predictor"] != LOCALIZER, 5e4))
    assert plots.draw(farther, receivers, "simulated") != content
    image = matplotlib.image.imread(io.BytesIO(content))
    assert image.shape[:2] == (1000, 1600)
    assert b"Software" not in content
