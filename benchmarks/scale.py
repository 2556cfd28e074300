"""Seconds, CPU, memory and bytes of each stage by the number of sessions; `scale_rivals.py` has other tools.

    python benchmarks/scale.py                                  # every stage, 300 to 10,000 sessions: an hour
    python benchmarks/scale.py --sizes 300 1000 --stages featurize train
    python benchmarks/scale.py --part growth --sizes 10000      # one session more in a hundred

Recordings and features are synthetic: an eighth of a second at 16 kHz at three receivers, and sessions of
three receivers with exact delays and small spectrograms, one epoch a training. So the figures say how work
grows, and not how long a real session takes. Each stage is its script in a process of its own, in an empty
folder; its memory is the peak of its largest process. A stage's exponent is the slope of the logarithm of its
CPU seconds over that of the sessions: wall seconds tell what else the machine does. Simulate renders whole
seconds at 192 kHz, and is measured up to 1000 sessions. snapshot reads a database and a bucket of its own, on
the servers of `heimdall services up` in this clone, or on the configured ones.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import pandas as pd
import scale_services
import yaml
from scale_services import Services
from tqdm import tqdm

from heimdall.core import artifacts, table
from heimdall.core.params import FeatureParams
from heimdall.core.randomness import generator
from heimdall.geometry.propagation import SPEED_OF_LIGHT_M_S
from heimdall.recordings import archive
from heimdall.recordings.archive import StoredRecording
from heimdall.signal import session_files
from tests import synthetic_sessions, tiny_snapshot

CLONE = Path(__file__).resolve().parents[1]
SIZES = (300, 1000, 3000, 10_000)
MOST_SIMULATED = 1000
MEMORY, EXPONENT, GROWTH = 1.2, 1.05, 0.03  # limits
RATE_HZ, SAMPLES = tiny_snapshot.RATE_HZ, 2000
SHARD_SESSIONS = 50
MELS = 32
STAGES = ("snapshot", "featurize", "simulate", "pretrain", "train", "single", "evaluate", "export")


@dataclass(frozen=True)
class Cost:
    """What a stage took.

    Attributes:
        wall_s: Seconds.
        cpu_s: Of all its processes.
        peak_mb: Memory of its largest process, MB.
        out_mb: Of what it wrote, MB.
    """

    wall_s: float
    cpu_s: float
    peak_mb: float
    out_mb: float


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", choices=("stages", "growth"), default="stages", help="what to measure")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="numbers of sessions")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES, help="which stages")
    typed = parser.parse_args()
    with contextlib.ExitStack() as stack:
        name = stack.enter_context(tempfile.TemporaryDirectory(prefix="heimdall-scale-"))
        if typed.part == "growth":
            print_growth(max(typed.sizes), Path(name))
        else:
            stages = [one for one in STAGES if one in typed.stages]
            services = stack.enter_context(scale_services.own_services()) if "snapshot" in stages else None
            print_stages(sorted(typed.sizes), stages, Path(name), services)


def print_stages(sizes: list[int], stages: list[str], folder: Path, services: Services | None) -> None:
    """A table of the stages at each size, and verdicts."""
    found: dict[str, dict[int, Cost]] = {stage: {} for stage in stages}
    for size in sizes:
        root = folder / str(size)
        prepare(root, size)
        for stage in stages:
            if stage == "simulate" and size > MOST_SIMULATED:
                continue
            reached = {}
            if stage == "snapshot" and services is not None:
                reached = moved(root, services)
            found[stage][size] = measured(stage, root, reached)
            print(stage, size, found[stage][size], file=sys.stderr, flush=True)
        shutil.rmtree(root)
    rows = [
        [
            stage,
            str(size),
            f"{cost.wall_s:.1f}",
            f"{cost.cpu_s:.1f}",
            f"{cost.peak_mb:.0f}",
            f"{cost.out_mb:.1f}",
        ]
        for stage, costs in found.items()
        for size, cost in costs.items()
    ]
    heads = ["stage", "sessions", "seconds", "CPU s", "peak MB", "written MB"]
    print(*table.lines(heads, rows, "lrrrrr"), sep="\n")
    for stage, costs in found.items():
        if len(costs) > 1:
            print(verdict(stage, costs))


def verdict(stage: str, costs: dict[int, Cost]) -> str:
    """How a stage grows, beside what is allowed."""
    sizes = np.log(list(costs))
    exponent = float(np.polyfit(sizes, np.log([cost.cpu_s for cost in costs.values()]), 1)[0])
    text = f"{stage}: exponent {exponent:.2f} ({said(exponent <= EXPONENT)}, at most {EXPONENT})"
    if {1000, 10_000} <= costs.keys():
        ratio = costs[10_000].peak_mb / costs[1000].peak_mb
        text += f"; memory at 10,000 over 1000: {ratio:.2f} ({said(ratio <= MEMORY)}, at most {MEMORY})"
    return text


def said(kept: bool) -> str:
    """A verdict in a word."""
    return "kept" if kept else "MISSED"


def print_growth(size: int, root: Path) -> None:
    """CPU seconds of featurize for one session more in a hundred."""
    prepare(root, size)
    whole = measured("featurize", root)
    write_recordings(root, size + max(size // 100, 1))
    more = measured("featurize", root)
    share = more.cpu_s / whole.cpu_s
    print(f"featurize of {size} sessions: {whole.cpu_s:.1f} s of CPU; 1 % more: {more.cpu_s:.1f} s more")
    print(f"share {share:.3f} ({said(share <= GROWTH)}, at most {GROWTH})")


def prepare(root: Path, count: int) -> None:
    """A folder in which every stage can run."""
    root.mkdir(parents=True, exist_ok=True)
    for name in ("requirements", "sql"):
        shutil.copytree(CLONE / name, root / name)
    settings = yaml.safe_load((CLONE / "params.yaml").read_text(encoding="utf-8"))
    settings |= {"epochs": 1, "warmup_epochs": 0}
    settings["model"] |= {"from_simulated": False}
    settings["pretrain"] |= {"epochs": 1, "warmup_epochs": 0, "sessions": count}
    settings["snapshot"] |= {"shard_sessions": SHARD_SESSIONS}
    settings["split"] |= {"test_fraction": 0.2}
    settings["features"] |= {"n_mels": MELS, "n_fft": 512, "hop_length": 32}
    settings["features"] |= {"correlation_band_hz": RATE_HZ / 4, "correlation_rate_hz": RATE_HZ}
    (root / "params.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    write_recordings(root, count)


def moved(root: Path, services: Services) -> dict[str, str]:
    """Put what `prepare` made a snapshot of where a snapshot is taken; the variables that lead there."""
    rows = archive.read_measurements(root)
    scale_services.fill(services, rows, archive.read_receivers(root), samples_of)
    shutil.rmtree(root / archive.SNAPSHOT)
    return services.environment


def measured(stage: str, root: Path, reached: Mapping[str, str] = MappingProxyType({})) -> Cost:
    """Run a stage in a folder that `prepare` made.

    Args:
        stage: One of `STAGES`.
        root: The folder.
        reached: Variables of services that the stage needs.
    """
    script, inputs, outputs = stage, Path("data/features"), "data/features"
    before = root / "params.yaml"
    settings = yaml.safe_load(before.read_text(encoding="utf-8"))
    count = settings["pretrain"]["sessions"]
    if stage == "single":
        script, outputs = "train", "models/localizer.safetensors"
        settings["model"]["name"] = "single"
    elif stage == "pretrain":
        inputs, outputs = Path("data/simulated"), "models/pretrained.safetensors"
    elif stage in ("train", "export", "evaluate"):
        settings["model"]["name"] = "fusion"
        outputs = {"train": "models/localizer.safetensors", "export": "models", "evaluate": "plots"}[stage]
    elif stage in ("simulate", "snapshot"):
        outputs = {"simulate": "data/simulated", "snapshot": "data/snapshot"}[stage]
    before.write_text(yaml.safe_dump(settings), encoding="utf-8")
    if stage not in ("snapshot", "featurize", "simulate") and not (root / inputs / "synthetic").exists():
        shutil.rmtree(root / inputs, ignore_errors=True)
        write_features(root / inputs, count)
        (root / inputs / "synthetic").touch()
    if stage in ("evaluate", "export") and stage_of(root) != "fusion":
        measured("train", root)
    if stage == "export" and not (root / "metrics/eval_full.json").exists():
        measured("evaluate", root)
    environment = os.environ | {"HEIMDALL_TRACKING": "off", "PYTHONPATH": str(CLONE / "src")} | dict(reached)
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, str(CLONE / "stages" / f"{script}.py")],
        cwd=root,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    errors = process.stderr.read() if process.stderr else ""
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{stage}: {errors[-2000:]}")
    wall_s = time.perf_counter() - started
    written = root / outputs
    files = [written] if written.is_file() else [path for path in written.rglob("*") if path.is_file()]
    return Cost(
        wall_s,
        usage.ru_utime + usage.ru_stime,
        usage.ru_maxrss * 1024 / 1e6,
        sum(path.stat().st_size for path in files) / 1e6,
    )


def stage_of(root: Path) -> str | None:
    """Which model was trained there last."""
    described = root / "models/localizer.json"
    if not described.exists():
        return None
    return str(artifacts.read_json(described)["params"]["model"]["name"])


def write_recordings(root: Path, count: int) -> None:
    """A data/snapshot/ of so many sessions; the first ones are those of a smaller one."""
    folder = root / archive.SNAPSHOT
    receivers = pd.DataFrame(
        {
            "websdr_id": [1, 2, 3],
            "name": ["A", "B", "C"],
            "latitude_deg": [45.0, 45.3, 45.1],
            "longitude_deg": [8.0, 8.2, 8.6],
            "altitude_m": [200.0, 300.0, 250.0],
        }
    )
    archive.write_table(folder / archive.RECEIVERS_FILE, receivers, archive.RECEIVERS_SCHEMA)
    none_absent = pd.DataFrame({name: [] for name in archive.ABSENT_SCHEMA.names})
    archive.write_table(folder / archive.ABSENT_FILE, none_absent, archive.ABSENT_SCHEMA)
    firsts = tqdm(range(0, count, SHARD_SESSIONS), desc="recordings", unit="shard", leave=False)
    batches = (written_shard(root, first, min(first + SHARD_SESSIONS, count)) for first in firsts)
    archive.write_batches(folder / archive.MEASUREMENTS_FILE, batches, archive.MEASUREMENTS_SCHEMA)


def written_shard(root: Path, first: int, last: int) -> pd.DataFrame:
    """Write one shard of recordings; its rows."""
    recordings = [
        StoredRecording(tiny_snapshot.session_id(number), receiver, RATE_HZ, samples)
        for number in range(first, last)
        for receiver, samples in session_samples(number).items()
    ]
    content = archive.pack_shard(recordings)
    if content is None:
        raise AssertionError("no recording")
    name = artifacts.sha256_bytes(content)[:16] + archive.SHARD_SUFFIX
    if not archive.shard_path(name, root).exists():
        artifacts.write_bytes(archive.shard_path(name, root), content)
    moment = pd.Timestamp("2024-05-18T16:53:02Z")  # of GPS_NS
    rows = []
    for number in range(first, last):
        latitude_deg, longitude_deg = generator(2, "scale place", number).uniform([44.5, 7.5], [45.5, 9.0])
        for receiver in (1, 2, 3):
            rows.append(
                {
                    "measurement_id": str(uuid.UUID(int=10 * number + receiver)),
                    "session_id": tiny_snapshot.session_id(number),
                    "websdr_id": receiver,
                    "latitude_deg": latitude_deg,
                    "longitude_deg": longitude_deg,
                    "frequency_mhz": 145.5,
                    "snr_db": float("nan"),
                    "timestamp": moment,
                    "approved_at": moment,
                    "sample_rate_hz": RATE_HZ,
                    "samples": SAMPLES,
                    "source_id": f"site-{number // 2}",
                    "modulation": "nfm",
                    "simulated": True,
                    "start_gps_ns": tiny_snapshot.GPS_NS + number,
                    "timing_sigma_ns": 50.0,
                    "object_key": f"sessions/{tiny_snapshot.session_id(number)}/websdr_{receiver}.npy",
                    "object_etag": "e",
                    "object_bytes": 8 * SAMPLES + 128,
                    "object_sha256": "0" * 64,
                    "shard": name,
                }
            )
    return pd.DataFrame(rows)


def session_samples(number: int) -> dict[int, archive.Samples]:
    """A signal that all receivers of a session share, under noise of their own."""
    random = generator(1, "scale recordings", number)
    signal = np.exp(0.3j * np.cumsum(random.standard_normal(SAMPLES)))
    noise = random.standard_normal((3, 2, SAMPLES))
    found = 0.01 * (signal + 0.1 * (noise[:, 0] + 1j * noise[:, 1]))
    return {receiver: found[receiver - 1].astype(np.complex64) for receiver in (1, 2, 3)}


def samples_of(session_id: str) -> dict[int, archive.Samples]:
    """`session_samples` by identifier."""
    return session_samples(uuid.UUID(session_id).int)


def write_features(folder: Path, count: int) -> None:
    """A data/features/ of so many sessions of three receivers, two of each transmitter."""
    given = replace(synthetic_sessions.FEATURES, n_mels=MELS)
    synthetic_sessions.write_features(folder, 5)  # the tables of the network
    receivers = pd.read_parquet(folder / "receivers.parquet")
    latitude_deg, longitude_deg = synthetic_sessions.PLANE.to_degrees(
        receivers["east_m"].to_numpy(), receivers["north_m"].to_numpy()
    )
    named = {"name": [f"R{number}" for number in receivers["websdr_id"]]}
    places = {"latitude_deg": latitude_deg, "longitude_deg": longitude_deg}
    receivers.assign(**named, **places).to_parquet(folder / "receivers.parquet")
    described = artifacts.read_json(folder / "network.json") | {"features": asdict(given)}
    artifacts.write_json(folder / "network.json", described)
    firsts = range(0, count, SHARD_SESSIONS)
    parts = [features_shard(folder, first, min(first + SHARD_SESSIONS, count), given) for first in firsts]
    pd.concat(parts, ignore_index=True).to_parquet(folder / "index.parquet")


def features_shard(folder: Path, first: int, last: int, given: FeatureParams) -> pd.DataFrame:
    """Write one shard of features; its rows of the index."""
    heard = [0, 3, 5]
    found, rows = [], []
    for number in range(first, last):
        random = generator(1, "scale features", number)
        truth_m = generator(1, "scale transmitters", number // 2).uniform([-55e3, -45e3], [70e3, 45e3])
        late_s = 1e-7 * random.standard_normal(len(heard))
        far_m = SPEED_OF_LIGHT_M_S * synthetic_sessions.delays_s(truth_m, heard)
        level_db = 40 - 25 * np.log10(far_m / 1e4) + random.normal(0, 6, len(heard))
        session = synthetic_sessions.session(truth_m, heard, snr_db=level_db, late_s=late_s)
        mel = random.normal(-70, 3, (len(heard), 3, MELS, given.frames)).astype(np.float16)
        found.append(replace(session, mel=mel))
        latitude_deg, longitude_deg = synthetic_sessions.PLANE.to_degrees(*truth_m)
        rows.append((number, float(latitude_deg), float(longitude_deg)))
    packed = session_files.pack(found, given)
    shard = f"{artifacts.sha256_bytes(packed)[:16]}.safetensors"
    artifacts.write_bytes(folder / "shards" / shard, packed)
    return pd.DataFrame(
        [
            {
                "measurement_id": str(uuid.UUID(int=10 * number + row)),
                "session_id": synthetic_sessions.session_id(number),
                "websdr_id": synthetic_sessions.RECEIVERS.websdr_id[receiver],
                "source_id": f"site-{number // 2}",
                "latitude_deg": latitude_deg,
                "longitude_deg": longitude_deg,
                "frequency_mhz": 145.5,
                "modulation": "nfm",
                "region": "north",
                "simulated": True,
                "receivers_heard": np.int32(len(heard)),
                "snr_db": float(found[number - first].snr_db[row]),
                "detected": True,
                "split": "test" if number // 2 % 5 == 4 else "development",
                "validation_rank": 0.1 if number // 2 % 5 == 3 else 0.5,
                "shard": shard,
                "row": np.int32(len(heard) * (number - first) + row),
                "session_row": np.int32(number - first),
            }
            for number, latitude_deg, longitude_deg in rows
            for row, receiver in enumerate(heard)
        ]
    )


if __name__ == "__main__":
    main()
