"""Shards are reused, never written in place, and survive a kill at any moment."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from heimdall.core import artifacts
from heimdall.core.errors import HeimdallError
from heimdall.recordings.shards import ShardStore

KEY_A, KEY_B = artifacts.fingerprint("a"), artifacts.fingerprint("b")


def store(root: Path, former: dict[str, str] | None = None) -> ShardStore:
    return ShardStore(root / "out", ".bin", root / "work", former)


def forbidden() -> bytes:
    raise AssertionError("built again")


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def finish(shards: ShardStore, *names: str) -> None:
    shards.commit(names)
    shards.prune(names)


def build(shards: ShardStore, key: str, make: Callable[[], bytes]) -> str:
    """As the stages do: the finished shard, or a new one."""
    return shards.find(key) or shards.add(key, make())


def test_name_is_content_and_output_is_untouched_before_commit(tmp_path: Path) -> None:
    name = build(store(tmp_path), KEY_A, lambda: b"content")
    assert name == artifacts.sha256_bytes(b"content")[:16] + ".bin"
    assert not (tmp_path / "out").exists()
    finish(store(tmp_path), name)
    assert files(tmp_path / "out") == {name: b"content"}


def test_finished_shard_is_reused_before_and_after_commit(tmp_path: Path) -> None:
    name = build(store(tmp_path), KEY_A, lambda: b"content")
    assert build(store(tmp_path), KEY_A, forbidden) == name
    finish(store(tmp_path), name)
    assert build(store(tmp_path), KEY_A, forbidden) == name
    assert store(tmp_path).find(KEY_B) is None


def test_work_folder_may_vanish_where_the_caller_knows_the_former_shards(tmp_path: Path) -> None:
    name = build(store(tmp_path), KEY_A, lambda: b"content")
    finish(store(tmp_path), name)
    shutil.rmtree(tmp_path / "work")
    assert store(tmp_path).find(KEY_A) is None
    assert build(store(tmp_path, {KEY_A: name}), KEY_A, forbidden) == name


@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(b"contenT"), Path.unlink])
@pytest.mark.parametrize("committed", [True, False])
def test_damaged_or_lost_shard_is_built_again(
    tmp_path: Path, damage: Callable[[Path], object], committed: bool
) -> None:
    name = build(store(tmp_path), KEY_A, lambda: b"content")
    if committed:
        finish(store(tmp_path), name)
    damage(tmp_path / "out" / name if committed else tmp_path / "work" / "shards" / name)
    assert build(store(tmp_path), KEY_A, lambda: b"content") == name
    finish(store(tmp_path), name)
    assert files(tmp_path / "out") == {name: b"content"}


def test_commit_refuses_a_lost_shard(tmp_path: Path) -> None:
    with pytest.raises(HeimdallError, match="has vanished or is damaged"):
        store(tmp_path).commit(["0123456789abcdef.bin"])


def test_kill_before_the_index_leaves_the_old_shards_and_the_next_run_removes_strays(tmp_path: Path) -> None:
    old = build(store(tmp_path), KEY_A, lambda: b"old")
    finish(store(tmp_path), old)
    new = build(store(tmp_path), KEY_B, lambda: b"new")
    store(tmp_path).commit([new])  # and killed here
    assert files(tmp_path / "out") == {old: b"old", new: b"new"}
    (tmp_path / "out" / ".partial-1-x.bin").write_bytes(b"half")
    again = build(store(tmp_path), KEY_B, forbidden)
    finish(store(tmp_path), again)
    assert files(tmp_path / "out") == {new: b"new"}


def test_work_folder_does_not_grow(tmp_path: Path) -> None:
    for step in range(4):
        name = build(store(tmp_path), artifacts.fingerprint(step), lambda step=step: bytes([step]))
        finish(store(tmp_path), name)
    assert list(files(tmp_path / "work")) == [artifacts.fingerprint(3)]


@pytest.mark.parametrize("name", ["../0123456789abcdef.bin", "0123456789abcdef", "0123456789abcdeg.bin"])
def test_names_that_are_no_shard_are_never_followed(tmp_path: Path, name: str) -> None:
    assert store(tmp_path, {KEY_A: name}).find(KEY_A) is None


def test_keys_that_are_no_hash_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="hexadecimal"):
        store(tmp_path).find("../" + KEY_A)
