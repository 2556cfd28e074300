"""What lineage compares with what is recorded: bytes, parameters, modules, outputs, dvc.lock itself."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from heimdall.core import artifacts, child
from heimdall.reproduce import dvc_lock
from heimdall.reproduce.dvc_lock import MISSING
from heimdall.reproduce.model_file import WEIGHTS_SUFFIX, Model
from heimdall.reproduce.origin import Origin
from heimdall.reproduce.paths import LOCK_FILE


@dataclass(frozen=True)
class Check:
    """One thing that was compared with what is recorded of it.

    Attributes:
        what: The thing.
        problem: What was found and what is recorded; "" where they are the same.
    """

    what: str
    problem: str = ""


def file_checks(origin: Origin, model: Model) -> list[Check]:
    """Compare the bytes of a model file, and of what stands beside it, with the dvc.lock of its origin."""
    outs, where = dvc_lock.outputs(origin.lock), f"MD5 in {LOCK_FILE} of {origin.name}"
    checks = [compared(f"{model.path}: {where}", model.md5, outs[origin.output])]
    if model.path.suffix == WEIGHTS_SUFFIX:
        beside = model.path.with_suffix(".json")
        recorded = outs.get(str(PurePosixPath(origin.output).with_suffix(".json")), MISSING)
        checks.append(compared(f"{beside}: {where}", dvc_lock.md5(beside), recorded))
    if model.says is not None and model.says.weights_sha256 is not None:
        what = f"{model.path}: SHA-256 in the .json beside it"
        checks.append(compared(what, model.sha256, model.says.weights_sha256))
    return checks


def param_checks(stated: Mapping[str, Any], recorded: Mapping[str, Any]) -> list[Check]:
    """Compare the parameters that a file states with those of dvc.lock, both by dotted name."""
    return _summed(
        f"{len(stated)} parameters stated in the file: in {LOCK_FILE}",
        [
            compared(f"parameter {name}", json.dumps(value), json.dumps(recorded.get(name)))
            for name, value in stated.items()
            if name not in recorded or value != recorded[name]
        ],
    )


def module_checks(modules: Mapping[str, str], where: str, read: Callable[[str], bytes | None]) -> list[Check]:
    """Compare the hashes of modules that a file states with the modules' sources.

    Args:
        modules: SHA-256 by name.
        where: Whose sources, for the reader.
        read: The content of a source by its path in the repository; None where there is none.
    """
    found = {}
    for name in modules:
        stem = f"src/{name.replace('.', '/')}"
        contents = (read(f"{stem}.py"), read(f"{stem}/__init__.py"))
        found[name] = next((artifacts.sha256_bytes(one) for one in contents if one is not None), MISSING)
    return _summed(
        f"{len(modules)} modules stated in the file: SHA-256 of {where}",
        [
            compared(f"module {name}: SHA-256 of {where}", found[name], recorded)
            for name, recorded in modules.items()
            if found[name] != recorded
        ],
    )


def output_checks(tree: Path, output: str, recorded: str) -> list[Check]:
    """Hash an output again, byte for byte; of a folder that changed, name the files.

    Args:
        tree: Where it lies.
        output: Its path there.
        recorded: Its MD5 in dvc.lock.
    """
    found = dvc_lock.md5(tree / output)
    whole = compared(output, found, recorded)
    listing = _listing(tree, recorded) if whole.problem and recorded.endswith(".dir") else None
    if listing is None:
        return [whole]
    present = {
        path.removeprefix(f"{output}/"): file for path, file in dvc_lock.files_below(tree, [output]).items()
    }
    return [
        compared(f"{output}/{path}", dvc_lock.md5(tree / output / path), listing.get(path, "no such file"))
        for path in sorted(listing.keys() | present.keys())
        if path not in present or dvc_lock.md5(present[path]) != listing.get(path)
    ]


def lock_checks(repository: Path, origin: Origin) -> list[Check]:
    """Compare the dvc.lock of a tree with the tree's own files, and with the commit that recorded it."""
    stages = {stage.name: stage for stage in origin.stages}
    sentences = [one.partition(": ") for one in dvc_lock.contradictions(origin.tree, origin.lock)]
    checks = _summed(
        f"{LOCK_FILE}: against dvc.yaml, params.yaml and the dependencies in {origin.name}",
        [Check(f"{LOCK_FILE} ({name})", rest) for name, _, rest in sentences if name in stages],
    )
    if origin.commit is None or origin.tree != repository:
        return checks
    commit = origin.commit.hash
    committed = dvc_lock.read(repository, commit)
    recorded = {name: committed[name].sha256 if name in committed else MISSING for name in stages}
    return checks + _summed(
        f"{LOCK_FILE}: against commit {commit[:12]}, stage by stage",
        [
            compared(f"{LOCK_FILE} ({name}): SHA-256 in commit {commit[:12]}", stage.sha256, recorded[name])
            for name, stage in stages.items()
            if stage.sha256 != recorded[name]
        ],
    )


def _listing(tree: Path, recorded: str) -> dict[str, str] | None:
    """MD5 of every file of a folder by its path in it, from DVC's cache; None if the cache has it not."""
    command = [sys.executable, "-m", "dvc", "cache", "dir"]
    shown = subprocess.run(
        command, cwd=tree, env=child.environment(), capture_output=True, text=True, check=False
    ).stdout.strip()
    file = tree / shown / "files" / "md5" / recorded[:2] / recorded[2:]
    if not file.is_file() or f"{dvc_lock.md5(file)}.dir" != recorded:
        return None
    return {entry["relpath"]: entry["md5"] for entry in artifacts.read_json(file)}


def _summed(what: str, failures: Sequence[Check]) -> list[Check]:
    """The failures, or one check that says that there is none."""
    return list(failures) or [Check(what)]


def compared(what: str, found: str, recorded: str) -> Check:
    """The check of two texts that must be the same."""
    return Check(what, "" if found == recorded else f"found {found}, recorded {recorded}")
