"""Conditional puts on a real S3 server: races have one winner."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from heimdall.core.errors import HeimdallError
from heimdall.release import bucket
from heimdall.release.bucket import PROBE, ConditionalStore
from tests.gateway import Answer, Gateway, Request


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


def test_conditions_are_tried_with_one_object_that_stays(store: ConditionalStore) -> None:
    with Gateway(store.endpoint) as gateway:
        for _ in range(2):  # processes
            client = ConditionalStore(replace(store.access, endpoint_url=gateway.url), store.bucket)
            assert client.put_if("a", b"1", None)
            client.require_conditions()
    assert set(store.head_all("")) == {PROBE, "a"}
    assert {request.method for request in gateway.requests if PROBE in request.path} == {"PUT"}
    assert sum(PROBE in request.path for request in gateway.requests) == 3 + 2


@pytest.mark.parametrize("header", ["If-None-Match", "If-Match"])
@pytest.mark.parametrize("is_there", [False, True])
def test_a_server_that_ignores_a_condition_gets_no_release(
    store: ConditionalStore, header: str, is_there: bool
) -> None:
    if is_there:
        store.put(PROBE, bucket.PROBE_CONTENT)

    def ignore(request: Request, forward: Callable[[Request], Answer]) -> Answer:
        answer = forward(request)
        if header in request.headers and answer.status == 412:
            return Answer(200, {"ETag": '"1"'}, b"")
        return answer

    with Gateway(store.endpoint, ignore) as gateway:
        client = ConditionalStore(replace(store.access, endpoint_url=gateway.url), store.bucket)
        with pytest.raises(HeimdallError, match=f"it ignores {header}, so"):
            client.put_if("a", b"1", None)
    assert set(store.head_all("")) == {PROBE}


def test_what_is_too_large_for_one_conditional_request_is_not_put(
    store: ConditionalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket, "MAX_PUT_BYTES", 10)
    assert store.put_if("a", bytes(10), None)
    with pytest.raises(HeimdallError, match="11 bytes, and S3 takes at most 10"):
        store.put_if("b", bytes(11), None)
    assert store.read("b") is None
