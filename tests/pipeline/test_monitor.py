"""Sessions approved after a training, against the model's claims, by the command that cron runs."""

from __future__ import annotations

import html
import json
import uuid
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg2
import pytest
from psycopg2 import sql

from heimdall.services.process import wait_until
from tests.conftest import Services
from tests.projects import Project

OTHER_SEED, NEW_SESSIONS = 6, 14
SINCE = ("--since", "2020-01-01")  # all that are approved: those of the model's data are left out


@pytest.fixture
def watched(built: Project, shared_services: Services, tmp_path: Path) -> Project:
    """A copy of the built project whose database is its own, with sessions that came later."""
    url = urlsplit(built.env["HEIMDALL_DATABASE_URL"])
    name = f"monitor_{uuid.uuid4().hex[:12]}"
    with_copy = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
    connection = psycopg2.connect(shared_services.endpoints.database.url)
    connection.autocommit = True
    copy = with_copy.format(sql.Identifier(name), sql.Identifier(url.path.lstrip("/")))

    def copied() -> bool:
        try:
            with connection.cursor() as cursor:
                cursor.execute(copy)
        except psycopg2.errors.ObjectInUse:  # a snapshot of another worker's test reads it at this moment
            return False
        return True

    assert wait_until(copied, 60)
    connection.close()
    own = {"HEIMDALL_DATABASE_URL": urlunsplit(url._replace(path=f"/{name}"))}
    project = replace(built.copy(tmp_path / "heimdall"), env=built.env | own)
    world = ("--seed", str(OTHER_SEED), "--sessions", str(NEW_SESSIONS), "--transmitters", "9")
    project.run("heimdall", "demo", "seed", *world, "--bad", "none")
    return project


def move_transmitters(project: Project, degrees: float) -> None:
    connection = psycopg2.connect(project.env["HEIMDALL_DATABASE_URL"])
    with connection, connection.cursor() as cursor:
        cursor.execute("UPDATE measurements SET latitude = latitude + %s", (degrees,))
        assert cursor.rowcount > 0
    connection.close()


def test_new_sessions_are_compared_and_a_worse_model_wakes_somebody(watched: Project) -> None:
    before = watched.hashes()
    known = json.loads((watched.root / "metrics/snapshot.json").read_text())["sessions"]
    written = ("--json-file", "a.json", "--plot", "a.png", "--html", "a.html")
    quiet = watched.run("heimdall", "monitor", *SINCE, *written, check=False)
    figures = json.loads((watched.root / "a.json").read_text())
    assert figures["sessions"] >= NEW_SESSIONS
    assert figures["known_sessions"] == known
    assert figures["data"] == "simulated"
    assert f"{figures['sessions']} new sessions of" in quiet.stdout
    assert (quiet.returncode == 3) == ("ALARM" in quiet.stdout)
    assert quiet.returncode in (0, 3), quiet.stdout
    claimed = json.loads((watched.root / "metrics/eval.json").read_text())
    assert figures["figures"]["accuracy"]["claimed_mae_m"]["value"] == pytest.approx(
        claimed["mae_m"], rel=1e-4
    )
    assert (watched.root / "a.png").read_bytes().startswith(b"\x89PNG")
    page = (watched.root / "a.html").read_text(encoding="utf-8")
    assert f"{figures['sessions']} new sessions of {figures['transmitters']} transmitters" in page
    assert all(f"<p>Alarm: {html.escape(alarm)}.</p>" in page for alarm in figures["alarms"])

    move_transmitters(watched, 1.0)
    alarm = watched.run("heimdall", "monitor", *SINCE, "--json-file", "b.json", check=False)
    assert alarm.returncode == 3, alarm.stdout
    assert "ALARM accuracy: mean error" in alarm.stdout
    moved = json.loads((watched.root / "b.json").read_text())["figures"]["accuracy"]
    assert moved["mae_m"]["value"] > figures["figures"]["accuracy"]["mae_m"]["value"] + 50_000

    few = watched.run("heimdall", "monitor", "--since", "2100-01-01", check=False)
    assert few.returncode == 4, few.stdout
    assert "too few for a verdict" in few.stdout
    assert watched.hashes() == before


@pytest.mark.series
def test_what_cannot_be_monitored_is_said(built: Project, tmp_path: Path) -> None:
    project = built.copy(tmp_path / "heimdall")
    nobody = {"HEIMDALL_DATABASE_URL": "postgresql://user:s3cret@127.0.0.1:1/heimdall"}
    down = project.run("heimdall", "monitor", *SINCE, check=False, **nobody)
    assert down.returncode == 1
    line = down.stdout.splitlines()[-1]
    assert line.startswith("heimdall: ")
    assert "127.0.0.1:1" in line
    assert "s3cret" not in down.stdout
    assert project.run("heimdall", "monitor", "--since", "yesterday", check=False).returncode == 2
    few = project.run("heimdall", "monitor", "--since", "2100-01-01", "--json", "--quiet", check=False)
    assert few.returncode == 4
    assert json.loads(few.stdout)["figures"] is None
