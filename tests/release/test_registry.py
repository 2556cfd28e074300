"""The registry of releases on a real S3 server and in git: conditional puts, promotions, damage, races."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from scmrepo.git import Git

from heimdall.core import artifacts
from heimdall.core.errors import HeimdallError
from heimdall.release import attestation, promotion, registry
from heimdall.release.registry import ConditionalStore, Entry, Release
from heimdall.release.releases_text import lines, verdict
from heimdall.reproduce import revision
from heimdall.storage.endpoints import MODELS_BUCKET
from tests.conftest import Buckets, Services

BY = "Test <test@localhost>"


def nothing(_: object) -> None:
    """Progress that nobody reads."""


@pytest.fixture(scope="module")
def client(services: Services) -> ConditionalStore:
    return ConditionalStore(services.endpoints, MODELS_BUCKET)


@pytest.fixture
def store(client: ConditionalStore, buckets: Buckets) -> ConditionalStore:
    """The empty bucket of models."""
    assert buckets.models.head_all("") == {}
    return client


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No MLflow; git as `BY`."""
    monkeypatch.setenv("HEIMDALL_TRACKING", "off")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "Test")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "test@localhost")


def git(clone: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=clone, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A repository with one commit, of which every version here is."""
    root = tmp_path / "clone"
    root.mkdir()
    git(root, "init", "--quiet")
    git(root, "commit", "--quiet", "--allow-empty", "--message", "A model")
    return root


def put_release(store: ConditionalStore, clone: Path, version: str, mae_m: float = 100.0) -> Release:
    """A version of a clone's commit as `heimdall release` leaves it."""
    files = {name: f"{name} of {version}".encode() for name in registry.FILES}
    for name, content in files.items():
        assert store.put_if(f"{version}/{name}", content, None)
    made = Release(
        version=version,
        commit=revision.commit_of(clone, "HEAD"),
        dvc_lock_sha256="d" * 64,
        data_fingerprint="f" * 64,
        data="simulated",
        mae_m=mae_m,
        mae_m_low=mae_m - 10,
        mae_m_high=mae_m + 10,
        verified=True,
        accepted_worse_than=None,
        files={name: artifacts.sha256_bytes(content) for name, content in files.items()},
        released_at=registry.now(),
    )
    assert store.put_if(f"{version}/release.json", made.content(), None)
    sha256 = artifacts.sha256_bytes(made.content())
    log = registry.read_log(store)
    entry = registry.append(store, log, action="release", version=version, release_sha256=sha256, by=BY)
    assert entry is not None
    assert attestation.attest(clone, [*log, entry], made)
    return made


def latest(store: ConditionalStore) -> str:
    """What a reader of `latest` is sent to."""
    return str(json.loads(store.get("latest", 10_000))["version"])


def found_damages(store: ConditionalStore) -> dict[str, str]:
    """What is wrong in the bucket: cause by object's key or version."""
    damages = registry.overview(store, nothing).damages
    return {damage.subject.removeprefix(store.place("")): damage.cause for damage in damages}


def contradictions(store: ConditionalStore, clone: Path) -> dict[str, str]:
    """What of a clone's tags is not as the bucket says: cause by tag."""
    seen = registry.overview(store, nothing)
    assert seen.log is not None
    found = attestation.damages(seen.log, seen.releases, attestation.read(clone))
    return {damage.subject.removeprefix("tag "): damage.cause for damage in found}


def champion_by_stage(clone: Path) -> str:
    """The champion's tag that DVC takes: `Artifacts.get_rev` of DVC 3 takes the last that GTO finds."""
    from gto.tag import find

    scm = Git(str(clone))
    try:
        return str(find(name="localizer", stage="champion", scm=scm)[-1].name)
    finally:
        scm.close()


@pytest.mark.parametrize("version", ["1.2.3", "v1.2", "v01.2.3", "v1.2.3-rc1", "v1.2.3\n", "../v1.2.3", ""])
def test_what_is_no_version_is_refused(version: str) -> None:
    with pytest.raises(HeimdallError, match="no semantic version"):
        registry.check_version(version)


def test_an_object_is_put_once(store: ConditionalStore) -> None:
    assert store.put_if("a", b"first", None)
    assert not store.put_if("a", b"second", None)
    assert store.put_if("a", b"first", None)  # a request that was repeated after its answer was lost
    assert store.read("a") == b"first"
    assert store.read("b") is None


def test_an_object_changes_only_from_the_state_that_was_read(store: ConditionalStore) -> None:
    store.put_if("a", b"first", None)
    _, etag = store.read_tagged("a") or (b"", "")
    assert store.put_if("a", b"second", etag)
    assert not store.put_if("a", b"third", etag)
    assert store.read("a") == b"second"
    assert not store.put_if("gone", b"x", etag)


@pytest.mark.parametrize("is_there", [False, True])
def test_of_many_at_once_one_wins(store: ConditionalStore, is_there: bool) -> None:
    etag = None
    if is_there:
        store.put_if("a", b"before", None)
        etag = (store.read_tagged("a") or (b"", ""))[1]
    contents = [b"%d" % number for number in range(16)]
    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(lambda content: store.put_if("a", content, etag), contents))
    assert won.count(True) == 1
    assert store.read("a") == contents[won.index(True)]


