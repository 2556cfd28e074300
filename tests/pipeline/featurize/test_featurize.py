"""data/snapshot/ -> data/features/ on real files: what is computed, what is reused, what a failure leaves."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import sys
import uuid
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.context import SpawnContext
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from heimdall.core import artifacts
from heimdall.core.errors import HeimdallError
from heimdall.core.params import CalibrationParams, FeatureParams, SplitParams
from heimdall.core.randomness import generator
from heimdall.network import dataset
from heimdall.network.dataset import DatasetConfig, HeimdallDataset, read_network
from heimdall.pipeline.featurize import featurize, split
from heimdall.pipeline.featurize.featurize import ShardTask
from heimdall.recordings import archive
from heimdall.recordings.archive import StoredRecording
from heimdall.signal import extraction, sessions
from heimdall.signal.correlation import Recording

RATE_HZ = 16_000.0
SAMPLES = 4_000
GPS_NS = 1_400_000_000_000_000_123
PARAMS = FeatureParams(
    n_mels=64,
    n_fft=1024,
    hop_length=256,
    f_min=0.0,
    f_max=None,
    frames=32,
    correlation_band_hz=4000.0,
    correlation_rate_hz=16_000.0,
    correlation_max_lag_s=0.001,
)
SPLIT = SplitParams(by="transmitter", test_fraction=0.3, seed=42)
SHARDS = ((0, 1), (2, 3), (4, 5))  # sessions by number


def session_id(number: int) -> str:
    return str(uuid.UUID(int=number))


def samples(session: int, websdr_id: int, seed: int = 0) -> archive.Samples:
    """A signal that all receivers of a session share, under noise of their own."""
    signal = np.exp(0.3j * np.cumsum(generator(seed, "test.signal", session).standard_normal(SAMPLES)))
    noise = generator(seed, "test.noise", session, websdr_id).standard_normal((2, SAMPLES))
    return (0.01 * (signal + 0.1 * (noise[0] + 1j * noise[1]))).astype(np.complex64)


def write_snapshot(root: Path, seeds: tuple[int, int, int] = (0, 0, 0)) -> pd.DataFrame:
    """Three shards of two sessions of two receivers; the second receiver has no GPS time."""
    rows = []
    for shard, seed in zip(SHARDS, seeds, strict=True):
        content = archive.pack_shard(
            [StoredRecording(session_id(s), w, RATE_HZ, samples(s, w, seed)) for s in shard for w in (1, 2)]
        )
        name = artifacts.sha256_bytes(content)[:16] + archive.SHARD_SUFFIX
        artifacts.write_bytes(archive.shard_path(name, root), content)
        rows += [
            {
                "measurement_id": str(uuid.UUID(int=100 * s + w)),
                "session_id": session_id(s),
                "websdr_id": w,
                "latitude_deg": 45.0 + 0.1 * s,
                "longitude_deg": 8.0,
                "frequency_mhz": 145.5,
                "snr_db": float("nan"),
                "timestamp": pd.Timestamp("2026-01-02T03:04:05Z"),
                "approved_at": pd.Timestamp("2026-01-03T03:04:05Z"),
                "sample_rate_hz": RATE_HZ,
                "samples": SAMPLES,
                "source_id": f"tx-{s}",
                "modulation": "nfm" if s else None,
                "simulated": True,
                "start_gps_ns": GPS_NS + s if w == 1 else None,
                "timing_sigma_ns": 50.0 if w == 1 else float("nan"),
                "object_key": f"sessions/{session_id(s)}/websdr_{w}.npy",
                "object_etag": "e",
                "object_bytes": 8 * SAMPLES + 128,
                "object_sha256": artifacts.sha256_bytes(samples(s, w, seed).tobytes()),
                "shard": name,
            }
            for s in shard
            for w in (1, 2)
        ]
    folder = root / archive.SNAPSHOT
    table = pd.DataFrame(rows).astype({"start_gps_ns": "Int64"})
    archive.write_table(folder / archive.MEASUREMENTS_FILE, table, archive.MEASUREMENTS_SCHEMA)
    receivers = {
        "websdr_id": [1, 2],
        "name": ["North", "South"],
        "latitude_deg": [45.4, 45.0],
        "longitude_deg": [8.1, 7.9],
        "altitude_m": [100.0, 300.0],
    }
    path = folder / archive.RECEIVERS_FILE
    archive.write_table(path, pd.DataFrame(receivers), archive.RECEIVERS_SCHEMA)
    return archive.read_measurements(root)


def outputs(root: Path) -> dict[str, bytes]:
    paths = [*(root / featurize.FEATURES).rglob("*"), root / featurize.METRICS_FILE]
    return {str(path.relative_to(root)): path.read_bytes() for path in paths if path.is_file()}


@pytest.fixture(autouse=True)
def _one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository with a snapshot."""
    artifacts.write_bytes(tmp_path / featurize.RUNTIME_LOCK, b"numpy==1\n")
    write_snapshot(tmp_path)
    return tmp_path


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the snapshot's shards that are computed from here on."""
    names: list[str] = []

    def counting(task: ShardTask, compute: Callable[[ShardTask], bytes] = featurize.featurize_shard) -> bytes:
        names.append(task.source.name)
        return compute(task)

    monkeypatch.setattr(featurize, "featurize_shard", counting)
    return names


