"""What the methods say of a session as lines of text."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from heimdall.localize.location import Location
from heimdall.position.arrival import Observation


def headline(session: Mapping[Hashable, Any], observation: Observation) -> str:
    """One line on a session: what it is, how many receivers hear it and how many know when."""
    heard = int(np.count_nonzero(observation.session.detected))
    timed = int(np.count_nonzero(observation.arrivals.information_s2 > 0))
    return (
        f"{session['session_id']} ({session['split']}): {session['modulation']} at "
        f"{session['frequency_mhz']:.4f} MHz, heard by {heard}, timed by {timed}"
    )


def table(locations: Sequence[Location]) -> str:
    """Locations of one session as lines of text, lengths in metres."""
    lines = [
        f"{'method':<16}  {'latitude':>10}  {'longitude':>10}  {'sigma E x N, m':>17}"
        f"  {'95 % ellipse, m':>17}  {'azimuth':>7}  {'error, m':>9}"
    ]
    for one in locations:
        sigma = f"{one.sigma_east_m:.0f} x {one.sigma_north_m:.0f}"
        ellipse = f"{one.ellipse_95_major_m:.0f} x {one.ellipse_95_minor_m:.0f}"
        error = "unknown" if one.error_m is None else f"{one.error_m:.0f}"
        lines.append(
            f"{one.method:<16}  {one.latitude_deg:>10.5f}  {one.longitude_deg:>10.5f}  {sigma:>17}"
            f"  {ellipse:>17}  {one.ellipse_azimuth_deg:>7.0f}  {error:>9}"
        )
    return "\n".join(lines)
