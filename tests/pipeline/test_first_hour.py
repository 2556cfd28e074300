"""A newcomer's first hour: every line of the README that can be pasted is pasted, in the README's order."""

from __future__ import annotations

import json
import re
import uuid
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from tests import REPOSITORY
from tests.projects import Project, ran

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
SESSION = "92998002"  # of the demo; the tiny world has others
# The tests' own environment stands in for these two: see tests/test_make.py for what make does.
IN_PLACE = ("make demo", "source .venv/bin/activate")


def blocks() -> list[tuple[str, str]]:
    """The language and the text of what the README says to paste; the rest is to be read alone."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert {language for language, _ in found} == {"bash", "python", "text", ""}
    return [(language, text) for language, text in found if language in {"bash", "python"}]


@pytest.mark.parametrize("rebuilt", [False, pytest.param(True, marks=pytest.mark.series)])
def test_every_line_can_be_pasted_in_order(built: Project, tmp_path: Path, rebuilt: bool) -> None:
    own = {"HEIMDALL_MODELS_BUCKET": f"models-{uuid.uuid4().hex[:12]}", "HEIMDALL_TRACKING": "on"}
    project = replace(built, env=built.env | own).copy(tmp_path / "heimdall")
    project.run("heimdall", "services", "up")
    index = pd.read_parquet(project.root / "data/features/index.parquet")
    heard = index[(index["split"] == "test") & (index["receivers_heard"] >= 1)]
    prefix = heard["session_id"].iloc[0][: len(SESSION)]
    printed = ""
    for language, text in blocks():
        if language == "python":
            first = sorted((project.root / f"session-{prefix}").glob("websdr_*.npy"))[0].name
            script = tmp_path / "readme.py"
            script.write_text(text.replace("websdr_1.npy", first).replace(SESSION, prefix), encoding="utf-8")
            said = project.run("python", str(script), PYTHONPATH=str(project.root / "src")).stdout
            assert "torch.Size([1, 4])" in said
            continue
        for line in text.splitlines():
            if line in IN_PLACE:
                continue
            command = line.replace(SESSION, prefix)
            if line.startswith("heimdall predict"):
                frequency = re.search(r"--frequency-mhz \S+", printed)
                assert frequency, printed
                command = re.sub(r"--frequency-mhz \S+", frequency[0], command)
            if line.startswith("heimdall release ") and not rebuilt:
                command += " --skip-verify"
            said = project.run("bash", "-c", command).stdout
            assert "Traceback" not in said
            if line.startswith("dvc exp run"):
                assert ran(said) == ["train", "evaluate", "export"]
            printed = said.splitlines()[-1] if said else ""
    log = project.run("heimdall", "-q", "releases", "--json").stdout
    assert json.loads(log)["champion"] == "v0.1.0"
    assert project.run("git", "status", "--porcelain").stdout == ""


def test_the_session_of_the_readme_is_one_of_the_demo_s_test_sessions() -> None:
    estimates = (REPOSITORY / "plots/map.csv").read_text(encoding="utf-8")
    assert re.search(rf"^{SESSION}-", estimates, re.MULTILINE)
    assert SESSION in README
