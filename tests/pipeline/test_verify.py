"""`heimdall verify`: equal where nothing was changed, and the change named where something was."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from heimdall.reproduce import dvc_lock, git
from heimdall.storage import endpoints
from heimdall.storage.objectstore import ObjectStore
from tests.pipeline.test_same_bytes import UNDER_UMASK, UNUSUAL
from tests.projects import Project

NO_DATABASE = {"HEIMDALL_DATABASE_URL": "postgresql://nobody:none@127.0.0.1:1/none"}


@pytest.fixture
def clone(built: Project, tmp_path: Path) -> Project:
    """What someone has who has the git revision and the remote: no data, no cache, no database."""
    return built.clone(tmp_path / "someone else")


def verify(project: Project, *arguments: str) -> tuple[int, str]:
    """Exit code and what was printed, of a `heimdall verify` that can reach no database."""
    done = project.run("heimdall", "verify", *arguments, check=False, **NO_DATABASE)
    return done.returncode, done.stdout


def dvc_bucket(project: Project) -> ObjectStore:
    """The project's remote."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in project.env.items():
            patch.setenv(name, value)
        return ObjectStore(endpoints.s3(), project.env["HEIMDALL_DVC_BUCKET"])


def rows(printed: str) -> dict[str, tuple[str, str]]:
    """Stage and result by output, of the table."""
    found = re.findall(r"^(\w+) +(\S+) +(equal|input|DIFFERS) +[0-9a-f]{32}", printed, re.MULTILINE)
    return {output: (stage, result) for stage, output, result in found}


@pytest.mark.series
def test_the_stages_compute_on_the_cluster_that_is_named(clone: Project) -> None:
    away = {"HEIMDALL_RAY_ADDRESS": "127.0.0.1:1"}
    done = clone.run("heimdall", "verify", "HEAD", "--from", "featurize", check=False, **NO_DATABASE, **away)
    assert done.returncode == 1
    assert "featurize.py: Ray cluster 127.0.0.1:1: " in done.stdout


def test_every_output_is_equal_with_git_and_the_remote_alone(built: Project, clone: Project) -> None:
    """In another folder, with another hash seed, locale, time zone and umask."""
    done = clone.run(*UNDER_UMASK, "077", "heimdall", "verify", "HEAD", check=False, **NO_DATABASE, **UNUSUAL)
    printed = done.stdout
    assert done.returncode == 0, printed
    lock = dvc_lock.read(built.root, git.commit_of(built.root, "HEAD"))
    assert rows(printed) == {
        output: (stage.name, "input" if stage.name == "snapshot" else "equal")
        for stage in lock.values()
        for output in stage.outs
    }
    assert "all 26 outputs are equal, bit for bit" in printed.splitlines()
    assert not list((clone.root / ".heimdall" / "verify").iterdir())
    assert not (clone.root / "data" / "features").exists()
    assert clone.run("git", "status", "--porcelain").stdout == ""


@pytest.mark.series
def test_the_snapshot_is_rebuilt_from_the_database_on_request(built: Project, clone: Project) -> None:
    done = clone.run("heimdall", "verify", "--source", check=False)
    assert done.returncode == 0, done.stdout
    assert rows(done.stdout)["data/snapshot"] == ("snapshot", "equal")
    assert rows(done.stdout)["data/quarantine.parquet"] == ("snapshot", "equal")
    assert "input" not in {result for _, result in rows(done.stdout).values()}
    assert built.env["AWS_SECRET_ACCESS_KEY"] not in done.stdout


def altered(project: Project, path: str) -> None:
    """Commit a dvc.lock in which the hash of the output `path` is another one."""
    lock = project.root / "dvc.lock"
    text = lock.read_text()
    start = text.index("    outs:\n")
    place = re.compile(rf"path: {re.escape(path)}\n *hash: md5\n *md5: ([0-9a-f])").search(text, start)
    assert place is not None
    digit = "1" if place[1] == "0" else "0"
    lock.write_text(text[: place.start(1)] + digit + text[place.end(1) :])
    project.commit("Another hash")


def test_an_altered_hash_of_an_output_is_found(clone: Project) -> None:
    output = "metrics/export.json"
    altered(clone, output)
    code, printed = verify(clone, "--from", "export")
    assert code == 1
    assert rows(printed)[output] == ("export", "DIFFERS")
    assert [path for path, (_, result) in rows(printed).items() if result == "DIFFERS"] == [output]
    assert "first stage that differs: export" in printed
    assert printed.splitlines()[-1] == "1 of 4 outputs differ, first in export"
    assert "Traceback" not in printed


