"""The registry of released models in S3: versions that never change, one pointer, one log.

`vX.Y.Z/` holds the files of a version and, put last, `release.json` with their hashes: a version is released
if that is there. `latest` names the champion. `audit/00000001.json` and on is the log, each entry with the
SHA-256 of the one before. Every put is conditional: nothing is overwritten but `latest`, and that only from
the state that was read.

The log decides and `latest` follows: a promotion is an entry first, then the pointer.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any, Literal

from botocore.exceptions import ClientError
from pydantic import AfterValidator, ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as record

from heimdall.core import artifacts
from heimdall.core.errors import HeimdallError
from heimdall.storage.objectstore import ObjectMissing, ObjectStore

MODEL_FILE, CONFIG_FILE, METRICS_FILE, CARD_FILE = "model.onnx", "config.yaml", "metrics.json", "README.md"
FILES = (CONFIG_FILE, MODEL_FILE, METRICS_FILE, CARD_FILE)  # in the order of their upload
RELEASE_FILE = "release.json"
LATEST = "latest"
AUDIT = "audit/"
NO_ENTRY = "0" * 64  # what the first entry names as the one before
MAX_TEXT_BYTES = 10_000_000
_VERSION = re.compile(r"v(0|[1-9][0-9]{0,5})\.(0|[1-9][0-9]{0,5})\.(0|[1-9][0-9]{0,5})")
_DAMAGED = "Keep the bucket as it is and look who wrote to it; released files do not change"

_NOT_AS_LOGGED = "other content than the log records"

_STRICT = ConfigDict(extra="forbid", strict=True)

Action = Literal["release", "promote", "rollback"]


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
            raise HeimdallError(self.place(key), f"larger than {max_bytes} bytes", _DAMAGED)
        return content

    def read_tagged(self, key: str) -> tuple[bytes, str] | None:
        """A small object and its entity tag, of one answer; None where there is none.

        Raises:
            HeimdallError: S3 cannot be reached or refuses.
        """
        try:
            with self._reported(key):
                answer = self._client.get_object(Bucket=self.bucket, Key=key)
                with answer["Body"] as body:
                    return body.read(MAX_TEXT_BYTES), answer["ETag"]
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


@record(frozen=True, config=_STRICT)
class Release:
    """The content of a release.json.

    Attributes:
        version: As in vX.Y.Z.
        commit: Full hash of the git commit.
        dvc_lock_sha256: Of the commit's dvc.lock.
        data_fingerprint: Of the snapshot's rows.
        data: simulated, recorded or mixed.
        mae_m: Mean error of the test split, m.
        mae_m_low: Lower end of its 95 % bootstrap interval.
        mae_m_high: Upper end.
        verified: Whether `heimdall verify` rebuilt every output before; false if it was skipped.
        accepted_worse_than: The champion whose interval mae_m was above, with --accept; else None.
        files: SHA-256 of every file by name.
        released_at: When, UTC, ISO. It also tells two releases of one commit apart.
    """

    version: str
    commit: str
    dvc_lock_sha256: str
    data_fingerprint: str
    data: str
    mae_m: float
    mae_m_low: float
    mae_m_high: float
    verified: bool
    accepted_worse_than: str | None
    files: Mapping[str, str]
    released_at: str

    def content(self) -> bytes:
        """As it is stored."""
        return artifacts.json_text(asdict(self)).encode()


def _time(text: str) -> str:
    """The text, if it is a time; raises a `ValueError` if not."""
    if datetime.fromisoformat(text).tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return text


@record(frozen=True, config=_STRICT)
class Entry:
    """One entry of the log.

    Attributes:
        number: From 1.
        previous_sha256: Of the entry before; NO_ENTRY in the first.
        action: What was done.
        version: What was released, or the champion from here on.
        former: The champion before, if any.
        release_sha256: Of the version's release.json.
        at: When, UTC, ISO.
        by: Name and address of who did it, as git knows them.
    """

    number: int
    previous_sha256: str
    action: Action
    version: str
    former: str | None
    release_sha256: str
    at: Annotated[str, AfterValidator(_time)]
    by: str

    def content(self) -> bytes:
        """As it is stored."""
        return artifacts.json_text(asdict(self)).encode()

    @property
    def sha256(self) -> str:
        """Of the stored bytes."""
        return artifacts.sha256_bytes(self.content())

    @property
    def key(self) -> str:
        """Where it is stored."""
        return audit_key(self.number)


@dataclass(frozen=True)
class Damage:
    """What is wrong with the registry.

    Attributes:
        subject: The version or object.
        cause: What is wrong.
    """

    subject: str
    cause: str


def check_version(version: str) -> str:
    """The version, if it is one.

    Raises:
        HeimdallError: It is not vX.Y.Z. Versions become keys and tags.
    """
    if not _VERSION.fullmatch(version):
        raise HeimdallError(repr(version), "no semantic version", "Write it as v1.2.3")
    return version


def order(version: str) -> tuple[int, ...]:
    """What versions are sorted by."""
    return tuple(int(number) for number in version[1:].split("."))


def now() -> str:
    """UTC, ISO, with microseconds."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def audit_key(number: int) -> str:
    """Key of an entry of the log."""
    return f"{AUDIT}{number:08d}.json"


