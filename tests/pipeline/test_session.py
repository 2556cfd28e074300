"""A session of the data as files, and the command that locates them, as it was printed."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pandas as pd

from tests.projects import Project


def test_the_printed_command_locates_the_fetched_session_from_any_folder(
    built: Project, tmp_path: Path
) -> None:
    index = pd.read_parquet(built.root / "data/features/index.parquet")
    strong = index[index["split"] == "test"].sort_values("receivers_heard").iloc[-1]
    deep = built.root / "docs"
    before = {file.name for file in deep.iterdir()}

    def typed(*command: str) -> str:
        return built.run("bash", "-c", f"cd docs && {shlex.join(command)} 2>/dev/null").stdout

    line = typed("heimdall", "session", "fetch", strong["session_id"][:8], "--output", str(tmp_path / "one"))
    assert line.startswith("heimdall predict ")
    found = json.loads(typed(*shlex.split(line), "--json"))
    heard = index[(index["session_id"] == strong["session_id"]) & index["detected"]]
    assert found["receivers_heard"] == heard["websdr_id"].tolist()
    located = json.loads(
        typed("heimdall", "locate", strong["session_id"][:8], "--method", "fusion", "--json")
    )
    # The same answer as of the features, which hold the spectrogram in 16 bits.
    assert abs(found["latitude_deg"] - located[0]["latitude_deg"]) < 0.01
    assert abs(found["longitude_deg"] - located[0]["longitude_deg"]) < 0.01
    listed = json.loads(typed("heimdall", "session", "list", "--split", "test", "--json"))
    assert {one["session_id"] for one in listed} == set(index["session_id"][index["split"] == "test"])
    assert {file.name for file in deep.iterdir()} == before
    assert built.run("git", "status", "--porcelain").stdout == ""