def test_an_altered_hash_of_an_input_is_found(clone: Project) -> None:
    altered(clone, "data/features")
    code, printed = verify(clone, "--from", "export")
    assert code == 1
    assert re.fullmatch(r"heimdall: .*data/features.*", printed.splitlines()[-1])


def test_other_bytes_in_the_remote_are_not_taken_for_the_input(built: Project, tmp_path: Path) -> None:
    """DVC trusts the names in a remote; a changed byte there must not become somebody's input."""
    project = built.with_own_remote(tmp_path / "heimdall")
    store = dvc_bucket(project)
    digest = dvc_lock.md5(project.root / "models/localizer.safetensors")
    key = f"files/md5/{digest[:2]}/{digest[2:]}"
    content = store.get(key, 100_000_000)
    store.put(key, content[:-1] + bytes([content[-1] ^ 1]))
    code, printed = verify(project, "--from", "export")
    assert code == 1
    assert re.fullmatch(
        r"heimdall: train: models/localizer\.safetensors: the remote holds .*", printed.splitlines()[-1]
    )


@pytest.mark.series
def test_one_flipped_bit_of_one_feature_is_found_and_measured(project: Project) -> None:
    shard = sorted((project.root / "data/features/shards").iterdir())[0]
    arrays = safetensors.numpy.load_file(shard)
    before = arrays["mel"].copy()
    arrays["mel"].view(np.uint16)[0, 0, 0, 0] ^= 1
    safetensors.numpy.save_file(arrays, shard)
    changed = float(np.abs(arrays["mel"].astype(float) - before.astype(float)).max())
    assert changed > 0
    project.run("dvc", "commit", "--force")
    project.run("dvc", "push")
    (project.root / "reference.json").write_text('{"cpu": "in a form of another time"}')
    project.commit("One bit")
    commit = project.run("git", "rev-parse", "HEAD").stdout[:12]
    former = project.root / ".heimdall/verify" / commit / "rebuilt/data/features/network.json"
    former.parent.mkdir(parents=True)
    former.write_text("{}")  # kept by a former verification
    code, printed = verify(project)
    assert code == 1
    assert "first stage that differs: featurize" in printed
    name = shard.relative_to(project.root).as_posix()
    found = re.search(
        rf"{re.escape(name)}: mel: 1 of {before.size} differ, largest difference (\S+) .*, 1 ULP", printed
    )
    assert found is not None, printed
    assert float(found[1]) == pytest.approx(changed, rel=1e-5)
    assert "verdict: within tolerance" in printed
    assert "network.json" not in printed
    assert "verify: reference.json of this revision: not the fingerprint of a machine\n" in printed
    assert "train" in {stage for stage, _ in rows(printed).values()}


@pytest.mark.series
def test_an_optimizer_that_is_not_fused_is_found_and_named(project: Project) -> None:
    code_file = project.root / "src/heimdall/pipeline/train/lightning_module.py"
    text = code_file.read_text()
    assert text.count('fused=chosen.precision != "16-mixed"') == 1
    code_file.write_text(text.replace('fused=chosen.precision != "16-mixed"', "fused=False"))
    project.commit("Another optimizer, the lock of the former one")

    code, printed = verify(project, "--from", "train")
    assert code == 1
    assert re.search(r"train: src/heimdall/pipeline/train is [0-9a-f]{32}\.dir in git", printed)
    assert "first stage that differs: train" in printed
    assert rows(printed)["models/localizer.safetensors"] == ("train", "DIFFERS")
    assert re.search(r"models/localizer\.safetensors: \S+: \d+ of \d+ differ.* ULP", printed)


def test_what_cannot_be_verified_is_said(clone: Project) -> None:
    for arguments, named in (
        (["v9.9.9"], "v9.9.9"),
        (["--from", "trian"], "trian"),
        (["--from", "snapshot"], "--source"),
        (["--from", "train", "--source"], "--source"),
    ):
        code, printed = verify(clone, *arguments)
        assert code == 1
        assert re.fullmatch(rf"heimdall: .*{re.escape(named)}.*\n", printed)
