"""S3 as others speak it: gateways that change what a server answers, before two different servers."""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Callable
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from heimdall.core.errors import HeimdallError
from heimdall.release.bucket import ConditionalStore
from heimdall.storage import objectstore, s3_access
from heimdall.storage.endpoints import RAW_BUCKET
from heimdall.storage.objectstore import ObjectChanged, ObjectStore, object_key
from heimdall.storage.s3_access import S3Access
from tests.gateway import Answer, Change, Gateway, Request, error

Forward = Callable[[Request], Answer]
SESSIONS = [f"{number:02x}8f3a52-8f0c-4d6e-9a55-1c2d3e4f5a6b" for number in range(40)]
KEYS = [object_key(session, receiver) for session in SESSIONS[:4] for receiver in (1, 2)]
CONTENT = bytes(range(256)) * 40
FULL = "full-of-sessions"


def through(s3: S3Access, gateway: Gateway) -> ObjectStore:
    """The bucket of recordings as a client sees it behind a gateway."""
    return ObjectStore(replace(s3, endpoint_url=gateway.url), RAW_BUCKET)


def of_objects(change: Callable[[Answer], Answer]) -> Change:
    """Changes what carries an object, nothing else."""

    def changed(request: Request, forward: Forward) -> Answer:
        answer = forward(request)
        return change(answer) if request.is_object and answer.status == 200 else answer

    return changed


def etag(form: str) -> Change:
    """Another form of the entity tag; {} is the tag without quotes."""
    return of_objects(
        lambda answer: answer.with_header("ETag", form.format(str(answer.header("ETag")).strip('"')) or None)
    )


def reversed_listing(request: Request, forward: Forward) -> Answer:
    answer = forward(request)
    if not request.is_listing:
        return answer
    head, *items = answer.body.split(b"<Contents>")
    *items, last = items
    last, _, tail = last.partition(b"</Contents>")
    whole = [*items, last + b"</Contents>"]
    return replace(answer, body=b"<Contents>".join([head, *reversed(whole)]) + tail)


def without_any_etag(request: Request, forward: Forward) -> Answer:
    answer = forward(request).with_header("ETag", None)
    while request.is_listing and b"<ETag>" in answer.body:
        before, _, rest = answer.body.partition(b"<ETag>")
        answer = replace(answer, body=before + rest.partition(b"</ETag>")[2])
    return answer


def tags_of_a_kms(request: Request, forward: Forward) -> Answer:
    """Listed tags look like an MD5 and are none."""
    answer = forward(request).with_header("ETag", None)
    if request.is_object:
        return answer.with_header("x-amz-server-side-encryption", "aws:kms")
    other = re.sub(rb"[0-9a-f]{32}", lambda tag: tag[0][::-1], answer.body)
    return replace(answer, body=other) if request.is_listing else answer


GATEWAYS = {
    "a weak entity tag": etag('W/"{}"'),
    "an entity tag without quotes": etag("{}"),
    "no entity tag": etag(""),
    "no entity tag, not even in the listing": without_any_etag,
    "tags of a KMS in the listing, and no entity tag": tags_of_a_kms,
    "chunks": of_objects(lambda answer: replace(answer, framing="chunked")),
    "chunks and no entity tag": of_objects(
        lambda answer: replace(answer.with_header("ETag", None), framing="chunked")
    ),
    "no length": of_objects(lambda answer: replace(answer, framing="close")),
    "a listing out of order": reversed_listing,
}


