"""Troubles of S3: on a real server, or on a gateway before it that answers as others do."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from unittest import mock

import botocore.auth

from heimdall.release.bucket import ConditionalStore
from heimdall.storage import embedded, endpoints, s3_access
from heimdall.storage.endpoints import MODELS_BUCKET, RAW_BUCKET
from heimdall.storage.identities import Identity
from heimdall.storage.objectstore import ObjectStore
from tests.conftest import Services
from tests.gateway import Answer, Change, Gateway, Request, error
from tests.remedies.local import variables
from tests.remedies.troubles import SECRET, Arise, Trouble, World
from tests.storage.test_s3_errors import certificate

ENDPOINT = "HEIMDALL_S3_ENDPOINT_URL"
AMAZON_ALONE = {"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": "/dev/null"}
Forward = Callable[[Request], Answer]


def of(kind: Callable[[ObjectStore], object], bucket: str = RAW_BUCKET) -> Arise:
    """A command that uses a bucket as the environment says, and tries once."""

    def command(world: World) -> None:
        with mock.patch.object(s3_access, "REQUEST_TRIES", 1):
            kind(ObjectStore(endpoints.s3(), bucket))

    return command


def find(store: ObjectStore) -> object:
    return store.head_many(["remedies"])


def put(store: ObjectStore) -> object:
    return store.put("remedies", b"1")


def get(store: ObjectStore) -> object:
    return store.get("remedies", 1)


def put_on_condition(world: World) -> None:
    ConditionalStore(endpoints.s3(), MODELS_BUCKET).require_conditions()


def server(world: World) -> Services:
    assert world.services is not None
    return world.services


def right_again(world: World) -> None:
    """The environment is as at first."""
    world.env = dict(server(world).env)


def bucket_is_made(world: World) -> None:
    with world.entered():
        ObjectStore(endpoints.s3(), "radio-remedies").ensure_bucket()


def reader(world: World) -> None:
    """Credentials that may only read."""
    state = embedded.load(server(world).root)
    assert state is not None
    keys = state.s3_keys(Identity.READER)
    world.env |= {"AWS_ACCESS_KEY_ID": keys.access_key, "AWS_SECRET_ACCESS_KEY": keys.secret_key}


def behind(change: Change, **more: str) -> Arise:
    """The environment names a gateway."""

    def arise(world: World) -> None:
        with world.entered():
            put(ObjectStore(endpoints.s3(), RAW_BUCKET))
        gateway = Gateway(server(world).endpoints.s3.endpoint_url, change)
        opened = gateway.__enter__()
        world.close.append(lambda: gateway.__exit__(None, None, None))
        world.env |= {ENDPOINT: opened.url, **more}

    return arise


def refuses(code: str, status: int, when: Callable[[Request], bool]) -> Change:
    """A gateway that refuses some requests."""

    def change(request: Request, forward: Forward) -> Answer:
        return error(status, code) if when(request) else forward(request)

    return change


def is_old(request: Request) -> bool:
    return request.headers.get("x-amz-security-token") == SECRET


def is_of_another_region(request: Request) -> bool:
    return "/eu-south-1/" not in request.headers.get("Authorization", "")


def is_of_a_stranger(request: Request) -> bool:
    return request.headers.get("x-amz-security-token") is not None


def ignores_conditions(request: Request, forward: Forward) -> Answer:
    answer = forward(request)
    return replace(answer, status=200, body=b"") if answer.status in (404, 412) else answer


def page(_: Request, __: Forward) -> Answer:
    return Answer(200, {"Content-Type": "text/html"}, b"<html><p>Console")


def nobody_listens(world: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    world.env[ENDPOINT] = f"http://127.0.0.1:{port}"


def with_own_certificate(world: World) -> None:
    gateway = Gateway(
        server(world).endpoints.s3.endpoint_url, certificate=certificate(world.root, "127.0.0.1")
    )
    opened = gateway.__enter__()
    world.close.append(lambda: gateway.__exit__(None, None, None))
    world.env[ENDPOINT] = opened.url


def certificate_is_trusted(world: World) -> None:
    world.env["AWS_CA_BUNDLE"] = str(world.root / "server.pem")


def yesterday(world: World) -> None:
    """This machine's clock is a day late."""
    now = botocore.auth.get_current_datetime
    patch = mock.patch.object(botocore.auth, "get_current_datetime", lambda *a: now(*a) - timedelta(days=1))
    patch.start()
    world.close.append(patch.stop)


def clock_is_set(world: World) -> None:
    world.close.pop()()


def without(*names: str, **more: str) -> Arise:
    def arise(world: World) -> None:
        for name in names:
            del world.env[name]
        world.env |= more

    return arise


