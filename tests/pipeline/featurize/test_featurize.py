"""data/snapshot/ -> data/features/ on real files: what is computed, what is reused, what a failure leaves."""

from __future__ import annotations

import dataclasses
import itertools
import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.context import SpawnContext
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from heimdall.core import artifacts, determinism, workers
from heimdall.core.errors import HeimdallError
from heimdall.core.params import CalibrationParams, FeatureParams, SplitParams
from heimdall.network import dataset
from heimdall.network.dataset import DatasetConfig, HeimdallDataset, read_network
from heimdall.pipeline.featurize import featurize, split
from heimdall.recordings import archive
from heimdall.signal import extraction, features
from heimdall.signal.correlation import Recording
from tests.tiny_snapshot import (
    GPS_NS,
    PARAMS,
    RATE_HZ,
    SPLIT,
    outputs,
    samples,
    session_id,
    write_snapshot,
)


def test_features_are_those_of_the_recordings(root: Path) -> None:
    summary = featurize.run(PARAMS, SPLIT, root)
    config = DatasetConfig(root / featurize.FEATURES)
    everything = HeimdallDataset(config, "all", None, 0.2)
    list(everything)  # refuses an index that does not fit its shards
    index = everything.index
    measured = archive.read_measurements(root)
    kept = ["measurement_id", "session_id", "websdr_id", "source_id", "latitude_deg", "frequency_mhz"]
    pd.testing.assert_frame_equal(index[kept], measured[kept])
    assert index["modulation"].tolist() == ["unknown"] * 2 + ["nfm"] * 10
    assert index["region"].tolist() == ["South"] * 4 + ["North"] * 8
    assert index["receivers_heard"].tolist() == [2] * 12
    assert index["detected"].all()

    network = pd.read_parquet(config.data_dir / "receivers.parquet").set_index("websdr_id")
    position = {w: network.loc[w, ["east_m", "north_m", "up_m"]].to_numpy(np.float64) for w in (1, 2)}
    session = [
        Recording(1, samples(3, 1), RATE_HZ, GPS_NS + 3, 50.0),
        Recording(2, samples(3, 2), RATE_HZ, None, None),
    ]
    expected = extraction.session_features(session, position, PARAMS)
    stored = everything.session(3)
    for field in dataclasses.fields(expected):
        np.testing.assert_array_equal(getattr(stored, field.name), getattr(expected, field.name), field.name)
    np.testing.assert_array_equal(everything.features(7), expected.mel[1].astype(np.float32))
    assert index["snr_db"][7] == expected.snr_db[1]

    described = dataset.read_network(config)
    assert (described.frame.latitude_deg, described.frame.longitude_deg) == (45.2, 8.0)
    assert described.features == PARAMS.record()
    assert described.split == dataclasses.asdict(SPLIT)
    assert artifacts.read_json(root / featurize.METRICS_FILE) == summary
    assert (summary["data"], summary["recordings"], summary["sessions"]) == ("simulated", 12, 6)
    assert summary["data_fingerprint"] == described.data_fingerprint


def test_mfccs_become_their_envelope_and_without_them_nothing_changes(root: Path) -> None:
    featurize.run(PARAMS, SPLIT, root)
    config = DatasetConfig(root / featurize.FEATURES)
    assert "n_mfcc" not in read_network(config).features  # the record is that of before there was one
    former = HeimdallDataset(config, "all", None, 0.2).features(7).astype(np.float64)
    featurize.run(dataclasses.replace(PARAMS, n_mfcc=13), SPLIT, root)
    assert read_network(config).features["n_mfcc"] == 13
    envelope = HeimdallDataset(config, "all", None, 0.2).features(7)
    assert envelope.shape == (3, 64, 32)
    np.testing.assert_allclose(envelope, features.cepstral_envelope(former, 13), atol=0.1)  # float16 of dB
    assert np.abs(envelope - former).max() > 1


@pytest.mark.parametrize("by", ["transmitter", "session"])
def test_split_is_written(root: Path, by: Any) -> None:  # noqa: ANN401 - a literal
    chosen = dataclasses.replace(SPLIT, by=by)
    summary = featurize.run(PARAMS, chosen, root)
    index = dataset.read_index(DatasetConfig(root / featurize.FEATURES))
    pd.testing.assert_frame_equal(index[["split", "validation_rank"]], split.assign(index, chosen))
    assert (index.groupby("session_id")[["split", "validation_rank"]].nunique() == 1).all().all()
    assert set(summary["sessions_by_split"]) == {"development", "test"}