@pytest.mark.parametrize("name", GATEWAYS)
def test_objects_are_found_and_read_behind_a_gateway_with(name: str, s3: S3Access, raw: ObjectStore) -> None:
    for key in KEYS:
        raw.put(key, CONTENT)
    with Gateway(s3.endpoint_url, GATEWAYS[name]) as gateway:
        store = through(s3, gateway)
        listed = store.head_many(KEYS)
        assert list(listed) == KEYS
        if "listing" not in name:
            assert listed == raw.head_many(KEYS)
        assert [store.get(key, 20_000, listed[key]) for key in KEYS] == [CONTENT] * len(KEYS)
        assert store.get(KEYS[0], 100, listed[KEYS[0]]) == CONTENT[:101]
        assert store.head_many(KEYS) == listed  # the identity of what did not change stays
        raw.put(KEYS[0], CONTENT[:-1] if "not even" in name else CONTENT[::-1])
        with pytest.raises(ObjectChanged, match=KEYS[0]):
            store.get(KEYS[0], 20_000, listed[KEYS[0]])


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
@pytest.mark.parametrize("again", [True, False], ids=["once", "always"])
def test_content_that_is_cut_is_read_again_and_never_believed(
    framing: str, again: bool, s3: S3Access, raw: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objectstore, "CONTENT_PAUSES_S", (0.0, 0.0))
    raw.put("a", CONTENT)
    listed = raw.head_many(["a"])["a"]
    cuts = iter([500] if again else [500] * 3)
    change = of_objects(lambda answer: replace(answer, framing=framing, sent_bytes=next(cuts, None)))
    with Gateway(s3.endpoint_url, change) as gateway:
        store = through(s3, gateway)
        if again:
            assert store.get("a", 20_000, listed) == CONTENT
        else:
            with pytest.raises(HeimdallError, match="broke off"):
                store.get("a", 20_000, listed)


READERS: dict[str, Callable[[ConditionalStore], bytes | None]] = {
    "get": lambda store: store.get("a", 20_000),
    "read": lambda store: store.read("a"),
    "read_tagged": lambda store: (store.read_tagged("a") or (None, ""))[0],
}


