"""What S3 refuses is one line with the cause, and a remedy that ends the trouble; no secret is in it."""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from heimdall.core.errors import HeimdallError
from heimdall.storage import s3_access
from heimdall.storage.endpoints import RAW_BUCKET
from heimdall.storage.objectstore import ObjectMissing, ObjectStore
from heimdall.storage.s3_access import Keys, S3Access
from tests.conftest import Services
from tests.gateway import Answer, Gateway, error

SECRET = "s3cret" * 4
DAY = dt.timedelta(days=1)


@pytest.fixture(autouse=True)
def _one_try(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_access, "REQUEST_TRIES", 1)


def remote(url: str) -> S3Access:
    """A server that is not the embedded one."""
    return S3Access(url, Keys("key", SECRET), None, embedded=False)


def get(store: ObjectStore) -> object:
    return store.get("a", 1)


def put(store: ObjectStore) -> object:
    return store.put("a", b"1")


def find(store: ObjectStore) -> object:
    return store.head_many(["a"])


def make(store: ObjectStore) -> object:
    return store.ensure_bucket()


def make_odd(store: ObjectStore) -> object:
    return ObjectStore(store.access, "radio/raw").ensure_bucket()


def denied_by_kms() -> Answer:
    said = b"not authorized to perform: kms:GenerateDataKey on resource: arn:aws:kms:::key/1"
    answer = error(403, "AccessDenied")
    return replace(answer, body=answer.body.replace(b"<Message>m<", b"<Message>%b<" % said))


ELSEWHERE = "<Region>eu-south-1</Region>"
REFUSALS = [
    (get, error(400, "ExpiredToken"), "the session token has expired", "sign in again"),
    (get, error(400, "ExpiredTokenException"), "the session token has expired", "AWS_SESSION_TOKEN"),
    (get, error(400, "InvalidToken"), "does not belong to the keys", "Unset AWS_SESSION_TOKEN"),
    (get, error(403, "RequestTimeTooSkewed"), "the clocks of this machine and of the server", "timedatectl"),
    (get, error(403, "InvalidAccessKeyId"), "does not know the access key", "AWS_ACCESS_KEY_ID"),
    (get, error(403, "SignatureDoesNotMatch"), "does not belong to the access key", "AWS_SECRET_ACCESS_KEY"),
    (find, error(403, "AccessDenied"), "may not list the bucket", "the right s3:ListBucket"),
    (get, error(403, "AccessDenied"), "may not read the object", "the right s3:GetObject"),
    (put, error(403, "AccessDenied"), "may not write the object", "the right s3:PutObject"),
    (make, Answer(403, {}, b""), "may not list the bucket", "the right s3:ListBucket"),
    (
        get,
        error(400, "AuthorizationHeaderMalformed", ELSEWHERE),
        "asks for the region eu-south-1",
        "Set AWS_REGION=eu-south-1",
    ),
    (
        get,
        error(301, "PermanentRedirect", "<Endpoint>b.s3.amazonaws.com</Endpoint>"),
        "in another region",
        "Set AWS_REGION to the region of the bucket, and HEIMDALL_S3_ENDPOINT_URL",
    ),
    (
        make,
        Answer(301, {"x-amz-bucket-region": "eu-south-1"}, b""),
        "asks for the region eu-south-1",
        "AWS_REGION=eu-south-1, and HEIMDALL_S3_ENDPOINT_URL to https://s3.eu-south-1.amazonaws.com",
    ),
    (
        put,
        Answer(
            301, {"Location": "https://s3.example/b", "Content-Type": "text/html"}, b"<html>Moved<hr></html>"
        ),
        "it sends requests on to https://s3.example",
        "Set HEIMDALL_S3_ENDPOINT_URL=https://s3.example",
    ),
    (get, Answer(502, {"Content-Type": "text/html"}, b"<html><p>Bad"), "no server behind it", "Start that"),
    (find, error(404, "NoSuchBucket"), "the bucket is missing", "heimdall services up"),
    (get, error(404, "NoSuchKey"), "the object is missing", "Upload it again"),
    (put, error(507, "XMinioStorageFull"), "the server's disk is full", "Free space on the server's disk"),
    (put, error(507, "InsufficientStorage"), "the server's disk is full", "Free space on the server's disk"),
    (put, error(503, "SlowDown"), "asks for fewer requests", "snapshot.download_threads"),
    (find, Answer(503, {"Content-Type": "text/html"}, b"<html><p>Later"), "cannot answer for now", "later"),
    (get, Answer(404, {"Content-Type": "text/html"}, b"<html><p>No page"), "object is missing", "Upload it"),
    (find, Answer(400, {"Content-Type": "text/html"}, b"<html><p>TLS!"), "is not S3", "another port"),
    (put, denied_by_kms(), "may not write the object, which is encrypted", "the right kms:GenerateDataKey"),
    (make_odd, Answer(200, {}, b""), "no name that a bucket may have", "Correct the variable of the bucket"),
    (put, error(413, "EntityTooLarge"), "larger than the server", "client_max_body_size"),
    (put, Answer(413, {}, b""), "larger than the server", "client_max_body_size"),
    (put, error(400, "BadDigest"), "changed on its way", "HEIMDALL_S3_ENDPOINT_URL to the server itself"),
    (put, error(501, "NotImplemented"), "lacks an operation", "HEIMDALL_S3_ENDPOINT_URL"),
    (get, error(405, "MethodNotAllowed"), "what answers there is not S3", "another port"),
    (find, Answer(200, {"Content-Type": "text/html"}, b"<html><p>Console"), "is not S3", "another port"),
    (get, error(403, "InvalidObjectState"), "the object is in an archive", "restore-object"),
    (put, error(500, "InternalError"), "failed at PutObject", "that server's log"),
]


