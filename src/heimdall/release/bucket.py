"""The bucket of released models: conditional puts, and records that are parsed strictly."""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime
from functools import partial
from typing import Any

from botocore.exceptions import ClientError
from pydantic import ConfigDict, TypeAdapter, ValidationError

from heimdall.core.errors import HeimdallError
from heimdall.storage.objectstore import ObjectMissing, ObjectStore

MAX_TEXT_BYTES = 10_000_000


DAMAGED = "Keep the bucket as it is and look who wrote to it; released files do not change"


STRICT = ConfigDict(extra="forbid", strict=True)


class ConditionalStore(ObjectStore):
    """A bucket whose objects are only put on conditions, which the server checks."""

    def read(self, key: str, max_bytes: int = MAX_TEXT_BYTES) -> bytes | None:
        """The content of an object; None where there is none.

        Raises:
            HeimdallError: It is larger than `max_bytes`, or S3 cannot be reached or refuses.
        """
        try:
            content = self.get(key, max_bytes)
        except ObjectMissing:
            return None
        if len(content) > max_bytes:
            raise HeimdallError(self.place(key), f"larger than {max_bytes} bytes", DAMAGED)
        return content

    def read_tagged(self, key: str) -> tuple[bytes, str] | None:
        """A small object and its entity tag, of one answer; None where there is none.

        Raises:
            HeimdallError: S3 cannot be reached or refuses.
        """
        try:
            return self._get(key, MAX_TEXT_BYTES)
        except ObjectMissing:
            return None

    def put_if(self, key: str, content: bytes, etag: str | None) -> bool:
        """Put an object if it still has an entity tag, or, for None, if there is none.

        Returns:
            Whether this content is there now. A retried request whose first answer was lost counts.

        Raises:
            HeimdallError: S3 cannot be reached or refuses.
        """
        md5 = base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()
        put = partial(self._client.put_object, Bucket=self.bucket, Key=key, Body=content, ContentMD5=md5)
        with self._reported(key):
            try:
                if etag is None:
                    put(IfNoneMatch="*")
                else:
                    put(IfMatch=etag)
            except ClientError as error:
                # 409: Amazon's answer while another conditional put of this key is under way.
                if error.response["ResponseMetadata"]["HTTPStatusCode"] not in (409, 412):
                    raise
                return self.read(key, max(len(content), MAX_TEXT_BYTES)) == content
        return True

    def place(self, key: str) -> str:
        """What messages call an object."""
        return f"s3://{self.bucket}/{key}"


def now() -> str:
    """UTC, ISO, with microseconds."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def parsed(kind: Any, content: bytes, place: str) -> Any:  # noqa: ANN401 - either record
    """A record from its stored bytes.

    Raises:
        HeimdallError: It is none: fields are missing, unknown or of another type.
    """
    try:
        return TypeAdapter(kind).validate_json(content)
    except ValidationError as error:
        problem = " ".join(str(error).split())
        raise HeimdallError(place, f"damaged ({problem[:120]})", DAMAGED) from None
