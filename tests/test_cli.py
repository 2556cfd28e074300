"""The command as a person meets it: help, errors in one line, exit codes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from heimdall.cli import ENTRIES
from tests.conftest import clean_environment, heimdall


def test_help_names_every_command_and_imports_none(tmp_path: Path) -> None:
    shown = heimdall(tmp_path, "--help", env=clean_environment())
    assert shown.returncode == 0
    assert all(name in shown.stdout for name in ENTRIES)
    assert "Example:" in shown.stdout
    script = (
        "import sys; from heimdall.cli import main; sys.argv = ['heimdall', '--help']\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'numpy', 'pandas', 'torch', 'boto3', 'psycopg2'} & set(sys.modules)))"
    )
    imported = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert imported.stdout.endswith("[]\n")


@pytest.mark.parametrize(
    "command",
    [
        ["services"],
        ["services", "up"],
        ["services", "down"],
        ["services", "status"],
        ["services", "reader"],
        ["track"],
        ["ui"],
        ["release"],
        ["promote"],
        ["rollback"],
        ["releases"],
        ["sweep"],
        ["monitor"],
        ["compare"],
        ["review"],
    ],
)
def test_every_command_shows_an_example(tmp_path: Path, command: list[str]) -> None:
    shown = heimdall(tmp_path, *command, "--help", env=clean_environment())
    assert shown.returncode == 0
    assert "Example:" in shown.stdout


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
