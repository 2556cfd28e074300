"""Which start times of recordings the features leave out, and why."""

from __future__ import annotations

import pandas as pd

from heimdall.recordings import limits
from heimdall.signal import coherence

_TOLD = {
    coherence.CONTRADICTS: "its start time is left out: the other recordings contradict it. Check its clock",
    coherence.STARTS_ELSEWHERE: "its start time is left out: it is far from those of the others",
}


def useful(recordings: pd.DataFrame) -> pd.DataFrame:
    """The same rows without those start times that are too uncertain to help, or claim what no clock can."""
    sigma_ns = recordings["timing_sigma_ns"]
    vague = (sigma_ns > limits.USEFUL_TIMING_SIGMA_NS) | (sigma_ns < limits.MIN_TIMING_SIGMA_NS)
    if not vague.any():
        return recordings
    return recordings.assign(
        **{name: recordings[name].mask(vague) for name in ("start_gps_ns", "timing_sigma_ns")}
    )


def left_out(index: pd.DataFrame) -> list[str | None]:
    """The reason for each recording whose start time is known but not used.

    Args:
        index: Rows of recordings: `session_id`, `start_gps_ns`, `timing_sigma_ns`, `samples`,
            `sample_rate_hz`, and `timed`, whether the features use the time.

    Returns:
        For each row a reason of `signal.coherence`; None if the time is used, not known or too uncertain.
    """
    reasons: list[str | None] = [None] * len(index)
    index = useful(index)
    known = index["start_gps_ns"].notna() & index["timing_sigma_ns"].notna()
    concerned = index["session_id"].isin(index.loc[known & ~index["timed"], "session_id"])
    rows = index.assign(place=range(len(index)))[concerned]
    for _, session in rows.groupby("session_id", sort=False):
        found = coherence.reasons(
            [None if pd.isna(start) else int(start) for start in session["start_gps_ns"]],
            session["timing_sigma_ns"].to_list(),
            float((session["samples"] / session["sample_rate_hz"]).max()),
            session["timed"].to_list(),
        )
        for place, reason in zip(session["place"].to_list(), found, strict=True):
            reasons[place] = reason
    return reasons


def impossible(recordings: pd.DataFrame) -> list[str]:
    """What is to be said of start times that are too good to be true.

    Args:
        recordings: With `start_gps_ns` and `timing_sigma_ns`.
    """
    known = recordings["start_gps_ns"].notna()
    count = int((known & (recordings["timing_sigma_ns"] < limits.MIN_TIMING_SIGMA_NS)).sum())
    if not count:
        return []
    least = f"{limits.MIN_TIMING_SIGMA_NS:g} ns"
    return [
        f"{count} start times claim a standard deviation below {least}, as no clock has: they do not count"
    ]


def told(index: pd.DataFrame, network: pd.DataFrame) -> list[str]:
    """A sentence for each receiver and reason.

    Args:
        index: With `session_id`, `websdr_id` and `time_left_out`, in the order of the sessions.
        network: The receivers: `websdr_id` and `name`.
    """
    names = dict(zip(network["websdr_id"].tolist(), network["name"].tolist(), strict=True))
    said = []
    left = index[index["time_left_out"].notna()]
    for (websdr_id, reason), rows in left.groupby(["websdr_id", "time_left_out"], sort=True):
        first = str(rows["session_id"].iloc[0])[:8]
        count = f"{len(rows)} sessions, first in {first}" if len(rows) > 1 else f"session {first}"
        said.append(f"receiver {websdr_id} ({names[websdr_id]}): in {count}, {_TOLD[str(reason)]}")
    return said
