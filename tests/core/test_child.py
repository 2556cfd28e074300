"""A process forgets what leads to services that it does not reach."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from heimdall.core import child
from heimdall.core.child import Service

STAGE = """
import json, os
from pathlib import Path
from heimdall.core import stage, variables
from heimdall.core.child import Service
def main():
    started = {line.split("=")[0] for line in Path("/proc/self/environ").read_text().split(chr(0))}
    print(json.dumps([sorted({*found} & {NAMES}) for found in (os.environ, started)]))
if __name__ == "__main__":
    stage.run(main, {REACHES})
"""
NAMES = {
    "HEIMDALL_DATABASE_URL",
    "HEIMDALL_DATABASE_URL_OPERATOR",
    "PGPASSWORD",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_PROFILE",
    "MLFLOW_TRACKING_URI",
    "HEIMDALL_RAY_ADDRESS",
    "RAY_AUTH_TOKEN",
}


@pytest.mark.parametrize(
    ("reaches", "kept"),
    [
        ("", set()),
        ("Service.S3", {"AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"}),
        ("Service.MLFLOW", {"MLFLOW_TRACKING_URI"}),
        ("Service.CLUSTER", {"HEIMDALL_RAY_ADDRESS", "RAY_AUTH_TOKEN"}),
        (
            "Service.LIBPQ, database=variables.DATABASE_URL",
            {"HEIMDALL_DATABASE_URL", "PGPASSWORD"},
        ),
    ],
)
def test_a_stage_has_only_what_leads_to_the_services_that_it_reaches(
    tmp_path: Path, reaches: str, kept: set[str]
) -> None:
    script = tmp_path / "stage.py"
    script.write_text(STAGE.replace("{NAMES}", str(NAMES)).replace("{REACHES}", reaches))
    done = subprocess.run(
        [sys.executable, str(script)],
        env=dict.fromkeys(NAMES, "secret") | {"PATH": "/usr/bin:/bin"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    # Neither in its variables nor, after it replaced itself, in what the system shows of it.
    assert json.loads(done.stdout.splitlines()[-1]) == [sorted(kept), sorted(kept)]


def test_a_child_in_another_folder_means_by_its_variables_what_we_mean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").write_text("[default]\nregion = eu-north-1\n")
    own = {"AWS_CONFIG_FILE": "config", "AWS_CA_BUNDLE": "", "AWS_PROFILE": "", "PGPASSFILE": "~/none"}
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    found = child.environment(Service.S3, Service.LIBPQ)
    assert {name: found.get(name) for name in own} == {
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
        "AWS_CA_BUNDLE": None,
        "AWS_PROFILE": None,
        "PGPASSFILE": "~/none",
    }
    assert region_of_boto3(found) == "eu-north-1"

    keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "s3cret"}
    monkeypatch.setenv("AWS_PROFILE", "none")  # boto3 fails at it
    monkeypatch.setenv("AWS_REGION", "eu-south-1")  # boto3 does not read it
    assert child.environment(Service.S3)["AWS_PROFILE"] == "none"
    assert region_of_boto3(child.settled(child.environment(Service.S3) | keys)) == "eu-south-1"


def region_of_boto3(environment: dict[str, str]) -> str:
    """The region of a client of boto3 in a process of its own, in another folder."""
    done = subprocess.run(
        [sys.executable, "-c", "import boto3; print(boto3.client('s3').meta.region_name)"],
        env=environment,
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_the_code_of_a_revision_has_the_token_of_the_cluster_where_it_computes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = {"HEIMDALL_RAY_ADDRESS", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"}
    for name in names:
        monkeypatch.setenv(name, "secret")
    assert names <= child.environment_of_code(Service.CLUSTER).keys()
    assert not names & child.environment_of_code(Service.S3).keys()
    assert not names & child.environment().keys()


def test_an_empty_name_of_a_file_names_no_folder() -> None:
    empty = dict.fromkeys(("PGPASSFILE", "REQUESTS_CA_BUNDLE"), "")
    assert empty.items() <= child.settled(empty).items()
