"""Files are whole or absent, and equal content gives equal bytes."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

import pytest

from heimdall.core import artifacts, errors
from heimdall.core.errors import HeimdallError


def test_a_failed_write_leaves_the_former_file_and_no_other(tmp_path: Path) -> None:
    target = tmp_path / "folder" / "model.bin"
    artifacts.write_bytes(target, b"former")
    with pytest.raises(RuntimeError, match="half way"), artifacts.atomic(target) as partial:
        partial.write_bytes(b"half")
        raise RuntimeError("half way")
    assert target.read_bytes() == b"former"
    assert [path.name for path in target.parent.iterdir()] == ["model.bin"]


def test_of_a_copy_between_disks_the_full_one_is_named(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space") as caught, artifacts.atomic(tmp_path / "copy") as partial:
        # As shutil raises it: the source is named first.
        raise OSError(errno.ENOSPC, "No space left on device", "other/file", None, str(partial))
    told = errors.foreseen(caught.value)
    assert told is not None
    assert told.subject == str(tmp_path / "copy")


def test_json_is_canonical_and_refuses_nan(tmp_path: Path) -> None:
    artifacts.write_json(tmp_path / "a.json", {"b": 0.1, "a": [1, None, "é"]})
    assert (tmp_path / "a.json").read_text("utf-8") == (
        '{\n  "b": 0.1,\n  "a": [\n    1,\n    null,\n    "é"\n  ]\n}\n'
    )
    assert artifacts.read_json(tmp_path / "a.json") == {"b": 0.1, "a": [1, None, "é"]}
    with pytest.raises(ValueError, match="JSON compliant"):
        artifacts.write_json(tmp_path / "a.json", {"mae_m": float("nan")})
    assert artifacts.read_json(tmp_path / "a.json")["b"] == 0.1


def test_reading_names_the_file_and_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(HeimdallError, match=r"eval\.json: the file is missing\. Run `dvc repro`"):
        artifacts.read_json(tmp_path / "eval.json")
    (tmp_path / "eval.json").write_text("{", encoding="utf-8")
    with pytest.raises(HeimdallError, match="not JSON"):
        artifacts.read_json(tmp_path / "eval.json")


def test_hashes(tmp_path: Path) -> None:
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"  # FIPS 180-4, of no bytes
    (tmp_path / "empty").write_bytes(b"")
    assert artifacts.sha256_file(tmp_path / "empty") == artifacts.sha256_bytes(b"") == empty
    assert artifacts.fingerprint({"a": 1, "b": 2}) == artifacts.fingerprint({"b": 2, "a": 1})
    assert artifacts.fingerprint({"a": 1}) != artifacts.fingerprint({"a": 2})


def test_what_a_killed_process_left_is_removed_and_what_a_running_one_writes_is_not(tmp_path: Path) -> None:
    dead, killed = subprocess.Popen(["true"]), subprocess.Popen(["sleep", "60"])
    dead.wait()
    killed.kill()
    os.waitid(os.P_PID, killed.pid, os.WEXITED | os.WNOWAIT)  # it stays in the table of processes
    left = [f".partial-{process.pid}-model.bin" for process in (dead, killed)]
    kept = [f".partial-{os.getpid()}-model.bin", "model.bin"]
    for name in left + kept:
        (tmp_path / name).write_bytes(b"x")
    artifacts.remove_partial(tmp_path, tmp_path / "absent")
    assert sorted(path.name for path in tmp_path.iterdir()) == kept
    killed.wait()


def test_a_changed_byte_is_not_what_the_name_says(tmp_path: Path) -> None:
    path = tmp_path / f"{artifacts.sha256_bytes(b'content')[:16]}.bin"
    path.write_bytes(b"content")
    assert artifacts.has_its_name(path)
    path.write_bytes(b"contenT")
    assert not artifacts.has_its_name(path)