def test_features_are_those_of_the_recordings(root: Path) -> None:
    summary = featurize.run(PARAMS, SPLIT, root)
    config = DatasetConfig(root / featurize.FEATURES)
    everything = HeimdallDataset(config, "all", None, 0.2)  # refuses an index that does not fit its shards
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
    assert described.features == dataclasses.asdict(PARAMS)
    assert described.split == dataclasses.asdict(SPLIT)
    assert artifacts.read_json(root / featurize.METRICS_FILE) == summary
    assert (summary["data"], summary["recordings"], summary["sessions"]) == ("simulated", 12, 6)
    assert summary["data_fingerprint"] == described.data_fingerprint


@pytest.mark.parametrize("by", ["transmitter", "session"])
def test_split_is_written(root: Path, by: Any) -> None:  # noqa: ANN401 - a literal
    chosen = dataclasses.replace(SPLIT, by=by)
    summary = featurize.run(PARAMS, chosen, root)
    index = dataset.read_index(DatasetConfig(root / featurize.FEATURES))
    pd.testing.assert_frame_equal(index[["split", "validation_rank"]], split.assign(index, chosen))
    assert (index.groupby("session_id")[["split", "validation_rank"]].nunique() == 1).all().all()
    assert set(summary["sessions_by_split"]) == {"development", "test"}


