"""The command as a person meets it: help, errors in one line, exit codes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from heimdall.cli import ENTRIES
from tests import REPOSITORY
from tests.conftest import clean_environment, heimdall
from tests.start_up import LIBRARIES, SLOW, answer

HELP = """
import contextlib, io, json, sys
import click
from heimdall import cli

def commands(group, path):
    yield path
    for name in group.list_commands(None) if isinstance(group, click.Group) else ():
        yield from commands(group.get_command(None, name), [*path, name])

def shown(path):
    sys.argv = ["heimdall", *path, "--help"]
    with contextlib.redirect_stdout(io.StringIO()) as output, contextlib.suppress(SystemExit):
        cli.main()
    return output.getvalue(), sorted({module.split(".")[0] for module in sys.modules})

print(json.dumps([[path, *shown(path)] for path in commands(cli.heimdall, [])]))
"""


def test_help_of_every_command_has_an_example_and_waits_for_no_library() -> None:
    done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    paths = [path for path, _, _ in found]
    assert [path[0] for path in paths if len(path) == 1] == list(ENTRIES)
    assert ["services", "up"] in paths
    for path, text, modules in found:
        assert "Example:" in text, path
        assert not LIBRARIES & set(modules), path
    assert all(name in found[0][1] for name in ENTRIES)


def test_help_of_the_installed_command_is_the_same(tmp_path: Path) -> None:
    shown = heimdall(tmp_path, "--help", env=clean_environment())
    assert shown.returncode == 0
    assert all(name in shown.stdout for name in ENTRIES)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ("predict", 2, "Missing argument '[ID=]FILE.npy...'"),
        ("predict none.npy", 1, "heimdall: models/localizer.onnx: the file is missing. Run"),
        ("predict none.npy --model params.yaml", 1, "heimdall: none.npy: it cannot be read"),
        ("predict params.yaml --model params.yaml --times none.csv", 1, "none.csv: it cannot be read"),
        ("predict none.npy --sample-rate-hz 0", 2, "Invalid value for '--sample-rate-hz'"),
        ("locate", 2, "Missing argument 'SESSION_ID...'"),
        ("locate 6f1c2a9e --method guess", 2, "Invalid value for '--method': 'guess' is not one of"),
        ("locate 6f1c2a9e", 1, "heimdall: data/features/network.json: the file is missing. Run `dvc repro`"),
        ("receivers", 1, "heimdall: data/features/network.json: the file is missing. Run `dvc repro`"),
        ("compare HEAD", 2, "Missing argument 'B'"),
        ("compare HEAD main", 1, "data/features/network.json: the file is missing. Run `dvc repro`"),
        ("monitor --since 2026-11-01", 1, "heimdall: models/localizer.onnx: the file is missing. Run"),
        ("lineage none.onnx", 1, "heimdall: none.onnx: the file is missing. Run `dvc repro`"),
        ("monitor", 2, "Missing option '--since'"),
        ("demo seed --seed 1000", 2, "Invalid value for '--seed'"),
        ("ingest kiwi a.wav --latitude 91", 2, "Invalid value for '--latitude'"),
        ("sweep", 2, "Give --trials N to work on the study, or --report to see it"),
        ("release", 2, "Missing argument 'vX.Y.Z'"),
        ("release v1", 1, "heimdall: 'v1': no semantic version. Write it as v1.2.3"),
        ("promote v1", 1, "heimdall: 'v1': no semantic version. Write it as v1.2.3"),
        ("verify HEAD HEAD", 2, "Got unexpected extra argument (HEAD)"),
    ],
)  # fmt: skip
def test_wrong_arguments_are_refused_before_any_slow_library(
    arguments: str, code: int, said: str, tmp_path: Path
) -> None:
    shutil.copy(REPOSITORY / "params.yaml", tmp_path)
    found = answer(tmp_path, str(Path(sys.executable).parent / "heimdall"), *arguments.split())
    assert found.code == code
    assert said in found.error
    assert not SLOW & found.libraries


@pytest.mark.parametrize(
    "arguments",
    ["compare HEAD main", "locate 6f1c2a9e", "monitor --since 2026-11-01", "receivers", "review"],
)
def test_bad_parameters_are_refused_before_any_slow_library(arguments: str, tmp_path: Path) -> None:
    text = (REPOSITORY / "params.yaml").read_text(encoding="utf-8")
    (tmp_path / "params.yaml").write_text(f"{text}learning_rate: 1\n", encoding="utf-8")
    found = answer(tmp_path, str(Path(sys.executable).parent / "heimdall"), *arguments.split())
    assert found.code == 1
    assert "heimdall: params.yaml: learning_rate: Unexpected keyword argument" in found.error
    assert not SLOW & found.libraries


def test_the_rooms_of_releases_and_services_import_nothing_slow() -> None:
    script = (
        "import sys\n"
        "from heimdall.release import attestation, mlflow_registry, promotion, releases_text\n"
        "from heimdall.services import lifecycle\n"
        "from heimdall.track import mlflow_store, tracking\n"
        "print(*sorted({module.split('.')[0] for module in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not SLOW & set(done.stdout.split())


def test_a_foreseen_failure_is_one_line_on_stderr(tmp_path: Path) -> None:
    failed = heimdall(tmp_path, "services", "status", env=clean_environment())
    assert failed.returncode == 1
    assert failed.stdout == ""
    assert failed.stderr.startswith("heimdall: PostgreSQL and S3: no embedded servers here")
    assert failed.stderr.count("\n") == 1


def test_an_unknown_command_is_a_usage_error(tmp_path: Path) -> None:
    failed = heimdall(tmp_path, "nonsense", env=clean_environment())
    assert failed.returncode == 2
    assert "No such command 'nonsense'" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_ctrl_c_ends_with_130(tmp_path: Path) -> None:
    # A database that takes the connection and never says a word keeps the command waiting.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        env = clean_environment() | {
            "HEIMDALL_DATABASE_URL": f"postgresql://user@127.0.0.1:{silent.getsockname()[1]}/name",
            "HEIMDALL_S3_ENDPOINT_URL": "http://127.0.0.1:1",
            "AWS_ACCESS_KEY_ID": "a",
            "AWS_SECRET_ACCESS_KEY": "b",
        }
        command = [str(Path(sys.executable).parent / "heimdall"), "services", "status"]
        process = subprocess.Popen(command, cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True)
        silent.accept()
        time.sleep(0.2)
        os.kill(process.pid, signal.SIGINT)
        _, error = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in error
