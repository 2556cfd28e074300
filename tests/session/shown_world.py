"""A snapshot of simulated sessions of every kind that a page shows, their features, and a localizer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from heimdall import simulate
from heimdall.core import artifacts, params, paths
from heimdall.core.params import SplitParams
from heimdall.network import model_file
from heimdall.pipeline.featurize import featurize
from heimdall.pipeline.simulate import simulated
from heimdall.pipeline.snapshot.outcome import QUARANTINE_SCHEMA
from heimdall.recordings import archive
from heimdall.recordings.archive import StoredRecording
from heimdall.simulate import Reception, SessionPlan
from tests.conftest import as_clone
from tests.fusion_world import untrained

SEED = 5
QUARANTINED = "not_finite: 1 samples are NaN or infinite"
_LEAST_TIMED = 3


def write(root: Path) -> dict[str, str]:
    """A clone with four sessions of a world whose recordings `simulate` makes.

    Args:
        root: The folder.

    Returns:
        The sessions by what is of them: "well", with three arrival times or more; "two" and "none", with as
        many GPS times; and "quarantined", as the first, but without a recording, which is in the quarantine.
    """
    as_clone(root)
    world = simulate.make_world(SEED, 4, "light")
    plans = [plan for plan in simulate.sessions(world, 24) if _timed(plan) >= _LEAST_TIMED]
    well, two, none, quarantined = plans[:4]
    lost = next(one.websdr_id for one in quarantined.receptions if one.start_gps_ns is None)
    made = {
        "well": well,
        "two": _with_times(two, 2),
        "none": _with_times(none, 0),
        "quarantined": replace(
            quarantined, receptions=tuple(one for one in quarantined.receptions if one.websdr_id != lost)
        ),
    }
    absent = pd.DataFrame({"session_id": [quarantined.session_id], "websdr_id": [lost]})
    _write_snapshot(root, world, made, absent)
    row = {
        "measurement_id": "m",
        "session_id": quarantined.session_id,
        "websdr_id": lost,
        "object_key": "k",
        "reason": QUARANTINED.split(": ", maxsplit=1)[0],
        "detail": QUARANTINED.split(": ")[1],
    }
    pq.write_table(pa.Table.from_pylist([row], QUARANTINE_SCHEMA), root / "data/quarantine.parquet")
    chosen = params.load(root / "params.yaml")
    artifacts.write_bytes(root / "requirements/runtime.txt", b"")
    featurize.run(chosen.features, SplitParams(by="session", test_fraction=0.5, seed=42), root)
    model_file.save(untrained(), root / paths.WEIGHTS, (root / paths.WEIGHTS).with_suffix(".json"), {})
    return {name: plan.session_id for name, plan in made.items()}


def _timed(plan: SessionPlan) -> int:
    return sum(one.start_gps_ns is not None and one.has_signal for one in plan.receptions)


def _with_times(plan: SessionPlan, count: int) -> SessionPlan:
    """The session, had only its first `count` receivers with a GPS time one."""
    kept: list[Reception] = []
    for one in plan.receptions:
        timed = sum(before.start_gps_ns is not None for before in kept)
        known = one.start_gps_ns is not None and timed < count
        kept.append(one if known else replace(one, start_gps_ns=None, timing_sigma_ns=None))
    return replace(plan, receptions=tuple(kept))


def _write_snapshot(
    root: Path, world: simulate.World, plans: Mapping[str, SessionPlan], absent: pd.DataFrame
) -> None:
    rendered = {plan.session_id: simulate.render(world, plan) for plan in plans.values()}
    content = archive.pack_shard(
        [
            StoredRecording(session_id, one.reception.websdr_id, one.sample_rate_hz, one.iq)
            for session_id, recordings in rendered.items()
            for one in recordings
        ]
    )
    shard = artifacts.sha256_bytes(content)[:16] + archive.SHARD_SUFFIX
    artifacts.write_bytes(archive.shard_path(shard, root), content)
    rows = [
        {
            "measurement_id": f"{plan.session_id[:-4]}{one.reception.websdr_id:04d}",
            "session_id": plan.session_id,
            "websdr_id": one.reception.websdr_id,
            "latitude_deg": world.transmitters[plan.transmitter].latitude_deg,
            "longitude_deg": world.transmitters[plan.transmitter].longitude_deg,
            "frequency_mhz": plan.frequency_hz / 1e6,
            "snr_db": one.reception.reported_snr_db,
            "timestamp": pd.Timestamp(plan.unix_s, unit="s", tz="UTC"),
            "approved_at": pd.Timestamp(plan.unix_s + 86_400, unit="s", tz="UTC"),
            "sample_rate_hz": one.sample_rate_hz,
            "samples": len(one.iq),
            "source_id": f"tx-{number}",
            "modulation": world.transmitters[plan.transmitter].modulation,
            "simulated": True,
            "start_gps_ns": one.reception.start_gps_ns,
            "timing_sigma_ns": one.reception.timing_sigma_ns,
            "object_key": f"sessions/{plan.session_id}/websdr_{one.reception.websdr_id}.npy",
            "object_etag": "e",
            "object_bytes": 8 * len(one.iq) + 128,
            "object_sha256": artifacts.sha256_bytes(one.iq.tobytes()),
            "shard": shard,
        }
        for number, plan in enumerate(plans.values())
        for one in rendered[plan.session_id]
    ]
    table = pd.DataFrame(rows)
    table["start_gps_ns"] = pd.array([row["start_gps_ns"] for row in rows], "Int64")
    folder = root / archive.SNAPSHOT
    archive.write_table(folder / archive.MEASUREMENTS_FILE, table, archive.MEASUREMENTS_SCHEMA)
    receivers = simulated.receivers_of(world.receivers)
    archive.write_table(folder / archive.RECEIVERS_FILE, receivers, archive.RECEIVERS_SCHEMA)
    archive.write_table(folder / archive.ABSENT_FILE, absent, archive.ABSENT_SCHEMA)
