"""What `heimdall receivers` found, as lines of text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from heimdall.calibration.receiver_errors import Hardware
from heimdall.core.params import CalibrationParams
from heimdall.core.table import lines as aligned
from heimdall.geometry.propagation import SPEED_OF_LIGHT_M_S


def table(found: Sequence[Hardware], names: Mapping[int, str]) -> str:
    """One line a receiver, with a star beside what stands out."""
    headings = ("receiver", "sessions", "late by, us", "", "gain at 4 kHz, dB", "")
    cells = [
        (
            f"{one.websdr_id} {names[one.websdr_id]}",
            str(one.sessions),
            _value(one.delay_s * 1e6, one.delay_sigma_s * 1e6),
            "*" if one.is_late else "",
            _value(one.edge_db, one.edge_sigma_db),
            "*" if one.is_bent else "",
        )
        for one in found
    ]
    return "\n".join(aligned(headings, cells, "lrrlrl"))


def advice(one: Hardware, calibration: CalibrationParams) -> list[str]:
    """What stands out of one receiver beyond its calibration and what to do about it, a sentence each."""
    lines = []
    if one.is_late:
        name = f"websdr_{one.websdr_id}"
        delay_ns = calibration.delay_ns.get(name, 0) + round(one.delay_s * 1e9)
        path_m = abs(one.delay_s) * SPEED_OF_LIGHT_M_S
        late = f"{abs(one.delay_s) * 1e6:.2f} us {'late' if one.delay_s > 0 else 'early'}"
        lines.append(
            f"Receiver {one.websdr_id} is {late}, which is {path_m:.0f} m of path. If its clock or cable is "
            f"the cause, set calibration.delay_ns.{name} to {delay_ns} in params.yaml and run `dvc repro`."
        )
    if one.is_bent:
        lines.append(
            f"Receiver {one.websdr_id} has a gain of {one.edge_db:+.3f} dB at 4 kHz compared with the "
            "others. Fusion takes that for echoes. Undo the filter before you ingest its recordings "
            "(docs/beware.md)."
        )
    return lines


def _value(value: float, sigma: float) -> str:
    return "too few sessions" if math.isnan(value) else f"{value:+.3f} +- {2 * sigma:.3f}"
