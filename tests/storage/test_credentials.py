"""Credentials as boto3 finds them: profiles, roles, web identities, programs; in regions of one's own.

The server is moto's, which gives roles, too. What a request was signed with is read from a gateway before it.
"""

from __future__ import annotations

import re
import sys
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from heimdall.core.errors import HeimdallError
from heimdall.storage import endpoints
from heimdall.storage.objectstore import ObjectStore
from heimdall.storage.s3_access import S3Access
from tests.conftest import SERVICE_VARIABLES
from tests.gateway import Answer, Change, Gateway, Request

CREDENTIALS = """
[static]
aws_access_key_id = static-key
aws_secret_access_key = s3cret
[temporary]
aws_access_key_id = temporary-key
aws_secret_access_key = s3cret
aws_session_token = t0ken
"""
CONFIG = """
[profile static]
region = eu-south-1
[profile role]
role_arn = arn:aws:iam::123456789012:role/radio
source_profile = static
[profile program]
credential_process = {program}
[profile no-program]
credential_process = /none/program
[profile web]
role_arn = arn:aws:iam::123456789012:role/radio
web_identity_token_file = {token}
"""
PROGRAM = """
import json
print(json.dumps({"Version": 1, "AccessKeyId": "program-key", "SecretAccessKey": "s3cret"}))
"""
ROLE = r"ASIA\w+"  # what moto's STS gives
Forward = Callable[[Request], Answer]


def asks_for_role(request: Request) -> bool:
    return b"AssumeRole" in request.body


def signer(request: Request) -> str:
    """The access key of a request; the region and the token, if there are some, behind it."""
    key, _, region = re.findall(r"Credential=([^/]+)/(\d+)/([^/]+)/", request.headers["Authorization"])[0]
    token = request.headers.get("x-amz-security-token")
    return " ".join(filter(None, (key, region, token and "token")))


