"""The registry on a real S3 server: whatever is damaged is found, and nothing is built on it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from heimdall.core.errors import HeimdallError
from heimdall.release import audit_log, bucket, promotion, registry, release
from heimdall.release.audit_log import Entry
from heimdall.release.bucket import ConditionalStore
from heimdall.release.releases_text import as_dict, lines, verdict
from tests.release.releases import (
    BY,
    by_another,
    contradictions,
    found_damages,
    nothing,
    overwrite,
    put_release,
    rewrite,
)


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
    said = json.loads(json.dumps(as_dict(seen, seen.damages, [])))
    assert [made["version"] for made in said["releases"]] == [made.version for made in seen.releases]
    assert said["damages"][0]["cause"] == "other content than release.json records"
    assert said["not_attested"] == [entry["number"] for entry in said["log"]]


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


def test_a_release_that_was_begun_is_given_up(store: ConditionalStore, clone: Path) -> None:
    """Whoever would complete it is refused then, and nothing that is released is given up."""
    put_release(store, clone, "v0.1.0")
    assert store.put_if("v0.2.0/config.yaml", b"of a commit that is lost", None)
    seen = registry.overview(store, nothing)
    assert (seen.unfinished, seen.given_up, seen.damages) == (["v0.2.0"], [], [])
    assert lines(seen)[-1].endswith("Run `heimdall release v0.2.0` from its commit, or with --give-up")
    for version, cause in (("v0.1.0", "it is released"), ("v0.3.0", "was not begun")):
        with pytest.raises(HeimdallError, match=cause):
            release.give_up(clone, store, version)
    assert release.give_up(clone, store, "v0.2.0").given_up_by == BY
    before = store.head_all("")
    assert release.give_up(clone, store, "v0.2.0").given_up_by == BY
    assert store.head_all("") == before
    assert not store.put_if("v0.2.0/release.json", b"of who completes it", None)
    with pytest.raises(HeimdallError, match=r"v0\.2\.0: Test <test@localhost> gave it up at .* the next"):
        promotion.promote(clone, store, "v0.2.0")
    seen = registry.overview(store, nothing)
    assert (seen.unfinished, [made.version for made in seen.given_up]) == ([], ["v0.2.0"])
    assert (len(seen.releases), seen.damages) == (1, [])
    assert "v0.2.0: Test <test@localhost> gave it up at" in lines(seen)[-1]
    assert as_dict(seen, [], [])["given_up"][0]["version"] == "v0.2.0"


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
    rewrite(store, lambda log: [replace(log[0], at=bucket.now())])
    assert found_damages(store) == {}
    overwrite(store, "audit/00000001.json", audit_log.read(store)[0].at.encode(), time.encode())
    assert found_damages(store)["audit/00000001.json"].startswith("damaged (")
