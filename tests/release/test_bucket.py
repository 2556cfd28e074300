"""Conditional puts on a real S3 server: races have one winner."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from heimdall.release.bucket import ConditionalStore


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