def test_promotions_and_rollbacks(store: ConditionalStore, clone: Path) -> None:
    for version in ("v0.1.0", "v0.2.0", "v0.10.0"):
        put_release(store, clone, version)
    with pytest.raises(HeimdallError, match="there is no former champion"):
        promotion.rollback(clone, store)
    for version in ("v0.1.0", "v0.2.0", "v0.10.0"):
        entry, is_new = promotion.promote(clone, store, version)
        assert is_new
        assert latest(store) == entry.version == version
    again, is_new = promotion.promote(clone, store, "v0.10.0")
    assert (again, is_new) == (entry, False)
    assert promotion.rollback(clone, store).version == "v0.2.0"
    assert latest(store) == "v0.2.0"
    back = promotion.rollback(clone, store)
    assert (back.version, back.former, back.number) == ("v0.1.0", "v0.2.0", 8)
    with pytest.raises(HeimdallError, match="there is no former champion"):
        promotion.rollback(clone, store)
    seen = registry.overview(store, nothing)
    assert [made.version for made in seen.releases] == ["v0.1.0", "v0.2.0", "v0.10.0"]
    assert (seen.champion, seen.damages, len(seen.log or [])) == ("v0.1.0", [], 8)
    released = seen.releases[0].released_at[:10]
    assert re.match(rf"v0.1.0 +champion +100 \[90, 110\] +simulated +{released} ", lines(seen)[1])
    assert contradictions(store, clone) == {}
    named = git(clone, "tag", "--list", "*champion*").split()
    assert named == [f"localizer#champion#{number}" for number in (4, 5, 6, 7, 8)]
    assert champion_by_stage(clone) == "localizer#champion#8"


@pytest.mark.parametrize("version", ["v9.9.9", "latest"])
def test_only_a_released_version_is_promoted(store: ConditionalStore, clone: Path, version: str) -> None:
    with pytest.raises(HeimdallError, match=r"not released|no semantic version"):
        promotion.promote(clone, store, version)
    store.put_if("v9.9.9/config.yaml", b"begun", None)
    with pytest.raises(HeimdallError, match=r"not released|no semantic version"):
        promotion.promote(clone, store, version)
    assert registry.overview(store, nothing).unfinished == ["v9.9.9"]
    assert store.read("latest") is None


def interrupted(store: ConditionalStore, action: registry.Action, version: str) -> Entry:
    """The entry of a change that was killed before the alias and `latest` moved."""
    made, sha256 = registry.require_release(store, registry.read_log(store), version)
    entry = registry.append(
        store, registry.read_log(store), action=action, version=version, release_sha256=sha256, by=BY
    )
    assert entry is not None
    assert found_damages(store)["latest"] == f"{action} of {made.version} is not finished: run it again"
    return entry


def test_a_promotion_that_was_killed_is_completed(store: ConditionalStore, clone: Path) -> None:
    put_release(store, clone, "v0.1.0")
    put_release(store, clone, "v0.2.0")
    first = interrupted(store, "promote", "v0.1.0")
    assert git(clone, "tag", "--list", "*champion*") == ""
    assert promotion.promote(clone, store, "v0.1.0") == (first, False)
    assert latest(store) == "v0.1.0"
    # Another change completes it, too, and comes after it.
    interrupted(store, "promote", "v0.2.0")
    assert promotion.promote(clone, store, "v0.1.0")[1]
    assert [entry.version for entry in registry.read_log(store)[-2:]] == ["v0.2.0", "v0.1.0"]
    assert latest(store) == "v0.1.0"


