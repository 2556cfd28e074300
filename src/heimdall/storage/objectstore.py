"""S3: the keys of recordings; objects put, got, listed and deleted. Safe to use from several threads."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import zip_longest
from typing import TYPE_CHECKING, cast

from boto3.s3.transfer import TransferConfig
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from heimdall.core.errors import HeimdallError
from heimdall.storage.retries import CONTENT_PAUSES_S
from heimdall.storage.s3_access import FALLBACK_REGION, MAX_THREADS, S3Access
from heimdall.storage.s3_errors import (
    UNREADABLE,
    ObjectChanged,
    ObjectMissing,
    Place,
    code_of,
    explained,
    unreadable,
)

if TYPE_CHECKING:
    from mypy_boto3_s3.literals import BucketLocationConstraintType
    from mypy_boto3_s3.type_defs import GetObjectOutputTypeDef, ListObjectsV2OutputTypeDef

__all__ = ["ObjectChanged", "ObjectInfo", "ObjectMissing", "ObjectStore", "object_key"]

OBJECT_PREFIX = "sessions/"  # of every recording's key
MULTIPART_BYTES = 64 * 2**20  # larger objects are put in parts of this size
MANY_FOLDERS = 1000  # more are not listed one by one, but by the beginnings of their names
_MD5 = re.compile("[0-9a-f]{32}")
_MODIFIED = "modified "  # begins the identity of an object of which the server tells no entity tag


@dataclass(frozen=True)
class ObjectInfo:
    """What a listing says of an object.

    Attributes:
        etag: Entity tag without quotes and without the mark of a weak one; the MD5 of the content after a
            single put. Where the server tells none, the time of the object's last change.
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
        access: Where S3 is, and the credentials.
        bucket: Name of the bucket.

    Raises:
        HeimdallError: The profile of the credentials is missing or damaged.
    """

    def __init__(self, access: S3Access, bucket: str) -> None:
        self.endpoint = access.endpoint_url
        self.bucket = bucket
        self.access = access
        with self._reported():
            self._client = self.access.client()

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
                if code_of(error) not in ("404", "NoSuchBucket"):
                    raise
                self._create_bucket()

    def put(self, key: str, content: bytes) -> None:
        """Write an object; the server checks a hash of it. A large one is sent in parts.

        Args:
            key: Key.
            content: The whole object.

        Raises:
            HeimdallError: S3 cannot be reached or refuses.
        """
        with self._reported(key):
            if len(content) <= MULTIPART_BYTES:
                self._client.put_object(Bucket=self.bucket, Key=key, Body=content, ContentMD5=md5(content))
                return
            parts = TransferConfig(multipart_threshold=MULTIPART_BYTES, multipart_chunksize=MULTIPART_BYTES)
            self._client.upload_fileobj(io.BytesIO(content), self.bucket, key, Config=parts)

    def put_new(self, key: str, content: bytes) -> bool:
        """Write an object if there is none: of two who do so at once one succeeds.

        A server that does not know the condition writes in any case.

        Args:
            key: Key.
            content: The whole object, at most 5 GiB.

        Returns:
            Whether it was written.

        Raises:
            HeimdallError: S3 cannot be reached or refuses.
        """
        put = partial(
            self._client.put_object, Bucket=self.bucket, Key=key, Body=content, ContentMD5=md5(content)
        )
        with self._reported(key):
            try:
                put(IfNoneMatch="*")
            except ClientError as error:
                status = error.response["ResponseMetadata"]["HTTPStatusCode"]
                if status in (409, 412):
                    return False
                if status != 501:
                    raise
                put()
        return True

    def get(self, key: str, max_bytes: int, listed: ObjectInfo | None = None) -> bytes:
        """Read an object.

        Args:
            key: Key.
            max_bytes: The most that the caller wants; one byte more is read, to show an excess.
            listed: What it must be, if that is known. Of an answer that names neither its entity tag nor its
                length, the content's MD5 and length are compared. Where it is not known, and nothing in an
                answer tells where the content ends, the object is listed.

        Returns:
            The content, or its first `max_bytes + 1` bytes.

        Raises:
            ObjectMissing: There is no such object.
            ObjectChanged: It is another one than `listed`.
            HeimdallError: S3 cannot be reached or refuses.
        """
        return self._get(key, max_bytes, listed)[0]

    def holds(self, key: str, content: bytes, listed: ObjectInfo | None) -> bool:
        """Whether an object that was listed has this content; nothing is written.

        Args:
            key: Key.
            content: The whole object.
            listed: What `head_many` said of it; None if it is not there.

        Returns:
            The answer by its length and by the MD5 in its entity tag; if that is another one, or none, by
            its content. An object that is gone or replaced since does not have it.

        Raises:
            HeimdallError: S3 cannot be reached or refuses.
        """
        if listed is None or listed.size != len(content):
            return False
        if hashlib.md5(content, usedforsecurity=False).hexdigest() == listed.etag:
            return True
        with suppress(ObjectMissing, ObjectChanged):
            return self.get(key, len(content), listed) == content
        return False

    def head_all(self, prefix: str) -> dict[str, ObjectInfo]:
        """List all objects below a prefix.

        Args:
            prefix: Beginning of the keys.

        Returns:
            Key to entity tag and size, by key (servers differ in their order).

        Raises:
            HeimdallError: S3 cannot be reached or refuses.
        """
        with self._reported():
            found = {key: info for page in self._pages(prefix) for key, info in page.items()}
        return dict(sorted(found.items()))

    def head_many(self, keys: Iterable[str]) -> dict[str, ObjectInfo]:
        """List these objects, whatever else the bucket holds.

        Their folders are listed, `MAX_THREADS` at a time. More than `MANY_FOLDERS` are listed together, by
        the longest beginnings of their names of which there are no more than that. A listing is given up
        when it has taken more pages than the next finer ones would take requests: the folders, then the
        single keys. So few objects in a large bucket cost few requests, and many cost little more than the
        pages that hold them. The order of the listings does not matter.

        Args:
            keys: Any keys.

        Returns:
            Those that are there, by key, in order.

        Raises:
            HeimdallError: S3 cannot be reached or refuses.
        """
        wanted = sorted(set(keys))
        found: dict[str, ObjectInfo] = {}
        levels = _levels(wanted)
        with ThreadPoolExecutor(MAX_THREADS) as pool:
            for level, finer in zip_longest(levels, levels[1:]):
                groups = _grouped(wanted, level)
                pages = [len(_grouped(group, finer)) if finer else None for group in groups.values()]
                looks = pool.map(self._look, groups, groups.values(), pages)
                wanted = []
                for group, (seen, done) in zip(groups.values(), looks, strict=True):
                    found |= seen
                    wanted += [] if done else [key for key in group if key not in seen]
        return dict(sorted(found.items()))

    def delete(self, key: str) -> None:
        """Delete an object; one that is not there is no error.

        Raises:
            HeimdallError: S3 cannot be reached or refuses.
        """
        with self._reported(key):
            self._client.delete_object(Bucket=self.bucket, Key=key)

    def _create_bucket(self) -> None:
        make = partial(self._client.create_bucket, Bucket=self.bucket)
        region = cast("BucketLocationConstraintType", self._client.meta.region_name)
        try:
            if region == FALLBACK_REGION:  # the one that must not be named
                make()
            else:
                make(CreateBucketConfiguration={"LocationConstraint": region})
        except ClientError as error:
            if code_of(error) not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
                raise
            with suppress(ClientError):  # another process was faster, whatever the server calls that
                self._client.head_bucket(Bucket=self.bucket)
                return
            raise

    def _get(self, key: str, max_bytes: int, listed: ObjectInfo | None = None) -> tuple[bytes, str]:
        """As `get`; also the entity tag, empty where the answer has none."""
        with self._reported(key) as place:
            for pause_s in (*CONTENT_PAUSES_S, None):
                answer = self._client.get_object(Bucket=self.bucket, Key=key)
                try:
                    with answer["Body"]:
                        known = listed if listed or _tells_its_end(answer) else self._listed(key)
                        content = _content(answer, max_bytes, known)
                        told = listed is None or _tells_identity(answer, listed)
                        if not told and self.head_many([key]).get(key) != listed:
                            raise _Other
                        return content, _bare(answer.get("ETag", ""))
                except _Other:
                    if listed is not None or pause_s is None:
                        cause = "the object has been replaced"
                        raise ObjectChanged(str(place), cause, "Run it again") from None
                except (BotoCoreError, HTTPError):
                    # boto3 repeats requests, but not what breaks while the content is on its way.
                    if pause_s is None:
                        raise
                time.sleep(pause_s)
        raise AssertionError("the last try returns or raises")

    def _listed(self, key: str) -> ObjectInfo:
        """What the listing says of an object that has just been read."""
        listed = self.head_many([key]).get(key)
        if listed is None:
            raise HTTPError("neither the answer nor the listing tells the length of the content")
        return listed

    def _pages(self, prefix: str) -> Iterator[dict[str, ObjectInfo]]:
        """The pages of a listing."""
        page = self._page(prefix, None)
        while True:
            yield {
                item["Key"]: ObjectInfo(_identity(item.get("ETag"), item.get("LastModified")), item["Size"])
                for item in page.get("Contents", [])
            }
            if not page.get("IsTruncated", True):
                return
            page = self._page(prefix, page["NextContinuationToken"])

    def _page(self, prefix: str, token: str | None) -> ListObjectsV2OutputTypeDef:
        """A page of a listing, read again if it is cut: botocore takes an empty answer for an empty page.

        Args:
            prefix: Beginning of the keys.
            token: The page before names it; None of the first one.
        """
        ask = partial(self._client.list_objects_v2, Bucket=self.bucket, Prefix=prefix)
        for pause_s in (*CONTENT_PAUSES_S, None):
            try:
                page = ask(ContinuationToken=token) if token else ask()
                follows = page.get("NextContinuationToken")
                if page.get("IsTruncated", True) and follows in (None, token):
                    raise HTTPError("a page of the listing has no end")
                return page
            except (HTTPError, ResponseParserError):  # what botocore does not repeat
                if pause_s is None:
                    raise
            time.sleep(pause_s)
        raise AssertionError("the last try returns or raises")

    def _look(
        self, prefix: str, keys: Sequence[str], max_pages: int | None
    ) -> tuple[dict[str, ObjectInfo], bool]:
        """Those of some keys that a listing has, and whether no more can follow."""
        seen: dict[str, ObjectInfo] = {}
        with self._reported():
            for number, page in enumerate(self._pages(prefix)):
                if number == max_pages:
                    return seen, False
                seen |= {key: page[key] for key in keys if key in page}
                if len(seen) == len(keys):
                    break
        return seen, True

    @contextmanager
    def _reported(self, key: str | None = None) -> Iterator[Place]:
        """Turn boto3's errors into a HeimdallError that names the place, never the credentials."""
        place = Place(self.access, self.bucket, key)
        try:
            yield place
        except (ClientError, BotoCoreError, HTTPError, ResponseParserError) as error:
            raise explained(place, error) from None
        except UNREADABLE as error:
            raise unreadable(place, error) from None


