"""What a command imports before it answers."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

# Each takes half a second or more to import.
SLOW = frozenset({"lightning", "matplotlib", "mlflow", "pandas", "torch"})
# Help needs none of these either.
LIBRARIES = SLOW | {
    "boto3",
    "dvc",
    "numpy",
    "onnx",
    "onnxruntime",
    "optuna",
    "psycopg2",
    "pyarrow",
    "scipy",
    "sqlalchemy",
    "timm",
}
IMPORTED = re.compile(r"import time: +\d+ \| +\d+ \| +([\w.]+)\n?")


@dataclass(frozen=True)
class Answer:
    """What became of a command.

    Attributes:
        code: Its exit code.
        error: What it said on stderr.
        libraries: Packages that it imported.
    """

    code: int
    error: str
    libraries: frozenset[str]


def answer(cwd: Path, *command: str) -> Answer:
    """Run a command, and see what it imports; processes that replace it or that it starts are counted."""
    # The environment, unlike an option of the interpreter, reaches the process that replaces the first.
    done = subprocess.run(
        command,
        cwd=cwd,
        env=os.environ | {"PYTHONPROFILEIMPORTTIME": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    libraries = frozenset(name.split(".")[0] for name in IMPORTED.findall(done.stderr))
    assert "heimdall" in libraries
    said = IMPORTED.sub("", done.stderr).replace(
        "import time: self [us] | cumulative | imported package\n", ""
    )
    return Answer(done.returncode, said, libraries)