def test_a_rollback_that_was_killed_goes_back_once(store: ConditionalStore, clone: Path) -> None:
    for version in ("v0.1.0", "v0.2.0", "v0.3.0"):
        put_release(store, clone, version)
        promotion.promote(clone, store, version)
    entry = interrupted(store, "rollback", "v0.2.0")
    assert latest(store) == "v0.3.0"
    assert promotion.rollback(clone, store) == entry
    assert latest(store) == "v0.2.0"
    assert found_damages(store) == {}


def test_an_mlflow_that_is_down_is_an_error_after_latest_moved(
    store: ConditionalStore, clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_release(store, clone, "v0.1.0")
    monkeypatch.setenv("HEIMDALL_TRACKING", "")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://user:password@127.0.0.1:1/mlflow")
    with pytest.raises(HeimdallError, match="MLflow's alias is not") as caught:
        promotion.promote(clone, store, "v0.1.0")
    assert "heimdall promote v0.1.0" in caught.value.remedy
    assert latest(store) == "v0.1.0"
    assert champion_by_stage(clone) == "localizer#champion#2"


def test_of_promotions_at_once_each_wins_or_says_that_it_changed_nothing(
    store: ConditionalStore, clone: Path
) -> None:
    versions = [f"v0.{number}.0" for number in range(6)]
    for version in versions:
        put_release(store, clone, version)

    def attempt(version: str) -> str:
        try:
            promotion.promote(clone, store, version)
        except HeimdallError as error:
            return error.cause
        return ""

    with ThreadPoolExecutor(len(versions)) as pool:
        causes = list(pool.map(attempt, versions))
    won = {version for version, cause in zip(versions, causes, strict=True) if not cause}
    assert won
    assert all("at the same moment, and this changed nothing" in cause for cause in causes if cause)
    log = registry.read_log(store)
    promoted = [entry.version for entry in log if entry.action == "promote"]
    assert sorted(promoted) == sorted(won)
    assert latest(store) == promoted[-1]
    assert found_damages(store) == {}


def overwrite(store: ConditionalStore, key: str, old: bytes, new: bytes) -> None:
    """What someone does who has the bucket's credentials and no scruples."""
    content = store.get(key, 100_000)
    assert old in content
    store.put(key, content.replace(old, new))


def edit_entry(store: ConditionalStore) -> None:
    overwrite(store, "audit/00000002.json", b'"v0.1.0"', b'"v0.2.0"')


def edit_last_entry(store: ConditionalStore) -> None:
    overwrite(store, "audit/00000005.json", b"test@", b"else@")


def remove_entry(store: ConditionalStore) -> None:
    store.delete("audit/00000003.json")


def remove_last_entry(store: ConditionalStore) -> None:
    store.delete("audit/00000005.json")


def move_the_pointer(store: ConditionalStore) -> None:
    overwrite(store, "latest", b'"v0.2.0"', b'"v0.1.0"')


@pytest.mark.parametrize(
    ("tamper", "key", "cause"),
    [
        (edit_entry, "audit/00000003.json", "it does not follow from entry 2: one of the two was changed"),
        (edit_last_entry, "latest", "it names a state that is not in the log: either was changed"),
        (remove_entry, "audit/00000003.json", "missing from the log, which has audit/00000004.json"),
        (remove_last_entry, "latest", "it names a state that is not in the log: either was changed"),
        (move_the_pointer, "latest", "it names a state that is not in the log: either was changed"),
    ],
)
def test_a_changed_log_is_found_and_nothing_is_built_on_it(
    store: ConditionalStore,
    clone: Path,
    tamper: Callable[[ConditionalStore], None],
    key: str,
    cause: str,
) -> None:
    put_release(store, clone, "v0.1.0")
    promotion.promote(clone, store, "v0.1.0")
    put_release(store, clone, "v0.2.0")
    put_release(store, clone, "v0.3.0")
    promotion.promote(clone, store, "v0.2.0")
    assert found_damages(store) == {}
    tamper(store)
    assert found_damages(store) == {key: cause}
    before = store.head_all("")
    with pytest.raises(HeimdallError, match=cause):
        promotion.promote(clone, store, "v0.3.0")
    with pytest.raises(HeimdallError, match=cause):
        promotion.rollback(clone, store)
    assert store.head_all("") == before


def test_changed_files_are_found_and_not_promoted(store: ConditionalStore, clone: Path) -> None:
    for version in ("v0.1.0", "v0.2.0", "v0.3.0", "v0.4.0"):
        put_release(store, clone, version)
    store.put("v0.1.0/model.onnx", b"another model")
    store.delete("v0.2.0/README.md")
    store.put("v0.3.0/model2.onnx", b"one more")
    overwrite(store, "v0.4.0/release.json", b'"mae_m": 100.0', b'"mae_m": 1.0')
    assert found_damages(store) == {
        "v0.1.0/model.onnx": "other content than release.json records",
        "v0.2.0/README.md": "missing",
        "v0.3.0/model2.onnx": "not part of the release",
        "v0.4.0/release.json": "other content than the log records",
    }
    for version in ("v0.1.0", "v0.2.0", "v0.3.0", "v0.4.0"):
        with pytest.raises(HeimdallError, match=r"other content|missing|not part of"):
            promotion.promote(clone, store, version)
    assert store.read("latest") is None
    seen = registry.overview(store, nothing)
    assert verdict(seen.log or [], seen.damages, [])[:2] == [
        "DAMAGED:",
        f"  {store.place('v0.1.0/model.onnx')}: other content than release.json records",
    ]


def test_a_release_json_that_is_damaged_or_gone(store: ConditionalStore, clone: Path) -> None:
    put_release(store, clone, "v0.1.0")
    put_release(store, clone, "v0.2.0")
    store.put("v0.1.0/release.json", b"{")
    store.delete("v0.2.0/release.json")
    found = found_damages(store)
    assert found["v0.1.0/release.json"].startswith("damaged (")
    assert found["v0.2.0"] == "in the log, and its release.json is missing"
    with pytest.raises(HeimdallError, match="damaged"):
        promotion.promote(clone, store, "v0.1.0")


def rewrite(store: ConditionalStore, change: Callable[[list[Entry]], list[Entry]]) -> None:
    """Make all of the bucket consistent with another log, as its owner could."""
    entries: list[Entry] = []
    for entry in change(registry.read_log(store)):
        before = entries[-1].sha256 if entries else registry.NO_ENTRY
        entries.append(replace(entry, number=len(entries) + 1, previous_sha256=before))
    released = registry.logged_releases(entries)
    for key in store.head_all(""):
        if key.split("/")[0] not in released:
            store.delete(key)
    for entry in entries:
        store.put(entry.key, entry.content())
    promoted = registry.last_change(entries)
    if promoted is not None:
        store.put("latest", registry.pointer(promoted))


def by_another(log: list[Entry]) -> list[Entry]:
    return [*log[:3], replace(log[3], by="Else <else@localhost>"), *log[4:]]


def without_the_second_promotion(log: list[Entry]) -> list[Entry]:
    return [*log[:3], *log[4:]]


def without_the_rollback(log: list[Entry]) -> list[Entry]:
    return log[:4]


def without_anything(_: list[Entry]) -> list[Entry]:
    return []


def longer(log: list[Entry]) -> list[Entry]:
    return [log[0], log[1], log[1], *log[2:]]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (by_another, {"localizer#champion#4": "it attests another audit/00000004.json than the log has"}),
        (
            without_the_second_promotion,
            {"localizer#champion#5": "it attests audit/00000005.json, which the log does not have"},
        ),
        (
            without_the_rollback,
            {"localizer#champion#5": "it attests audit/00000005.json, which the log does not have"},
        ),
        (
            without_anything,
            {
                "v0.1.0": "it attests audit/00000001.json, which the log does not have",
                "localizer@v0.2.0": "it attests audit/00000003.json, which the log does not have",
            },
        ),
        (longer, {"v0.2.0": "it attests another audit/00000003.json than the log has"}),
    ],
)
def test_a_log_that_was_rewritten_as_a_whole_contradicts_the_tags(
    store: ConditionalStore,
    clone: Path,
    change: Callable[[list[Entry]], list[Entry]],
    named: dict[str, str],
) -> None:
    put_release(store, clone, "v0.1.0")
    promotion.promote(clone, store, "v0.1.0")
    put_release(store, clone, "v0.2.0")
    promotion.promote(clone, store, "v0.2.0")
    promotion.rollback(clone, store)
    assert contradictions(store, clone) == {}
    rewrite(store, change)
    assert found_damages(store) == {}
    found = contradictions(store, clone)
    assert named.items() <= found.items()
    before = store.head_all("")
    for attempt in (
        lambda: promotion.promote(clone, store, "v0.1.0"),
        lambda: promotion.rollback(clone, store),
    ):
        with pytest.raises(HeimdallError, match=r"it attests|not released|no former champion"):
            attempt()
    assert store.head_all("") == before


