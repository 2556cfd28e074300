"""S3: the keys of recordings; objects put, got, listed and deleted. Safe to use from several threads."""

from __future__ import annotations

import base64
import hashlib
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import boto3.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

from heimdall.core.errors import HeimdallError
from heimdall.storage.endpoints import Endpoints
from heimdall.storage.retries import CONTENT_PAUSES_S, REQUEST_TRIES

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import GetObjectOutputTypeDef

CONNECT_TIMEOUT_S = 5
READ_TIMEOUT_S = 30
MAX_THREADS = 16
OBJECT_PREFIX = "sessions/"  # of every recording's key
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class ObjectMissing(HeimdallError):  # noqa: N818 - the name that callers know
    """The bucket is there, the object is not."""


class ObjectChanged(HeimdallError):  # noqa: N818 - as above
    """The object is there with another content than the one asked for."""


@dataclass(frozen=True)
class ObjectInfo:
    """What a listing says of an object.

    Attributes:
        etag: Entity tag without quotes; the MD5 of the content after a single put.
        size: Bytes.
    """

    etag: str
    size: int


def object_key(session_id: str, websdr_id: int) -> str:
    """Key of a recording.

    Args:
        session_id: UUID in its canonical form: lower case, with hyphens.
        websdr_id: Receiver, not negative.

    Returns:
        `sessions/{session_id}/websdr_{websdr_id}.npy`.

    Raises:
        HeimdallError: One of them could form another key, such as one with `../` in it.
    """
    try:
        canonical = str(uuid.UUID(session_id)) == session_id
    except ValueError:
        canonical = False
    if not canonical:
        raise HeimdallError(f"session_id {session_id!r}", "not a UUID in lower case", "Correct the row")
    if websdr_id < 0:
        raise HeimdallError(f"websdr_id {websdr_id}", "negative", "Correct the row")
    return f"{OBJECT_PREFIX}{session_id}/websdr_{websdr_id}.npy"


