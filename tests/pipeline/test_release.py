"""Releases on the real servers: refused, killed at every step, promoted, taken back, pulled by a reader."""

from __future__ import annotations

import json
import re
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from heimdall.core import artifacts
from heimdall.core.errors import HeimdallError
from heimdall.release import attestation, audit_log, mlflow_registry, promotion, registry
from heimdall.release.bucket import PROBE, ConditionalStore
from heimdall.reproduce import dvc_lock, git
from heimdall.storage import endpoints
from heimdall.storage.objectstore import ObjectStore
from heimdall.storage.s3_access import S3Access
from heimdall.track import mlflow_store
from tests.conftest import Services
from tests.pipeline.registry_reader import Reader
from tests.projects import Project, read_only
from tests.release.releases import by_another, nothing, put_release, rewrite

KILLING = Path(__file__).with_name("killing.py")
SKIP = "--skip-verify"  # a verification rebuilds everything: test_verify.py


@contextmanager
def environment(project: Project) -> Iterator[None]:
    """This process with a project's environment."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in project.env.items():
            patch.setenv(name, value)
        yield


def bucket(project: Project, variable: str) -> ConditionalStore:
    with environment(project):
        return ConditionalStore(endpoints.s3(), project.env[variable])


@pytest.fixture
def clone(built: Project, tmp_path: Path) -> Project:
    """A copy of the built project with a remote and a bucket of models of its own."""
    own = {"HEIMDALL_MODELS_BUCKET": f"models-{uuid.uuid4().hex[:12]}"}
    return replace(built, env=built.env | own).with_own_remote(tmp_path / "heimdall")


@pytest.fixture
def store(clone: Project) -> ConditionalStore:
    return bucket(clone, "HEIMDALL_MODELS_BUCKET")


def refused(project: Project, *arguments: str, **env: str) -> str:
    """The one line with which a release is refused."""
    done = project.run("heimdall", "release", *arguments, check=False, **env)
    assert done.returncode == 1, done.stdout
    assert "Traceback" not in done.stdout
    return done.stdout.splitlines()[-1]


def test_what_is_refused(clone: Project, store: ConditionalStore) -> None:
    assert "no semantic version. Write it as v1.2.3" in refused(clone, "1.0", SKIP)
    (clone.root / "stray.txt").write_text("x")
    assert "the working tree: it is not as committed (?? stray.txt)" in refused(clone, "v0.1.0", SKIP)
    (clone.root / "stray.txt").unlink()

    # An object of a folder is lost in the remote: DVC takes the folder's list for the folder.
    remote = bucket(clone, "HEIMDALL_DVC_BUCKET")
    commit = git.commit_of(clone.root, "HEAD")
    listed = dvc_lock.read(clone.root, commit)["featurize"].outs["data/features"]
    listing = json.loads(remote.get(f"files/md5/{listed[:2]}/{listed[2:]}", 1_000_000))
    lost = listing[0]["md5"]
    key = f"files/md5/{lost[:2]}/{lost[2:]}"
    content = remote.get(key, 100_000_000)
    remote.delete(key)
    line = refused(clone, "v0.1.0", SKIP)
    remote.put(key, content)
    assert f"data/features/{listing[0]['relpath']}: not in DVC's remote ({lost}), and 0 more" in line
    assert "Run `dvc push`" in line

    # A tag by hand: a release would leave it, so nothing would ever attest the version.
    for tag in attestation.release_tags("v0.1.0"):
        clone.run("git", "tag", "--annotate", "--message", "By hand", tag)
        line = refused(clone, "v0.1.0", SKIP)
        assert f"tag {tag}: " in line
        assert "`git tag --delete`" in line
        clone.run("git", "tag", "--delete", tag)

    # A champion that is better.
    assert set(store.head_all("")) <= {PROBE}
    put_release(store, clone.root, "v0.0.1", mae_m=1.0)
    clone.run("heimdall", "promote", "v0.0.1")
    clone.commit("The next one")
    commit = git.commit_of(clone.root, "HEAD")
    line = refused(clone, "v0.1.0", SKIP)
    assert "(simulated), is above the interval of the champion v0.0.1, -9 to 11 m" in line
    assert store.head_all("v0.1.0/") == {}
    assert git.run(clone.root, "tag", "--list", "*v0.1.0").stdout == b""
    clone.run("heimdall", "release", "v0.1.0", SKIP, "--accept", "--html", "../page.html")
    page = (clone.root.parent / "page.html").read_text(encoding="utf-8")
    assert commit in page
    assert "The recordings are simulated." in page
    made, _ = registry.require_release(store, audit_log.read(store), "v0.1.0")
    assert (made.verified, made.accepted_worse_than, made.commit) == (False, "v0.0.1", commit)
    # Who reads released figures finds them where those of earlier releases are.
    released = json.loads(store.get("v0.1.0/metrics.json", 1_000_000))
    assert released["eval"] == artifacts.read_json(clone.root / "metrics/eval_full.json")
    assert set(released) == {"eval", "export", "features", "pretrain", "snapshot", "train"}
    assert "not verified, accepted as worse than v0.0.1" in clone.run("heimdall", "releases").stdout

    check_that_a_version_exists_once(clone, store, made)
    check_a_model_of_one_test_transmitter(clone, store)


def check_that_a_version_exists_once(clone: Project, store: ConditionalStore, made: registry.Release) -> None:
    """Of this commit it is done; of another, with its tags and without them, it is refused."""
    before = store.head_all("")
    done = clone.run("heimdall", "release", "v0.1.0", SKIP).stdout
    assert f"v0.1.0 was released from this commit at {made.released_at}: nothing is missing" in done
    assert store.head_all("") == before
    assert f"v0.1.1: commit {made.commit[:12]} is v0.1.0 already" in refused(clone, "v0.1.1", SKIP)
    clone.commit("Another commit")
    assert f"v0.1.0: it exists: released from {made.commit[:12]}" in refused(
        clone, "v0.1.0", SKIP, "--accept"
    )
    clone.run("git", "tag", "--delete", *attestation.release_tags("v0.1.0"))
    assert f"v0.1.0: it exists: released from {made.commit[:12]}" in refused(
        clone, "v0.1.0", SKIP, "--accept"
    )


def check_a_model_of_one_test_transmitter(clone: Project, store: ConditionalStore) -> None:
    path = clone.root / "metrics/eval_full.json"
    figures = artifacts.read_json(path)
    figures["test"]["localizer"] |= {"mae_m_low": None, "mae_m_high": None}
    artifacts.write_json(path, figures)
    clone.run("dvc", "commit", "--force")
    clone.commit("A test split of one transmitter has no intervals")
    # Without an interval a model is released, too, and no other is measured by the interval that it lacks.
    assert (
        "m [one transmitter] (simulated)"
        in clone.run("heimdall", "release", "v0.2.0", "--accept", SKIP).stdout
    )
    made, _ = registry.require_release(store, audit_log.read(store), "v0.2.0")
    assert (made.mae_m_low, made.mae_m_high) == (None, None)
    # What no record can hold is refused before anything is there.
    del figures["test"]["localizer"]["mae_m_low"]
    artifacts.write_json(path, figures)
    clone.run("dvc", "commit", "--force")
    clone.commit("A figure is missing")
    line = refused(clone, "v0.3.0", SKIP, "--accept")
    assert "metrics/eval_full.json: it lacks a figure of the test split ('mae_m_low')" in line
    assert store.head_all("v0.3.0/") == {}


@pytest.mark.series
def test_a_figure_written_by_hand_is_not_released(clone: Project, store: ConditionalStore) -> None:
    path = clone.root / "metrics/eval_full.json"
    figures = artifacts.read_json(path)
    figures["test"]["localizer"]["mae_m"] /= 2
    artifacts.write_json(path, figures)
    clone.run("dvc", "commit", "--force")
    clone.run("dvc", "push")
    clone.commit("A better figure")
    assert "`heimdall verify` finds it different, first in evaluate" in refused(clone, "v0.1.0")
    assert set(store.head_all("")) <= {PROBE}


def test_of_two_releases_at_once_one_wins(clone: Project, store: ConditionalStore, tmp_path: Path) -> None:
    other = clone.copy(tmp_path / "other")
    other.commit("Another commit")
    done: dict[str, tuple[int, str]] = {}

    def attempt(project: Project) -> None:
        ended = project.run("heimdall", "release", "v0.1.0", SKIP, check=False)
        done[git.commit_of(project.root, "HEAD")] = ended.returncode, ended.stdout.splitlines()[-1]

    threads = [threading.Thread(target=attempt, args=(project,)) for project in (clone, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(code for code, _ in done.values()) == [0, 1], done
    winner = registry.require_release(store, audit_log.read(store), "v0.1.0")[0].commit
    assert done[winner][0] == 0
    (lost,) = [line for code, line in done.values() if code]
    assert lost.startswith("heimdall: v0.1.0: it")
    assert f"elease{'d' if 'it exists' in lost else ''} from {winner[:12]}" in lost
    assert registry.overview(store, nothing).damages == []


@pytest.mark.series
def test_killed_at_every_step_and_typed_again(clone: Project, store: ConditionalStore) -> None:
    reader = Reader(store)
    reader.start()
    try:
        commands = (f"release v0.1.{{}} {SKIP}", "promote v0.1.{}", "rollback")
        output = clone.run(sys.executable, str(KILLING), *commands, HEIMDALL_TRACKING="").stdout
    finally:
        reader.ended.set()
        reader.join()
    released, promoted, back = json.loads(output.splitlines()[-1])
    assert [row["step"].split("/")[-1] for row in released] == [
        "config.yaml",
        "model.onnx",
        "metrics.json",
        "README.md",
        "release.json",
        "00000006.json",
        "_make localizer@v0.1.7",
        "_make v0.1.8",
        "create_registered_model",
        "create_model_version",
    ]
    assert [row["again"] for row in released] == [0] * 10
    # The last was complete when it was killed.
    assert any(line.endswith(": nothing is missing") for line in released[-1]["lines"])
    steps = ["create_registered_model", "set_registered_model_alias", "put_if latest"]
    assert [row["step"] for row in promoted] == [
        "put_if audit/00000012.json",
        "_make localizer#champion#13",
        *steps,
    ]
    for number, row in enumerate(promoted, 1):
        entry = 11 + number
        assert [line for line in row["lines"] if line.startswith(("The champion", "Next"))] == [
            f"The champion is v0.1.{number} already, since log entry {entry}.",
            f"Next: git push origin 'localizer#champion#{entry}'",
        ]
    assert [row["step"] for row in back] == [
        "put_if audit/00000018.json",
        "_make localizer#champion#19",
        *steps,
    ]
    # Version 6 was promoted without a kill. Each interrupted rollback was completed, and went back by one.
    for number, row in zip((6, 5, 4, 3), back, strict=False):
        assert (
            f"The champion is v0.1.{number - 1} now. Before, it was v0.1.{number} (log entry {24 - number})."
            in row["lines"]
        )
    # The last was complete when it was killed, and typed again it would go one further.
    assert "there is no former champion" in back[4]["lines"][-1]

    assert reader.problems == []
    assert reader.reads > 20
    assert reader.seen == [f"v0.1.{n}" for n in (1, 2, 3, 4, 5, 6, 5, 4, 3, 2, 1)]
    seen = registry.overview(store, nothing)
    assert (seen.champion, seen.damages, seen.unfinished) == ("v0.1.1", [], [])
    versions = [f"v0.1.{n}" for n in range(1, 12)]
    assert [made.version for made in seen.releases] == versions
    assert seen.log is not None
    assert [entry.version for entry in seen.log if entry.action == "release"] == versions
    tags = attestation.read(clone.root)
    assert {tag.name for tag in tags} == {name for entry in seen.log for name in attestation.tags(entry)}
    assert attestation.damages(seen.log, seen.releases, tags) == []
    assert attestation.unattested(seen.log, tags) == []
    assert len(seen.log) == 22
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{clone.root}/{mlflow_store.SCRATCH}/mlflow.db")
    registered = client.search_model_versions(f"name = '{mlflow_registry.NAME}'")
    assert {model.tags[mlflow_registry.VERSION_TAG]: model.source for model in registered} == {
        version: store.place(version) for version in versions
    }
    assert len(registered) == len(versions)
    champion = client.get_model_version_by_alias(mlflow_registry.NAME, mlflow_registry.ALIAS)
    assert champion.tags[mlflow_registry.VERSION_TAG] == "v0.1.1"


@pytest.mark.series
def test_a_day_of_releases(
    clone: Project, store: ConditionalStore, shared_services: Services, tmp_path: Path
) -> None:
    origin = tmp_path / "origin.git"
    clone.run("git", "init", "--quiet", "--bare", "--initial-branch", "main", str(origin))
    clone.run("git", "remote", "add", "origin", str(origin))
    # MLflow is down: the release says so before anything is there.
    down = {"HEIMDALL_TRACKING": "", "MLFLOW_TRACKING_URI": "postgresql://user:s3cret@127.0.0.1:1/mlflow"}
    line = refused(clone, "v0.1.0", **down)
    assert line.startswith("heimdall: MLflow postgresql+psycopg2://127.0.0.1:1/mlflow: it does not answer")
    assert "run the same command again" in line
    assert "s3cret" not in line
    assert set(store.head_all("")) <= {PROBE}
    push_tags(clone, clone.run("heimdall", "release", "v0.1.0", HEIMDALL_TRACKING="").stdout)
    push_tags(clone, clone.run("heimdall", "promote", "v0.1.0").stdout)
    assert registry.require_release(store, audit_log.read(store), "v0.1.0")[0].verified

    clone.run("dvc", "exp", "run", "--name", "another-rate", "-S", "lr=1e-4", "train")
    clone.run("dvc", "exp", "apply", "another-rate")
    clone.run("dvc", "repro")
    clone.commit("Another learning rate")
    assert "not in DVC's remote" in refused(clone, "v0.2.0", SKIP)
    clone.run("dvc", "push")
    released = clone.run("heimdall", "release", "v0.2.0", SKIP, "--accept").stdout
    assert push_tags(clone, released) == "git push origin localizer@v0.2.0 v0.2.0"
    promoted = clone.run("heimdall", "promote", "v0.2.0").stdout
    assert "Before, it was v0.1.0" in promoted
    push_tags(clone, promoted)
    compared = clone.run("heimdall", "compare", "v0.1.0", "v0.2.0").stdout
    assert "v0.1.0" in compared
    assert "simulated" in compared

    models = {}
    for version in ("v0.1.0", "v0.2.0"):
        models[git.commit_of(clone.root, version)] = got = model(clone, "--rev", version)
        assert got == artifacts.sha256_bytes(store.get(f"{version}/model.onnx", 100_000_000))
    first, second = models.values()
    assert first != second
    config = store.get("v0.2.0/config.yaml", 100_000).decode()
    assert "lr: 0.0001" in config
    assert git.commit_of(clone.root, "HEAD") in config

    assert model(clone, "--stage", "champion") == second
    back = clone.run("heimdall", "rollback").stdout
    assert "The champion is v0.1.0 now. Before, it was v0.2.0" in back
    assert push_tags(clone, back) == "git push origin 'localizer#champion#5'"
    assert model(clone, "--stage", "champion") == first
    unbroken = (
        "Every file is as released. The log is unbroken. The tags of this clone attest 5 of its 5 entries."
    )
    assert unbroken in clone.run("heimdall", "releases").stdout

    clone.run("git", "push", "--quiet", "origin", "main")
    reader = check_a_reader_pulls_every_tag(clone, shared_services, tmp_path / "reader", models)

    check_the_last_promotion_wins(clone, reader, store, first, second)
    check_that_who_rewrites_the_bucket_is_found(clone, reader, store)


@pytest.mark.series
def test_releases_on_another_server(clone: Project, moto: S3Access) -> None:
    assert moto.keys is not None
    env = {"HEIMDALL_S3_ENDPOINT_URL": moto.endpoint_url, "AWS_REGION": "eu-south-1"}
    env |= {"AWS_ACCESS_KEY_ID": moto.keys.access_key, "AWS_SECRET_ACCESS_KEY": moto.keys.secret_key}
    there = replace(clone, env=clone.env | env)
    there.run("heimdall", "services", "up")
    there.run("dvc", "push")
    other = replace(there, env=there.env | {"AWS_PROFILE": "none"})  # which the keys make void
    assert "then heimdall promote v0.1.0" in other.run("heimdall", "release", "v0.1.0", SKIP).stdout
    other.run("heimdall", "promote", "v0.1.0")
    assert "Every file is as released. The log is unbroken." in other.run("heimdall", "releases").stdout


def check_the_last_promotion_wins(
    clone: Project, reader: Project, store: ConditionalStore, first: str, second: str
) -> None:
    """Faster than dates of tags can tell, and past number 9; `first` and `second` are models' SHA-256."""
    with environment(clone):
        for version in ("v0.2.0", "v0.1.0", "v0.2.0", "v0.1.0", "v0.2.0"):
            promotion.promote(clone.root, store, version)
    assert model(clone, "--stage", "champion") == second
    assert model(reader, "--stage", "champion") == first
    lines = reader.run("heimdall", "releases").stdout.splitlines()
    assert lines[-7].endswith("The tags of this clone attest 5 of its 10 entries.")
    assert lines[-6] == "not attested: entry 6, promote v0.2.0"
    assert "git fetch --tags" in lines[-1]
    clone.run("git", "push", "--quiet", "origin", "--tags")
    reader.run("git", "fetch", "--quiet", "--tags")
    assert "attest 10 of its 10 entries" in reader.run("heimdall", "releases").stdout
    assert model(reader, "--stage", "champion") == second


