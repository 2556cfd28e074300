"""The `run:` steps of a job of a workflow file, executed as GitHub Actions does.

What `uses:` does (the checkout, Python) must be done already. Expressions are looked up in a table, and one
that is not in it fails, as does any key of the file that nothing here understands.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

JOB_KEYS = {"runs-on", "timeout-minutes", "steps"}
STEP_KEYS = {"name", "id", "if", "uses", "with", "env", "run"}


@dataclass(frozen=True)
class Outcome:
    """What became of a job.

    Attributes:
        uses: Actions that the job names, in order.
        ran: Names of the steps that were executed, or what they run, in order.
        code: Exit code of the last of them: a job ends with the first step that fails.
        summary: What was appended to the job's summary.
        output: What the steps printed.
    """

    uses: list[str]
    ran: list[str]
    code: int
    summary: str
    output: str


def run(
    file: Path,
    job: str,
    workspace: Path,
    scratch: Path,
    *,
    values: Mapping[str, str],
    env: Mapping[str, str],
) -> Outcome:
    """Execute a job's steps.

    Args:
        file: The workflow.
        job: Its name there.
        workspace: The checkout.
        scratch: An empty folder for the runner's own files.
        values: Value by expression, such as `github.token`.
        env: The environment of every step.
    """
    described = yaml.safe_load(file.read_text(encoding="utf-8"))["jobs"][job]
    assert set(described) <= JOB_KEYS
    known = dict(values)
    uses: list[str] = []
    ran: list[str] = []
    code, printed = 0, ""
    summary, output, script = (scratch / name for name in ("summary", "output", "step.sh"))
    summary.touch()
    for step in described["steps"]:
        assert set(step) <= STEP_KEYS
        if "uses" in step:
            uses.append(step["uses"])
        if "run" not in step or not is_true(step.get("if"), known):
            continue
        script.write_text(filled(step["run"], known), encoding="utf-8")
        output.write_text("", encoding="utf-8")
        own = {name: filled(str(value), known) for name, value in step.get("env", {}).items()}
        done = subprocess.run(
            ["bash", "-e", str(script)],
            cwd=workspace,
            env={**env, **own, "GITHUB_STEP_SUMMARY": str(summary), "GITHUB_OUTPUT": str(output)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=300,
        )
        ran.append(step.get("name", step["run"]))
        printed += done.stdout
        code = done.returncode
        if code != 0:
            break
        for line in output.read_text(encoding="utf-8").splitlines():
            name, value = line.split("=", 1)
            known[f"steps.{step['id']}.outputs.{name}"] = value
    return Outcome(uses, ran, code, summary.read_text(encoding="utf-8"), printed)


def filled(text: str, values: Mapping[str, str]) -> str:
    """A text with its `${{ expressions }}` replaced."""
    return re.sub(r"\$\{\{\s*(.*?)\s*\}\}", lambda found: value_of(found[1], values), text)


def is_true(condition: Any, values: Mapping[str, str]) -> bool:  # noqa: ANN401 - of YAML
    """Whether a step's `if:` holds: the comparison of two values; none is true."""
    if condition is None:
        return True
    a, operator, b = str(condition).split()
    assert operator in {"==", "!="}
    return (value_of(a, values) == value_of(b, values)) == (operator == "==")


def value_of(expression: str, values: Mapping[str, str]) -> str:
    """The value of an expression: a quoted text, or one of the table."""
    if re.fullmatch(r"'[^']*'", expression):
        return expression[1:-1]
    assert expression in values, f"the table has no {expression}"
    return values[expression]
