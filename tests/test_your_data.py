"""docs/your-data.md: what it says to paste is pasted, and ends with a snapshot."""

from __future__ import annotations

import io
import json
import re
import uuid
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pyarrow.parquet as pq

from heimdall.formats.gps_time import SECOND_NS, gps_ns_of_utc
from heimdall.storage import embedded, roles, sources
from heimdall.storage.connection import connect
from heimdall.storage.endpoints import Database
from heimdall.storage.objectstore import ObjectStore
from tests import REPOSITORY
from tests.conftest import Services
from tests.projects import Project

PAGE = (REPOSITORY / "docs/your-data.md").read_text(encoding="utf-8")
RATE_HZ = 48_000
SECONDS = 3
START_GPS_NS = gps_ns_of_utc(1_768_000_000 * SECOND_NS)  # 2026-01-09


def recipe(number: int, language: str = "bash") -> list[str]:
    """The blocks of one recipe in this language, in order."""
    (section,) = re.findall(rf"^## {number}\. .*?(?=^## )", PAGE, re.MULTILINE | re.DOTALL)
    return re.findall(rf"^ *```{language}\n(.*?)^ *```$", section, re.MULTILINE | re.DOTALL)


def write_recordings(folder: Path) -> None:
    """Two receivers' noise as .npy, with the GPS time of its first sample beside it."""
    for seed, name in enumerate(("torino", "montanaro")):
        random = np.random.default_rng(seed)
        samples = random.normal(size=(SECONDS * RATE_HZ, 2)) @ [1, 1j]
        np.save(folder / f"{name}.npy", samples.astype(np.complex64))
        known = {
            "sample_rate_hz": RATE_HZ,
            "frequency_hz": 145_500_000,
            "start_gps_ns": START_GPS_NS,
            "timing_sigma_ns": 50.0,
        }
        (folder / f"{name}.json").write_text(json.dumps(known), encoding="utf-8")


def write_receivers(path: Path) -> None:
    """The file of receivers as the page shows it."""
    (shown,) = recipe(3, "text")
    path.write_text("".join(line.strip() + "\n" for line in shown.splitlines()), encoding="utf-8")


def snapshot_rows(project: Project) -> dict[str, int]:
    """How many recordings of each receiver the snapshot has."""
    names = {
        row["websdr_id"]: row["name"]
        for row in pq.read_table(project.root / "data/snapshot/receivers.parquet").to_pylist()
    }
    table = pq.read_table(project.root / "data/snapshot/measurements.parquet").to_pylist()
    found = [names[row["websdr_id"]] for row in table]
    return {name: found.count(name) for name in names.values()}


def a_minute_passes(administrator: Database) -> None:
    """What was approved now was approved two minutes ago: nobody waits in a test."""
    with closing(connect(administrator)) as opened, opened, opened.cursor() as cursor:
        cursor.execute("UPDATE heimdall.measurements SET approved_at = approved_at - interval '2 minutes'")
        assert cursor.rowcount == 2 * SECONDS


def with_roles(project: Project, services: Services, *kinds: roles.Role, source: str = "own") -> Project:
    """The project with no address of PostgreSQL but those of these roles, each with its printed rights."""
    administrator = Database(project.env["HEIMDALL_DATABASE_URL"], embedded=False)
    settings = embedded.load(services.root)
    assert settings is not None
    database = urlsplit(administrator.url).path
    addresses = {}
    with closing(connect(administrator)) as opened, opened, opened.cursor() as cursor:
        for kind in kinds:
            chosen = sources.load(source, REPOSITORY / "sql")
            for statement in roles.statements(kind, chosen, roles.quoted(database.removeprefix("/"))):
                cursor.execute(statement)
            addresses[kind.variable.name] = urlsplit(settings.url_of(kind))._replace(path=database).geturl()
    env = {name: value for name, value in project.env.items() if name != "HEIMDALL_DATABASE_URL"}
    return replace(project, env=env | addresses)


def with_every_role(project: Project, services: Services) -> Project:
    """The same in the order that docs/postgresql.md says: the migrator makes the tables itself."""
    administrator = Database(project.env["HEIMDALL_DATABASE_URL"], embedded=False)
    with closing(connect(administrator)) as opened, opened, opened.cursor() as cursor:
        cursor.execute("DROP SCHEMA heimdall CASCADE")
    with_roles(project, services, roles.MIGRATOR).run("heimdall", "database", "migrate")
    return with_roles(project, services, roles.MIGRATOR, roles.OPERATOR, roles.READER)


def test_a_bucket_with_files_and_a_folder_with_files(
    make_project: Callable[[], Project], shared_services: Services, tmp_path: Path
) -> None:
    """The second recipe copies the files, and the third one goes on with them, as operator and reader."""
    project = make_project()
    write_recordings(tmp_path)
    archive = ObjectStore(shared_services.endpoints.s3, f"archive-{uuid.uuid4().hex[:12]}")
    archive.ensure_bucket()
    for path in sorted(tmp_path.iterdir()):
        archive.put(f"turin-beacon/{path.name}", path.read_bytes())
    write_receivers(project.root / "receivers.csv")
    administrator = Database(project.env["HEIMDALL_DATABASE_URL"], embedded=False)
    project = with_every_role(project, shared_services)
    for block in recipe(2) + recipe(3):
        if "as_of=$(" in block:
            a_minute_passes(administrator)
        said = project.run("bash", "-euc", block.replace("radio-archive", archive.bucket)).stdout
        assert "Traceback" not in said
    assert snapshot_rows(project) == {"torino": SECONDS, "montanaro": SECONDS}
    assert "recordings" not in project.run("git", "status", "--porcelain", "--untracked-files=all").stdout


def test_a_database_and_its_bucket(make_project: Callable[[], Project], shared_services: Services) -> None:
    """The specification's table, which the tables that Heimdall makes know nothing of, as the reader."""
    project = make_project()
    database = Database(project.env["HEIMDALL_DATABASE_URL"], embedded=False)
    bucket = ObjectStore(shared_services.endpoints.s3, project.env["HEIMDALL_RAW_BUCKET"])
    with closing(connect(database)) as opened, opened, opened.cursor() as cursor:
        cursor.execute(
            "CREATE TABLE public.measurements (id serial PRIMARY KEY, session_id uuid, websdr_id integer, "
            "latitude float NOT NULL, longitude float NOT NULL, frequency_mhz float, snr_db float, "
            '"timestamp" timestamptz, created_at timestamptz DEFAULT now(), approved boolean)'
        )
        for session in range(3):
            identifier = str(uuid.UUID(int=session + 1))
            for receiver in (1, 2):
                samples = np.random.default_rng([session, receiver]).normal(size=(192_000, 2)) @ [1, 1j]
                buffer = io.BytesIO()
                np.save(buffer, samples.astype(np.complex64))
                bucket.put(f"sessions/{identifier}/websdr_{receiver}.npy", buffer.getvalue())
                cursor.execute(
                    "INSERT INTO public.measurements (session_id, websdr_id, latitude, longitude, "
                    'frequency_mhz, "timestamp", created_at, approved) '
                    "VALUES (%s, %s, 45.1, 7.6, 145.5, %s, %s, %s)",
                    (identifier, receiver, "2026-01-09Z", "2026-01-10Z", session > 0),
                )
    project = with_roles(project, shared_services, roles.READER, source="specification")
    for block in recipe(1):
        said = project.run("bash", "-euc", block).stdout
        assert "Traceback" not in said
    assert snapshot_rows(project) == {"Aquila di Giaveno": 2, "Montanaro": 2}