def check_that_who_rewrites_the_bucket_is_found(
    clone: Project, reader: Project, store: ConditionalStore
) -> None:
    """Consistently, so that nothing in the bucket tells; every clone that has the tags does."""
    rewrite(store, by_another)
    for project in (clone, reader):
        done = project.run("heimdall", "releases", check=False)
        assert done.returncode == 1
        assert (
            "  tag localizer#champion#4: it attests another audit/00000004.json than the log has"
            in done.stdout.splitlines()
        )
    assert "it attests another audit/00000004.json" in clone.run("heimdall", "rollback", check=False).stdout
    assert "it attests another audit/00000004.json" in refused(clone, "v0.2.0", SKIP)


def push_tags(project: Project, output: str) -> str:
    """Run the command that a command printed as the next one, and return it."""
    (command,) = re.findall(r"^Next: (git push origin [^,\n]*)", output, re.MULTILINE)
    project.run("bash", "-c", command)
    return str(command)


def model(project: Project, *which: str) -> str:
    """SHA-256 of what `dvc artifacts get` brings."""
    project.run("dvc", "artifacts", "get", ".", "localizer", *which, "--force", "-o", "got.onnx")
    path = project.root / "got.onnx"
    sha256 = artifacts.sha256_file(path)
    path.unlink()
    return sha256


