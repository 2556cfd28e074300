"""Each S3 identity of the embedded server can do what its processes need, and nothing else."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import boto3
import pytest
import urllib3

from heimdall.core import variables
from heimdall.core.errors import HeimdallError
from heimdall.release.bucket import ConditionalStore
from heimdall.storage import embedded, endpoints
from heimdall.storage.identities import Identity
from heimdall.storage.objectstore import MULTIPART_BYTES, ObjectStore
from heimdall.storage.s3_access import Keys, S3Access
from tests.conftest import Services, clean_environment, heimdall

BUCKETS = {
    "raw": variables.RAW_BUCKET.default,
    "dvc": variables.DVC_BUCKET.default,
    "models": variables.MODELS_BUCKET.default,
    "mlflow": variables.MLFLOW_BUCKET.default,
}
KEY = "identities/object"
BOTH_KEYS = {"aws_access_key_id": "key", "aws_secret_access_key": "secret"}
MAY = {
    # identity: buckets that it reads, buckets that it writes
    Identity.ADMIN: ("raw dvc models mlflow", "raw dvc models mlflow"),
    Identity.READER: ("raw dvc models", ""),
    Identity.SNAPSHOT: ("raw", ""),
    Identity.WRITER: ("raw", "raw"),
    Identity.REMOTE: ("dvc", "dvc"),
    Identity.RELEASER: ("models", "models"),
    Identity.TRACKER: ("mlflow", "mlflow"),
}
READS: dict[str, Callable[[ObjectStore], object]] = {
    "get": lambda store: store.get(KEY, 10),
    "list": lambda store: store.head_all(KEY),
    "ensure_bucket": lambda store: store.ensure_bucket(),
}
WRITES: dict[str, Callable[[ObjectStore], object]] = {
    "put": lambda store: store.put(f"{KEY}-{uuid.uuid4().hex}", b"x"),
}
DELETES: dict[str, Callable[[ObjectStore], object]] = {
    "delete": lambda store: store.delete(KEY),
}


def store_of(services: Services, identity: Identity, bucket: str) -> ConditionalStore:
    return ConditionalStore(endpoints.s3(services.root, identity), bucket)


@pytest.fixture(scope="module")
def by_admin(services: Services) -> list[ConditionalStore]:
    """The buckets of the embedded server."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(endpoints.S3_VARIABLE, raising=False)
        made = [store_of(services, Identity.ADMIN, bucket) for bucket in BUCKETS.values()]
    for store in made:
        store.ensure_bucket()
    return made


