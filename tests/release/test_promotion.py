"""Promotions and rollbacks, killed, raced, and without MLflow."""

from __future__ import annotations

import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from heimdall.core.errors import HeimdallError
from heimdall.release import attestation, audit_log, promotion, registry
from heimdall.release.audit_log import Entry
from heimdall.release.bucket import ConditionalStore
from heimdall.release.releases_text import lines
from tests.release.releases import (
    BY,
    champion_by_stage,
    contradictions,
    found_damages,
    interrupted,
    latest,
    nothing,
    put_release,
    run_git,
)


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
    named = run_git(clone, "tag", "--list", "*champion*").split()
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


def test_a_promotion_that_was_killed_is_completed(store: ConditionalStore, clone: Path) -> None:
    put_release(store, clone, "v0.1.0")
    put_release(store, clone, "v0.2.0")
    first = interrupted(store, "promote", "v0.1.0")
    assert run_git(clone, "tag", "--list", "*champion*") == ""
    assert promotion.promote(clone, store, "v0.1.0") == (first, False)
    assert latest(store) == "v0.1.0"
    # Another change completes it, too, and comes after it.
    interrupted(store, "promote", "v0.2.0")
    assert promotion.promote(clone, store, "v0.1.0")[1]
    assert [entry.version for entry in audit_log.read(store)[-2:]] == ["v0.2.0", "v0.1.0"]
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
    log = audit_log.read(store)
    promoted = [entry.version for entry in log if entry.action == "promote"]
    assert sorted(promoted) == sorted(won)
    assert latest(store) == promoted[-1]
    assert found_damages(store) == {}


def test_a_clone_without_the_commit_promotes_nothing(
    store: ConditionalStore, clone: Path, tmp_path: Path
) -> None:
    put_release(store, clone, "v0.1.0")
    shutil.copytree(clone, tmp_path / "other")
    run_git(clone, "commit", "--quiet", "--allow-empty", "--message", "Another model")
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


def test_dvc_takes_the_last_promotion_even_within_a_second(store: ConditionalStore, clone: Path) -> None:
    """DVC looks at the dates of tags, in whole seconds, and then at their names, where 10 is before 9."""
    made = {version: put_release(store, clone, version) for version in ("v0.1.0", "v0.2.0")}
    log = audit_log.read(store)
    at = log[0].at
    for number in range(3, 13):
        version = f"v0.{number % 2 + 1}.0"
        entry = Entry(
            number=number,
            previous_sha256=log[-1].sha256,
            action="promote",
            version=version,
            former=None,
            release_sha256=audit_log.releases(log)[version],
            at=at,
            by=BY,
        )
        log.append(entry)
        attestation.attest(clone, log, made[version])
        assert champion_by_stage(clone) == f"localizer#champion#{number}"
