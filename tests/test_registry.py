"""The registry of releases on a real S3 server: conditional puts, the pointer, the log, damage, races."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from heimdall import artifacts, registry
from heimdall.commands.releases import lines
from heimdall.endpoints import MODELS_BUCKET
from heimdall.errors import HeimdallError
from heimdall.registry import ConditionalStore, Entry, Release
from tests.conftest import Buckets, Services

BY = "Test <test@localhost>"


def nothing(_: object) -> None:
    """An alias that always moves; progress that nobody reads."""


@pytest.fixture(scope="module")
def client(services: Services) -> ConditionalStore:
    return ConditionalStore(services.endpoints, MODELS_BUCKET)


@pytest.fixture
def store(client: ConditionalStore, buckets: Buckets) -> ConditionalStore:
    """The empty bucket of models."""
    assert buckets.models.head_all("") == {}
    return client


def put_release(store: ConditionalStore, version: str, mae_m: float = 100.0) -> Release:
    """A version as `heimdall release` leaves it, with its entry in the log."""
    files = {name: f"{name} of {version}".encode() for name in registry.FILES}
    for name, content in files.items():
        assert store.put_if(f"{version}/{name}", content, None)
    made = Release(
        version=version,
        commit="c" * 40,
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
    assert registry.append(store, log, action="release", version=version, release_sha256=sha256, by=BY)
    return made


def latest(store: ConditionalStore) -> str:
    """What a reader of `latest` is sent to."""
    return str(json.loads(store.get("latest", 10_000))["version"])


def found_damages(store: ConditionalStore) -> dict[str, str]:
    """Cause by object's key or version, as `heimdall releases` finds them."""
    damages = registry.overview(store, nothing).damages
    return {damage.subject.removeprefix(store.place("")): damage.cause for damage in damages}


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


def test_promotions_and_rollbacks(store: ConditionalStore) -> None:
    aliases: list[str] = []

    def alias(made: Release) -> None:
        aliases.append(made.version)

    for version in ("v0.1.0", "v0.2.0", "v0.10.0"):
        put_release(store, version)
    with pytest.raises(HeimdallError, match="there is no former champion"):
        registry.rollback(store, BY, alias)
    for version in ("v0.1.0", "v0.2.0", "v0.10.0"):
        entry, is_new = registry.promote(store, version, BY, alias)
        assert is_new
        assert latest(store) == entry.version == version
    again, is_new = registry.promote(store, "v0.10.0", BY, alias)
    assert (again, is_new) == (entry, False)
    assert registry.rollback(store, BY, alias).version == "v0.2.0"
    assert latest(store) == "v0.2.0"
    back = registry.rollback(store, BY, alias)
    assert (back.version, back.former, back.number) == ("v0.1.0", "v0.2.0", 8)
    with pytest.raises(HeimdallError, match="there is no former champion"):
        registry.rollback(store, BY, alias)
    assert aliases == ["v0.1.0", "v0.2.0", "v0.10.0", "v0.10.0", "v0.2.0", "v0.1.0"]
    seen = registry.overview(store, nothing)
    assert [made.version for made in seen.releases] == ["v0.1.0", "v0.2.0", "v0.10.0"]
    assert (seen.champion, seen.damages, len(seen.log)) == ("v0.1.0", [], 8)
    shown = lines(seen)
    assert "v0.1.0   champion  100 [90, 110]" in shown[1]
    assert shown[-1] == "every file as released; 8 log entries, unbroken"


@pytest.mark.parametrize("version", ["v9.9.9", "latest"])
def test_only_a_released_version_is_promoted(store: ConditionalStore, version: str) -> None:
    with pytest.raises(HeimdallError, match=r"not released|no semantic version"):
        registry.promote(store, version, BY, nothing)
    store.put_if("v9.9.9/config.yaml", b"begun", None)
    with pytest.raises(HeimdallError, match=r"not released|no semantic version"):
        registry.promote(store, version, BY, nothing)
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


