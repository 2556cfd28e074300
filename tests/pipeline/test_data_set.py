"""A data set of a database and a bucket in Python, by the specification's HeimdallDataset."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from tests.projects import Project

SCRIPT = """
import json, sys
from heimdall import HeimdallDataset, Settings
dataset = HeimdallDataset(Settings(data_dir=sys.argv[1]), "val")
features, label = dataset[0]
print(json.dumps([len(dataset), list(features.shape), str(features.dtype), list(label.shape)]))
"""


def in_folder(project: Project, folder: Path, *command: str) -> str:
    """What a command prints in another folder, with the project's code."""
    line = f"cd {shlex.quote(str(folder))} && {shlex.join(command)}"
    return project.run("bash", "-c", line, PYTHONPATH=str(project.root / "src")).stdout


def test_a_database_and_a_bucket_become_the_pipeline_s_bytes(built: Project, tmp_path: Path) -> None:
    """From another folder, in a plain script, through a snapshot; and the second time from what is there."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT, encoding="utf-8")
    made = tmp_path / "made"
    said = in_folder(built, tmp_path, "python", str(script), str(made))
    count, *item = json.loads(said.splitlines()[-1])
    assert count > 0
    assert item == [[3, 128, 32], "torch.float32", [2]]
    features = {
        str(path.relative_to(built.root)): path.read_bytes()
        for path in (built.root / "data/features").rglob("*")
        if path.is_file()
    }
    assert {name: (made / name).read_bytes() for name in features} == features


def test_a_database_that_does_not_answer_is_the_caller_s_error(built: Project, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import heimdall\n"
        "try:\n"
        "    heimdall.Settings('made', database_url='postgresql://u:secret@127.0.0.1:1/none').features()\n"
        "except heimdall.HeimdallError as error:\n"
        "    print(f'{type(error).__name__}: {error}')\n",
        encoding="utf-8",
    )
    said = in_folder(built, tmp_path, "python", str(script))
    assert "HeimdallError: PostgreSQL 127.0.0.1:1/none" in said
    assert "secret" not in said
