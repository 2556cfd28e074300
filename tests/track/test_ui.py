"""MLflow's server: on the loopback interface alone, and a sentence for what is in its way."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from heimdall.core import variables
from heimdall.track import ui as ui_of_mlflow
from heimdall.track.mlflow_store import Store
from tests.conftest import as_clone, clean_environment
from tests.track.runs import served


@pytest.fixture
def ui(embedded: tuple[Path, str]) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """`heimdall ui` on the embedded store, and its port."""
    with served(embedded[0], clean_environment()) as process_and_port:
        yield process_and_port


def experiment_of(port: int) -> dict[str, Any]:
    """What a server tells of our experiment."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", "/api/2.0/mlflow/experiments/get-by-name?experiment_name=heimdall")
    found: dict[str, Any] = json.load(connection.getresponse())["experiment"]
    return found


def test_ui_opens_on_the_runs_and_answers_on_loopback_alone(ui: tuple[subprocess.Popen[str], int]) -> None:
    process, port = ui
    assert process.stdout is not None
    line = process.stdout.readline()
    page = rf"http://127\.0\.0\.1:{port}/#/experiments/(\d+)/runs\?workflowType=machine_learning&viewStateShareKey=(\S+)"
    shown = re.search(rf"{page} shows the runs in sqlite:///", line)
    assert shown, (line, process.communicate())
    number, view = shown.groups()
    experiment = experiment_of(port)
    assert experiment["experiment_id"] == number
    # Without these tags MLflow asks the reader what kind of experiment this is, and shows no figure.
    tags = {tag["key"]: tag["value"] for tag in experiment["tags"]}
    assert tags["mlflow.experimentKind"] == "custom_model_development"
    columns = json.loads(tags[f"mlflow.sharedViewState.{view}"])["selectedColumns"]
    assert {"metrics.`test.mae_m`", "metrics.`final_val_median_m`"} <= set(columns)

    def status(host: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        query = "/api/2.0/mlflow/experiments/get-by-name?experiment_name=heimdall"
        connection.request("GET", query, headers={"Host": host})
        return connection.getresponse().status

    assert status(f"localhost:{port}") == 200
    assert status("heimdall.example") == 403
    listening = [entry.split()[1] for entry in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    assert {place.split(":")[0] for place in listening if place.endswith(f":{port:04X}")} == {"0100007F"}

    group = int(subprocess.check_output(["ps", "-o", "pid=", "--ppid", str(process.pid)], text=True))
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    with pytest.raises(ProcessLookupError):
        os.killpg(group, 0)


def group_of(leader: int) -> list[int]:
    """All processes in a process's group."""
    listed = subprocess.check_output(["ps", "-e", "-o", "pid=,pgid="], text=True).splitlines()
    return [int(pid) for pid, group in map(str.split, listed) if int(group) == leader]


def test_the_server_is_not_told_how_to_reach_our_database(embedded: tuple[Path, str]) -> None:
    secrets = {
        "HEIMDALL_DATABASE_URL": "postgresql://radio:hunter2@127.0.0.1:1/heimdall",
        "PGPASSWORD": "hunter2",
        "SOME_TOKEN": "hunter2",
    }
    bucket = {
        "HEIMDALL_S3_ENDPOINT_URL": "http://127.0.0.1:1",
        "AWS_ACCESS_KEY_ID": "radio",
        "AWS_SECRET_ACCESS_KEY": "of-the-bucket",
    }
    with served(embedded[0], clean_environment() | secrets | bucket) as (process, _):
        assert process.stdout is not None
        line = process.stdout.readline()
        assert "shows the runs in" in line, (line, process.communicate())
        leader = int(subprocess.check_output(["ps", "-o", "pid=", "--ppid", str(process.pid)], text=True))
        members = group_of(leader)
        assert len(members) > 1
        for member in members:
            told = (Path("/proc") / str(member) / "environ").read_bytes()
            command = (Path("/proc") / str(member) / "cmdline").read_bytes()
            assert b"hunter2" not in told + command
            assert b"HEIMDALL_DATABASE_URL" not in told
            assert b"of-the-bucket" not in command
            assert b"MLFLOW_S3_ENDPOINT_URL=http://127.0.0.1:1" in told
            assert b"AWS_SECRET_ACCESS_KEY=of-the-bucket" in told


def test_a_store_in_postgresql_keeps_what_libpq_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    inherited = {"PGPASSWORD": "hunter2", "PATH": "/bin", "https_proxy": "http://proxy:1", "DISPLAY": ":0"}
    inherited |= {"HEIMDALL_DATABASE_URL": "postgresql://", "GITHUB_TOKEN": "hunter2"}
    monkeypatch.setattr(os, "environ", inherited)

    def told(uri: str) -> set[str]:
        store = Store(uri, None, Path(), None, {"AWS_REGION": "eu"})
        return set(ui_of_mlflow.server_environment(store))

    always = {"PATH", "https_proxy", "AWS_REGION", "AWS_DEFAULT_REGION"}
    always |= {variable.name for variable in variables.AWS_CHECKSUMS}
    always |= {"MLFLOW_BACKEND_STORE_URI", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION"}
    assert told("sqlite:///mlflow.db") == always
    assert told("postgresql+psycopg2://mlflow.example/mlflow") == always | {"PGPASSWORD"}


def test_ui_says_what_is_in_its_way(tmp_path: Path) -> None:
    heimdall = str(Path(sys.executable).parent / "heimdall")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for more, said in (
            ({}, rf"heimdall: 127.0.0.1:{port}: the port is taken by another program\. .*\n"),
            (
                {"MLFLOW_TRACKING_URI": "http://a:hunter2@mlflow.example"},
                r"heimdall: http://mlflow\.example: .*\n",
            ),
        ):
            command = [heimdall, "ui", "--port", port]
            env = clean_environment() | more
            folder = as_clone(tmp_path)
            done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
            assert done.returncode == 1
            assert re.fullmatch(said, done.stderr)