@pytest.fixture(scope="module")
def refusing(services: Services) -> Iterator[tuple[ObjectStore, list[Answer]]]:
    """A client, and the list whose last answer its server gives."""
    answers: list[Answer] = []
    with (
        pytest.MonkeyPatch.context() as patch,
        Gateway("http://127.0.0.1:1", lambda request, forward: answers[-1]) as gateway,
    ):
        patch.setattr(s3_access, "REQUEST_TRIES", 1)
        yield ObjectStore(remote(gateway.url), RAW_BUCKET), answers


@pytest.mark.parametrize(("ask", "answer", "cause", "remedy"), REFUSALS)
def test_a_refusal_says_its_cause_and_a_remedy(
    ask: Callable[[ObjectStore], object],
    answer: Answer,
    cause: str,
    remedy: str,
    refusing: tuple[ObjectStore, list[Answer]],
) -> None:
    store, answers = refusing
    answers.append(answer)
    with pytest.raises(HeimdallError) as caught:
        ask(store)
    assert cause in caught.value.cause
    assert remedy in caught.value.remedy
    assert store.endpoint in caught.value.subject
    assert "\n" not in str(caught.value)
    assert SECRET not in str(caught.value)
    assert isinstance(caught.value, ObjectMissing) == ("object is missing" in cause)


def certificate(folder: Path, name: str, *, days: int = 1) -> Path:
    """A certificate for a name, signed by itself, with its key; for a time that has passed if `days` < 0."""
    key = ec.generate_private_key(ec.SECP256R1())
    named = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(named)
        .issuer_name(named)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 10 * DAY)
        .not_valid_after(now + days * DAY)
        .add_extension(x509.SubjectAlternativeName([alternative(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / "server.pem"
    file.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return file


def alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


@pytest.mark.parametrize(
    ("name", "days", "trusted", "cause", "remedy"),
    [
        ("127.0.0.1", 1, False, "signed by nobody whom this machine trusts", "Set AWS_CA_BUNDLE"),
        ("minio.example", 1, True, "for another name", "Set HEIMDALL_S3_ENDPOINT_URL to the name"),
        ("127.0.0.1", -1, True, "its certificate has expired", "Renew the server's certificate"),
    ],
)
def test_a_certificate_that_is_not_believed(  # noqa: PLR0917 - a table
    name: str,
    days: int,
    trusted: bool,
    cause: str,
    remedy: str,
    services: Services,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = certificate(tmp_path, name, days=days)
    if trusted:
        monkeypatch.setenv("AWS_CA_BUNDLE", str(file))
    with (
        Gateway(services.endpoints.s3.endpoint_url, certificate=file) as gateway,
        pytest.raises(HeimdallError, match=cause) as caught,
    ):
        ObjectStore(remote(gateway.url), RAW_BUCKET).get("a", 1)
    assert remedy in caught.value.remedy


def test_a_server_with_a_certificate_of_ones_own(
    s3: S3Access, raw: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw.put("a", b"1")
    file = certificate(tmp_path, "127.0.0.1")
    monkeypatch.setenv("AWS_CA_BUNDLE", str(file))
    with Gateway(s3.endpoint_url, certificate=file) as gateway:
        assert ObjectStore(replace(s3, endpoint_url=gateway.url), RAW_BUCKET).get("a", 1) == b"1"


@pytest.mark.parametrize(
    ("url", "cause", "remedy"),
    [
        ("http://127.0.0.1:1", "cannot be reached or broke off (Connection refused)", "Start it, or correct"),
        ("https://none.invalid", "its name has no address", "Correct HEIMDALL_S3_ENDPOINT_URL"),
    ],
)
def test_a_server_that_does_not_answer(url: str, cause: str, remedy: str, services: Services) -> None:
    with pytest.raises(HeimdallError) as caught:
        ObjectStore(remote(url), RAW_BUCKET).get("a", 1)
    assert cause in caught.value.cause
    assert remedy in caught.value.remedy


def test_an_address_with_https_of_a_server_without(services: Services) -> None:
    plain = services.endpoints.s3.endpoint_url.replace("http:", "https:")
    with pytest.raises(HeimdallError, match="does not speak TLS there"):
        ObjectStore(remote(plain), RAW_BUCKET).get("a", 1)


def test_the_embedded_server_is_started_again(services: Services) -> None:
    nobody = replace(services.endpoints.s3, endpoint_url="http://127.0.0.1:1")
    with pytest.raises(HeimdallError, match="Run `heimdall services up`"):
        ObjectStore(nobody, RAW_BUCKET).get("a", 1)
