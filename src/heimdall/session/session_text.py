"""What is printed of the sessions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from heimdall.core import table
from heimdall.core.provenance import provenance
from heimdall.session.catalogue import Session
from heimdall.session.detail import Detail, Receiver
from heimdall.signal import coherence

LEFT_OUT = {coherence.CONTRADICTS: "contradicts others", coherence.STARTS_ELSEWHERE: "starts elsewhere"}
SHORTEST = 8  # characters of an identifier


def moment(time: datetime) -> str:
    """A time as people read it, UTC."""
    return f"{time:%Y-%m-%d %H:%M:%S}"


def heading(session: Session) -> str:
    """What a session is, in a few words."""
    name = session.session_id[:SHORTEST]
    return (
        f"Session {name}: {session.modulation} at {session.frequency_mhz:.4f} MHz, {moment(session.time)} UTC"
    )


def prefix_length(session_ids: Sequence[str]) -> int:
    """So many characters tell all sessions apart, and at least `SHORTEST`."""
    count = len(set(session_ids))
    return next(n for n in range(SHORTEST, 37) if len({name[:n] for name in session_ids}) == count)


def listed(shown: Sequence[Session], existing: Sequence[str]) -> list[str]:
    """One line a session, with as much of its identifier as no other session has.

    Args:
        shown: The sessions.
        existing: The identifiers of all sessions of the data.
    """
    length = prefix_length(existing)
    headings = ("session", "time, UTC", "MHz", "heard by", "modulation", "split", "transmitter", "region")
    cells = [
        (
            one.session_id[:length],
            moment(one.time),
            f"{one.frequency_mhz:.4f}",
            f"{one.receivers_heard} of {one.receivers}",
            one.modulation,
            one.split,
            one.source_id or "unknown",
            one.region,
        )
        for one in shown
    ]
    data = f", {provenance(one.simulated for one in shown)} data" if shown else ""
    last = f"{len(shown)} of {len(existing)} sessions{data}"
    return [*table.lines(headings, cells, "llrrllll"), last] if shown else [last]


def one(detail: Detail) -> list[str]:
    """A session, and one line for each receiver of the network."""
    session = detail.session
    facts = [
        ("session", session.session_id),
        ("time", f"{moment(session.time)} UTC"),
        ("frequency", f"{session.frequency_mhz:.4f} MHz"),
        ("modulation", session.modulation),
        ("split", session.split),
        ("transmitter", f"{session.source_id or 'unknown'}, near {session.region}"),
        ("known position", f"{detail.latitude_deg:.5f}, {detail.longitude_deg:.5f}"),
        ("data", provenance([session.simulated])),
    ]
    headings = (
        "receiver",
        "hears it",
        "SNR, dB",
        "arrival time",
        "delay, us",
        "sigma, us",
        "late, us",
        "distance, km",
    )
    cells = [
        (
            f"{one.websdr_id} {one.name}",
            hears(one),
            "" if one.snr_db is None else f"{one.snr_db:.1f}",
            timing(one),
            "" if one.delay_s is None else f"{one.delay_s * 1e6:+.2f}",
            "" if one.delay_sigma_s is None else f"{one.delay_sigma_s * 1e6:.2f}",
            "" if one.late_s is None else f"{one.late_s * 1e6:+.2f}",
            "unknown" if one.distance_m is None else f"{one.distance_m / 1000:.1f}",
        )
        for one in detail.receivers
    ]
    return [
        *table.lines(("", ""), facts),
        "",
        *table.lines(headings, cells, "llrlrrrr"),
        "The delays are relative to their median. Sigma is what is stated of them, noise and clock together.",
        "Late is by how much the signal came later than from the known position; of two times only the "
        "difference is known, which is shared between them.",
        "The methods that know levels take a receiver without a recording as one that hears nothing, except "
        "one whose recording is in the quarantine, or that did not stand there then.",
        *(f"In the quarantine: receiver {number}, {why}" for number, why in detail.quarantined.items()),
    ]


def hears(one: Receiver) -> str:
    """Whether a receiver hears the signal."""
    if not one.recorded:
        return "in quarantine" if one.quarantined else "no recording"
    return "yes" if one.detected else "no"


def timing(one: Receiver) -> str:
    """Whether a receiver has a time of arrival, and if not, why."""
    if one.delay_usable:
        return "usable"
    if not one.recorded or not one.detected:
        return "none"
    if one.time_left_out:
        return LEFT_OUT[one.time_left_out]
    return "no clear peak" if one.has_gps_time else "no GPS time"
