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

from tests.conftest import as_clone, clean_environment
from tests.track.runs import served


@pytest.fixture
def ui(embedded: tuple[Path, str]) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """`heimdall ui` on the embedded store, and its port."""
    with served(as_clone(embedded[0]), clean_environment()) as process_and_port:
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