# A Latin square: without the series, any value of one is there with any value of another.
@pytest.mark.parametrize(
    ("reader", "framing", "cut_answers"),
    [
        pytest.param(*values, marks=[pytest.mark.series] if sum(place) % 3 else [])
        for place, values in zip(
            product(range(3), repeat=3),
            product(READERS, ("length", "chunked", "close"), (0, 1, 3)),
            strict=True,
        )
    ],
)
def test_content_of_an_object_that_was_not_listed_is_whole_or_an_error(  # noqa: PLR0917 - a table
    reader: str,
    framing: str,
    cut_answers: int,
    s3: S3Access,
    raw: ObjectStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(objectstore, "CONTENT_PAUSES_S", (0.0, 0.0))
    raw.put("a", CONTENT)
    cuts = iter([500] * cut_answers)
    change = of_objects(
        lambda answer: replace(
            answer.with_header("ETag", None) if framing == "close" else answer,
            framing=framing,
            sent_bytes=next(cuts, None),
        )
    )
    with Gateway(s3.endpoint_url, change) as gateway:
        store = ConditionalStore(replace(s3, endpoint_url=gateway.url), RAW_BUCKET)
        if cut_answers < 3:
            assert READERS[reader](store) == CONTENT
            assert store.get("a", 100) == CONTENT[:101]
        else:
            with pytest.raises(HeimdallError, match="broke off"):
                READERS[reader](store)
    assert framing == "close" or not any(request.is_listing for request in gateway.requests)


@pytest.mark.parametrize("times", [1, 3])
def test_an_object_that_is_replaced_while_its_length_is_looked_up(
    times: int, s3: S3Access, raw: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objectstore, "CONTENT_PAUSES_S", (0.0, 0.0))
    raw.put("a", CONTENT)
    others = iter([CONTENT[:500], CONTENT[1:], CONTENT[::-1]][:times])

    def change(request: Request, forward: Forward) -> Answer:
        if request.is_listing and (other := next(others, None)) is not None:
            raw.put("a", other)
        return of_objects(lambda answer: replace(answer, framing="close"))(request, forward)

    with Gateway(s3.endpoint_url, change) as gateway:
        if times == 1:
            assert through(s3, gateway).get("a", 20_000) == CONTENT[:500]
        else:
            with pytest.raises(ObjectChanged, match="replaced"):
                through(s3, gateway).get("a", 20_000)


def test_content_whose_length_nobody_tells_is_refused(
    s3: S3Access, raw: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objectstore, "CONTENT_PAUSES_S", (0.0, 0.0))
    raw.put("a", CONTENT)

    def change(request: Request, forward: Forward) -> Answer:
        answer = of_objects(lambda answer: replace(answer, framing="close"))(request, forward)
        if not request.is_listing:
            return answer
        before, _, rest = answer.body.partition(b"<Contents>")
        return replace(answer, body=before + rest.partition(b"</Contents>")[2])

    with Gateway(s3.endpoint_url, change) as gateway, pytest.raises(HeimdallError, match="broke off"):
        through(s3, gateway).get("a", 20_000)


@pytest.mark.parametrize(("status", "code"), [(503, "SlowDown"), (500, "InternalError")])
def test_a_busy_server_is_asked_again(status: int, code: str, s3: S3Access, raw: ObjectStore) -> None:
    raw.put("a", b"1")
    busy = iter([error(status, code)])
    with Gateway(s3.endpoint_url, lambda request, forward: next(busy, None) or forward(request)) as gateway:
        assert through(s3, gateway).get("a", 1) == b"1"
    assert len(gateway.requests) == 2


def test_a_large_object_goes_in_parts_whose_hash_the_server_checks(
    s3: S3Access, raw: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objectstore, "MULTIPART_BYTES", 5 * 2**20)
    content = np.random.default_rng(7).bytes(11 * 2**20)
    failed = iter([error(200, "InternalError")])

    def complete_fails_once(request: Request, forward: Forward) -> Answer:
        """Amazon answers 200 at once, and says in the content whether it went well."""
        completes = request.method == "POST" and "uploadId" in request.query
        return (next(failed, None) if completes else None) or forward(request)

    with Gateway(s3.endpoint_url, complete_fails_once) as gateway:
        through(s3, gateway).put("large", content)
    parts = [request for request in gateway.requests if "partNumber" in request.query]
    assert sorted(request.query["partNumber"][0] for request in parts) == ["1", "2", "3"]
    for request in parts:
        assert request.headers["x-amz-content-sha256"] == hashlib.sha256(request.body).hexdigest()
    assert raw.get("large", len(content), raw.head_many(["large"])["large"]) == content


LISTING_CUTS: dict[str, Callable[[Answer], Answer]] = {
    "no content": lambda answer: replace(answer, body=b""),
    "no content and no length": lambda answer: replace(answer, body=b"", framing="close"),
    "no end and no length": lambda answer: replace(answer, body=answer.body[:-40], framing="close"),
    "a cut": lambda answer: replace(answer, sent_bytes=200),
    "another page": lambda answer: replace(answer, body=b"<html></html>"),
}


@pytest.mark.parametrize("name", LISTING_CUTS)
def test_a_listing_that_is_cut_is_read_again_and_never_believed(
    name: str, s3: S3Access, raw: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objectstore, "CONTENT_PAUSES_S", (0.0, 0.0))
    monkeypatch.setattr(s3_access, "REQUEST_TRIES", 1)
    raw.put(KEYS[0], CONTENT)
    always: Change = lambda request, forward: LISTING_CUTS[name](forward(request))  # noqa: E731
    with Gateway(s3.endpoint_url, always) as gateway:
        store = through(s3, gateway)
        for find in (lambda: store.head_all(""), lambda: store.head_many(KEYS)):
            with pytest.raises(HeimdallError, match=r"broke off|is not S3|failed at ListObjectsV2 \(500\)"):
                find()
    monkeypatch.setattr(s3_access, "REQUEST_TRIES", 2)
    with Gateway(s3.endpoint_url, once(LISTING_CUTS[name])) as gateway:
        assert list(through(s3, gateway).head_all("")) == [KEYS[0]]


def once(change: Callable[[Answer], Answer]) -> Change:
    """Changes the first answer."""
    changes = iter([change])
    return lambda request, forward: next(changes, lambda answer: answer)(forward(request))


def test_an_object_of_parts_is_known_again_where_answers_have_no_entity_tag(
    s3: S3Access, raw: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objectstore, "MULTIPART_BYTES", 5 * 2**20)
    content = np.random.default_rng(7).bytes(6 * 2**20)
    raw.put("large", content)
    listed = raw.head_many(["large"])["large"]
    with Gateway(s3.endpoint_url, etag("")) as gateway:
        store = through(s3, gateway)
        assert store.get("large", len(content), listed) == content
        raw.put("large", content[::-1])
        with pytest.raises(ObjectChanged, match="replaced"):
            store.get("large", len(content), listed)


def unjoined(s3: S3Access) -> list[str]:
    """The keys of the bucket's uploads that were begun and neither completed nor given up."""
    found = s3.client().list_multipart_uploads(Bucket=RAW_BUCKET)
    return [upload["Key"] for upload in found.get("Uploads", [])]


def test_an_object_whose_parts_are_never_joined_is_an_error(
    s3: S3Access, raw: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objectstore, "MULTIPART_BYTES", 5 * 2**20)
    monkeypatch.setattr(s3_access, "REQUEST_TRIES", 1)
    before: list[list[str]] = []

    def never(request: Request, forward: Forward) -> Answer:
        completes = request.method == "POST" and "uploadId" in request.query
        if completes:
            before.append(unjoined(s3))
        return error(200, "InternalError") if completes else forward(request)

    with Gateway(s3.endpoint_url, never) as gateway:
        with pytest.raises(HeimdallError, match="failed at CompleteMultipartUpload"):
            through(s3, gateway).put("large", bytes(6 * 2**20))
        assert gateway.requests[-1].method == "DELETE"  # nothing half is kept
    assert raw.head_all("") == {}
    assert before == [["large"]]
    assert unjoined(s3) == []


def small_pages(count: int) -> Change:
    """Listings of a few keys a page. The request is another one than was signed: moto does not mind."""

    def change(request: Request, forward: Forward) -> Answer:
        if request.is_listing:
            return forward(replace(request, path=f"{request.path}&max-keys={count}"))
        return forward(request)

    return change


@pytest.fixture(scope="module")
def full(moto: S3Access) -> S3Access:
    """Moto's server with 40 sessions of two receivers, and a folder of 30 other files."""
    store = ObjectStore(moto, FULL)
    store.ensure_bucket()
    for session in SESSIONS:
        for receiver in (1, 2):
            store.put(object_key(session, receiver), b"1")
    for number in range(30):
        store.put(f"flat/{number:02d}.npy", b"2")
    return moto


def listings(s3: S3Access, keys: list[str], page: int) -> tuple[int, list[str]]:
    """How many requests it takes to find keys, and which are found."""
    with Gateway(s3.endpoint_url, small_pages(page)) as gateway:
        found = ObjectStore(replace(s3, endpoint_url=gateway.url), FULL).head_many(keys)
    assert all(request.is_listing for request in gateway.requests)
    return len(gateway.requests), list(found)


def test_what_is_not_asked_for_is_not_listed(full: S3Access) -> None:
    few = [object_key(SESSIONS[number], 1) for number in (3, 20, 31)]
    absent = object_key(SESSIONS[3], 9)
    assert listings(full, [*few, absent], page=10) == (3, few)
    assert listings(full, [], page=10) == (0, [])


def test_of_a_folder_with_much_else_the_keys_are_asked_for_one_by_one(full: S3Access) -> None:
    wanted = ["flat/28.npy", "flat/29.npy"]
    requests, found = listings(full, [*wanted, "flat/none.npy"], page=2)
    assert found == wanted
    assert requests <= 3 + 1 + 3  # the pages that the keys may cost, one to see that there are more, the keys


def test_many_sessions_are_listed_together(full: S3Access, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objectstore, "MANY_FOLDERS", 4)
    everything = [object_key(session, receiver) for session in SESSIONS for receiver in (1, 2)]
    requests, found = listings(full, everything, page=10)
    assert found == everything
    assert requests <= 12  # not 40, which is one for each session


@pytest.mark.parametrize("seed", range(4))
def test_whatever_is_asked_for_is_found_or_is_not_there(
    seed: int, full: S3Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(seed)  # noqa: S311 - a test's
    monkeypatch.setattr(objectstore, "MANY_FOLDERS", chance.choice([1, 2, 5, 1000]))
    store = ObjectStore(full, FULL)
    odd = ["a b/ü+1", "a/../b", "a//b", "a", "a/", "a&b=c/%41/<x>", "top", "topper", "t/1", "t/10"]
    for key in odd:
        store.put(key, key.encode())
    there = store.head_all("")
    asked = chance.sample(sorted(there), chance.randint(1, len(there)))
    asked += ["", "zzz/none", f"{asked[0]}x"]
    _, found = listings(full, asked, page=chance.choice([3, 1000]))
    assert found == sorted(set(asked) & set(there))
    assert [store.get(key, 1000) for key in odd] == [key.encode() for key in odd]
    for key in odd:
        store.delete(key)