def test_a_promotion_that_was_killed_is_completed(store: ConditionalStore) -> None:
    put_release(store, "v0.1.0")
    put_release(store, "v0.2.0")
    first = interrupted(store, "promote", "v0.1.0")
    assert registry.promote(store, "v0.1.0", BY, nothing) == (first, False)
    assert latest(store) == "v0.1.0"
    # Another change completes it, too, and comes after it.
    interrupted(store, "promote", "v0.2.0")
    assert registry.promote(store, "v0.1.0", BY, nothing)[1]
    assert [entry.version for entry in registry.read_log(store)[-2:]] == ["v0.2.0", "v0.1.0"]
    assert latest(store) == "v0.1.0"


def test_a_rollback_that_was_killed_goes_back_once(store: ConditionalStore) -> None:
    for version in ("v0.1.0", "v0.2.0", "v0.3.0"):
        put_release(store, version)
        registry.promote(store, version, BY, nothing)
    entry = interrupted(store, "rollback", "v0.2.0")
    assert latest(store) == "v0.3.0"
    assert registry.rollback(store, BY, nothing) == entry
    assert latest(store) == "v0.2.0"
    assert found_damages(store) == {}


def test_an_alias_that_fails_is_an_error_and_is_moved_by_the_same_command(store: ConditionalStore) -> None:
    put_release(store, "v0.1.0")
    aliases: list[str] = []

    def down(_: Release) -> None:
        raise HeimdallError("MLflow here", "it does not answer", "Start it")

    with pytest.raises(HeimdallError, match="MLflow's alias is not") as caught:
        registry.promote(store, "v0.1.0", BY, down)
    assert "heimdall promote v0.1.0" in caught.value.remedy
    assert latest(store) == "v0.1.0"
    assert registry.promote(store, "v0.1.0", BY, lambda made: aliases.append(made.version))[1] is False
    assert aliases == ["v0.1.0"]


def test_of_promotions_at_once_each_wins_or_says_that_it_changed_nothing(store: ConditionalStore) -> None:
    versions = [f"v0.{number}.0" for number in range(6)]
    for version in versions:
        put_release(store, version)

    def attempt(version: str) -> str:
        try:
            registry.promote(store, version, BY, nothing)
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
    store: ConditionalStore, tamper: Callable[[ConditionalStore], None], key: str, cause: str
) -> None:
    put_release(store, "v0.1.0")
    registry.promote(store, "v0.1.0", BY, nothing)
    put_release(store, "v0.2.0")
    put_release(store, "v0.3.0")
    registry.promote(store, "v0.2.0", BY, nothing)
    assert found_damages(store) == {}
    tamper(store)
    assert found_damages(store) == {key: cause}
    before = store.head_all("")
    with pytest.raises(HeimdallError, match=cause):
        registry.promote(store, "v0.3.0", BY, nothing)
    with pytest.raises(HeimdallError, match=cause):
        registry.rollback(store, BY, nothing)
    assert store.head_all("") == before


def test_changed_files_are_found_and_not_promoted(store: ConditionalStore) -> None:
    for version in ("v0.1.0", "v0.2.0", "v0.3.0", "v0.4.0"):
        put_release(store, version)
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
            registry.promote(store, version, BY, nothing)
    assert store.read("latest") is None
    shown = lines(registry.overview(store, nothing))
    assert shown[shown.index("DAMAGED:") + 1] == (
        f"  {store.place('v0.1.0/model.onnx')}: other content than release.json records"
    )


def test_a_release_json_that_is_damaged_or_gone(store: ConditionalStore) -> None:
    put_release(store, "v0.1.0")
    put_release(store, "v0.2.0")
    store.put("v0.1.0/release.json", b"{")
    store.delete("v0.2.0/release.json")
    found = found_damages(store)
    assert found["v0.1.0/release.json"].startswith("damaged (")
    assert found["v0.2.0"] == "in the log, and its release.json is missing"
    with pytest.raises(HeimdallError, match="damaged"):
        registry.promote(store, "v0.1.0", BY, nothing)
