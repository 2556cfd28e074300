"""What `heimdall releases` found, as lines of text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from heimdall.core import table
from heimdall.release import attestation
from heimdall.release.attestation import Tag
from heimdall.release.audit_log import Entry
from heimdall.release.registry import Damage, Overview, Release

HEADINGS = ("version", "", "mean test error, m", "data", "released", "commit", "remarks")


def lines(found: Overview) -> list[str]:
    """The versions as text."""
    rows = [
        (
            made.version,
            "champion" if made.version == found.champion else "",
            f"{made.mae_m:.0f} {interval(made)}",
            made.data,
            made.released_at[:10],
            made.commit[:12],
            remarks(made.verified, made.accepted_worse_than),
        )
        for made in found.releases
    ]
    shown = table.lines(HEADINGS, rows) if rows else ["Nothing is released yet."]
    shown += [
        f"{version}: its release was begun, but not completed. Run `heimdall release {version}` from its "
        "commit, or with --give-up"
        for version in found.unfinished
    ]
    return shown + [
        f"{made.version}: {made.given_up_by} gave it up at {made.given_up_at[:10]}" for made in found.given_up
    ]


def interval(made: Release) -> str:
    """The interval of the mean test error, m; one transmitter gives none."""
    if made.mae_m_low is None or made.mae_m_high is None:
        return "[one transmitter]"
    return f"[{made.mae_m_low:.0f}, {made.mae_m_high:.0f}]"


def as_dict(found: Overview, damages: Sequence[Damage], tags: Sequence[Tag]) -> dict[str, Any]:
    """Everything, for machines.

    Args:
        found: The registry.
        damages: What is wrong with it, what the tags say included.
        tags: This clone's, which attest the log.
    """
    return {
        "champion": found.champion,
        "releases": [asdict(made) for made in found.releases],
        "unfinished": list(found.unfinished),
        "given_up": [asdict(made) for made in found.given_up],
        "log": None if found.log is None else [asdict(entry) for entry in found.log],
        "not_attested": [entry.number for entry in attestation.unattested(found.log or [], tags)],
        "damages": [asdict(damage) for damage in damages],
    }


def verdict(log: Sequence[Entry], damages: Sequence[Damage], tags: Sequence[Tag]) -> list[str]:
    """What is damaged; if nothing is, how much of the log the tags attest."""
    if damages:
        return ["DAMAGED:", *(f"  {damage.subject}: {damage.cause}" for damage in damages)]
    missing = attestation.unattested(log, tags)
    attested = f"The tags of this clone attest {len(log) - len(missing)} of its {len(log)} entries."
    shown = [f"Every file is as released. The log is unbroken. {attested}"]
    shown += [f"not attested: entry {entry.number}, {entry.action} {entry.version}" for entry in missing]
    if missing:
        shown.append("`git fetch --tags` brings the missing tags, if they were pushed.")
    return shown


def remarks(verified: bool, accepted_worse_than: str | None) -> str:
    """What was not as it should be at the release."""
    parts = [] if verified else ["not verified"]
    parts += [f"accepted as worse than {accepted_worse_than}"] if accepted_worse_than else []
    return ", ".join(parts)
