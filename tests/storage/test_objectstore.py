"""Objects in and out of a real S3 server, and what happens when it is not there."""

from __future__ import annotations

import dataclasses
import hashlib
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from heimdall.core.errors import HeimdallError
from heimdall.storage import objectstore, s3_access
from heimdall.storage.objectstore import ObjectInfo, ObjectMissing, ObjectStore, object_key
from heimdall.storage.s3_access import S3Access
from tests.conftest import Services
from tests.gateway import Answer, Change, Gateway, Request, error

SESSION = "0b8f3a52-8f0c-4d6e-9a55-1c2d3e4f5a6b"


def test_key_of_a_recording() -> None:
    assert object_key(SESSION, 3) == f"sessions/{SESSION}/websdr_3.npy"


@pytest.mark.parametrize(
    "session_id",
    ["", "../" + SESSION, SESSION.upper(), SESSION.replace("-", ""), f"{{{SESSION}}}", SESSION + "/.."],
)
def test_a_session_id_that_is_no_canonical_uuid_is_refused(session_id: str) -> None:
    with pytest.raises(HeimdallError, match="not a UUID"):
        object_key(session_id, 3)


def test_a_negative_receiver_is_refused() -> None:
    with pytest.raises(HeimdallError, match="negative"):
        object_key(SESSION, -1)


def test_content_comes_back(raw: ObjectStore) -> None:
    content = bytes(range(256)) * 5000
    raw.put("a/b", content)
    assert raw.get("a/b", len(content)) == content
    listed = raw.head_all("a/")
    etag = hashlib.md5(content, usedforsecurity=False).hexdigest()
    assert listed == {"a/b": ObjectInfo(etag=etag, size=len(content))}


def test_an_empty_object_and_an_overwritten_one(raw: ObjectStore) -> None:
    raw.put("a", b"first")
    raw.put("a", b"")
    assert raw.get("a", 10) == b""


@pytest.mark.parametrize("size", [6, 20_000_000])  # the larger one is stored in pieces
def test_content_of_another_entity_tag_is_refused(raw: ObjectStore, size: int) -> None:
    raw.put("a", b"b" * size)
    listed = raw.head_all("a")["a"]
    assert raw.get("a", size, listed) == b"b" * size
    raw.put("a", b"c" * size)
    with pytest.raises(objectstore.ObjectChanged, match="heimdall-raw-iq/a: the object has been replaced"):
        raw.get("a", size, listed)


def test_no_more_than_one_byte_too_many_is_read(raw: ObjectStore) -> None:
    raw.put("large", b"x" * 100_000)
    assert raw.get("large", 1000) == b"x" * 1001
    assert raw.get("large", 99_999) == b"x" * 100_000


def test_a_listing_is_complete_sorted_and_keeps_to_its_prefix(raw: ObjectStore) -> None:
    keys = [f"sessions/{name}" for name in ("b/1", "a/2", "a/10", "B/1", "a-b/1", "a b/ü+1")]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: raw.put(key, b"1"), [*keys, "other/1"]))
    assert list(raw.head_all("sessions/")) == sorted(keys)
    assert raw.head_all("nothing/") == {}


def test_sixteen_threads_share_one_store(raw: ObjectStore) -> None:
    def copy(number: int) -> bool:
        raw.put(f"thread/{number}", b"%d" % number)
        return raw.get(f"thread/{number}", 10) == b"%d" % number

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(copy, range(48)))
    assert len(raw.head_all("thread/")) == 48


def test_delete_and_missing(raw: ObjectStore) -> None:
    raw.put("a", b"1")
    raw.delete("a")
    raw.delete("a")
    with pytest.raises(ObjectMissing, match="heimdall-raw-iq/a: the object is missing"):
        raw.get("a", 10)


def test_a_missing_bucket_says_what_to_do(s3: S3Access) -> None:
    store = ObjectStore(s3, f"none-{uuid.uuid4().hex}")
    for attempt in (lambda: store.head_all(""), lambda: store.put("a", b"1"), lambda: store.get("a", 1)):
        with pytest.raises(HeimdallError, match="Run `heimdall services up`") as caught:
            attempt()
        assert not isinstance(caught.value, ObjectMissing)
    store.ping()


def test_a_bucket_is_made_once(s3: S3Access) -> None:
    store = ObjectStore(s3, f"new-{uuid.uuid4().hex}")
    store.ensure_bucket()
    store.put("a", b"1")
    store.ensure_bucket()
    assert store.get("a", 1) == b"1"
    store.delete("a")
    for code in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
        with Gateway(s3.endpoint_url, another_is_faster(code)) as gateway:
            ObjectStore(dataclasses.replace(s3, endpoint_url=gateway.url), store.bucket).ensure_bucket()


def another_is_faster(code: str) -> Change:
    """A gateway behind which a bucket is made between the question for it and its making."""
    missing = iter([error(404, "NoSuchBucket")])

    def change(request: Request, forward: Callable[[Request], Answer]) -> Answer:
        return error(409, code) if request.method == "PUT" else next(missing, None) or forward(request)

    return change


@pytest.mark.parametrize("field", ["access_key", "secret_key"])
def test_wrong_credentials_name_the_endpoint_and_no_secret(services: Services, field: str) -> None:
    keys = dataclasses.replace(services.endpoints.s3.keys, **{field: "s3cret" * 4})
    wrong = dataclasses.replace(services.endpoints.s3, keys=keys)
    store = ObjectStore(wrong, "heimdall-raw-iq")
    for attempt in (lambda: store.get("a", 1), lambda: store.head_all(""), store.ping, store.ensure_bucket):
        with pytest.raises(HeimdallError, match="access denied") as caught:
            attempt()
        assert services.endpoints.s3.endpoint_url in str(caught.value)
        assert "s3cret" not in str(caught.value)
        assert services.endpoints.s3.keys.secret_key not in str(caught.value)


def test_no_server_is_one_clear_error_after_bounded_retries(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_access, "REQUEST_TRIES", 2)
    nobody = dataclasses.replace(services.endpoints.s3, endpoint_url="http://127.0.0.1:1")
    with pytest.raises(HeimdallError, match=r"http://127\.0\.0\.1:1/heimdall-raw-iq: it cannot be reached"):
        ObjectStore(nobody, "heimdall-raw-iq").get("a", 1)


@contextmanager
def breaking_server(answers: list[bytes]) -> Iterator[str]:
    """A server that gives one of `answers` to each connection and hangs up, the last one for ever."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65536)
                    connection.sendall(answers.pop(0) if len(answers) > 1 else answers[0])

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\n"


def test_content_that_breaks_off_is_read_again(services: Services) -> None:
    with breaking_server([HEAD + b"abc", HEAD + b"abcdef"]) as url:
        store = ObjectStore(dataclasses.replace(services.endpoints.s3, endpoint_url=url), "heimdall-raw-iq")
        assert store.get("a", 100) == b"abcdef"


def test_content_that_always_breaks_off_is_an_error(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objectstore, "CONTENT_PAUSES_S", (0.0, 0.0))
    with breaking_server([HEAD + b"abc"]) as url:
        store = ObjectStore(dataclasses.replace(services.endpoints.s3, endpoint_url=url), "heimdall-raw-iq")
        with pytest.raises(HeimdallError, match="broke off"):
            store.get("a", 100)


def test_a_proxy_of_the_environment_is_not_asked_for_loopback(
    s3: S3Access, raw: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw.put("a", b"1")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert ObjectStore(s3, "heimdall-raw-iq").get("a", 1) == b"1"
