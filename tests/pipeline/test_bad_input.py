"""Whatever is broken ends in the quarantine or in one clear line, and the former outputs stay."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pandas as pd
import pytest

from heimdall.recordings import iq
from heimdall.storage.objectstore import ObjectStore
from heimdall.storage.s3_access import Keys, S3Access
from tests.pipeline.proxy import Proxy
from tests.projects import Project, ran

LATER = "2026-02-28T00:00:00Z"  # another as_of, so that the snapshot is due


def quarantine(project: Project) -> pd.DataFrame:
    return pd.read_parquet(project.root / "data/quarantine.parquet")


def raw_bucket(project: Project) -> ObjectStore:
    return ObjectStore(
        S3Access(
            project.env["HEIMDALL_S3_ENDPOINT_URL"],
            Keys(project.env["AWS_ACCESS_KEY_ID"], project.env["AWS_SECRET_ACCESS_KEY"]),
            project.env["AWS_DEFAULT_REGION"],
            embedded=False,
        ),
        project.env["HEIMDALL_RAW_BUCKET"],
    )


def fails(project: Project, *named: str, **environment: str) -> str:
    """`dvc repro` fails with one line that names these, and no output changes."""
    before = project.hashes()
    done = project.run("dvc", "repro", check=False, **environment)
    assert done.returncode != 0
    lines = [line for line in done.stdout.splitlines() if line.startswith("snapshot.py: ")]
    assert len(lines) == 1, done.stdout
    assert all(name in lines[0] for name in named), lines[0]
    assert "Traceback" not in done.stdout
    assert project.env["AWS_SECRET_ACCESS_KEY"] not in done.stdout
    assert str(urlsplit(project.env["HEIMDALL_DATABASE_URL"]).password) not in done.stdout
    assert project.hashes() == before
    return lines[0]


@pytest.fixture
def own(make_project: Callable[[], Project]) -> Project:
    """A project with servers' contents of its own, which the test may break."""
    project = make_project()
    project.run(
        "heimdall", "demo", "seed", "--sessions", "12", "--transmitters", "8", "--seed", "9", "--bad", "none"
    )
    project.run("dvc", "repro", "snapshot")
    return project


