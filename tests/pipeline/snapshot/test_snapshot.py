"""The snapshot against a real PostgreSQL and a real S3: content, repetition, failures, kills."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pandas as pd
import pytest
import yaml

from heimdall.core import artifacts
from heimdall.core.errors import HeimdallError
from heimdall.pipeline.snapshot import former, snapshot
from heimdall.recordings import archive
from heimdall.storage.endpoints import RAW_BUCKET
from heimdall.storage.objectstore import ObjectStore, object_key
from heimdall.storage.s3_access import Keys, S3Access
from tests import REPOSITORY
from tests.gateway import Gateway
from tests.pipeline.snapshot.snapshot_world import (
    COUNT,
    PARAMS,
    QUERIES,
    RATE_HZ,
    SESSIONS,
    World,
    samples,
    session_id,
)
from tests.s3_servers import empty


def test_snapshot_holds_what_database_and_bucket_hold(world: World) -> None:
    summary = world.take()
    rows = archive.read_measurements(world.root)
    assert list(zip(rows["session_id"], rows["websdr_id"], strict=True)) == [
        (session_id(number), receiver) for number in range(SESSIONS) for receiver in (1, 2, 3)
    ]
    for name, group in rows.groupby("shard"):
        stored = archive.read_shard(archive.shard_path(str(name), world.root))
        assert list(stored) == list(zip(group["session_id"], group["websdr_id"], strict=True))
    number = {session_id(number): number for number in range(SESSIONS)}
    for (session, receiver), found in stored.items():
        np.testing.assert_array_equal(found, samples(number[session], receiver))
    first = rows.iloc[0]
    assert first["object_key"] == object_key(session_id(0), 1)
    assert (first["samples"], first["object_bytes"], first["sample_rate_hz"]) == (
        COUNT,
        128 + 8 * COUNT,
        RATE_HZ,
    )
    assert int(first["start_gps_ns"]) == 1_451_304_245_000_000_123
    assert rows["start_gps_ns"].isna().tolist() == [False, False, True] * SESSIONS
    assert rows["modulation"].isna().tolist() == ([True] * 3 + [False] * 3) * (SESSIONS // 2)
    assert archive.read_receivers(world.root)["websdr_id"].tolist() == [1, 2, 3]
    assert world.quarantine() == []
    assert json.loads((world.root / former.METRICS).read_text()) == dataclasses.asdict(summary)
    assert dataclasses.asdict(summary) | {"data_fingerprint": ""} == {
        "as_of": "2026-03-01T00:00:00Z",
        "data": "simulated",
        "sessions": 8,
        "recordings": 24,
        "transmitters": 1,
        "receivers": 3,
        "source": {
            "name": "own",
            "sha256": artifacts.sha256_file(QUERIES / "own.sql"),
            "receivers": "as the database had them",
        },
        "quarantined": {},
        "quarantined_fraction": 0.0,
        "data_fingerprint": "",
    }
    assert rows["shard"].nunique() > 1


def test_another_server_gives_the_same_bytes_and_is_asked_only_for_what_is_needed(
    world: World, moto: S3Access, tmp_path: Path
) -> None:
    world.take()
    wanted = [
        object_key(session_id(number), receiver) for number in range(SESSIONS) for receiver in (1, 2, 3)
    ]
    bucket = ObjectStore(moto, RAW_BUCKET)
    bucket.ensure_bucket()
    empty(bucket)
    for key in wanted:
        bucket.put(key, world.bucket.get(key, 10_000))
    for number in range(SESSIONS, 3 * SESSIONS):  # what nobody approved
        bucket.put(object_key(session_id(number), 1), b"1")
    with Gateway(moto.endpoint_url) as gateway:
        found = dataclasses.replace(
            world.services.endpoints, s3=dataclasses.replace(moto, endpoint_url=gateway.url)
        )
        services = dataclasses.replace(world.services, endpoints=found)
        other = World(services, bucket, tmp_path / "other")
        other.take()
    assert other.outputs() == world.outputs()
    got = [urlsplit(request.path).path for request in gateway.requests if request.is_object]
    assert sorted(got) == [f"/{RAW_BUCKET}/{key}" for key in sorted(wanted)]
    listed = [request.query["prefix"][0] for request in gateway.requests if request.is_listing]
    assert sorted(listed) == sorted({key.rpartition("/")[0] + "/" for key in wanted})
    assert len(gateway.requests) == len(got) + len(listed)


def test_same_moment_gives_the_same_bytes_for_ever(
    world: World, downloads: list[str], tmp_path: Path
) -> None:
    world.take()
    first = world.outputs()
    assert len(downloads) == 24
    world.add_session(60)  # approved after the moment
    world.take()
    assert world.outputs() == first
    assert len(downloads) == 24
    fresh = dataclasses.replace(world, root=tmp_path / "elsewhere")
    fresh.take(download_threads=1)
    assert fresh.outputs() == first


def not_approved(world: World) -> None:
    world.execute("UPDATE measurements SET approved = false")


def many_missing(world: World) -> None:
    for number in range(SESSIONS):
        world.bucket.delete(object_key(session_id(number), 1))
    world.execute(
        "UPDATE measurements SET latitude = 95 WHERE websdr_id = 2 AND session_id = %s", session_id(0)
    )


def many_broken(world: World) -> None:
    for number in range(SESSIONS):
        world.bucket.put(object_key(session_id(number), 1), b"nothing")


@pytest.mark.parametrize(
    ("harm", "message", "fetched"),
    [
        (not_approved, r"no measurement was approved at or before 2026-03-01T00:00:00Z", 0),
        (
            many_missing,
            r"9 of 24 approved recordings are bad \(missing 8, bad_position 1\), more than 30%",
            0,
        ),
        (many_broken, r"8 of 24 approved recordings are bad \(not_npy 8\)", 8),
    ],
)
def test_failure_names_the_cause_and_leaves_the_former_snapshot(
    world: World, downloads: list[str], harm: Callable[[World], None], message: str, fetched: int
) -> None:
    world.take()
    former = world.outputs()
    downloads.clear()
    harm(world)
    with pytest.raises(HeimdallError, match=message):
        world.take()
    assert world.outputs() == former
    listed = world.root / snapshot.REFUSED
    assert listed.exists() == message.startswith((r"9", r"8")), "the bad rows of a refused snapshot"
    if listed.exists():
        bad = pd.read_csv(listed)
        assert len(bad) == int(message[0])
        assert bad["reason"].isin(["missing", "bad_position", "not_npy"]).all()
        assert bad["detail"].notna().all()
    assert len(set(downloads)) == fetched if fetched == 0 else len(set(downloads)) >= fetched


def renames_of(world: World) -> int:
    """Take a snapshot; how many renames it has."""
    done = 0
    real = Path.replace

    def replace(self: Path, target: Path) -> Path:
        nonlocal done
        done += 1
        return real(self, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "replace", replace)
        world.take(shard_sessions=8)
    return done


def run_and_kill(world: World, renames: int) -> bool:
    """Take a snapshot in a child that is killed before its rename of this number; whether it was."""
    child = os.fork()
    if child == 0:
        left = renames
        real = Path.replace

        def replace(self: Path, target: Path) -> Path:
            nonlocal left
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(self, target)

        Path.replace = replace  # type: ignore[assignment,method-assign]
        try:
            world.take(shard_sessions=8)
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


@pytest.mark.parametrize(
    "every", [False, pytest.param(True, marks=pytest.mark.series)], ids=["some", "every"]
)
def test_killed_at_any_rename_the_next_run_ends_with_the_same_bytes(
    world: World, tmp_path: Path, every: bool
) -> None:
    """Some: before the first, one in the middle, and before the last ones, which make the outputs new."""
    world.take(shard_sessions=8)
    world.bucket.put(object_key(session_id(0), 2), b"nothing")
    world.execute("UPDATE measurements SET snr_db = 7 WHERE websdr_id = 1")
    undisturbed = dataclasses.replace(world, root=tmp_path / "undisturbed")
    undisturbed.take(shard_sessions=8)

    def begun(name: str) -> World:
        shutil.copytree(world.root / "data", tmp_path / name / "data")
        return dataclasses.replace(world, root=tmp_path / name)

    count = renames_of(counted := begun("counted"))
    assert count >= 8
    assert counted.outputs() == undisturbed.outputs()
    for renames in range(count) if every else (0, count // 2, count - 3, count - 1):
        disturbed = begun(f"kill-{renames}")
        assert run_and_kill(disturbed, renames)
        artifacts.remove_partial(disturbed.root)  # as every stage begins
        disturbed.take(shard_sessions=8)
        assert disturbed.outputs() == undisturbed.outputs(), renames


def test_wrong_credentials_name_the_endpoint_and_not_the_secret(world: World) -> None:
    right = world.services.endpoints
    wrong = dataclasses.replace(right, s3=dataclasses.replace(right.s3, keys=Keys("key", "wrong-secret")))
    with pytest.raises(HeimdallError, match="access denied") as caught:
        snapshot.take(PARAMS, wrong, world.root, queries=QUERIES)
    assert wrong.s3.endpoint_url in str(caught.value)
    assert "wrong-secret" not in str(caught.value)
    assert world.outputs() == {}


def test_stage_prints_what_it_took_and_fails_in_one_line(world: World) -> None:
    values = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    values["snapshot"] |= {"max_duration_s": 1.0, "as_of": "2026-03-01T00:00:00Z"}
    params = world.root / "params.yaml"
    shutil.copytree(QUERIES, world.root / "sql")
    command = [sys.executable, str(REPOSITORY / "stages" / "snapshot.py")]

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=world.root, env=world.services.env, capture_output=True, text=True, check=False
        )

    params.write_text(yaml.safe_dump(values))
    done = run()
    assert done.returncode == 0, done.stderr
    assert "24 recordings (simulated) of 8 sessions" in done.stdout
    values["snapshot"]["as_of"] = "2020-01-01T00:00:00Z"
    params.write_text(yaml.safe_dump(values))
    former = world.outputs()
    failed = run()
    assert failed.returncode == 1
    assert failed.stderr.startswith("snapshot.py: PostgreSQL 127.0.0.1:")
    assert failed.stderr.count("\n") == 1
    assert world.outputs() == former
