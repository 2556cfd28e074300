"""dvc.yaml names for each stage exactly the modules that it imports: no rerun too many, none too few."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.pipeline.conftest import REPOSITORY, STAGES

IMPORTED = """
import json, runpy, sys
from pathlib import Path
sys.argv = [sys.argv[1], "--help"]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit:
    pass
files = [m.__file__ for n, m in sys.modules.items() if n.split(".")[0] == "heimdall" and m.__file__]
print(json.dumps(sorted(str(Path(f).relative_to(Path.cwd())) for f in files)))
"""


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_depends_on_the_modules_that_it_imports(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED, f"stages/{name}.py"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    imported = [
        file for file in json.loads(done.stdout.splitlines()[-1]) if (REPOSITORY / file).stat().st_size > 0
    ]
    listed = [dep for dep in STAGES[name]["deps"] if dep.startswith("src/")]
    assert sorted(listed) == imported


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_depends_on_its_script_and_the_locked_requirements(name: str) -> None:
    deps = STAGES[name]["deps"]
    assert f"stages/{name}.py" in deps
    # An upgrade never sends a team back to the database.
    assert ("requirements/runtime.txt" in deps) == (name != "snapshot")
    assert "requirements/dev.txt" not in deps


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_script_is_short_and_has_help_with_an_example(name: str) -> None:
    script = REPOSITORY / "stages" / f"{name}.py"
    assert len(script.read_text(encoding="utf-8").splitlines()) <= 105
    done = subprocess.run(
        [sys.executable, str(script), "--help"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert f"python stages/{name}.py" in done.stdout
