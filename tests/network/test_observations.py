"""A tiny data/features/ as sessions: what each receiver observes, and what their recordings share."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from heimdall.core.errors import HeimdallError
from heimdall.network import dataset
from heimdall.network.dataset import DatasetConfig
from tests.synthetic_sessions import PLANE, RECEIVERS, session_id, write_features


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("features")
    write_features(folder)
    return folder


def test_sessions_of_a_split_come_with_what_their_recordings_share(data_dir: Path) -> None:
    config = DatasetConfig(data_dir)
    everything = dataset.observations(config, "all", validation_split=0.2)
    assert everything.table["split"].value_counts().to_dict() == {"train": 12, "val": 4, "test": 4}
    test = dataset.observations(config, "test", validation_split=0.2)
    pd.testing.assert_frame_equal(test.table, everything.of_split("test").table)
    assert test.table["session_id"].tolist() == [session_id(number) for number in (4, 9, 14, 19)]
    assert [len(one.session.websdr_id) for one in test.observations] == [5] * 4
    assert test.observations[0].frequency_hz == 145.5e6
    assert [one.absent for one in test.observations] == [(RECEIVERS.websdr_id[0],), (), (), ()]
    latitude_deg, longitude_deg = PLANE.to_degrees(*test.truth_m(PLANE).T)
    assert latitude_deg == pytest.approx(test.table["latitude_deg"].to_numpy(), abs=1e-8)
    assert longitude_deg == pytest.approx(test.table["longitude_deg"].to_numpy(), abs=1e-8)


def test_a_table_of_receivers_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(HeimdallError, match="missing"):
        dataset.read_receivers(DatasetConfig(tmp_path))
    with pytest.raises(HeimdallError, match="missing"):
        dataset.read_absent(DatasetConfig(tmp_path))
    pd.DataFrame({"name": ["A"]}).to_parquet(tmp_path / "receivers.parquet")
    with pytest.raises(HeimdallError, match="no table of receivers"):
        dataset.read_receivers(DatasetConfig(tmp_path))