class _Other(Exception):  # noqa: N818 - no error: what is asked is answered
    """The object is another one than the listing's."""


def md5(content: bytes) -> str:
    """As the header Content-MD5 has it."""
    return base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()


def _bare(etag: str) -> str:
    """An entity tag without quotes and without the mark of a weak one, which gateways add."""
    return etag.removeprefix("W/").strip('"')


def _identity(etag: str | None, modified: datetime | None) -> str:
    """The entity tag, else the time of the last change: headers have it to the second."""
    if etag and (bare := _bare(etag)):
        return bare
    return f"{_MODIFIED}{modified.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" if modified else _MODIFIED


def _content(answer: GetObjectOutputTypeDef, max_bytes: int, listed: ObjectInfo | None) -> bytes:
    """The content of an answer, which must have the length that it says, or that was listed."""
    if listed is not None and _names_other(answer, listed):
        raise _Other
    content = answer["Body"].read(max_bytes + 1)
    length = answer.get("ContentLength", listed.size if listed else len(content))
    wanted = min(length, max_bytes + 1)
    if len(content) < wanted:
        raise HTTPError(f"the content broke off after {len(content)} of {wanted} bytes")
    if listed is not None and not answer.get("ETag") and _holds_other(content, answer, listed):
        raise _Other
    return content


