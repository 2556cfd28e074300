"""What the methods say of a session as lines of text."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from heimdall.core.table import lines as aligned
from heimdall.localize.location import Answers, Location
from heimdall.signal.arrival import Observation


def lines(answers: Answers) -> list[str]:
    """What is said of each session, and then of all of them together."""
    said = []
    for session, observation, located in zip(
        answers.sessions, answers.observations, answers.located, strict=True
    ):
        said += [headline(session, observation), table(located)]
    if answers.located_together:
        said += [all_together(len(answers.sessions)), table(answers.located_together)]
    return said


def headline(session: Mapping[Hashable, Any], observation: Observation) -> str:
    """One line on a session: what it is, how many receivers hear it and how many know when."""
    heard = int(np.count_nonzero(observation.session.detected))
    timed = int(np.count_nonzero(observation.arrivals.information_s2 > 0))
    return (
        f"{session['session_id']} ({session['split']}): {session['modulation']} at "
        f"{session['frequency_mhz']:.4f} MHz; {heard} receivers hear it, {timed} have an arrival time"
    )


def all_together(count: int) -> str:
    """One line on what several sessions tell together."""
    return f"All {count} sessions together, said to be of one transmitter at one place"


def table(locations: Sequence[Location]) -> str:
    """Locations of one session as lines of text, lengths in metres."""
    headings = ("method", "latitude", "longitude", "sigma E x N, m", "95 % ellipse, m", "azimuth", "error, m")
    cells = [
        (
            one.method,
            f"{one.latitude_deg:.5f}",
            f"{one.longitude_deg:.5f}",
            f"{one.sigma_east_m:.0f} x {one.sigma_north_m:.0f}",
            f"{one.ellipse_95_major_m:.0f} x {one.ellipse_95_minor_m:.0f}",
            f"{one.ellipse_azimuth_deg:.0f}",
            "unknown" if one.error_m is None else f"{one.error_m:.0f}",
        )
        for one in locations
    ]
    return "\n".join(aligned(headings, cells, "lrrrrrr"))
