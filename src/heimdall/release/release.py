"""A commit's model as a version of the registry: what is refused, and the steps of a release.

Everything that can be refused is refused before the first step. Each step looks first at what is there, so
that a release that was killed is completed by the same command:

1. `config.yaml`, which names the commit, then the model, the metrics and the card, into the bucket;
2. `release.json`: from here on the version is released;
3. its entry in the log;
4. the annotated tags `localizer@vX.Y.Z` (GTO's convention, for `dvc artifacts get`) and `vX.Y.Z`, which
   attest that entry;
5. the model version in MLflow.

A version that was begun and cannot be completed, as its commit is lost, is given up by `give_up`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import yaml
from botocore.exceptions import BotoCoreError, ClientError
from pydantic import ValidationError

from heimdall.core import artifacts, locks
from heimdall.core.errors import HeimdallError
from heimdall.release import attestation, audit_log, bucket, mlflow_registry, registry, versions
from heimdall.release import candidate as candidates
from heimdall.release.audit_log import Entry
from heimdall.release.bucket import ConditionalStore
from heimdall.release.candidate import Candidate
from heimdall.release.registry import GivenUp, Release
from heimdall.reproduce import checkout, dvc_lock, git
from heimdall.reproduce.dvc_lock import Lock
from heimdall.reproduce.paths import EVALUATION_FULL, LOCK_FILE
from heimdall.track import mlflow_store

WORK = Path(".heimdall/release")


def release(
    root: Path,
    store: ConditionalStore,
    version: str,
    *,
    accept: bool,
    skip_verify: bool,
    say: Callable[[str], object],
) -> Release:
    """Release the commit that is checked out, or complete its release.

    Args:
        root: The clone, clean and with its outputs.
        store: The registry.
        version: As in vX.Y.Z.
        accept: Whether the model may be worse than the champion.
        skip_verify: Whether it is released without rebuilding it; release.json says so.
        say: Called with a line of progress.

    Returns:
        What is released now, whether or not it was before.

    Raises:
        HeimdallError: It is refused, somebody else was faster, or a service is down.
    """
    versions.check(version)
    git.require_root(root, version)
    with locks.alone(root / WORK):
        by = identity(root)
        store.require_conditions()
        chosen = candidates.of_head(root, version)
        tags = attestation.read(root)
        log = audit_log.read(store)
        attestation.require(log, [], tags)
        if version not in audit_log.releases(log):
            attestation.require_free(version, tags)
        found = registry.read_release(store, version)
        if found is None:
            _require_another_commit(store, log, chosen)
            made = _publish(root, store, chosen, accept=accept, skip_verify=skip_verify, say=say)
            found = made, artifacts.sha256_bytes(made.content())
            changed = True
        else:
            _require_same(store, found[0], chosen)
            say(f"{version} is in {store.place(version)} already; looking what is missing")
            changed = False
        log, is_new = _log(store, *found, by)
        changed |= is_new
        changed |= attestation.attest(root, log, found[0])
        say(
            "MLflow is left out, because HEIMDALL_TRACKING is off"
            if mlflow_store.is_off()
            else "making the model version in MLflow"
        )
        changed |= mlflow_registry.ensure(root, wanted(store, found[0], is_champion=False))
        if not changed:
            say(f"{version} was released from this commit at {found[0].released_at}: nothing is missing")
        return found[0]


def give_up(root: Path, store: ConditionalStore, version: str) -> GivenUp:
    """Give up a version whose release was begun and not completed: nobody can complete it afterwards.

    Its files stay, as files of versions never change, and so its number stays used.

    Args:
        root: A clone, whose git knows who works here.
        store: The registry.
        version: As in vX.Y.Z.

    Returns:
        What says so in the registry, also where somebody gave it up before.

    Raises:
        HeimdallError: The version is released, or was not begun, or S3 cannot be reached or refuses.
    """
    versions.check(version)
    given_up = GivenUp(version, identity(root), bucket.now())
    if not store.head_all(f"{version}/"):
        raise HeimdallError(version, "its release was not begun", "See `heimdall releases`")
    if store.put_if(f"{version}/{registry.RELEASE_FILE}", given_up.content(), None):
        return given_up
    found = registry.read_record(store, version)
    if found is None or isinstance(found[0], Release):
        cause = "it is released, and a release stays"
        raise HeimdallError(version, cause, "`heimdall rollback` changes which version is the champion")
    return found[0]


def wanted(store: ConditionalStore, made: Release, *, is_champion: bool) -> mlflow_registry.Wanted:
    """What MLflow must hold of a release."""
    described = {
        "git_revision": made.commit,
        "data": made.data,
        "data_fingerprint": made.data_fingerprint,
        "release_sha256": artifacts.sha256_bytes(made.content()),
        "test_mae_m": repr(made.mae_m),
    }
    return mlflow_registry.Wanted(made.version, store.place(made.version), described, is_champion)


def identity(root: Path) -> str:
    """Name and address of who works here, as git would write them into a tag.

    Raises:
        HeimdallError: git knows none.
    """
    done = git.run(root, "var", "GIT_COMMITTER_IDENT")
    if done.returncode != 0:
        remedy = "Run `git config user.name NAME` and `git config user.email ADDRESS`"
        raise HeimdallError(
            "git", "it does not know who you are, and a release is signed with a name", remedy
        )
    return done.stdout.decode(errors="replace").strip().rsplit(" ", 2)[0]


def require_pushed(root: Path, lock: Lock) -> None:
    """Make sure that the remote has every object of dvc.lock, those that a folder lists included.

    DVC itself takes a folder for complete if its list is there.

    Raises:
        HeimdallError: One is missing, or the remote does not answer.
    """
    from dvc.exceptions import DvcException  # noqa: PLC0415 - DVC takes a second to import
    from dvc.repo import Repo  # noqa: PLC0415 - as above

    outs = dvc_lock.outputs(lock)
    stored = {path: md5 for path, md5 in outs.items() if not checkout.is_in_git(root, path)}
    try:
        with Repo(str(root)) as repo:
            remote = repo.cloud.get_remote_odb(command="push")
            present = set(remote.oids_exist(list(stored.values())))
            wanted = {md5: path for path, md5 in stored.items()}
            for path, md5 in stored.items():
                if md5.endswith(".dir") and md5 in present:
                    listing = json.loads(remote.fs.cat_file(remote.oid_to_path(md5)))
                    wanted |= {entry["md5"]: f"{path}/{entry['relpath']}" for entry in listing}
            missing = sorted(set(wanted) - set(remote.oids_exist(list(wanted))))
    except (DvcException, BotoCoreError, ClientError, OSError, ValueError) as error:
        problem = " ".join(str(error).split())
        remedy = "Run `heimdall services up`, which tells DVC where it is; then `dvc status -c` must work"
        raise HeimdallError("DVC's remote", f"it does not answer ({problem})", remedy) from None
    if missing:
        cause = f"not in DVC's remote ({missing[0]}), and {len(missing) - 1} more objects"
        remedy = "Run `dvc push`; an object that was lost there is pushed from a clone that has it"
        raise HeimdallError(wanted[missing[0]], cause, remedy)


def worse_than(store: ConditionalStore, mae_m: float) -> Release | None:
    """The champion, if its interval of the mean test error lies below `mae_m`; else None.

    A champion that was tested with one transmitter has no interval: its error itself is compared.
    """
    log = audit_log.read(store)
    stack = audit_log.champions(log)
    champion = registry.require_release(store, log, stack[-1])[0] if stack else None
    if champion is None:
        return None
    limit_m = champion.mae_m if champion.mae_m_high is None else champion.mae_m_high
    return champion if mae_m > limit_m else None


def _publish(
    root: Path,
    store: ConditionalStore,
    chosen: Candidate,
    *,
    accept: bool,
    skip_verify: bool,
    say: Callable[[str], object],
) -> Release:
    """Ask everything that a release asks, then put its files and, last, release.json."""
    _require_unclaimed(store, chosen)
    made = _record(chosen, verified=not skip_verify)
    champion = worse_than(store, made.mae_m)
    if champion is not None and not accept:
        of_champion = (
            f"error of the champion {champion.version}, {champion.mae_m:.0f} m, which has no interval"
            if champion.mae_m_low is None or champion.mae_m_high is None
            else f"interval of the champion {champion.version}, {champion.mae_m_low:.0f} to "
            f"{champion.mae_m_high:.0f} m"
        )
        cause = f"its mean test error, {made.mae_m:.0f} m ({chosen.data}), is above the {of_champion}"
        raise HeimdallError(
            chosen.version, cause, "Improve it, or release it with --accept, which is recorded"
        )
    mlflow_registry.require_free(root, chosen.version)
    say("checking that DVC's remote has every object of dvc.lock")
    require_pushed(root, chosen.lock)
    if not skip_verify:
        from heimdall.reproduce import verify as verification  # noqa: PLC0415 - promotions import this module

        report = verification.verify(root, chosen.commit, None, False, say)
        if not report.proven:
            cause = f"`heimdall verify` finds it different, first in {report.stage or LOCK_FILE}"
            remedy = "Run `heimdall verify` and see; --skip-verify releases it all the same and records that"
            raise HeimdallError(chosen.version, cause, remedy)
        say("every output was rebuilt bit for bit")
    for name, content in chosen.files.items():
        key = f"{chosen.version}/{name}"
        say(f"{store.place(key)}: {len(content)} bytes")
        if not store.put_if(key, content, None):
            raise _taken(store, chosen.version)
    made = replace(
        made,
        accepted_worse_than=champion.version if champion is not None else None,
        released_at=bucket.now(),
    )
    if not store.put_if(f"{chosen.version}/{registry.RELEASE_FILE}", made.content(), None):
        raise _taken(store, chosen.version)
    say(f"{chosen.version} is released")
    return made


def _record(chosen: Candidate, *, verified: bool) -> Release:
    """The release.json of a candidate, made before its files are put: what it refuses leaves nothing there.

    Raises:
        HeimdallError: The evaluation does not have the figures that it names.
    """
    try:
        return Release(
            version=chosen.version,
            commit=chosen.commit,
            dvc_lock_sha256=chosen.dvc_lock_sha256,
            data_fingerprint=chosen.data_fingerprint,
            data=chosen.data,
            mae_m=chosen.test["mae_m"],
            mae_m_low=chosen.test["mae_m_low"],
            mae_m_high=chosen.test["mae_m_high"],
            verified=verified,
            accepted_worse_than=None,
            files=chosen.hashes,
            released_at=bucket.now(),
        )
    except (KeyError, ValidationError) as error:
        problem = " ".join(str(error).split())
        cause = f"it lacks a figure of the test split ({problem[:120]})"
        remedy = "Run `dvc repro --force evaluate` and commit what changes"
        raise HeimdallError(EVALUATION_FULL, cause, remedy) from None


def _require_another_commit(store: ConditionalStore, log: Sequence[Entry], chosen: Candidate) -> None:
    """Raise a `HeimdallError` if the commit is a version already: two names of one model help nobody."""
    for version in audit_log.releases(log):
        found = registry.read_release(store, version)
        if found is not None and found[0].commit == chosen.commit:
            cause = f"commit {chosen.commit[:12]} is {version} already"
            remedy = f"Commit what you want to release, or `heimdall promote {version}`"
            raise HeimdallError(chosen.version, cause, remedy)


def _require_unclaimed(store: ConditionalStore, chosen: Candidate) -> None:
    """Raise a `HeimdallError` if another commit has begun this version."""
    begun = store.read(f"{chosen.version}/{registry.CONFIG_FILE}")
    if begun is not None and begun != chosen.files[registry.CONFIG_FILE]:
        raise _taken(store, chosen.version)


def _taken(store: ConditionalStore, version: str) -> HeimdallError:
    """The error of who comes second."""
    found = registry.read_release(store, version)
    if found is not None:
        cause = f"it exists: released from {found[0].commit[:12]} at {found[0].released_at}"
    else:
        begun = yaml.safe_load(store.read(f"{version}/{registry.CONFIG_FILE}") or b"{}")
        commit = str(begun.get("git_revision", "unknown"))[:12] if isinstance(begun, dict) else "unknown"
        cause = f"its release from {commit} is under way or was interrupted, and files never change"
    remedy = (
        "Choose the next version, or complete that one from its commit; `heimdall release --give-up` ends it"
        if found is None
        else "Choose the next version"
    )
    return HeimdallError(version, cause, remedy)


def _require_same(store: ConditionalStore, found: Release, chosen: Candidate) -> None:
    """Raise a `HeimdallError` unless what is released is the candidate, undamaged."""
    if found.commit != chosen.commit or found.files != chosen.hashes:
        raise _taken(store, chosen.version)
    registry.require_whole(store, found)


def _log(store: ConditionalStore, made: Release, sha256: str, by: str) -> tuple[list[Entry], bool]:
    """Give a release its entry in the log. Returns the log up to that entry, and whether it had none."""
    while True:  # somebody else's entry takes the number: the next one is free
        log = audit_log.read(store)
        for entry in log:
            if entry.action == "release" and entry.version == made.version:
                return log[: entry.number], False
        new = audit_log.append(
            store, log, action="release", version=made.version, release_sha256=sha256, by=by
        )
        if new is not None:
            return [*log, new], True