def _tells_its_end(answer: GetObjectOutputTypeDef) -> bool:
    """Whether a content that is cut can be told from a whole one: by its length, or by its last chunk."""
    coding = answer["ResponseMetadata"]["HTTPHeaders"].get("transfer-encoding", "")
    return "ContentLength" in answer or "chunked" in coding.lower()


def _names_other(answer: GetObjectOutputTypeDef, listed: ObjectInfo) -> bool:
    """Whether the head of an answer is that of another object than was listed."""
    etag, modified = answer.get("ETag"), answer.get("LastModified")
    if answer.get("ContentLength", listed.size) != listed.size:
        return True
    if listed.etag.startswith(_MODIFIED):
        return bool(modified) and _identity(None, modified) != listed.etag
    return bool(etag) and _bare(etag) != listed.etag


def _tells_identity(answer: GetObjectOutputTypeDef, listed: ObjectInfo) -> bool:
    """Whether an answer, or its content's MD5, can be compared with what was listed.

    If not, as with an object of several parts and an answer without entity tag, it is listed again.
    """
    if listed.etag.startswith(_MODIFIED):
        return bool(answer.get("LastModified"))
    return bool(answer.get("ETag")) or _is_md5(answer, listed)


def _is_md5(answer: GetObjectOutputTypeDef, listed: ObjectInfo) -> bool:
    """Whether an entity tag is the MD5 of the content: not of several parts, nor where a KMS encrypts it."""
    by_kms = answer.get("ServerSideEncryption", "").startswith("aws:kms")
    return _MD5.fullmatch(listed.etag) is not None and not by_kms


