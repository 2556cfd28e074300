"""What featurize computes again, and what a damaged file or a kill leaves: the same bytes in the end."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from heimdall.core import artifacts, rooms
from heimdall.core.errors import HeimdallError
from heimdall.pipeline.featurize import featurize
from heimdall.pipeline.featurize.featurize import ShardTask
from heimdall.recordings import archive
from heimdall.signal.session_files import SessionFile
from tests.tiny_snapshot import GPS_NS, PARAMS, RATE_HZ, SPLIT, outputs, write_snapshot


def test_unchanged_shards_are_reused_and_a_line_says_how_many(
    root: Path, built: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    first = archive.read_measurements(root)
    featurize.run(PARAMS, SPLIT, root)
    assert built == first["shard"].unique().tolist()
    assert capsys.readouterr().err == ""
    before = outputs(root)
    built.clear()
    featurize.run(PARAMS, SPLIT, root)
    assert built == []
    assert outputs(root) == before
    assert capsys.readouterr().err == "featurize: 3 of 3 shards are there already\n"

    second = write_snapshot(root, seeds=(0, 7, 0))
    featurize.run(PARAMS, SPLIT, root)
    assert built == [second["shard"][4]]
    assert capsys.readouterr().err == "featurize: 2 of 3 shards are there already\n"
    shards = {name for name in outputs(root) if "shards" in name}
    assert len(shards) == 3  # the former one is gone
    assert len(shards & set(before)) == 2


def test_a_file_is_hashed_once_in_a_run(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    featurize.run(PARAMS, SPLIT, root)
    second = write_snapshot(root, seeds=(0, 7, 0))
    hashed: list[str] = []
    has_its_name = artifacts.has_its_name
    monkeypatch.setattr(
        artifacts, "has_its_name", lambda path: hashed.append(path.name) or has_its_name(path)
    )
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    featurize.run(PARAMS, SPLIT, root)
    reused = [path.name for path in (root / featurize.FEATURES / "shards").iterdir() if path.name in hashed]
    assert len(reused) == 2
    assert sorted(hashed) == sorted([*reused, second["shard"][4]])  # and the recordings of the new one


def test_another_split_computes_no_shard(root: Path, built: list[str]) -> None:
    featurize.run(PARAMS, SPLIT, root)
    before = outputs(root)
    built.clear()
    featurize.run(PARAMS, dataclasses.replace(SPLIT, seed=43), root)
    assert built == []
    assert {name for name, content in outputs(root).items() if content != before[name]} >= {
        "data/features/index.parquet",
        "data/features/network.json",
    }


@pytest.mark.parametrize("lost", ["scratch", "keys", "both"])
def test_lost_memory_costs_time_and_no_bytes(root: Path, built: list[str], lost: str) -> None:
    """A clone that pulled the outputs has no scratch; either memory is enough to compute nothing again."""
    featurize.run(PARAMS, SPLIT, root)
    before = outputs(root)
    keys = (root / featurize.KEYS_FILE).read_bytes()
    if lost != "keys":
        shutil.rmtree(root / featurize.WORK)
    if lost != "scratch":
        (root / featurize.KEYS_FILE).write_text("[]")
    featurize.run(PARAMS, SPLIT, root)
    assert len(built) == (6 if lost == "both" else 3)
    assert outputs(root) == before
    assert (root / featurize.KEYS_FILE).read_bytes() == keys


def test_key_holds_all_that_decides_the_bytes() -> None:
    code = {"heimdall.signal.log_mel": "1", "runtime": "2"}
    task = ShardTask(
        Path("iq/0123456789abcdef.parquet"),
        (("a", ((1, RATE_HZ, GPS_NS, 50.0), (2, RATE_HZ, None, None))),),
        {1: (0.0, 1.0, 2.0), 2: (3.0, 4.0, 5.0)},
        PARAMS,
    )
    elsewhere = dataclasses.replace(
        task,
        source=Path("/other/place/0123456789abcdef.parquet"),
        position_enu_m={2: (3.0, 4.0, 5.0), 1: (0.0, 1.0, 2.0)},
    )
    assert elsewhere.key(code) == task.key(code)
    late = (("a", ((1, RATE_HZ, GPS_NS + 1, 50.0), (2, RATE_HZ, None, None))),)
    vague = (("a", ((1, RATE_HZ, GPS_NS, 51.0), (2, RATE_HZ, None, None))),)
    fast = (("a", ((1, RATE_HZ + 0.1, GPS_NS, 50.0), (2, RATE_HZ, None, None))),)
    changed = [
        dataclasses.replace(task, source=Path("iq/1123456789abcdef.parquet")),
        *(dataclasses.replace(task, sessions=found) for found in (late, vague, fast)),
        dataclasses.replace(task, position_enu_m={1: (0.0, 1.0, 2.0), 2: (3.0, 4.0, 5.1)}),
        dataclasses.replace(task, params=dataclasses.replace(PARAMS, hop_length=255)),
    ]
    keys = [task.key(code), task.key(code | {"runtime": "3"}), *(one.key(code) for one in changed)]
    assert len(set(keys)) == 8


def test_code_of_every_computing_module_is_in_the_key(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, str]] = []
    key = ShardTask.key

    def spying(task: ShardTask, code: dict[str, str]) -> str:
        seen.append(code)
        return key(task, code)

    monkeypatch.setattr(ShardTask, "key", spying)
    featurize.run(PARAMS, SPLIT, root)
    assert seen[0].keys() == rooms.hashes(*featurize.SHARD_ROOMS).keys() | {"runtime"}
    script = "import sys, heimdall.pipeline.featurize.featurize; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = {name for name in done.stdout.split() if name.count(".") > 1 and name.startswith("heimdall.")}
    # What is loaded and stands in no room of these decides no byte of a shard.
    assert {name for name in loaded - seen[0].keys() if not name.startswith("heimdall.core.")} == set()
    assert seen[0]["runtime"] == artifacts.sha256_bytes(b"numpy==1\n")


def test_features_of_a_damaged_recording_are_never_kept(root: Path) -> None:
    """Else they would be found again, by the recordings' name, when those are mended."""
    featurize.run(PARAMS, SPLIT, root)
    undisturbed = outputs(root)
    for folder in (featurize.FEATURES, featurize.WORK):
        shutil.rmtree(root / folder)
    (root / featurize.KEYS_FILE).unlink()
    victim = sorted((root / archive.SNAPSHOT / archive.IQ_FOLDER).iterdir())[0]
    content = victim.read_bytes()
    flipped = bytearray(content)
    flipped[len(content) // 4] ^= 1  # in the samples, where parquet has no sum to compare
    victim.write_bytes(flipped)
    with pytest.raises(HeimdallError, match=rf"{victim.name}: damaged \(its hash is not its name\)"):
        featurize.run(PARAMS, SPLIT, root)
    victim.write_bytes(content)
    featurize.run(PARAMS, SPLIT, root)
    assert outputs(root) == undisturbed


def run_and_kill(root: Path, renames: int) -> bool:
    """Featurize in a child that is killed before its rename of this number; whether it was."""
    child = os.fork()
    if child == 0:
        left = renames

        def dying(event: str, _: tuple[object, ...]) -> None:
            nonlocal left
            if event == "os.rename":
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(dying)
        try:
            featurize.run(PARAMS, SPLIT, root)
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


@pytest.mark.parametrize(
    "every", [False, pytest.param(True, marks=pytest.mark.series)], ids=["some", "every"]
)
def test_killed_at_any_rename_the_next_run_ends_with_the_same_bytes(
    root: Path, tmp_path: Path, every: bool
) -> None:
    """On the way from former features to new ones, of which one shard is another.

    Some: every third, and thus within two of any.
    """
    featurize.run(PARAMS, SPLIT, root)
    write_snapshot(root, seeds=(0, 7, 0))
    undisturbed = tmp_path / "undisturbed"
    everything = shutil.ignore_patterns("undisturbed", "kill-*")
    shutil.copytree(root, undisturbed, ignore=everything)
    featurize.run(PARAMS, SPLIT, undisturbed)
    kills = 0
    for renames in range(0, 100, 1 if every else 3):
        disturbed = tmp_path / f"kill-{renames}"
        shutil.copytree(root, disturbed, ignore=everything)
        killed = run_and_kill(disturbed, renames)
        kills += killed
        artifacts.remove_partial(disturbed)  # as every stage begins
        featurize.run(PARAMS, SPLIT, disturbed)
        assert outputs(disturbed) == outputs(undisturbed), renames
        assert (disturbed / featurize.KEYS_FILE).read_bytes() == (
            undisturbed / featurize.KEYS_FILE
        ).read_bytes()
        if not killed:
            break
    assert kills >= (8 if every else 3)


def test_stored_shard_is_checked(root: Path, built: list[str]) -> None:
    """A damaged shard of the output is made again, not passed on."""
    featurize.run(PARAMS, SPLIT, root)
    before = outputs(root)
    built.clear()
    victim = sorted((root / featurize.FEATURES / "shards").iterdir())[0]
    victim.write_bytes(victim.read_bytes()[:-1])
    featurize.run(PARAMS, SPLIT, root)
    assert len(built) == 1
    assert outputs(root) == before
    assert len(SessionFile(victim)) == 2
