"""data/features/ as tensors."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from heimdall.core import artifacts
from heimdall.core.errors import HeimdallError
from heimdall.network import dataset
from heimdall.network.dataset import DatasetConfig, HeimdallDataset
from heimdall.signal import session_files
from heimdall.signal.features import augment_features
from heimdall.signal.session_files import SessionFile
from tests import tiny_features


@pytest.fixture
def config(tmp_path: Path) -> DatasetConfig:
    tiny_features.write(tmp_path, count=10)
    return DatasetConfig(tmp_path)


def test_splits_are_disjoint_and_whole(config: DatasetConfig) -> None:
    parts = [HeimdallDataset(config, split, None, 0.2) for split in ("train", "val", "test")]
    assert [len(part) for part in parts] == [12, 4, 4]
    ids = [set(part.session_ids) for part in parts]
    assert not (ids[0] & ids[1] or ids[0] & ids[2] or ids[1] & ids[2])
    whole = HeimdallDataset(config, "all", None, 0.2)
    assert set(whole.session_ids) == ids[0] | ids[1] | ids[2]
    assert list(whole.index["measurement_id"]) == list(dataset.read_index(config)["measurement_id"])


def test_validation_is_what_ranks_below_the_share(config: DatasetConfig) -> None:
    # Ranks of the tiny world are 0.1 and 0.5; the comparison is strict.
    assert len(HeimdallDataset(config, "val", None, 0.5)) == 4
    assert len(HeimdallDataset(config, "val", None, 0.51)) == 16


def test_item_is_the_stored_recording(config: DatasetConfig) -> None:
    part = HeimdallDataset(config, "val", None, 0.2)
    for position in range(len(part)):
        row = part.index.iloc[position]
        stored = SessionFile(config.data_dir / "shards" / row["shard"]).session(row["session_row"])
        receiver = list(stored.websdr_id).index(row["websdr_id"])
        features, label = part[position]
        assert features.dtype == torch.float32
        assert features.shape == (3, 128, 32)
        np.testing.assert_array_equal(features.numpy(), stored.mel[receiver].astype(np.float32))
        assert label.dtype == torch.float64
        assert label.tolist() == [row["latitude_deg"], row["longitude_deg"]]


def test_transform_changes_the_features_of_an_item(config: DatasetConfig) -> None:
    plain = HeimdallDataset(config, "val")
    moved = HeimdallDataset(config, "val", lambda features: features + np.float32(3))
    torch.testing.assert_close(moved[3][0], plain[3][0] + 3)
    varied = HeimdallDataset(config, "val", augment_features)
    assert varied[3][0].shape == plain[3][0].shape
    assert not torch.equal(varied[3][0], plain[3][0])
    np.testing.assert_array_equal(moved.features(3), plain.features(3))


def test_session_view_has_every_receiver(config: DatasetConfig) -> None:
    part = HeimdallDataset(config, "test", None, 0.2)
    assert len(part.session_ids) == 2
    for number, session_id in enumerate(part.session_ids):
        session = part.session(number)
        rows = part.index[part.index["session_id"] == session_id]
        assert list(session.websdr_id) == list(rows["websdr_id"])
        np.testing.assert_array_equal(session.mel[1].astype(np.float32), part.features(int(rows.index[1])))


def test_defaults_are_the_specifications(config: DatasetConfig) -> None:
    assert list(HeimdallDataset(config).index["row"]) == list(
        HeimdallDataset(config, split="train", transform=None, validation_split=0.2).index["row"]
    )
    assert len(HeimdallDataset(str(config.data_dir))) == len(HeimdallDataset(config))
    with pytest.raises(ValueError, match="no split 'validation': choose one of train, val, test, all"):
        HeimdallDataset(config, "validation")  # type: ignore[arg-type]


def test_split_without_members(config: DatasetConfig) -> None:
    with pytest.raises(HeimdallError, match='the split "val" has no members'):
        HeimdallDataset(config, "val", None, 0.05)


def test_missing_and_damaged_files(config: DatasetConfig, tmp_path: Path) -> None:
    with pytest.raises(HeimdallError, match=r"index\.parquet: the file is missing"):
        HeimdallDataset(DatasetConfig(tmp_path / "none"), "train", None, 0.2)
    with pytest.raises(HeimdallError, match=r"network\.json: the file is missing"):
        dataset.read_network(DatasetConfig(tmp_path / "none"))
    config.network_file.write_text('{"latitude_deg": 95, "longitude_deg": 0, "data_fingerprint": "x"}')
    with pytest.raises(HeimdallError, match=r"network\.json: no network"):
        dataset.read_network(config)
    everything = HeimdallDataset(config, "all", None, 0.2)
    shard = sorted((config.data_dir / "shards").iterdir())[0]
    content = bytearray(shard.read_bytes())
    content[-1000] ^= 1
    shard.write_bytes(content)
    with pytest.raises(HeimdallError, match=rf"{shard.name}: damaged \(its hash is not its name\)"):
        list(everything)
    shard.unlink()
    with pytest.raises(HeimdallError, match=rf"{shard.name}: the file is missing"):
        HeimdallDataset(config, "all", None, 0.2)
    config.index_file.write_bytes(b"no parquet")
    with pytest.raises(HeimdallError, match=r"index\.parquet: no parquet file"):
        HeimdallDataset(config, "train", None, 0.2)


@pytest.mark.parametrize(("column", "value"), [("row", 3), ("row", 0), ("session_row", 2)])
def test_index_that_does_not_fit_its_shards(config: DatasetConfig, column: str, value: int) -> None:
    index = dataset.read_index(config)
    index.loc[3, column] = value
    index.loc[3, "websdr_id"] = 2 if column == "session_row" else 1
    index.to_parquet(config.index_file)
    with pytest.raises(HeimdallError, match=r"is not receiver|are not together"):
        list(HeimdallDataset(config, "train", None, 0.2))


def test_items_are_read_one_by_one_and_each_file_is_hashed_once(tmp_path: Path) -> None:
    tiny_features.write(tmp_path, count=100)
    tracemalloc.start()
    try:
        part = HeimdallDataset(DatasetConfig(tmp_path), "all")
        for features, _ in part:
            assert features.shape == (3, 128, 32)
        assert tracemalloc.get_traced_memory()[1] < 200 * 24_576 / 4  # of all log-mels
    finally:
        tracemalloc.stop()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(artifacts, "has_its_name", lambda path: pytest.fail(f"{path} is hashed again"))
        session_files._verified_file.cache_clear()
        assert sum(len(part.session(number).websdr_id) for number in range(100)) == 200


def test_loader_workers_read_the_same_items(config: DatasetConfig) -> None:
    part = HeimdallDataset(config, "all")
    alone, forked = (list(DataLoader(part, batch_size=3, num_workers=workers)) for workers in (0, 2))
    for one, other in zip(alone, forked, strict=True):
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])
