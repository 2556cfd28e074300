"""What `heimdall lineage` found, as lines of text."""

from __future__ import annotations

import json
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from heimdall.core import table
from heimdall.reproduce import dvc_lock
from heimdall.reproduce.history import Commit
from heimdall.reproduce.lineage import Lineage
from heimdall.reproduce.model_file import Statement
from heimdall.reproduce.origin import Origin
from heimdall.reproduce.paths import LOCK_FILE
from heimdall.reproduce.rows import UNUSED, Row

WIDTH = 110
TASKS = {
    "train": "trained the weights",
    "val": "chose the epoch",
    "test": "tested the model",
    UNUSED: "not used",
}


def lines(report: Lineage, *, everything: bool = False) -> list[str]:
    """The report as text: the verdict, what is changed, where the file comes from, how many rows made it.

    Args:
        report: The report.
        everything: Also parameters, modules, every row and every check.
    """
    model, changed = report.model, report.changed
    shown = [verdict(report), *(f"  CHANGED  {check.what}: {check.problem}" for check in changed)]
    shown += ["", "FILE", f"  path    {model.path}", f"  sha256  {model.sha256}", f"  md5     {model.md5}"]
    if model.says is not None:
        shown += ["", "WHAT THE FILE SAYS ABOUT ITSELF", *statement_lines(model.says, everything=everything)]
    shown += ["", f"WHERE {LOCK_FILE} HAS THE FILE", *place_lines(report)]
    if report.origin is not None:
        stages = stage_lines(report.origin, everything=everything)
        shown += ["", f"STAGES THAT MADE THE FILE ({report.origin.name})", *stages]
        data = f" ({model.says.data})" if model.says is not None else ""
        shown += ["", f"ROWS{data}", *row_lines(report.rows, everything=everything)]
    same = [check for check in report.checks if not check.problem]
    shown += ["", "CHECKS", f"  {len(same)} of {len(report.checks)} checks found what is recorded"]
    if everything:
        return [*shown, *(f"  ok       {check.what}" for check in same)]
    return [*shown, "", "--all shows every parameter, module, row and check"]


def as_dict(report: Lineage) -> dict[str, Any]:
    """Everything, for machines."""
    model, origin = report.model, report.origin
    stages = [] if origin is None else origin.stages
    return {
        "path": str(model.path),
        "sha256": model.sha256,
        "md5": model.md5,
        "unchanged": not report.changed,
        "changed": changed_names(report),
        "says": None if model.says is None else asdict(model.says),
        "damage": model.damage,
        "in_workspace": report.in_workspace,
        "commits": [asdict(commit) for commit in report.commits],
        "tips": list(report.tips),
        "made_of_the_same": [asdict(commit) for commit in report.kin],
        "origin": None if origin is None else origin.name,
        "stages": [
            {"name": one.name, "sha256": one.sha256, "command": one.cmd, "params": dvc_lock.flat(one.params)}
            for one in stages
        ],
        "rows": [asdict(row) for row in report.rows],
        "checks": [asdict(check) for check in report.checks],
    }


def statement_lines(says: Statement, *, everything: bool) -> list[str]:
    """What the file says: data, and of parameters and modules how many, or all."""
    facts = {"data": says.data, "data fingerprint": says.data_fingerprint, **says.others}
    shown = [f"  {name:<16}  {value}" for name, value in facts.items()]
    if not everything:
        return [*shown, f"  {len(says.params)} parameters, {len(says.modules)} modules"]
    return [
        *shown,
        "  parameters",
        *paragraph(says.params),
        "  modules, sha256",
        *(f"    {name:<24}  {sha256}" for name, sha256 in says.modules.items()),
    ]


def place_lines(report: Lineage) -> list[str]:
    """The workspace and the commits in whose dvc.lock the file stands, or those that come near."""
    shown = ["  the workspace"] if report.in_workspace else []
    shown += commit_lines(report.commits)
    if report.tips:
        shown.append(f"  at the tip of: {', '.join(report.tips)}")
    if not shown:
        shown.append(f"  nowhere: neither {LOCK_FILE} of the workspace nor that of any commit has it")
    if report.kin:
        shown += ["  models from the same data with the same parameters, but with other bytes:"]
        shown += commit_lines(report.kin)
    return shown


def commit_lines(commits: Sequence[Commit]) -> list[str]:
    """One line a commit."""
    return [f"  {commit.hash[:12]}  {commit.date}  {commit.subject}" for commit in commits]


def stage_lines(origin: Origin, *, everything: bool) -> list[str]:
    """The moment of the snapshot, and each stage with the hash of its entry in dvc.lock."""
    shown = [f"  as_of  {dvc_lock.params_of(origin.stages).get('snapshot.as_of', 'unknown')}"]
    if not everything:
        return [*shown, f"  {', '.join(stage.name for stage in origin.stages)}"]
    for stage in origin.stages:
        shown += [
            f"  {stage.name}",
            f"    sha256 of its entry  {stage.sha256}",
            f"    command              {stage.cmd}",
            "    parameters",
            *paragraph(dvc_lock.flat(stage.params)),
        ]
    return shown


def row_lines(rows: Sequence[Row], *, everything: bool) -> list[str]:
    """How many recordings did what, and one line each if all is wanted."""
    if not rows:
        return ["  not shown, because the data that the file names were not found"]
    counts = Counter(row.split for row in rows)
    parts = [f"{counts[split]} {split} ({task})" for split, task in TASKS.items() if counts[split]]
    shown = [f"  {', '.join(parts)}"]
    if not everything:
        return shown
    cells = [
        (
            row.measurement_id,
            row.session_id,
            str(row.websdr_id),
            row.split,
            row.object_key,
            row.object_sha256,
        )
        for row in rows
    ]
    headings = ("measurement", "session", "receiver", "split", "object", "sha256 of the object")
    return [*shown, *(f"  {line}" for line in table.lines(headings, cells))]


def paragraph(values: Mapping[str, Any]) -> list[str]:
    """Parameters, as many on a line as it holds."""
    text = ", ".join(f"{name}={json.dumps(value)}" for name, value in values.items())
    indent = " " * 6
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def verdict(report: Lineage) -> str:
    """The first line."""
    if not report.changed:
        committed = "" if report.commits else f"; the workspace's {LOCK_FILE} is not committed yet"
        return f"unchanged: {report.model.path} and all that made it are as recorded{committed}"
    return f"CHANGED: {', '.join(changed_names(report))}"


def changed_names(report: Lineage) -> list[str]:
    """What is changed, each once."""
    return list(dict.fromkeys(check.what.split(":")[0] for check in report.changed))