def _holds_other(content: bytes, answer: GetObjectOutputTypeDef, listed: ObjectInfo) -> bool:
    """Whether content is another one than was listed, as far as its length and an MD5 tell."""
    if len(content) != listed.size:
        return len(content) > listed.size  # a shorter one is a beginning: no more was wanted
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    return _is_md5(answer, listed) and found != listed.etag


def _folder(key: str) -> str:
    """A key up to its last slash."""
    return key[: key.rfind("/") + 1]


def _grouped(keys: Iterable[str], prefix_of: Callable[[str], str]) -> dict[str, list[str]]:
    """Keys by what they begin with."""
    groups: dict[str, list[str]] = {}
    for key in keys:
        groups.setdefault(prefix_of(key), []).append(key)
    return groups


def _levels(keys: Iterable[str]) -> list[Callable[[str], str]]:
    """What listings are begun with, by key: many folders' common beginnings, the folder, the key itself."""
    folders = {_folder(key) for key in keys}
    levels: list[Callable[[str], str]] = [_folder, str]
    if len(folders) > MANY_FOLDERS:
        lengths = range(max(map(len, folders)), -1, -1)
        length = next(n for n in lengths if len({name[:n] for name in folders}) <= MANY_FOLDERS)
        levels.insert(0, lambda key: _folder(key)[:length])
    return levels
