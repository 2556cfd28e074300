"""What the checked-out commit would release: its files in the registry, and the figures it is judged by."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter

from heimdall.core import artifacts, params
from heimdall.core.determinism import PARAMS_FILE
from heimdall.core.errors import HeimdallError
from heimdall.release import page, registry
from heimdall.release.attestation import ARTIFACT
from heimdall.reproduce import dvc_lock, git
from heimdall.reproduce.dvc_lock import Lock
from heimdall.reproduce.files import Files
from heimdall.reproduce.paths import (
    CARD,
    EVALUATION,
    EVALUATION_FULL,
    EVALUATION_VAL,
    LOCK_FILE,
    MODEL,
    MODEL_RECORD,
)

METRICS = "metrics/"


@dataclass(frozen=True)
class Candidate:
    """What would be released: it depends on the version and the commit alone.

    Attributes:
        version: As in vX.Y.Z.
        commit: Full hash.
        lock: The commit's dvc.lock.
        dvc_lock_sha256: Of that file.
        data_fingerprint: Of the snapshot's rows.
        data: simulated, recorded or mixed.
        test: The localizer's figures of the test split.
        files: Content by name in the registry.
    """

    version: str
    commit: str
    lock: Lock
    dvc_lock_sha256: str
    data_fingerprint: str
    data: str
    test: Mapping[str, Any]
    files: Mapping[str, bytes]

    @property
    def hashes(self) -> dict[str, str]:
        """SHA-256 of every file by name."""
        return {name: artifacts.sha256_bytes(content) for name, content in self.files.items()}


def of_head(root: Path, version: str) -> Candidate:
    """What the checked-out commit would release.

    Raises:
        HeimdallError: Something is not committed, an output is missing or not the one that dvc.lock names,
            or dvc.lock does not belong to the commit.
    """
    changes = git.run(root, "status", "--porcelain").stdout.decode(errors="replace").splitlines()
    if changes:
        shown = ", ".join(change.strip() for change in changes[:3])
        more = f", and {len(changes) - 3} more" if len(changes) > 3 else ""
        cause = f"it is not as committed ({shown}{more})"
        remedy = (
            "A release is a commit: commit or `git stash` changes, and move away what git does not track (??)"
        )
        raise HeimdallError("the working tree", cause, remedy)
    commit = git.commit_of(root, "HEAD")
    lock = dvc_lock.read(root, commit)
    contradictions = dvc_lock.contradictions(root, lock)
    if contradictions:
        remedy = "Run `dvc repro` and commit dvc.lock"
        raise HeimdallError(f"{LOCK_FILE} of {commit[:12]}", contradictions[0], remedy)
    declared = dvc_lock.read_yaml(root / "dvc.yaml").get("artifacts") or {}
    if (declared.get(ARTIFACT) or {}).get("path") != MODEL:
        cause = f"its `artifacts` do not name {MODEL} as {ARTIFACT}"
        raise HeimdallError("dvc.yaml", cause, "Restore that section: `dvc artifacts get` reads it")
    files = Files(root)
    made_of = json.loads(files.output(MODEL_RECORD))
    evaluation = json.loads(files.output(EVALUATION_FULL))
    own = (EVALUATION, EVALUATION_VAL, EVALUATION_FULL)
    others = sorted(path for path in dvc_lock.outputs(lock) if path.startswith(METRICS) and path not in own)
    # Every figure of the evaluation as `eval`, as in the releases before the headline stood apart.
    metrics = {"eval": evaluation} | {Path(path).stem: json.loads(files.output(path)) for path in others}
    config = {
        "version": version,
        "git_revision": commit,
        "data_fingerprint": made_of["data_fingerprint"],
        "params": TypeAdapter(params.Params).dump_python(params.load(root / PARAMS_FILE), mode="json"),
    }
    contents = {
        registry.CONFIG_FILE: yaml.safe_dump(config, sort_keys=False, allow_unicode=True).encode(),
        registry.MODEL_FILE: files.output(MODEL),
        registry.METRICS_FILE: artifacts.json_text(metrics).encode(),
        registry.CARD_FILE: page.write(files.output(CARD), version, commit),
    }
    return Candidate(
        version=version,
        commit=commit,
        lock=lock,
        dvc_lock_sha256=artifacts.sha256_file(root / LOCK_FILE),
        data_fingerprint=made_of["data_fingerprint"],
        data=evaluation["data"],
        test=evaluation["test"]["localizer"],
        files={name: contents[name] for name in registry.FILES},
    )