def check_a_reader_pulls_every_tag(
    clone: Project, shared_services: Services, target: Path, models: dict[str, str]
) -> Project:
    """Someone who may only read, in a fresh clone; `models` are SHA-256 by commit."""
    credentials = read_only(shared_services, clone)
    assert credentials["HEIMDALL_S3_ENDPOINT_URL"] == clone.env["HEIMDALL_S3_ENDPOINT_URL"]
    assert credentials["AWS_SECRET_ACCESS_KEY"] != clone.env["AWS_SECRET_ACCESS_KEY"]
    origin = clone.run("git", "remote", "get-url", "origin").stdout.strip()
    clone.run("git", "clone", "--quiet", origin, str(target))
    reader = Project(target, clone.env | credentials)
    with environment(reader):
        for name in ("HEIMDALL_MODELS_BUCKET", "HEIMDALL_DVC_BUCKET"):
            with pytest.raises(HeimdallError, match="access denied"):
                ObjectStore(endpoints.s3(), clone.env[name]).put("stray", b"x")
    set_up = ("dvc", "remote", "modify", "--local", "s3")
    reader.run(*set_up, "url", f"s3://{clone.env['HEIMDALL_DVC_BUCKET']}")
    reader.run(*set_up, "endpointurl", credentials["HEIMDALL_S3_ENDPOINT_URL"])
    tags = reader.run("git", "tag").stdout.split()
    assert sorted(tags) == sorted(clone.run("git", "tag").stdout.split())
    assert len(tags) == 4 + 3
    for tag in tags:
        reader.run("git", "checkout", "--quiet", tag)
        reader.run("dvc", "pull")
        lock = dvc_lock.read(reader.root, tag)
        outs = dvc_lock.outputs(lock)
        assert {path: dvc_lock.md5(reader.root / path) for path in outs} == outs
        assert (
            artifacts.sha256_file(reader.root / "models/localizer.onnx")
            == models[git.commit_of(reader.root, tag)]
        )
    assert "attest 5 of its 5 entries" in reader.run("heimdall", "releases").stdout
    assert "access denied" in reader.run("heimdall", "promote", "v0.2.0", check=False).stdout
    assert reader.run("git", "tag").stdout.split() == tags
    return reader