def test_same_bytes_in_one_process_and_in_two(
    root: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    featurize.run(PARAMS, SPLIT, root)
    other = tmp_path_factory.mktemp("two")
    artifacts.write_bytes(other / featurize.RUNTIME_LOCK, b"numpy==1\n")
    write_snapshot(other)
    pools = []

    class Pool(ProcessPoolExecutor):
        def __init__(self, processes: int, context: SpawnContext) -> None:
            pools.append(processes)
            super().__init__(processes, context)

    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setattr(featurize, "ProcessPoolExecutor", Pool)
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


def test_unchanged_shards_are_reused(root: Path, built: list[str]) -> None:
    first = archive.read_measurements(root)
    featurize.run(PARAMS, SPLIT, root)
    assert built == first["shard"].unique().tolist()
    before = outputs(root)
    built.clear()
    featurize.run(PARAMS, SPLIT, root)
    assert built == []
    assert outputs(root) == before

    second = write_snapshot(root, seeds=(0, 7, 0))
    featurize.run(PARAMS, SPLIT, root)
    assert built == [second["shard"][4]]
    shards = {name for name in outputs(root) if "shards" in name}
    assert len(shards) == 3  # the former one is gone
    assert len(shards & set(before)) == 2


def test_a_late_receiver_that_is_calibrated_leaves_no_trace(root: Path, tmp_path: Path) -> None:
    """Its recordings give the bytes that they would give with right stamps."""
    late = tmp_path / "late"
    artifacts.write_bytes(late / featurize.RUNTIME_LOCK, b"numpy==1\n")
    for folder, late_ns in ((root, 0), (late, 2500)):
        table = write_snapshot(folder)
        second = table["websdr_id"] == 2
        table.loc[second, "start_gps_ns"] = GPS_NS + 7 + late_ns
        table.loc[second, "timing_sigma_ns"] = 50.0
        file = folder / archive.SNAPSHOT / archive.MEASUREMENTS_FILE
        archive.write_table(file, table, archive.MEASUREMENTS_SCHEMA)

    def shards(folder: Path) -> dict[str, bytes]:
        return {name: content for name, content in outputs(folder).items() if "shards" in name}

    featurize.run(PARAMS, SPLIT, root)
    featurize.run(PARAMS, SPLIT, late)
    assert shards(late).keys().isdisjoint(shards(root))
    featurize.run(PARAMS, SPLIT, late, calibration=CalibrationParams({"websdr_2": 2500}))
    assert shards(late) == shards(root)
    network = read_network(DatasetConfig(late / featurize.FEATURES))
    assert network.calibration == {"delay_ns": {"websdr_2": 2500}}


def test_calibration_of_a_receiver_that_is_not_there_is_refused(root: Path) -> None:
    with pytest.raises(HeimdallError, match=r"delay_ns\.websdr_3: no receiver .* websdr_1, websdr_2"):
        featurize.run(PARAMS, SPLIT, root, calibration=CalibrationParams({"websdr_3": 1}))
    assert outputs(root) == {}


def test_another_split_computes_no_shard(root: Path, built: list[str]) -> None:
    featurize.run(PARAMS, SPLIT, root)
    before = outputs(root)
    built.clear()
    featurize.run(PARAMS, dataclasses.replace(SPLIT, seed=43), root)
    assert built == []
    assert {name for name, content in outputs(root).items() if content != before[name]} >= {
        "data/features/index.parquet",
        "data/features/network.json",
    }


@pytest.mark.parametrize("lost", ["scratch", "keys", "both"])
def test_lost_memory_costs_time_and_no_bytes(root: Path, built: list[str], lost: str) -> None:
    """A clone that pulled the outputs has no scratch; either memory is enough to compute nothing again."""
    featurize.run(PARAMS, SPLIT, root)
    before = outputs(root)
    keys = (root / featurize.KEYS_FILE).read_bytes()
    if lost != "keys":
        shutil.rmtree(root / featurize.WORK)
    if lost != "scratch":
        (root / featurize.KEYS_FILE).write_text("[]")
    featurize.run(PARAMS, SPLIT, root)
    assert len(built) == (6 if lost == "both" else 3)
    assert outputs(root) == before
    assert (root / featurize.KEYS_FILE).read_bytes() == keys


def test_key_holds_all_that_decides_the_bytes() -> None:
    code = {"heimdall.signal.log_mel": "1", "runtime": "2"}
    task = ShardTask(
        Path("iq/0123456789abcdef.parquet"),
        (("a", ((1, RATE_HZ, GPS_NS, 50.0), (2, RATE_HZ, None, None))),),
        {1: (0.0, 1.0, 2.0), 2: (3.0, 4.0, 5.0)},
        PARAMS,
    )
    elsewhere = dataclasses.replace(
        task,
        source=Path("/other/place/0123456789abcdef.parquet"),
        position_enu_m={2: (3.0, 4.0, 5.0), 1: (0.0, 1.0, 2.0)},
    )
    assert elsewhere.key(code) == task.key(code)
    late = (("a", ((1, RATE_HZ, GPS_NS + 1, 50.0), (2, RATE_HZ, None, None))),)
    vague = (("a", ((1, RATE_HZ, GPS_NS, 51.0), (2, RATE_HZ, None, None))),)
    fast = (("a", ((1, RATE_HZ + 0.1, GPS_NS, 50.0), (2, RATE_HZ, None, None))),)
    changed = [
        dataclasses.replace(task, source=Path("iq/1123456789abcdef.parquet")),
        *(dataclasses.replace(task, sessions=found) for found in (late, vague, fast)),
        dataclasses.replace(task, position_enu_m={1: (0.0, 1.0, 2.0), 2: (3.0, 4.0, 5.1)}),
        dataclasses.replace(task, params=dataclasses.replace(PARAMS, hop_length=255)),
    ]
    keys = [task.key(code), task.key(code | {"runtime": "3"}), *(one.key(code) for one in changed)]
    assert len(set(keys)) == 8


def test_code_of_every_computing_module_is_in_the_key(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, str]] = []
    key = ShardTask.key

    def spying(task: ShardTask, code: dict[str, str]) -> str:
        seen.append(code)
        return key(task, code)

    monkeypatch.setattr(ShardTask, "key", spying)
    featurize.run(PARAMS, SPLIT, root)
    wanted = {"correlation", "extraction", "features", "featurize", "geo", "recordings", "sessions"}
    assert set(seen[0]) == {f"heimdall.{name}" for name in wanted} | {"runtime"}
    assert seen[0]["runtime"] == artifacts.sha256_bytes(b"numpy==1\n")


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


