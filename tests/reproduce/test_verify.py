"""Which stages are rebuilt, and from which inputs."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from heimdall.commands import output
from heimdall.core import machine
from heimdall.core.errors import HeimdallError
from heimdall.reproduce import checkout, dvc_lock, verify, verify_text
from heimdall.reproduce.differences import Difference
from heimdall.reproduce.dvc_lock import Lock


def test_what_is_rebuilt_and_from_which_inputs(lock: Lock) -> None:
    def names(first: str | None, source: bool) -> list[str]:
        return [stage.name for stage in verify.chosen(lock, first, source)]

    assert names(None, False) == ["featurize", "train"]
    assert names(None, True) == ["snapshot", "featurize", "train"]
    assert names("train", False) == ["train"]
    assert names("snapshot", True) == ["snapshot", "featurize", "train"]
    assert verify.inputs(lock, verify.chosen(lock, "train", False)) == [
        "data/featurize",
        "metrics/featurize.json",
    ]
    assert verify.inputs(lock, verify.chosen(lock, None, True)) == []


def test_a_lock_without_outputs_proves_nothing(lock: Lock) -> None:
    with pytest.raises(HeimdallError, match="names no output"):
        verify.chosen({"snapshot": lock["snapshot"]}, None, False)


def test_no_stage_but_the_snapshot_is_told_of_the_services(
    lock: Lock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = {
        "HEIMDALL_DATABASE_URL": "postgresql://radio:hunter2@db.example/heimdall",
        "PGPASSWORD": "hunter2",
        "PGHOST": "db.example",
        "AWS_ACCESS_KEY_ID": "radio",
        "AWS_SECRET_ACCESS_KEY": "hunter2",
        "AWS_SESSION_TOKEN": "hunter2",
        "MLFLOW_TRACKING_URI": "https://radio:hunter2@mlflow.example",
        # What deployments call the same secrets, and those of others.
        "DATABASE_URL": "postgresql://radio:hunter2@db.example/heimdall",
        **dict.fromkeys(
            ("MINIO_ROOT_PASSWORD", "GITHUB_TOKEN", "VAULT_TOKEN", "DVC_STUDIO_TOKEN"), "hunter2"
        ),
        "SSH_AUTH_SOCK": "/run/agent",
    }
    settings = {
        **{"PATH": "/bin", "HOME": "/root", "LC_ALL": "C", "https_proxy": "http://proxy.example:3128"},
        **{"VIRTUAL_ENV": "/venv", "CUDA_VISIBLE_DEVICES": "0", "OMP_NUM_THREADS": "2"},
        **{"HEIMDALL_RECIPE": "off", "HEIMDALL_RAW_BUCKET": "radio-raw", "DVC_NO_ANALYTICS": "1"},
        **{"XDG_CONFIG_HOME": "/config", "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory"},
    }
    monkeypatch.setattr(os, "environ", secrets | settings)
    keys = """['remote "s3"']\n    secret_access_key = hunter2\n['cache']\n    dir = cache\n"""
    local = tmp_path / ".dvc" / "config.local"
    local.parent.mkdir()
    local.write_text(keys)
    told: dict[str, Mapping[str, str]] = {}

    def dvc(tree: Path, *arguments: str, env: Mapping[str, str]) -> int:
        told[arguments[-1]] = env
        assert "hunter2" not in local.read_text()
        assert "dir = cache" in local.read_text()
        return 0

    monkeypatch.setattr(checkout, "dvc", dvc)
    monkeypatch.setattr(dvc_lock, "md5", lambda path: "")
    verify._rebuild(tmp_path, verify.chosen(lock, None, True), {"the": "snapshot's"}, lambda line: None)
    assert told.pop("snapshot") == {"the": "snapshot's"}
    assert [*told] == ["featurize", "train"]
    assert all({*env} == {*settings, "HEIMDALL_TRACKING"} for env in told.values())
    assert local.read_text() == keys


def test_as_json_it_is_whole_whatever_differs(capsys: pytest.CaptureFixture[str]) -> None:
    differing = Difference("models/a.onnx", "w", 1, 4, math.inf, None, 1.0, "")
    rows = [
        verify.Row("train", "models/a.onnx", "1" * 32, "2" * 32, False),
        verify.Row("snapshot", "data", "3" * 32, "3" * 32, True),
    ]
    here = machine.here(2)
    kept = Path(".heimdall/verify/1")
    report = verify.Verification("f" * 40, rows, [], "train", [differing], [], here, None, 0.1, kept)
    output.as_json(verify_text.as_dict(report))
    said = json.loads(capsys.readouterr().out)
    assert (said["commit"], said["proven"], said["stage"]) == ("f" * 40, False, "train")
    assert [row["equal"] for row in said["rows"]] == [False, True]
    assert said["differences"][0]["max_abs"] is None  # JSON has no infinity
    assert said["kept"] == ".heimdall/verify/1"