@pytest.mark.parametrize("time", ["yesterday", "2026-01-01T00:00:00"])
def test_an_entry_without_a_time_is_damaged(store: ConditionalStore, clone: Path, time: str) -> None:
    put_release(store, clone, "v0.1.0")
    rewrite(store, lambda log: [replace(log[0], at=registry.now())])
    assert found_damages(store) == {}
    overwrite(store, "audit/00000001.json", registry.read_log(store)[0].at.encode(), time.encode())
    assert found_damages(store)["audit/00000001.json"].startswith("damaged (")


def test_a_clone_attests_what_its_own_tags_say(
    store: ConditionalStore, clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    git(tmp_path, "clone", "--quiet", str(clone), str(other))
    put_release(store, clone, "v0.1.0")
    put_release(store, clone, "v0.2.0")
    promotion.promote(clone, store, "v0.1.0")
    log = registry.read_log(store)
    assert verdict(log, [], attestation.read(other)) == [
        "every file as released; 3 log entries, unbroken, 0 attested by this clone's tags",
        "not attested: entry 1, release v0.1.0",
        "not attested: entry 2, release v0.2.0",
        "not attested: entry 3, promote v0.1.0",
        "`git fetch --tags` brings their tags, if they were pushed",
    ]
    promotion.promote(other, store, "v0.2.0")
    log = registry.read_log(store)
    assert attestation.unattested(log, attestation.read(clone)) == log[3:]
    assert attestation.unattested(log, attestation.read(other)) == log[:3]
    # Both make the same tag of one entry, whoever is first, so that a fetch finds nothing to clobber.
    monkeypatch.setenv("GIT_COMMITTER_NAME", "Else")
    assert promotion.promote(clone, store, "v0.2.0") == (log[3], False)
    name = "refs/tags/localizer#champion#4"
    assert git(clone, "rev-parse", name) == git(other, "rev-parse", name)
    git(other, "fetch", "--quiet", "--tags")
    assert verdict(log, [], attestation.read(other)) == [
        "every file as released; 4 log entries, unbroken, 4 attested by this clone's tags"
    ]
    assert contradictions(store, other) == {}


def test_a_clone_without_the_commit_promotes_nothing(
    store: ConditionalStore, clone: Path, tmp_path: Path
) -> None:
    put_release(store, clone, "v0.1.0")
    shutil.copytree(clone, tmp_path / "other")
    git(clone, "commit", "--quiet", "--allow-empty", "--message", "Another model")
    made = put_release(store, clone, "v0.2.0")
    promotion.promote(clone, store, "v0.1.0")
    before = store.head_all("")
    with pytest.raises(HeimdallError, match=f"v0.2.0: its commit {made.commit[:12]} is not in this clone"):
        promotion.promote(tmp_path / "other", store, "v0.2.0")
    with pytest.raises(HeimdallError, match="this folder is no clone's root"):
        promotion.promote(tmp_path, store, "v0.2.0")
    assert store.head_all("") == before
    promotion.promote(clone, store, "v0.2.0")
    with pytest.raises(HeimdallError, match="its commit"):  # nor does it finish what another began there
        promotion.promote(tmp_path / "other", store, "v0.2.0")


def message(clone: Path, tag: str) -> str:
    return git(clone, "for-each-ref", "--format=%(contents)", f"refs/tags/{tag}")


@pytest.mark.parametrize("annotated", [False, True])
@pytest.mark.parametrize(
    "name",
    [f"localizer{form}" for form in ("#champion#2", "#champion", "#champion!#3", "@v9.9.9", "@v0.1.0#2")],
)
def test_a_tag_that_dvc_may_follow_and_the_log_did_not_make_is_found(
    store: ConditionalStore, clone: Path, name: str, annotated: bool
) -> None:
    put_release(store, clone, "v0.1.0")
    git(clone, "tag", *(("--annotate", "--message", "By hand") if annotated else ()), name)
    cause = "no release, promotion or rollback in the log made it"
    assert contradictions(store, clone) == {name: cause}
    before = store.head_all("")
    with pytest.raises(HeimdallError, match=cause):
        promotion.promote(clone, store, "v0.1.0")
    assert store.head_all("") == before


@pytest.mark.parametrize("name", ["localizer#champion#2", "localizer@v0.1.0", "v0.1.0"])
def test_a_tag_at_another_commit_is_found(store: ConditionalStore, clone: Path, name: str) -> None:
    made = put_release(store, clone, "v0.1.0")
    promotion.promote(clone, store, "v0.1.0")
    git(clone, "commit", "--quiet", "--allow-empty", "--message", "Another model")
    git(clone, "tag", "--force", "--annotate", "--message", message(clone, name), name)
    other = revision.commit_of(clone, "HEAD")
    cause = f"it is at {other[:12]}, and v0.1.0 is of {made.commit[:12]}"
    assert contradictions(store, clone) == {name: cause}
    with pytest.raises(HeimdallError, match=cause):
        promotion.promote(clone, store, "v0.1.0")


@pytest.mark.parametrize("name", ["localizer@v0.2.0", "v0.2.0"])
@pytest.mark.parametrize("by", ["another release", "hand", "hand, lightweight"])
def test_a_release_tag_that_does_not_attest_its_own_entry_is_found(
    store: ConditionalStore, clone: Path, name: str, by: str
) -> None:
    put_release(store, clone, "v0.1.0")
    made = put_release(store, clone, "v0.2.0")
    text = {"another release": message(clone, "v0.1.0"), "hand": "By hand"}.get(by)
    git(clone, "tag", "--force", *(("--annotate", "--message", text) if text else ()), name)
    cause = "it is not the attestation of log entry 2, release v0.2.0"
    assert contradictions(store, clone) == {name: cause}
    # Nor does a release that is completed take it for its own.
    with pytest.raises(HeimdallError, match=f"tag {name}: {cause}") as caught:
        attestation.attest(clone, registry.read_log(store), made)
    assert "`git tag --delete` and run this again" in caught.value.remedy
    git(clone, "tag", "--delete", name)
    assert attestation.attest(clone, registry.read_log(store), made)
    assert contradictions(store, clone) == {}


def test_a_tag_of_ones_own_is_no_damage_until_a_release_has_its_name(
    store: ConditionalStore, clone: Path
) -> None:
    put_release(store, clone, "v0.1.0")
    git(clone, "tag", "--annotate", "--message", "Our own", "v9.9.9")
    git(clone, "tag", "vanilla")
    assert contradictions(store, clone) == {}
    with pytest.raises(HeimdallError, match=r"tag v9\.9\.9: it is there, and the log has no release"):
        attestation.require_free("v9.9.9", attestation.read(clone))
    git(clone, "tag", "--force", "--annotate", "--message", message(clone, "v0.1.0"), "v9.9.9")
    assert list(contradictions(store, clone)) == ["v9.9.9"]


def test_a_tag_may_be_signed(store: ConditionalStore, clone: Path, tmp_path: Path) -> None:
    """Git calls a program for it; the signature stands in the tag's message."""
    signer = tmp_path / "signer"
    block = "-----BEGIN PGP SIGNATURE-----\\n\\nAAAA\\n-----END PGP SIGNATURE-----\\n"
    signer.write_text(
        f"#!/bin/sh\ncat > /dev/null\nprintf '\\n[GNUPG:] SIG_CREATED \\n' >&2\nprintf -- '{block}'\n"
    )
    signer.chmod(0o755)
    for name, value in {"tag.gpgSign": "true", "gpg.format": "openpgp", "gpg.program": str(signer)}.items():
        git(clone, "config", name, value)
    made = put_release(store, clone, "v0.1.0")
    assert "SIGNATURE" in message(clone, "v0.1.0")
    assert not attestation.attest(clone, registry.read_log(store), made)
    assert contradictions(store, clone) == {}


def test_dvc_takes_the_last_promotion_even_within_a_second(store: ConditionalStore, clone: Path) -> None:
    """DVC looks at the dates of tags, in whole seconds, and then at their names, where 10 is before 9."""
    made = {version: put_release(store, clone, version) for version in ("v0.1.0", "v0.2.0")}
    log = registry.read_log(store)
    at = log[0].at
    for number in range(3, 13):
        version = f"v0.{number % 2 + 1}.0"
        entry = Entry(
            number=number,
            previous_sha256=log[-1].sha256,
            action="promote",
            version=version,
            former=None,
            release_sha256=registry.logged_releases(log)[version],
            at=at,
            by=BY,
        )
        log.append(entry)
        attestation.attest(clone, log, made[version])
        assert champion_by_stage(clone) == f"localizer#champion#{number}"