SERVER = "S3 http://127.0.0.1:"
KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
ROWS = [
    Trouble(
        "S3 is down", nobody_listens, of(find),
        SERVER, "it cannot be reached or broke off (Connection refused)", f"correct {ENDPOINT}",
        right_again,
    ),
    Trouble(
        "a wrong access key", variables(AWS_ACCESS_KEY_ID="nobody"), of(find),
        SERVER, "the server does not know the access key", "Correct AWS_ACCESS_KEY_ID",
        right_again,
    ),
    Trouble(
        "a wrong secret key", variables(AWS_SECRET_ACCESS_KEY=SECRET), of(find),
        SERVER, "the secret key does not belong to the access key", "AWS_SECRET_ACCESS_KEY",
        right_again,
    ),
    Trouble(
        "a clock that is wrong", yesterday, of(find),
        SERVER, "the clocks of this machine and of the server differ", "timedatectl set-ntp true",
        clock_is_set,
    ),
    Trouble(
        "a session token that has expired",
        behind(refuses("ExpiredToken", 400, is_old), AWS_SESSION_TOKEN=SECRET), of(find),
        SERVER, "the session token has expired", "Renew the credentials", right_again, series=True,
    ),
    Trouble(
        "a bucket of another region",
        behind(refuses("AuthorizationHeaderMalformed", 400, is_of_another_region)), of(find),
        SERVER, "the bucket is in another region than requests are signed for",
        "Set AWS_REGION to the region of the bucket", variables(AWS_REGION="eu-south-1"), series=True,
    ),
    Trouble(
        "no such bucket", variables(HEIMDALL_RAW_BUCKET="radio-remedies"), of(find, "radio-remedies"),
        SERVER, "the bucket is missing", "correct the variable HEIMDALL_RAW_BUCKET", bucket_is_made,
    ),
    Trouble(
        "credentials that may not list",
        behind(refuses("AccessDenied", 403, is_of_a_stranger), AWS_SESSION_TOKEN=SECRET), of(find),
        SERVER, "the credentials may not list the bucket", "the right s3:ListBucket", right_again,
    ),
    Trouble(
        "credentials that may not read",
        behind(refuses("AccessDenied", 403, is_of_a_stranger), AWS_SESSION_TOKEN=SECRET), of(get),
        SERVER, "the credentials may not read the object", "the right s3:GetObject", right_again, series=True,
    ),
    Trouble(
        "credentials that may not write", reader, of(put),
        SERVER, "the credentials may not write the object", "the right s3:PutObject", right_again,
    ),
    Trouble(
        "a page for people in place of S3", behind(page), of(find),
        SERVER, "what answers there is not S3", f"Set {ENDPOINT} to the address of the S3 API",
        right_again,
    ),
    Trouble(
        "another machine's S3 without TLS", variables(HEIMDALL_S3_ENDPOINT_URL="http://s3.example:9000"),
        of(find),
        ENDPOINT, "http:// to s3.example would send recordings and models unencrypted",
        "HEIMDALL_S3_WITHOUT_TLS=s3.example",
    ),
    Trouble(
        "no address of S3", variables(HEIMDALL_S3_ENDPOINT_URL="s3.example:9000"), of(find),
        ENDPOINT, "not an http or https URL", "Set it to https://host:9000", right_again,
    ),
    Trouble(
        "a certificate that nobody knows", with_own_certificate, of(find),
        "S3 https://127.0.0.1:", "signed by nobody whom this machine trusts",
        "Set AWS_CA_BUNDLE to a PEM file",
        certificate_is_trusted,
    ),
    Trouble(
        "a file of certificates that is not there", variables(AWS_CA_BUNDLE="/nowhere.pem"), of(find),
        "AWS_CA_BUNDLE=/nowhere.pem", "there is no such file", "Correct it, or unset it", right_again,
    ),
    Trouble(
        "a gateway that ignores If-None-Match", behind(ignores_conditions), put_on_condition,
        SERVER, "it ignores If-None-Match", f"Set {ENDPOINT} to a server with conditional writes",
        right_again,
    ),
    Trouble(
        "one key without the other", without("AWS_SECRET_ACCESS_KEY"), of(find),
        "AWS_SECRET_ACCESS_KEY", "not set, though the other of the two keys is", "Set both", right_again,
        series=True,
    ),
    Trouble(
        "no credentials", without(*KEYS, **AMAZON_ALONE), of(find),
        SERVER, "there are no credentials", "Set AWS_ACCESS_KEY_ID and", right_again,
    ),
    Trouble(
        "no such profile", without(*KEYS, AWS_PROFILE="nobody"), of(find),
        SERVER, "there is no profile of the name in AWS_PROFILE", "`aws configure list-profiles`",
        right_again, series=True,
    ),
]  # fmt: skip