def test_a_file_that_is_saved_meanwhile_files_no_shard_under_other_code(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = itertools.count()
    monkeypatch.setattr(featurize.shards, "code", lambda rooms, root: {"signal": str(next(number))})
    featurize.run(PARAMS, SPLIT, root)
    assert next(number) == 1  # it was read once, before the first shard was made


def test_same_bytes_in_one_process_and_in_two(
    root: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    featurize.run(PARAMS, SPLIT, root)
    other = tmp_path_factory.mktemp("two")
    artifacts.write_bytes(other / determinism.LOCK_FILE, b"numpy==1\n")
    write_snapshot(other)
    pools = []

    class Pool(ProcessPoolExecutor):
        def __init__(self, processes: int, context: SpawnContext, **given: Any) -> None:  # noqa: ANN401
            pools.append(processes)
            super().__init__(processes, context, **given)

    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setattr(workers, "ProcessPoolExecutor", Pool)
    featurize.run(PARAMS, SPLIT, other)
    assert pools == [2]
    assert outputs(other) == outputs(root)

    # An error of a process is the user's line here too, and it changes nothing.
    for path in (other / archive.SNAPSHOT / archive.IQ_FOLDER).iterdir():
        path.write_bytes(path.read_bytes()[:-100])
    before = outputs(other)
    with pytest.raises(HeimdallError, match=r"\.parquet: damaged"):
        featurize.run(dataclasses.replace(PARAMS, n_mels=32), SPLIT, other)
    assert pools == [2, 2]
    assert outputs(other) == before


def test_a_late_receiver_that_is_calibrated_leaves_no_trace(root: Path, tmp_path: Path) -> None:
    """Its recordings give the bytes that they would give with right ones. Vague or perfect ones are none."""
    late, vague, perfect, without = (tmp_path / name for name in ("late", "vague", "perfect", "without"))
    stamped = {root: (0, 50.0), late: (2500, 50.0), vague: (0, 5.77e8), perfect: (0, 0.0), without: None}
    for folder, stamp in stamped.items():
        artifacts.write_bytes(folder / determinism.LOCK_FILE, b"numpy==1\n")
        table = write_snapshot(folder)
        second = table["websdr_id"] == 2
        if stamp is not None:
            table.loc[second, "start_gps_ns"] = GPS_NS + 7 + stamp[0]
            table.loc[second, "timing_sigma_ns"] = stamp[1]
        file = folder / archive.SNAPSHOT / archive.MEASUREMENTS_FILE
        archive.write_table(file, table, archive.MEASUREMENTS_SCHEMA)

    def shards(folder: Path) -> dict[str, bytes]:
        return {name: content for name, content in outputs(folder).items() if "shards" in name}

    featurize.run(PARAMS, SPLIT, root)
    said: list[str] = []
    for folder in (late, vague, perfect, without):
        featurize.run(PARAMS, SPLIT, folder, say=said.append)
    assert shards(vague) == shards(perfect) == shards(without)
    assert any("claim a standard deviation below 1 ns" in one for one in said)
    assert shards(late).keys().isdisjoint(shards(root))
    featurize.run(PARAMS, SPLIT, late, calibration=CalibrationParams({"websdr_2": 2500}))
    assert shards(late) == shards(root)
    network = read_network(DatasetConfig(late / featurize.FEATURES))
    assert network.calibration == {"delay_ns": {"websdr_2": 2500}}


def test_calibration_of_a_receiver_that_is_not_there_is_refused(root: Path) -> None:
    with pytest.raises(HeimdallError, match=r"delay_ns\.websdr_3: no receiver .* websdr_1, websdr_2"):
        featurize.run(PARAMS, SPLIT, root, calibration=CalibrationParams({"websdr_3": 1}))
    assert outputs(root) == {}


def test_failures_leave_the_former_features(root: Path) -> None:
    featurize.run(PARAMS, SPLIT, root)
    before = outputs(root)

    def fails(message: str, params: FeatureParams = PARAMS, split_params: SplitParams = SPLIT) -> None:
        with pytest.raises(HeimdallError, match=message) as caught:
            featurize.run(params, split_params, root)
        assert "\n" not in str(caught.value)
        assert outputs(root) == before

    short = dataclasses.replace(PARAMS, n_fft=8192)
    fails(f"^session {session_id(0)}: recording: 4000 samples are too few", short)
    fails(f"^session {session_id(0)}: features.f_max: 8001 Hz", dataclasses.replace(PARAMS, f_max=8001.0))
    fails("the test split has no members", split_params=dataclasses.replace(SPLIT, test_fraction=0.001))
    measurements = root / archive.SNAPSHOT / archive.MEASUREMENTS_FILE
    content = measurements.read_bytes()
    measurements.write_bytes(content[:-10])
    fails(r"measurements\.parquet: damaged")
    measurements.unlink()
    fails(r"measurements\.parquet: the file is missing")
    measurements.write_bytes(content)
    featurize.run(PARAMS, SPLIT, root)
    assert outputs(root) == before