class ObjectStore:
    """One bucket.

    Args:
        endpoints: Where S3 is, and the credentials.
        bucket: Name of the bucket.
    """

    def __init__(self, endpoints: Endpoints, bucket: str) -> None:
        self.endpoint = endpoints.s3_endpoint_url
        self.bucket = bucket
        with self._reported():
            # A session of its own: boto3's shared one is not safe to use from threads.
            self._client = boto3.session.Session().client(
                "s3",
                endpoint_url=endpoints.s3_endpoint_url,
                aws_access_key_id=endpoints.s3_access_key,
                aws_secret_access_key=endpoints.s3_secret_key,
                aws_session_token=endpoints.s3_session_token,
                region_name=endpoints.s3_region,
                config=Config(
                    signature_version="s3v4",
                    s3={"addressing_style": "path"},
                    retries={"mode": "standard", "total_max_attempts": REQUEST_TRIES},
                    connect_timeout=CONNECT_TIMEOUT_S,
                    read_timeout=READ_TIMEOUT_S,
                    max_pool_connections=MAX_THREADS,
                    # Not every S3 server knows Amazon's newer checksums; puts carry an MD5 instead.
                    request_checksum_calculation="when_required",
                    response_checksum_validation="when_required",
                    # A proxy of the environment cannot reach this machine's loopback interface.
                    proxies={} if urlsplit(self.endpoint).hostname in LOOPBACK else None,
                ),
            )

    def ping(self) -> None:
        """Make sure that the server answers and accepts the credentials; the bucket need not be there.

        Raises:
            HeimdallError: It does not.
        """
        with self._reported(), suppress(self._client.exceptions.NoSuchBucket):
            self._client.list_objects_v2(Bucket=self.bucket, MaxKeys=1)

    def ensure_bucket(self) -> None:
        """Create the bucket unless it is there.

        Raises:
            HeimdallError: S3 cannot be reached or refuses.
        """
        with self._reported():
            try:
                self._client.head_bucket(Bucket=self.bucket)
            except ClientError as error:
                if _code(error) not in ("404", "NoSuchBucket"):
                    raise
                # Another process may be faster.
                with suppress(self._client.exceptions.BucketAlreadyOwnedByYou):
                    self._client.create_bucket(Bucket=self.bucket)

    def put(self, key: str, content: bytes) -> None:
        """Write an object; the server checks its MD5.

        Args:
            key: Key.
            content: The whole object.

        Raises:
            HeimdallError: S3 cannot be reached or refuses.
        """
        md5 = base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()
        with self._reported(key):
            self._client.put_object(Bucket=self.bucket, Key=key, Body=content, ContentMD5=md5)

    def get(self, key: str, max_bytes: int, etag: str | None = None) -> bytes:
        """Read an object.

        Args:
            key: Key.
            max_bytes: The most that the caller wants; one byte more is read, to show an excess.
            etag: The entity tag that it must have, if any.

        Returns:
            The content, or its first `max_bytes + 1` bytes.

        Raises:
            ObjectMissing: There is no such object.
            ObjectChanged: It has another entity tag.
            HeimdallError: S3 cannot be reached or refuses.
        """
        with self._reported(key):
            for pause_s in (*CONTENT_PAUSES_S, None):
                answer = self._client.get_object(Bucket=self.bucket, Key=key)
                if etag is not None and answer["ETag"].strip('"') != etag:
                    answer["Body"].close()
                    place = f"S3 {self.endpoint}/{self.bucket}/{key}"
                    raise ObjectChanged(place, "the object has been replaced", "Run it again")
                try:
                    return _content(answer, max_bytes)
                except (BotoCoreError, HTTPError):
                    # boto3 repeats requests, but not what breaks while the content is on its way.
                    if pause_s is None:
                        raise
                    time.sleep(pause_s)
        raise AssertionError("the last try returns or raises")

    def head_all(self, prefix: str) -> dict[str, ObjectInfo]:
        """List the objects below a prefix.

        Args:
            prefix: Beginning of the keys.

        Returns:
            Key to entity tag and size, by key (servers differ in their order).

        Raises:
            HeimdallError: S3 cannot be reached or refuses.
        """
        with self._reported():
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
            found = {
                item["Key"]: ObjectInfo(etag=item["ETag"].strip('"'), size=item["Size"])
                for page in pages
                for item in page.get("Contents", [])
            }
        return dict(sorted(found.items()))

    def delete(self, key: str) -> None:
        """Delete an object; one that is not there is no error.

        Raises:
            HeimdallError: S3 cannot be reached or refuses.
        """
        with self._reported(key):
            self._client.delete_object(Bucket=self.bucket, Key=key)

    @contextmanager
    def _reported(self, key: str | None = None) -> Iterator[None]:
        """Turn boto3's errors into a HeimdallError that names the endpoint, never the credentials."""
        place = f"S3 {self.endpoint}/{self.bucket}"
        try:
            yield
        except ClientError as error:
            code = _code(error)
            if code == "NoSuchKey" or (key is not None and code == "404"):
                raise ObjectMissing(f"{place}/{key}", "the object is missing", "Upload it again") from None
            if code in ("NoSuchBucket", "404"):
                raise HeimdallError(place, "the bucket is missing", "Run `heimdall services up`") from None
            if code in ("403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"):
                raise HeimdallError(
                    place, f"access denied ({code})", "Correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
                ) from None
            raise HeimdallError(place, f"the server refuses ({code})", "See the server's log") from None
        except (BotoCoreError, HTTPError) as error:
            cause = f"it cannot be reached or broke off ({type(error).__name__})"
            raise HeimdallError(place, cause, "Check it with `heimdall services status`") from None


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", "unknown"))


def _content(answer: GetObjectOutputTypeDef, max_bytes: int) -> bytes:
    with answer["Body"] as body:
        content = body.read(max_bytes + 1)
    wanted = min(answer["ContentLength"], max_bytes + 1)
    if len(content) != wanted:
        raise HTTPError(f"the content broke off after {len(content)} of {wanted} bytes")
    return content