def read_release(store: ConditionalStore, version: str) -> tuple[Release, str] | None:
    """A released version and the SHA-256 of its release.json; None where it is not released.

    Raises:
        HeimdallError: Its release.json is damaged, or S3 cannot be reached.
    """
    key = f"{version}/{RELEASE_FILE}"
    content = store.read(key)
    if content is None:
        return None
    release = _parsed(Release, content, store.place(key))
    if release.version != version or set(release.files) != set(FILES):
        raise HeimdallError(store.place(key), "not the record of this version", _DAMAGED)
    return release, artifacts.sha256_bytes(content)


def require_release(store: ConditionalStore, log: Sequence[Entry], version: str) -> tuple[Release, str]:
    """As `read_release`, of a version that must be released, and be the one in the log.

    Raises:
        HeimdallError: It is not, or it is damaged.
    """
    found = read_release(store, check_version(version))
    if found is None:
        raise HeimdallError(version, "not released", "See `heimdall releases`")
    logged = logged_releases(log)
    if version not in logged:
        remedy = "Run `heimdall release` again from its commit, which completes it"
        raise HeimdallError(version, "its release is not in the log yet", remedy)
    if logged[version] != found[1]:
        raise HeimdallError(store.place(f"{version}/{RELEASE_FILE}"), _NOT_AS_LOGGED, _DAMAGED)
    return found


def logged_releases(log: Sequence[Entry]) -> dict[str, str]:
    """SHA-256 of release.json of every version that a log says was released."""
    return {entry.version: entry.release_sha256 for entry in log if entry.action == "release"}


def read_log(store: ConditionalStore) -> list[Entry]:
    """Every entry of the log, its chain checked.

    Raises:
        HeimdallError: An entry is missing, changed or not in its place.
    """
    entries: list[Entry] = []
    keys = list(store.head_all(AUDIT))
    for number, key in enumerate(keys, 1):
        if key != audit_key(number):
            raise HeimdallError(
                store.place(audit_key(number)), f"missing from the log, which has {key}", _DAMAGED
            )
        content = store.read(key)
        entry = None if content is None else _parsed(Entry, content, store.place(key))
        before = entries[-1].sha256 if entries else NO_ENTRY
        if entry is None or entry.content() != content or entry.number != number:
            raise HeimdallError(store.place(key), "not an entry of the log as it was written", _DAMAGED)
        if entry.previous_sha256 != before:
            cause = f"it does not follow from entry {number - 1}: one of the two was changed"
            raise HeimdallError(store.place(key), cause, _DAMAGED)
        entries.append(entry)
    return entries


def champions(log: Sequence[Entry]) -> list[str]:
    """The champion after a log, last, and before it those to which rollbacks lead."""
    stack: list[str] = []
    for entry in log:
        if entry.action == "promote":
            stack.append(entry.version)
        elif entry.action == "rollback":
            del stack[-1:]
    return stack


def last_change(log: Sequence[Entry]) -> Entry | None:
    """The last promotion or rollback; None where there was none."""
    return next((entry for entry in reversed(log) if entry.action != "release"), None)


def pointer(entry: Entry) -> bytes:
    """The content of `latest` after a promotion or rollback."""
    content = {
        "version": entry.version,
        "release_sha256": entry.release_sha256,
        "audit": entry.number,
        "audit_sha256": entry.sha256,
    }
    return artifacts.json_text(content).encode()


def read_state(store: ConditionalStore) -> tuple[list[Entry], Entry | None]:
    """The log, and the promotion or rollback in it that `latest` does not follow yet, if any.

    Raises:
        HeimdallError: The log is damaged, or `latest` names what is not in it.
    """
    found = store.read_tagged(LATEST)  # before the log, which is always ahead of it
    log = read_log(store)
    change = last_change(log)
    if found is None or (change is not None and found[0] == pointer(change)):
        return log, change if found is None else None
    if not any(entry.action != "release" and pointer(entry) == found[0] for entry in log):
        cause = "it names a state that is not in the log: either was changed"
        raise HeimdallError(store.place(LATEST), cause, _DAMAGED)
    return log, change


def append(
    store: ConditionalStore,
    log: Sequence[Entry],
    *,
    action: Action,
    version: str,
    release_sha256: str,
    by: str,
) -> Entry | None:
    """Append to a log that was read.

    Returns:
        The new entry; None where somebody else has appended meanwhile.
    """
    stack = champions(log)
    entry = Entry(
        number=len(log) + 1,
        previous_sha256=log[-1].sha256 if log else NO_ENTRY,
        action=action,
        version=version,
        former=stack[-1] if stack else None,
        release_sha256=release_sha256,
        at=now(),
        by=by,
    )
    return entry if store.put_if(entry.key, entry.content(), None) else None


