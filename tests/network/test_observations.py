"""A tiny data/features/ as sessions: what each receiver observes, and what their recordings share."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import safetensors.numpy

from heimdall.core import artifacts
from heimdall.core.errors import HeimdallError
from heimdall.network import dataset
from heimdall.network.dataset import DatasetConfig
from heimdall.signal.arrival import arrivals
from tests.synthetic_sessions import FEATURES, PLANE, RECEIVERS, session_id, write_features


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


def test_some_sessions_are_those_of_all_in_this_process_and_in_another(data_dir: Path) -> None:
    everything = dataset.observations(DatasetConfig(data_dir), "all", validation_split=0.2)
    some = everything.observations[3:9:2]
    assert [one.absent for one in some] == [one.absent for one in list(everything.observations)[3:9:2]]
    assert len(pickle.dumps(some)) < 2_000
    for one, other in zip(some, pickle.loads(pickle.dumps(some)), strict=True):  # noqa: S301 - its own bytes
        assert one.frequency_hz == other.frequency_hz
        for name, value in vars(one.session).items():
            np.testing.assert_array_equal(value, getattr(other.session, name))
    with pytest.raises(IndexError):
        some[3]


def test_arrival_times_are_stored_to_the_last_bit(data_dir: Path) -> None:
    for one in dataset.observations(DatasetConfig(data_dir), "all", validation_split=0.2).observations:
        for name, value in vars(arrivals(one.session, FEATURES)).items():
            stored = getattr(one.arrivals, name)
            assert np.asarray(stored).tobytes() == np.asarray(value).tobytes(), name


def test_features_without_arrival_times_are_refused(data_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(data_dir, tmp_path, dirs_exist_ok=True)
    shard = next((tmp_path / "shards").iterdir())
    tensors = safetensors.numpy.load_file(shard)
    former = {name: value for name, value in tensors.items() if not name.startswith("arrival_")}
    content = safetensors.numpy.save(former)
    name = f"{artifacts.sha256_bytes(content)[:16]}.safetensors"
    artifacts.write_bytes(shard.with_name(name), content)
    index = pd.read_parquet(tmp_path / "index.parquet")
    index.assign(shard=name).to_parquet(tmp_path / "index.parquet")
    found = dataset.observations(DatasetConfig(tmp_path), "all", validation_split=0.2)
    with pytest.raises(HeimdallError, match=r"wrong tensors: .*arrival_delay_s.*Restore it"):
        found.observations[0]


def test_a_table_of_receivers_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(HeimdallError, match="missing"):
        dataset.read_receivers(DatasetConfig(tmp_path))
    with pytest.raises(HeimdallError, match="missing"):
        dataset.read_absent(DatasetConfig(tmp_path))
    pd.DataFrame({"name": ["A"]}).to_parquet(tmp_path / "receivers.parquet")
    with pytest.raises(HeimdallError, match="no table of receivers"):
        dataset.read_receivers(DatasetConfig(tmp_path))
