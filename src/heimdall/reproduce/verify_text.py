"""What `heimdall verify` found, as lines of text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from heimdall.core import machine, table
from heimdall.core.machine import Machine
from heimdall.reproduce import differences
from heimdall.reproduce.differences import Difference
from heimdall.reproduce.verify import Row, Verification

SHOWN = 20  # differing arrays


def lines(report: Verification) -> list[str]:
    """The report as text."""
    shown = [f"revision {report.commit}", "", *row_lines(report.rows)]
    shown += ["", *machine_lines(report.here, report.reference)]
    if report.contradictions:
        shown += ["", f"{report.commit[:12]} contradicts its own dvc.lock:"]
        shown += [f"  {sentence}" for sentence in report.contradictions]
    if report.stage is not None:
        shown += ["", f"first stage that differs: {report.stage}", *difference_lines(report)]
    shown += ["", summary(report)]
    return shown


def as_dict(report: Verification) -> dict[str, Any]:
    """Everything, for machines."""
    rows = [asdict(row) | {"equal": row.equal} for row in report.rows]
    return asdict(report) | {"rows": rows, "proven": report.proven, "summary": summary(report)}


def row_lines(rows: Sequence[Row]) -> list[str]:
    """One line an output; where it differs, the rebuilt hash below the recorded one."""
    cells = []
    for row in rows:
        result = "input" if row.is_input else "equal" if row.equal else "DIFFERS"
        cells.append((row.stage, row.output, result, row.recorded))
        if not row.equal:
            cells.append(("", "", "rebuilt", row.rebuilt))
    return table.lines(("stage", "output", "result", "MD5 in dvc.lock"), cells)


def machine_lines(here: Machine, reference: Machine | None) -> list[str]:
    """This machine beside the recorded one; of the libraries only those that differ."""
    if reference is None:
        recorded, differing = {}, set()
    else:
        recorded = reference.rows()
        differing = {name for name, _, _ in machine.differences(reference, here)}
    found = here.rows()
    names = [name for name in {**found, **recorded} if name not in here.libraries or name in differing]
    cells = [("machine", "this one, and the recorded one where it differs")]
    for name in names:
        cells.append((name, found.get(name, "none")))
        if name in differing:
            cells.append(("", f"recorded: {recorded.get(name, 'none')}"))
    if reference is not None:
        same = len(set(reference.libraries) - differing)
        cells.append(("libraries", f"{same} of {len(reference.libraries)} as recorded"))
    shown = table.lines(("", ""), cells)
    return shown if reference else [*shown, f"no machine is recorded at this revision ({machine.REFERENCE})"]


def difference_lines(report: Verification) -> list[str]:
    """The arrays that differ, by how much, and the verdict."""
    shown = [f"  {sentence(difference)}" for difference in report.differences[:SHOWN]]
    if len(report.differences) > SHOWN:
        shown.append(f"  and {len(report.differences) - SHOWN} more arrays")
    shown += [f"  only hashes can be compared: {obstacle}" for obstacle in report.obstacles]
    return [
        *shown,
        f"  verdict: {verdict(report)}",
        f"  both versions are kept: {report.kept}/tree (recorded) and {report.kept}/rebuilt",
    ]


def verdict(report: Verification) -> str:
    """How bad it is."""
    if report.obstacles:
        return "different (as far as can be told)"
    if report.tolerance is None:
        return "different (this revision declares no tolerance)"
    found = differences.verdict(report.differences, report.tolerance)
    return f"{found} (declared tolerance: {report.tolerance:g} of an array's largest magnitude)"


def sentence(difference: Difference) -> str:
    """One array: how many elements differ, and by how much."""
    where = f"{difference.file}: {difference.array}" if difference.array else difference.file
    parts = [f"{difference.differing} of {difference.size} differ"] if difference.differing else []
    if difference.max_abs is not None:
        parts.append(f"largest difference {difference.max_abs:.6g}")
        if difference.scale:
            parts[-1] += f" ({difference.max_abs / difference.scale:.2g} of the largest magnitude)"
    if difference.max_ulp is not None:
        parts.append(f"{difference.max_ulp} ULP")
    if difference.note:
        parts.append(difference.note)
    return f"{where}: {', '.join(parts)}"


def summary(report: Verification) -> str:
    """The last line."""
    rebuilt = [row for row in report.rows if not row.is_input]
    equal = sum(row.equal for row in rebuilt)
    if report.proven:
        return f"all {equal} outputs are equal, bit for bit"
    if equal == len(rebuilt):
        return f"all {equal} outputs are equal, but dvc.lock does not belong to this revision"
    return f"{len(rebuilt) - equal} of {len(rebuilt)} outputs differ, first in {report.stage}"
