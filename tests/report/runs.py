"""A repository with a run in it, as the stages write it; two of its transmitters are hardly heard."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from heimdall.core import artifacts
from heimdall.core.params import EvaluateParams
from heimdall.geometry.geo import TangentPlane
from heimdall.metrics.metrics import TARGETS
from heimdall.pipeline.evaluate import figures, plots
from heimdall.pipeline.evaluate.cases import WITHOUT_GPS, case_table
from heimdall.pipeline.evaluate.predictors import LOCALIZER, PREDICTORS, RECEIVED_POWER, UNCALIBRATED
from heimdall.position.posterior import Posterior
from heimdall.reproduce import dvc_lock
from tests.reproduce.running_git import run_git

PLANE = TangentPlane(45.0, 8.0, 260.0)
SESSIONS = 24
TRANSMITTERS = 12
RECEIVERS = ("Torino", "Genova", "Milano-Baggio")
SIGMA_M = 300.0
# What each method is worse by than the localizer.
FACTORS = {LOCALIZER: 1.0, "combined": 1.5, "time_of_arrival": 3.0, "direct_position": 4.0}
FAR_OFF = 30.0  # times the errors of the others: the transmitters that are hardly heard


@dataclass(frozen=True)
class World:
    """What can be otherwise in a run.

    Attributes:
        sigma_factor: By how much the stated deviations are larger than the errors'.
        rival_factor: The errors of the strongest rival over the localizer's.
        names: Names of the receivers.
        subject: First line of the commit's message.
        data: "simulated" or "recorded".
        timed: Whether receivers know the time.
    """

    sigma_factor: float = 1.0
    rival_factor: float = 1.5
    names: tuple[str, ...] = RECEIVERS
    subject: str = "A run"
    data: str = "simulated"
    timed: bool = True


def session_id(number: int) -> str:
    """The session of a number."""
    return str(uuid.UUID(int=(number + 1) << 96))


def write(root: Path, world: World | None = None) -> Path:
    """Write a run into a new repository and commit it; returns its root."""
    world = world or World()
    tables = _tables(world)
    _write_evaluation(root, tables, world)
    _write_data(root, tables["described"], world)
    _write_records(root, world)
    (root / ".gitignore").write_text("/data\n/models\n")
    _write_lock(root)
    run_git(root, "init", "--quiet", "--initial-branch", "main")
    commit(root, world.subject)
    return root


def commit(root: Path, subject: str) -> None:
    """Commit all that is not ignored."""
    run_git(root, "add", "--all")
    run_git(root, "commit", "--quiet", "--message", subject)


def _tables(world: World) -> dict[str, pd.DataFrame]:
    random = np.random.default_rng(3)
    transmitter = np.arange(SESSIONS) % TRANSMITTERS
    place_m = random.uniform(-4e4, 4e4, (TRANSMITTERS, 2))[transmitter]
    latitude_deg, longitude_deg = PLANE.to_degrees(place_m[:, 0], place_m[:, 1])
    unheard = transmitter % 6 == 0
    far = np.where(unheard, FAR_OFF, 1.0)
    off_m = random.normal(0, SIGMA_M, (SESSIONS, 2)) * far[:, np.newaxis]
    described = pd.DataFrame(
        {
            "session_id": [session_id(number) for number in range(SESSIONS)],
            "cluster": [f"name {number}" for number in transmitter],
            "latitude_deg": latitude_deg,
            "longitude_deg": longitude_deg,
            "receivers_heard": np.where(unheard, "<3", "3"),
            "clock": np.where(unheard, "0-2", "3"),
            "snr": ">30 dB",
            "modulation": np.where(transmitter % 2 == 0, "nfm", "cw"),
            "region": [world.names[number % len(world.names)] for number in transmitter],
            "bound_m": np.where(unheard | (not world.timed), np.inf, SIGMA_M),
        }
    )
    factors = FACTORS | {"combined": world.rival_factor}
    cases = []
    for split in ("val", "test", WITHOUT_GPS):
        names = (*PREDICTORS, UNCALIBRATED) if split != WITHOUT_GPS else (LOCALIZER, RECEIVED_POWER)
        for name in names:
            factor = 10.0 if split == WITHOUT_GPS else factors.get(name, 1.0 if name == UNCALIBRATED else 9.0)
            variance_m2 = (world.sigma_factor * SIGMA_M * factor * far) ** 2
            tilted = np.array([[1, 0.5], [0.5, 1]])
            answer = Posterior.gaussian(place_m + factor * off_m, variance_m2[:, None, None] * tilted)
            cases.append(case_table(split, name, described, answer, PLANE))
    return {"described": described, "cases": pd.concat(cases, ignore_index=True)}


def _write_evaluation(root: Path, tables: dict[str, pd.DataFrame], world: World) -> None:
    params = EvaluateParams(bootstrap_resamples=50, seed=42)
    cases = tables["cases"]
    full = {"data": world.data, "split_by": "transmitter", "targets": TARGETS} | figures.figures(
        cases, params
    )
    _json(root / "metrics/eval_full.json", full)
    written = {
        "error_cdf": plots.error_cdf(cases),
        "reliability": plots.reliability(cases),
        "error_bound": plots.error_bound(cases),
        "map": plots.estimate_map(cases),
        "slices": figures.slice_figures(cases, params),
    }
    epochs = pd.DataFrame({"epoch": [1, 2, 3], "train_loss": [3.0, 2.0, 1.0], "val_loss": [3.5, 2.5, 2.0]})
    curve = epochs.assign(val_median_m=[900.0, 500.0, 400.0], val_mae_m=[2000.0, 1500.0, 1400.0])
    for name, table in (written | {"training": curve, "pretraining": curve}).items():
        artifacts.write_bytes(root / f"plots/{name}.csv", plots.csv_bytes(table))


def _write_data(root: Path, described: pd.DataFrame, world: World) -> None:
    receivers = pd.DataFrame(
        {
            "websdr_id": range(1, len(world.names) + 1),
            "name": world.names,
            "latitude_deg": [45.04, 44.40, 45.48][: len(world.names)],
            "longitude_deg": [7.67, 8.96, 9.12][: len(world.names)],
        }
    )
    rows = described.rename(columns={"cluster": "source_id"}).merge(receivers[["websdr_id"]], how="cross")
    rows["snr_db"] = 30.0 + rows["websdr_id"]
    rows["detected"] = (rows["websdr_id"] < 3) | (rows["receivers_heard"] == "3")
    rows["frequency_mhz"], rows["split"], rows["simulated"] = 145.5, "test", world.data == "simulated"
    times = rows[["session_id", "websdr_id"]].assign(timestamp=pd.Timestamp("2026-02-03T04:05:06Z"))
    refused = pd.DataFrame(
        {
            "measurement_id": ["m1", "m2"],
            "session_id": [session_id(90), None],
            "websdr_id": [1, None],
            "object_key": ["a", "b"],
            "reason": ["all_zero", "all_zero"],
            "detail": ["all 192000 samples are zero", "all 192000 samples are zero"],
        }
    )
    for path, table in {
        "data/features/receivers.parquet": receivers,
        "data/features/index.parquet": rows,
        "data/snapshot/measurements.parquet": times,
        "data/quarantine.parquet": refused,
    }.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        table.to_parquet(root / path)


def _write_records(root: Path, world: World) -> None:
    _json(
        root / "metrics/snapshot.json",
        {
            "as_of": "2026-03-01T00:00:00Z",
            "data": world.data,
            "sessions": 100,
            "recordings": 300,
            "transmitters": 50,
            "receivers": 3,
            "quarantined": {"all_zero": 2},
            "quarantined_fraction": 0.0066,
        },
    )
    _json(root / "metrics/features.json", {"sessions_by_split": {"development": 76, "test": SESSIONS}})
    _json(root / "metrics/train.json", {"training_sessions": 60, "validation_sessions": 16})
    _json(root / "metrics/export.json", {})
    _json(
        root / "models/localizer.json",
        {
            "data": world.data,
            "data_fingerprint": "f" * 64,
            "validation_split": 0.2,
            "params": {"lr": 0.001},
            "modules": {},
            "weights_sha256": "a" * 64,
        },
    )
    _json(root / "reference.json", {"cpu": "AMD EPYC", "python": "3.11.7", "libraries": {"numpy": "2.4.6"}})


def _write_lock(root: Path) -> None:
    """The lock of what lies there; folders of `data` whole, as DVC holds them."""
    written = [path for folder in ("metrics", "plots") for path in sorted((root / folder).iterdir())]
    named = [path.relative_to(root).as_posix() for path in written]
    named += ["data/features", "data/snapshot", "data/quarantine.parquet", "models/localizer.json"]
    stage = {
        "cmd": "python stages/all.py",
        "deps": [{"path": "src/heimdall/core", "md5": "0" * 32}],
        "params": {"params.yaml": {"lr": 0.001}},
        "outs": [{"path": path, "md5": dvc_lock.md5(root / path)} for path in named],
    }
    (root / "dvc.lock").write_text(yaml.safe_dump({"stages": {"all": stage}}, sort_keys=False))


def relock(root: Path, **params: float) -> None:
    """The lock once more, with other parameters."""
    _write_lock(root)
    lock = yaml.safe_load((root / "dvc.lock").read_text())
    lock["stages"]["all"]["params"]["params.yaml"] |= params
    (root / "dvc.lock").write_text(yaml.safe_dump(lock, sort_keys=False))


def _json(path: Path, value: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")