# The same without DVC: snapshot/test_quarantine.py, and of a mended object snapshot/test_collector.py.
@pytest.mark.series
def test_an_object_deleted_and_one_truncated_go_to_quarantine(own: Project) -> None:
    measurements = pd.read_parquet(own.root / "data/snapshot/measurements.parquet")
    deleted, truncated = measurements["object_key"].iloc[[0, -1]]
    bucket = raw_bucket(own)
    content = bucket.get(truncated, 10_000_000)
    bucket.delete(deleted)
    bucket.put(truncated, content[: len(content) // 2])
    own.set_params(snapshot={"as_of": LATER})
    own.run("dvc", "repro", "featurize")
    found = quarantine(own).set_index("object_key")["reason"].to_dict()
    assert found == {deleted: iq.MISSING, truncated: iq.TRUNCATED}
    left = pd.read_parquet(own.root / "data/snapshot/measurements.parquet")
    assert set(measurements["object_key"]) - set(left["object_key"]) == {deleted, truncated}
    bucket.put(truncated, content)
    own.run("dvc", "repro", "--force", "--single-item", "snapshot")
    assert quarantine(own)["object_key"].tolist() == [deleted]


@pytest.mark.series
def test_too_many_bad_recordings_name_the_causes(own: Project) -> None:
    bucket = raw_bucket(own)
    for key in pd.read_parquet(own.root / "data/snapshot/measurements.parquet")["object_key"].iloc[:12]:
        bucket.put(key, iq.encode(np.zeros(192_000, np.complex64)))
    own.set_params(snapshot={"as_of": LATER})
    fails(own, f"{iq.ALL_ZERO} 12", "max_quarantined_fraction")


def test_nothing_approved(project: Project) -> None:
    project.set_params(snapshot={"as_of": "2001-01-01T00:00:00Z"})
    fails(project, "no measurement was approved", "2001-01-01T00:00:00Z", "as_of")


def test_postgresql_is_down(project: Project) -> None:
    project.set_params(snapshot={"as_of": LATER})
    parts = urlsplit(project.env["HEIMDALL_DATABASE_URL"])
    dead = parts._replace(netloc=f"{parts.username}:{parts.password}@127.0.0.1:9").geturl()
    fails(project, "127.0.0.1:9", HEIMDALL_DATABASE_URL=dead)


@pytest.mark.series
def test_postgresql_stops_in_the_middle_of_a_snapshot(project: Project) -> None:
    project.set_params(snapshot={"as_of": LATER})
    parts = urlsplit(project.env["HEIMDALL_DATABASE_URL"])
    with Proxy(parts.port or 0, limit_bytes=8_000) as proxy:
        through = parts._replace(netloc=f"{parts.username}:{parts.password}@127.0.0.1:{proxy.port}").geturl()
        fails(project, f"127.0.0.1:{proxy.port}", HEIMDALL_DATABASE_URL=through)


def test_wrong_credentials(project: Project) -> None:
    project.set_params(snapshot={"as_of": LATER})
    fails(project, project.env["HEIMDALL_S3_ENDPOINT_URL"], AWS_ACCESS_KEY_ID="nobody")
    parts = urlsplit(project.env["HEIMDALL_DATABASE_URL"])
    wrong = parts._replace(netloc=f"{parts.username}:wrong@127.0.0.1:{parts.port}").geturl()
    fails(project, f"127.0.0.1:{parts.port}", HEIMDALL_DATABASE_URL=wrong)


@pytest.mark.series
def test_what_was_downloaded_before_s3_was_lost_is_reused(built: Project, tmp_path: Path) -> None:
    fresh = built.clone(tmp_path / "heimdall")
    port = urlsplit(fresh.env["HEIMDALL_S3_ENDPOINT_URL"]).port or 0
    with Proxy(port, limit_bytes=60_000_000) as proxy:
        url = f"http://127.0.0.1:{proxy.port}"
        done = fresh.run("dvc", "repro", "snapshot", check=False, HEIMDALL_S3_ENDPOINT_URL=url)
    assert done.returncode != 0
    assert url in done.stdout
    assert not (fresh.root / "data/snapshot/measurements.parquet").exists()
    with Proxy(port) as proxy:
        url = f"http://127.0.0.1:{proxy.port}"
        fresh.run("dvc", "repro", "snapshot", HEIMDALL_S3_ENDPOINT_URL=url)
        measurements = pd.read_parquet(fresh.root / "data/snapshot/measurements.parquet")
        assert proxy.answered_bytes < measurements["object_bytes"].sum() - 20_000_000
    assert {path: digest for path, digest in built.hashes().items() if "snapshot" in path} == {
        path: digest for path, digest in fresh.hashes().items() if "snapshot" in path
    }


def test_a_half_written_file_is_no_part_of_an_output(project: Project) -> None:
    # Of a killed process whose id another one has got: process 1 is always there.
    (project.root / "data/features/.partial-1-index.parquet").write_bytes(b"half")
    assert ran(project.run("dvc", "repro").stdout) == []


def test_the_demo_breaks_recordings_and_each_is_found(built: Project) -> None:
    # Every fourth session holds the next kind of broken recording; tests/test_snapshot.py has them all.
    metrics = json.loads((built.root / "metrics/snapshot.json").read_text())
    assert metrics["quarantined"] == {
        iq.NOT_FINITE: 2,
        iq.MISSING: 1,
        iq.TRUNCATED: 1,
        iq.WRONG_DTYPE: 1,
        iq.WRONG_SHAPE: 1,
    }
    assert len(quarantine(built)) == 6
