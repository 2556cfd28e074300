"""A process forgets what leads to services that it does not reach."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

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
}


@pytest.mark.parametrize(
    ("reaches", "kept"),
    [
        ("", set()),
        ("Service.S3", {"AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"}),
        ("Service.MLFLOW", {"MLFLOW_TRACKING_URI"}),
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
