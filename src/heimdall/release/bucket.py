"""The bucket of released models: conditional puts, and records that are parsed strictly."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import Any

from botocore.exceptions import ClientError
from pydantic import ConfigDict, TypeAdapter, ValidationError

from heimdall.core.errors import HeimdallError
from heimdall.storage.objectstore import ObjectMissing, ObjectStore, md5
from heimdall.storage.s3_errors import Place, code_of

MAX_TEXT_BYTES = 10_000_000


DAMAGED = "Keep the bucket as it is and look who wrote to it; released files do not change"


STRICT = ConfigDict(extra="forbid", strict=True)


PROBE = "probe"  # the object by which it is tried whether the server honours conditions
PROBE_CONTENT = b"Heimdall tries with this object whether the server refuses what it must. It stays.\n"
NO_ETAG = "0" * 32  # of no object
MAX_PUT_BYTES = 5 * 2**30  # S3 takes no more in one request; only such a request has a condition everywhere


class ConditionalStore(ObjectStore):
    """A bucket whose objects are only put on conditions, which the server checks.

    A server or a gateway that ignores the conditions would let two releases overwrite each other without a
    word. So before the first put of a process it must refuse two puts that it has to refuse.
    """

    _honours_conditions = False

    def require_conditions(self) -> None:
        """Make sure, once, that the server refuses a put whose condition does not hold.

        It is tried with one object, which the first try ever makes, and which stays: nothing is deleted. A
        server that ignores the conditions writes the same content again.

        Raises:
            HeimdallError: It does not, or S3 cannot be reached or refuses.
        """
        if self._honours_conditions:
            return
        ignored = []
        if self._put(PROBE, PROBE_CONTENT, None) and self._put(PROBE, PROBE_CONTENT, None):
            ignored.append("If-None-Match")
        if self._put(PROBE, PROBE_CONTENT, NO_ETAG):
            ignored.append("If-Match")
        if ignored:
            cause = f"it ignores {' and '.join(ignored)}, so one release could overwrite another"
            remedy = (
                "Set HEIMDALL_S3_ENDPOINT_URL to a server with conditional writes, such as Amazon's, MinIO "
                "or SeaweedFS, without a gateway that removes these headers"
            )
            raise HeimdallError(str(Place(self.access, self.bucket)), cause, remedy)
        self._honours_conditions = True

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
        """A small object and its entity tag, of one answer, empty if it names none; None for no object.

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
            HeimdallError: It is larger than `MAX_PUT_BYTES`, or S3 cannot be reached or refuses.
        """
        if len(content) > MAX_PUT_BYTES:
            cause = f"{len(content)} bytes, and S3 takes at most {MAX_PUT_BYTES} in one conditional write"
            raise HeimdallError(self.place(key), cause, "Make it smaller: nothing is released in parts")
        if etag == "":
            cause = "the server's answers have no ETag, so nobody could tell whether it changes meanwhile"
            raise HeimdallError(self.place(key), cause, "Let the gateway before the server keep that header")
        self.require_conditions()
        return self._put(key, content, etag) or self.read(key, max(len(content), MAX_TEXT_BYTES)) == content

    def _put(self, key: str, content: bytes, etag: str | None) -> bool:
        """Put an object on a condition. Returns whether the server found that it holds."""
        put = partial(self._client.put_object, Bucket=self.bucket, Key=key, Body=content)
        with self._reported(key):
            try:
                if etag is None:
                    put(ContentMD5=md5(content), IfNoneMatch="*")
                else:
                    put(ContentMD5=md5(content), IfMatch=f'"{etag}"')
            except ClientError as error:
                # Amazon answers 409 while another conditional put of this key is under way, and NoSuchKey
                # where If-Match meets no object.
                status = error.response["ResponseMetadata"]["HTTPStatusCode"]
                if status in (409, 412) or code_of(error) == "NoSuchKey":
                    return False
                raise
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