@pytest.fixture
def configured(moto: S3Access, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Gateway], None]:
    """Names a server, and files of profiles by paths that are relative, in an environment without keys."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    (tmp_path / "token").write_text("signed-by-somebody")
    (tmp_path / "credentials").write_text(CREDENTIALS)
    (tmp_path / "config").write_text(
        CONFIG.format(program=f"{sys.executable} {program}", token=tmp_path / "token")
    )
    for name in SERVICE_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AWS_CONFIG_FILE", "config")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "credentials")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")

    def name(gateway: Gateway) -> None:
        monkeypatch.setenv("HEIMDALL_S3_ENDPOINT_URL", gateway.url)
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", gateway.url)

    return name


WEB = {"AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/radio", "AWS_WEB_IDENTITY_TOKEN_FILE": "token"}


@pytest.mark.parametrize(
    ("variables", "signed"),
    [
        ({"AWS_PROFILE": "static"}, "static-key eu-south-1"),
        ({"AWS_PROFILE": "static", "AWS_REGION": "eu-north-1"}, "static-key eu-north-1"),
        ({"AWS_PROFILE": "none", "AWS_DEFAULT_PROFILE": "static"}, "static-key eu-south-1"),
        ({"AWS_PROFILE": "temporary", "AWS_CA_BUNDLE": ""}, "temporary-key us-east-1 token"),
        ({"AWS_PROFILE": "role"}, f"{ROLE} us-east-1 token"),
        ({"AWS_PROFILE": "web"}, f"{ROLE} us-east-1 token"),
        (WEB | {"AWS_PROFILE": "", "AWS_REGION": "eu-south-1"}, f"{ROLE} eu-south-1 token"),
        ({"AWS_PROFILE": "program"}, "program-key us-east-1"),
        (
            {"AWS_ACCESS_KEY_ID": "own-key", "AWS_SECRET_ACCESS_KEY": "s3cret", "AWS_PROFILE": "none"},
            "own-key us-east-1",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value.values()).rpartition("/")[2],
)
def test_requests_are_signed_with_what_boto3_finds(
    variables: dict[str, str],
    signed: str,
    moto: S3Access,
    configured: Callable[[Gateway], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with Gateway(moto.endpoint_url) as gateway:
        configured(gateway)
        store = ObjectStore(endpoints.s3(), f"signed-{uuid.uuid4().hex}")
        store.ensure_bucket()  # where the region is not us-east-1, it must be named
        store.put("a b/ü+%41", b"1")
        assert store.get("a b/ü+%41", 1, store.head_many(["a b/ü+%41"])["a b/ü+%41"]) == b"1"
    used = {signer(request) for request in gateway.requests if not asks_for_role(request)}
    assert len(used) == 1
    assert re.fullmatch(signed, used.pop())
    region = signed.split()[1]
    where = moto.client().get_bucket_location(Bucket=store.bucket)["LocationConstraint"]
    assert where == (None if region == "us-east-1" else region)


def expires(seconds: int) -> Change:
    """A gateway that lets what a role gives expire so soon."""

    def change(request: Request, forward: Forward) -> Answer:
        answer = forward(request)
        if not asks_for_role(request):
            return answer
        at = f"{datetime.now(UTC) + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%SZ}".encode()
        return replace(answer, body=re.sub(rb"(?<=<Expiration>)[^<]+", at, answer.body))

    return change


def test_a_role_is_asked_for_anew_before_it_expires(
    moto: S3Access, configured: Callable[[Gateway], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "role")
    with Gateway(moto.endpoint_url, expires(60)) as gateway:
        configured(gateway)
        store = ObjectStore(endpoints.s3(), f"renewed-{uuid.uuid4().hex}")
        store.ensure_bucket()
        store.put("a", b"1")
        assert store.get("a", 1) == b"1"
    signers = [signer(request) for request in gateway.requests if not asks_for_role(request)]
    assert len(set(signers)) == len(signers)


def refused(code: str, message: str = "m") -> Answer:
    """As the service that gives roles says it."""
    inside = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return Answer(403, {"Content-Type": "text/xml"}, f"<ErrorResponse>{inside}</ErrorResponse>".encode())


ROLE_OF_PROFILE = {"AWS_PROFILE": "role"}
LATE = "Signature expired: 20261128T000000Z is now earlier than 20261129T000000Z"
TROUBLES = [
    (ROLE_OF_PROFILE, refused("AccessDenied"), "was not given (AccessDenied)", "Let the role trust"),
    (ROLE_OF_PROFILE, refused("ExpiredToken"), "the session token has expired", "Renew the credentials"),
    (ROLE_OF_PROFILE, refused("SignatureDoesNotMatch", LATE), "clocks of this machine", "timedatectl"),
    (ROLE_OF_PROFILE, refused("InvalidClientTokenId"), "does not know the access key", "or AWS_PROFILE"),
    (WEB, refused("ExpiredTokenException"), "web identity has expired", "AWS_WEB_IDENTITY_TOKEN_FILE"),
    (WEB, refused("InvalidIdentityToken"), "web identity has expired", "AWS_WEB_IDENTITY_TOKEN_FILE"),
    (
        WEB | {"AWS_WEB_IDENTITY_TOKEN_FILE": "nothing"},
        refused("none"),
        "cannot be used (nothing: No such file or directory)",
        "Correct AWS_WEB_IDENTITY_TOKEN_FILE",
    ),
    ({"AWS_PROFILE": "no-program"}, refused("none"), "(/none/program: No such file", "or the profile"),
    ({"AWS_PROFILE": "none"}, refused("none"), "no profile of the name", "Set AWS_PROFILE"),
    ({}, refused("none"), "there are no credentials", "or AWS_PROFILE"),
]


@pytest.mark.parametrize(("variables", "answer", "cause", "remedy"), TROUBLES)
def test_credentials_that_are_not_found(  # noqa: PLR0917 - a table
    variables: dict[str, str],
    answer: Answer,
    cause: str,
    remedy: str,
    moto: S3Access,
    configured: Callable[[Gateway], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    change: Change = lambda request, forward: answer if asks_for_role(request) else forward(request)  # noqa: E731
    with Gateway(moto.endpoint_url, change) as gateway:
        configured(gateway)
        with pytest.raises(HeimdallError) as caught:
            ObjectStore(endpoints.s3(), "radio").get("a", 1)
    assert cause in caught.value.cause
    assert remedy in caught.value.remedy
    assert "s3cret" not in str(caught.value)