def test_features_of_a_damaged_recording_are_never_kept(root: Path) -> None:
    """Else they would be found again, by the recordings' name, when those are mended."""
    featurize.run(PARAMS, SPLIT, root)
    undisturbed = outputs(root)
    for folder in (featurize.FEATURES, featurize.WORK):
        shutil.rmtree(root / folder)
    (root / featurize.KEYS_FILE).unlink()
    victim = sorted((root / archive.SNAPSHOT / archive.IQ_FOLDER).iterdir())[0]
    content = victim.read_bytes()
    flipped = bytearray(content)
    flipped[len(content) // 4] ^= 1  # in the samples, where parquet has no sum to compare
    victim.write_bytes(flipped)
    with pytest.raises(HeimdallError, match=rf"{victim.name}: damaged \(its hash is not its name\)"):
        featurize.run(PARAMS, SPLIT, root)
    victim.write_bytes(content)
    featurize.run(PARAMS, SPLIT, root)
    assert outputs(root) == undisturbed


def run_and_kill(root: Path, renames: int) -> bool:
    """Featurize in a child that is killed before its rename of this number; whether it was."""
    child = os.fork()
    if child == 0:
        left = renames

        def dying(event: str, _: tuple[object, ...]) -> None:
            nonlocal left
            if event == "os.rename":
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(dying)
        try:
            featurize.run(PARAMS, SPLIT, root)
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def test_killed_at_any_rename_the_next_run_ends_with_the_same_bytes(root: Path, tmp_path: Path) -> None:
    """On the way from former features to new ones, of which one shard is another."""
    featurize.run(PARAMS, SPLIT, root)
    write_snapshot(root, seeds=(0, 7, 0))
    undisturbed = tmp_path / "undisturbed"
    everything = shutil.ignore_patterns("undisturbed", "kill-*")
    shutil.copytree(root, undisturbed, ignore=everything)
    featurize.run(PARAMS, SPLIT, undisturbed)
    kills = 0
    for renames in range(100):
        disturbed = tmp_path / f"kill-{renames}"
        shutil.copytree(root, disturbed, ignore=everything)
        killed = run_and_kill(disturbed, renames)
        kills += killed
        artifacts.remove_partial(disturbed)  # as every stage begins
        featurize.run(PARAMS, SPLIT, disturbed)
        assert outputs(disturbed) == outputs(undisturbed), renames
        assert (disturbed / featurize.KEYS_FILE).read_bytes() == (
            undisturbed / featurize.KEYS_FILE
        ).read_bytes()
        if not killed:
            break
    assert kills >= 8


def test_stored_shard_is_checked(root: Path, built: list[str]) -> None:
    """A damaged shard of the output is made again, not passed on."""
    featurize.run(PARAMS, SPLIT, root)
    before = outputs(root)
    built.clear()
    victim = sorted((root / featurize.FEATURES / "shards").iterdir())[0]
    victim.write_bytes(victim.read_bytes()[:-1])
    featurize.run(PARAMS, SPLIT, root)
    assert len(built) == 1
    assert outputs(root) == before
    assert len(sessions.unpack(victim)) == 2