def move_latest(store: ConditionalStore, change: Entry) -> None:
    """Let `latest` follow an entry, unless it is already at a later one.

    Raises:
        HeimdallError: It was changed at the same moment by what is not in the log.
    """
    for _ in range(3):
        found = store.read_tagged(LATEST)
        if found is not None and _number(found[0]) >= change.number:
            return
        if store.put_if(LATEST, pointer(change), found[1] if found else None):
            return
    raise HeimdallError(store.place(LATEST), "it changes all the time", "Run it again")


def require_whole(store: ConditionalStore, release: Release) -> None:
    """Raise a `HeimdallError` unless every file of a release has the hash of its record."""
    for damage in damages(store, release):
        raise HeimdallError(damage.subject, damage.cause, _DAMAGED)


def damages(store: ConditionalStore, release: Release) -> list[Damage]:
    """What is wrong with the files of a version."""
    prefix = f"{release.version}/"
    listed = store.head_all(prefix)
    known = {f"{prefix}{name}" for name in (*FILES, RELEASE_FILE)}
    found = [Damage(store.place(key), "not part of the release") for key in listed if key not in known]
    for name, sha256 in release.files.items():
        key = f"{prefix}{name}"
        if key not in listed:
            found.append(Damage(store.place(key), "missing"))
        elif artifacts.sha256_bytes(store.get(key, listed[key].size)) != sha256:
            found.append(Damage(store.place(key), f"other content than {RELEASE_FILE} records"))
    return found


@dataclass(frozen=True)
class Overview:
    """The whole registry, checked.

    Attributes:
        releases: In the order of versions.
        unfinished: Versions of which there are files and no release.json: begun, nobody's yet.
        champion: What `latest` names; None before the first promotion.
        log: None if it is damaged, which is among the damages then.
        damages: What is wrong.
    """

    releases: Sequence[Release]
    unfinished: Sequence[str]
    champion: str | None
    log: Sequence[Entry] | None
    damages: Sequence[Damage]


def overview(store: ConditionalStore, say: Callable[[str], object]) -> Overview:
    """Read and check every version, the log and the pointer.

    Args:
        store: The registry.
        say: Called with a line of progress.

    Raises:
        HeimdallError: S3 cannot be reached.
    """
    store.ping()
    found: list[Damage] = []
    log: list[Entry] | None = None
    try:
        log, change = read_state(store)
        if change is not None:
            cause = f"{change.action} of {change.version} is not finished: run it again"
            found.append(Damage(store.place(LATEST), cause))
    except HeimdallError as error:
        found.append(Damage(error.subject, error.cause))
    prefixes = {key.split("/")[0] for key in store.head_all("v") if "/" in key}
    versions = sorted((name for name in prefixes if _VERSION.fullmatch(name)), key=order)
    logged = logged_releases(log or [])
    releases, unfinished = [], []
    for version in versions:
        say(f"{version}: hashing its files")
        try:
            read = read_release(store, version)
        except HeimdallError as error:
            found.append(Damage(error.subject, error.cause))
            continue
        if read is None:
            unfinished.append(version)
            continue
        release, sha256 = read
        releases.append(release)
        found += damages(store, release)
        if logged.get(version, sha256) != sha256:
            found.append(Damage(store.place(f"{version}/{RELEASE_FILE}"), _NOT_AS_LOGGED))
        elif log is not None and version not in logged:
            cause = "not in the log: run `heimdall release` again from its commit"
            found.append(Damage(version, cause))
    present = {release.version for release in releases}
    named = {damage.subject for damage in found}
    for version in logged:
        if version not in present and store.place(f"{version}/{RELEASE_FILE}") not in named:
            found.append(Damage(version, f"in the log, and its {RELEASE_FILE} is missing"))
    return Overview(releases, unfinished, champion(store), log, found)


def champion(store: ConditionalStore) -> str | None:
    """The version that `latest` names; None where there is no `latest` or one that cannot be read."""
    found = store.read_tagged(LATEST)
    if found is None:
        return None
    try:
        return check_version(json.loads(found[0])["version"])
    except (ValueError, KeyError, TypeError, HeimdallError):
        return None


def _number(content: bytes) -> int:
    """The number of the entry that a `latest` follows; 0 for what is no pointer."""
    try:
        return int(json.loads(content)["audit"])
    except (ValueError, KeyError, TypeError):
        return 0


def _parsed(kind: Any, content: bytes, place: str) -> Any:  # noqa: ANN401 - either record
    """A record from its stored bytes.

    Raises:
        HeimdallError: It is none: fields are missing, unknown or of another type.
    """
    try:
        return TypeAdapter(kind).validate_json(content)
    except ValidationError as error:
        problem = " ".join(str(error).split())
        raise HeimdallError(place, f"damaged ({problem[:120]})", _DAMAGED) from None
