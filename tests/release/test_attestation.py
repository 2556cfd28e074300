"""What a clone's tags attest, and where they contradict the registry."""

from __future__ import annotations

from pathlib import Path

import pytest

from heimdall.core.errors import HeimdallError
from heimdall.release import attestation, audit_log, promotion
from heimdall.release.bucket import ConditionalStore
from heimdall.release.releases_text import verdict
from heimdall.reproduce import git
from tests.release.releases import (
    contradictions,
    message,
    put_release,
    run_git,
)


def test_a_clone_attests_what_its_own_tags_say(
    store: ConditionalStore, clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    run_git(tmp_path, "clone", "--quiet", str(clone), str(other))
    put_release(store, clone, "v0.1.0")
    put_release(store, clone, "v0.2.0")
    promotion.promote(clone, store, "v0.1.0")
    log = audit_log.read(store)
    assert verdict(log, [], attestation.read(other)) == [
        "Every file is as released. The log is unbroken. The tags of this clone attest 0 of its 3 entries.",
        "not attested: entry 1, release v0.1.0",
        "not attested: entry 2, release v0.2.0",
        "not attested: entry 3, promote v0.1.0",
        "`git fetch --tags` brings the missing tags, if they were pushed.",
    ]
    promotion.promote(other, store, "v0.2.0")
    log = audit_log.read(store)
    assert attestation.unattested(log, attestation.read(clone)) == log[3:]
    assert attestation.unattested(log, attestation.read(other)) == log[:3]
    # Both make the same tag of one entry, whoever is first, so that a fetch finds nothing to clobber.
    monkeypatch.setenv("GIT_COMMITTER_NAME", "Else")
    assert promotion.promote(clone, store, "v0.2.0") == (log[3], False)
    name = "refs/tags/localizer#champion#4"
    assert run_git(clone, "rev-parse", name) == run_git(other, "rev-parse", name)
    run_git(other, "fetch", "--quiet", "--tags")
    assert verdict(log, [], attestation.read(other)) == [
        "Every file is as released. The log is unbroken. The tags of this clone attest 4 of its 4 entries."
    ]
    assert contradictions(store, other) == {}


@pytest.mark.parametrize("annotated", [False, True])
@pytest.mark.parametrize(
    "name",
    [f"localizer{form}" for form in ("#champion#2", "#champion", "#champion!#3", "@v9.9.9", "@v0.1.0#2")],
)
def test_a_tag_that_dvc_may_follow_and_the_log_did_not_make_is_found(
    store: ConditionalStore, clone: Path, name: str, annotated: bool
) -> None:
    put_release(store, clone, "v0.1.0")
    run_git(clone, "tag", *(("--annotate", "--message", "By hand") if annotated else ()), name)
    cause = "no release, promotion or rollback in the log made it"
    assert contradictions(store, clone) == {name: cause}
    before = store.head_all("")
    with pytest.raises(HeimdallError, match=cause):
        promotion.promote(clone, store, "v0.1.0")
    assert store.head_all("") == before


@pytest.mark.parametrize("name", ["localizer#champion#2", "localizer@v0.1.0", "v0.1.0"])
def test_a_tag_at_another_commit_is_found(store: ConditionalStore, clone: Path, name: str) -> None:
    made = put_release(store, clone, "v0.1.0")
    promotion.promote(clone, store, "v0.1.0")
    run_git(clone, "commit", "--quiet", "--allow-empty", "--message", "Another model")
    run_git(clone, "tag", "--force", "--annotate", "--message", message(clone, name), name)
    other = git.commit_of(clone, "HEAD")
    cause = f"it is at {other[:12]}, and v0.1.0 is of {made.commit[:12]}"
    assert contradictions(store, clone) == {name: cause}
    with pytest.raises(HeimdallError, match=cause):
        promotion.promote(clone, store, "v0.1.0")


@pytest.mark.parametrize("name", ["localizer@v0.2.0", "v0.2.0"])
@pytest.mark.parametrize("by", ["another release", "hand", "hand, lightweight"])
def test_a_release_tag_that_does_not_attest_its_own_entry_is_found(
    store: ConditionalStore, clone: Path, name: str, by: str
) -> None:
    put_release(store, clone, "v0.1.0")
    made = put_release(store, clone, "v0.2.0")
    text = {"another release": message(clone, "v0.1.0"), "hand": "By hand"}.get(by)
    run_git(clone, "tag", "--force", *(("--annotate", "--message", text) if text else ()), name)
    cause = "it is not the attestation of log entry 2, release v0.2.0"
    assert contradictions(store, clone) == {name: cause}
    # Nor does a release that is completed take it for its own.
    with pytest.raises(HeimdallError, match=f"tag {name}: {cause}") as caught:
        attestation.attest(clone, audit_log.read(store), made)
    assert "delete one that was made by hand with `git tag --delete`" in caught.value.remedy
    assert "and run this again" in caught.value.remedy
    run_git(clone, "tag", "--delete", name)
    assert attestation.attest(clone, audit_log.read(store), made)
    assert contradictions(store, clone) == {}


def test_a_tag_of_ones_own_is_no_damage_until_a_release_has_its_name(
    store: ConditionalStore, clone: Path
) -> None:
    put_release(store, clone, "v0.1.0")
    run_git(clone, "tag", "--annotate", "--message", "Our own", "v9.9.9")
    run_git(clone, "tag", "vanilla")
    assert contradictions(store, clone) == {}
    with pytest.raises(HeimdallError, match=r"tag v9\.9\.9: it is there, and the log has no release"):
        attestation.require_free("v9.9.9", attestation.read(clone))
    run_git(clone, "tag", "--force", "--annotate", "--message", message(clone, "v0.1.0"), "v9.9.9")
    assert list(contradictions(store, clone)) == ["v9.9.9"]


def test_a_tag_may_be_signed(store: ConditionalStore, clone: Path, tmp_path: Path) -> None:
    """Git calls a program for it; the signature stands in the tag's message."""
    signer = tmp_path / "signer"
    block = "-----BEGIN PGP SIGNATURE-----\\n\\nAAAA\\n-----END PGP SIGNATURE-----\\n"
    signer.write_text(
        f"#!/bin/sh\ncat > /dev/null\nprintf '\\n[GNUPG:] SIG_CREATED \\n' >&2\nprintf -- '{block}'\n"
    )
    signer.chmod(0o755)
    for name, value in {"tag.gpgSign": "true", "gpg.format": "openpgp", "gpg.program": str(signer)}.items():
        run_git(clone, "config", name, value)
    made = put_release(store, clone, "v0.1.0")
    assert "SIGNATURE" in message(clone, "v0.1.0")
    assert not attestation.attest(clone, audit_log.read(store), made)
    assert contradictions(store, clone) == {}
