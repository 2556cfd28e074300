"""The registry of released models in S3: versions that never change, one pointer, one log.

`vX.Y.Z/` holds the files of a version and, put last, `release.json` with their hashes: a version is released
if that is there. `latest` names the champion. `audit/00000001.json` and on is the log, each entry with the
SHA-256 of the one before. Every put is conditional: nothing is overwritten but `latest`, and that only from
the state that was read.

The log decides and `latest` follows: a promotion is an entry first, then the pointer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

from pydantic.dataclasses import dataclass as record

from heimdall.core import artifacts
from heimdall.core.errors import HeimdallError
from heimdall.release import audit_log, pointer, versions
from heimdall.release.audit_log import Entry
from heimdall.release.bucket import DAMAGED, STRICT, ConditionalStore, parsed
from heimdall.release.pointer import LATEST

MODEL_FILE, CONFIG_FILE, METRICS_FILE, CARD_FILE = "model.onnx", "config.yaml", "metrics.json", "README.md"


FILES = (CONFIG_FILE, MODEL_FILE, METRICS_FILE, CARD_FILE)  # in the order of their upload


RELEASE_FILE = "release.json"


_NOT_AS_LOGGED = "other content than the log records"


@record(frozen=True, config=STRICT)
class Release:
    """The content of a release.json.

    Attributes:
        version: As in vX.Y.Z.
        commit: Full hash of the git commit.
        dvc_lock_sha256: Of the commit's dvc.lock.
        data_fingerprint: Of the snapshot's rows.
        data: simulated, recorded or mixed.
        mae_m: Mean error of the test split, m.
        mae_m_low: Lower end of its 95 % bootstrap interval; None where the split has one transmitter.
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
    mae_m_low: float | None
    mae_m_high: float | None
    verified: bool
    accepted_worse_than: str | None
    files: Mapping[str, str]
    released_at: str

    def content(self) -> bytes:
        """As it is stored."""
        return artifacts.json_text(asdict(self)).encode()


@record(frozen=True, config=STRICT)
class GivenUp:
    """The content of a release.json that says that its version is never released.

    It stands where the release would stand, so of a release and this, whoever is second is refused.

    Attributes:
        version: As in vX.Y.Z.
        given_up_by: Name and address of who gave it up, as git knows them.
        given_up_at: When, UTC, ISO.
    """

    version: str
    given_up_by: str
    given_up_at: str

    def content(self) -> bytes:
        """As it is stored."""
        return artifacts.json_text(asdict(self)).encode()


@dataclass(frozen=True)
class Damage:
    """What is wrong with the registry.

    Attributes:
        subject: The version or object.
        cause: What is wrong.
    """

    subject: str
    cause: str


def read_release(store: ConditionalStore, version: str) -> tuple[Release, str] | None:
    """A released version and the SHA-256 of its release.json; None where it is not released.

    Raises:
        HeimdallError: It was given up, its release.json is damaged, or S3 cannot be reached.
    """
    found = read_record(store, version)
    if found is None:
        return None
    made, sha256 = found
    if isinstance(made, GivenUp):
        cause = f"{made.given_up_by} gave it up at {made.given_up_at}"
        raise HeimdallError(version, cause, "Choose the next version")
    return made, sha256


def read_record(store: ConditionalStore, version: str) -> tuple[Release | GivenUp, str] | None:
    """What a version's release.json says and its SHA-256; None where there is none.

    Raises:
        HeimdallError: It is damaged, or S3 cannot be reached.
    """
    key = f"{version}/{RELEASE_FILE}"
    content = store.read(key)
    if content is None:
        return None
    made = parsed(Release | GivenUp, content, store.place(key))
    if made.version != version or (isinstance(made, Release) and set(made.files) != set(FILES)):
        raise HeimdallError(store.place(key), "not the record of this version", DAMAGED)
    return made, artifacts.sha256_bytes(content)


def require_release(store: ConditionalStore, log: Sequence[Entry], version: str) -> tuple[Release, str]:
    """As `read_release`, of a version that must be released, and be the one in the log.

    Raises:
        HeimdallError: It is not, or it is damaged.
    """
    found = read_release(store, versions.check(version))
    if found is None:
        raise HeimdallError(version, "not released", "See `heimdall releases`")
    logged = audit_log.releases(log)
    if version not in logged:
        remedy = "Run `heimdall release` again from its commit, which completes it"
        raise HeimdallError(version, "its release is not in the log yet", remedy)
    if logged[version] != found[1]:
        raise HeimdallError(store.place(f"{version}/{RELEASE_FILE}"), _NOT_AS_LOGGED, DAMAGED)
    return found


def require_whole(store: ConditionalStore, release: Release) -> None:
    """Raise a `HeimdallError` unless every file of a release has the hash of its record."""
    for damage in damages(store, release):
        raise HeimdallError(damage.subject, damage.cause, DAMAGED)


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
        given_up: Those that were begun and are never released.
        champion: What `latest` names; None before the first promotion.
        log: None if it is damaged, which is among the damages then.
        damages: What is wrong.
    """

    releases: Sequence[Release]
    unfinished: Sequence[str]
    given_up: Sequence[GivenUp]
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
        log, change = pointer.read_state(store)
        if change is not None:
            cause = f"{change.action} of {change.version} is not finished: run it again"
            found.append(Damage(store.place(LATEST), cause))
    except HeimdallError as error:
        found.append(Damage(error.subject, error.cause))
    prefixes = {key.split("/")[0] for key in store.head_all("v") if "/" in key}
    names = sorted(filter(versions.is_version, prefixes), key=versions.order)
    logged = audit_log.releases(log or [])
    releases, unfinished, given_up = [], [], []
    for version in names:
        say(f"{version}: hashing its files")
        try:
            read = read_record(store, version)
        except HeimdallError as error:
            found.append(Damage(error.subject, error.cause))
            continue
        if read is None:
            unfinished.append(version)
            continue
        release, sha256 = read
        if isinstance(release, GivenUp):
            given_up.append(release)
            continue
        releases.append(release)
        found += damages(store, release)
        if logged.get(version, sha256) != sha256:
            found.append(Damage(store.place(f"{version}/{RELEASE_FILE}"), _NOT_AS_LOGGED))
        elif log is not None and version not in logged:
            cause = "not in the log: run `heimdall release` again from its commit"
            found.append(Damage(version, cause))
    present = {release.version for release in releases}
    reported = {damage.subject for damage in found}
    for version in logged:
        if version not in present and store.place(f"{version}/{RELEASE_FILE}") not in reported:
            found.append(Damage(version, f"in the log, and its {RELEASE_FILE} is missing"))
    return Overview(releases, unfinished, given_up, pointer.champion(store), log, found)