@pytest.fixture(autouse=True)
def embedded_ones(by_admin: list[ConditionalStore], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(endpoints.S3_VARIABLE, raising=False)
    for store in by_admin:
        store.put(KEY, b"content")


def allowed(attempt: Callable[[ObjectStore], object], store: ObjectStore) -> bool:
    try:
        attempt(store)
    except HeimdallError as error:
        assert "403" in str(error) or "AccessDenied" in str(error) or "refuse" in str(error), error
        return False
    return True


@pytest.mark.parametrize("identity", Identity, ids=lambda identity: identity.label)
def test_an_identity_can_do_what_it_needs_and_nothing_else(services: Services, identity: Identity) -> None:
    found, expected = {}, {}
    for name, bucket in BUCKETS.items():
        store = store_of(services, identity, bucket)
        deletes = MAY[identity][1] if identity is Identity.ADMIN else ""
        for attempts, buckets in zip((READS, WRITES, DELETES), (*MAY[identity], deletes), strict=True):
            for what, attempt in attempts.items():
                expected[name, what] = name in buckets.split()
                found[name, what] = allowed(attempt, store)
    assert found == expected


@pytest.mark.series
def test_its_policy_allows_the_same_on_a_server_that_checks_policies(moto: S3Access) -> None:
    """Of moto's own: for HEAD of a bucket it asks for a right that Amazon does not have."""
    iam = boto3.client("iam", "us-east-1", endpoint_url=moto.endpoint_url, **BOTH_KEYS)
    for bucket in BUCKETS.values():
        every = ObjectStore(moto, bucket)
        every.ensure_bucket()
        every.put(KEY, b"content")
    found, expected = {}, {}
    for identity in set(Identity) - {Identity.ADMIN}:
        iam.create_user(UserName=identity.label)
        policy = json.dumps(identity.policy)
        iam.put_user_policy(UserName=identity.label, PolicyName="heimdall", PolicyDocument=policy)
        made = iam.create_access_key(UserName=identity.label)["AccessKey"]
        access = replace(moto, keys=Keys(made["AccessKeyId"], made["SecretAccessKey"]))
        with rights_checked(moto):
            for name, bucket in BUCKETS.items():
                store = ObjectStore(access, bucket)
                for what in ("get", "list", "put", "delete"):
                    reads, writes = MAY[identity]
                    of_policy = "" if what == "delete" else writes if what == "put" else reads
                    if identity is Identity.READER:
                        of_policy = of_policy.replace("mlflow", "")  # as docs/s3.md says
                    expected[identity, name, what] = name in of_policy.split()
                    found[identity, name, what] = allowed((READS | WRITES)[what], store)
            if identity is Identity.WRITER:
                ObjectStore(access, BUCKETS["raw"]).put(KEY, bytes(MULTIPART_BYTES + 1))
            if identity is Identity.RELEASER:
                ConditionalStore(access, BUCKETS["models"]).require_conditions()
    assert found == expected


@contextmanager
def rights_checked(moto: S3Access) -> Iterator[None]:
    """Let moto's server refuse what no policy allows."""

    def after(count: str) -> None:
        address, header = f"{moto.endpoint_url}/moto-api/reset-auth", {"Content-Type": "text/plain"}
        assert urllib3.request("POST", address, body=count, headers=header).status == 200

    after("0")
    try:
        yield
    finally:
        after("inf")


def test_only_the_admin_makes_buckets(services: Services) -> None:
    for identity in Identity:
        store = store_of(services, identity, f"radio-{uuid.uuid4().hex[:12]}")
        assert allowed(lambda each: each.ensure_bucket(), store) == (identity is Identity.ADMIN), identity


def test_the_releaser_writes_on_conditions_and_the_writer_in_parts(services: Services) -> None:
    store_of(services, Identity.RELEASER, BUCKETS["models"]).require_conditions()
    recordings = store_of(services, Identity.WRITER, BUCKETS["raw"])
    recordings.put(KEY, bytes(MULTIPART_BYTES + 1))
    recordings.put(KEY, b"content")


def test_no_identity_s_keys_are_another_s(services: Services) -> None:
    state = embedded.load(services.root)
    assert state is not None
    keys = [state.s3_keys(identity) for identity in Identity]
    assert len({key.access_key for key in keys} | {key.secret_key for key in keys}) == 2 * len(Identity)
    other = replace(state, s3_secret_key="0" * 48)
    assert not {key.secret_key for key in keys} & {
        other.s3_keys(identity).secret_key for identity in Identity
    }
    file = embedded.home(services.root) / "seaweedfs" / "s3.json"
    assert (file.stat().st_mode & 0o777, embedded.path(services.root).stat().st_mode & 0o777) == (
        0o600,
        0o600,
    )


def test_other_servers_get_policies_of_the_same_identities(services: Services) -> None:
    env = clean_environment() | {"HEIMDALL_RAW_BUCKET": "radio-raw"}
    every = json.loads(heimdall(services.root, "services", "roles", env=env).stdout)
    assert list(every) == [identity.label for identity in Identity]
    one = heimdall(services.root, "services", "roles", "snapshot", env=env).stdout
    assert json.loads(one) == every["snapshot"]
    for identity in Identity:
        actions = {
            (action, resource.removeprefix("arn:aws:s3:::"))
            for statement in every[identity.label]["Statement"]
            for action in statement["Action"]
            for resource in statement["Resource"]
        }
        writes = {resource for action, resource in actions if action == "s3:PutObject"}
        if identity is not Identity.ADMIN:
            names = [BUCKETS[name] for name in MAY[identity][1].split()]
            assert writes == {f"{name}/*".replace("heimdall-raw-iq", "radio-raw") for name in names}
        assert not any(resource.startswith("*") for _, resource in actions)
    wrong = heimdall(services.root, "services", "roles", "nobody", env=env)
    assert (wrong.returncode, "the roles are admin" in wrong.stderr) == (2, True)
