"""What was located as CSV: a row for each event, and one for all of them together."""

from __future__ import annotations

import csv
import io
import math
from typing import Any

from heimdall.localize import fix_words
from heimdall.localize.answer import Answer
from heimdall.localize.error_ellipse import ellipse_95
from heimdall.multilateration.event import Event
from heimdall.multilateration.fix import Fix, Residual
from heimdall.pages.elements import printable

COLUMNS = (
    "name",
    "utc",
    "time_s",
    "transmitter",
    "kind",
    "latitude_deg",
    "longitude_deg",
    "altitude_m",
    "altitude_sigma_m",
    "sigma_east_m",
    "sigma_north_m",
    "covariance_en_m2",
    "ellipse_95_major_m",
    "ellipse_95_minor_m",
    "ellipse_azimuth_deg",
    "probability",
    "places",
    "region_68_km2",
    "region_95_km2",
    "events",
    "receivers_used",
    "receivers_left_out",
    "left_out",
    "consistent",
    "flagged",
    "error_m",
)
# What spreadsheets take for the beginning of a formula, also in full width (OWASP, CSV injection).
_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def text(answer: Answer) -> str:
    """The table (RFC 4180, UTF-8), with every number in full; a cell is empty where nothing is known.

    The position is the likeliest place, whatever the kind of the answer. A receiver is left out that has an
    arrival time, but not a usable one; their names stand in one cell, with semicolons between. A name that a
    spreadsheet would calculate has an apostrophe before it, and control characters are replaced.
    """
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for event, fix in zip(answer.events, answer.fixes, strict=True):
        writer.writerow(_row(answer, fix, event))
    if answer.together is not None:
        writer.writerow(_row(answer, answer.together, None))
    return stream.getvalue()


def _row(answer: Answer, fix: Fix, event: Event | None) -> dict[str, str]:
    timed = [one for one in fix.residuals if math.isfinite(one.residual_s)]
    left_out = [one for one in timed if not one.used]
    areas = {f"region_{100 * one.probability:.0f}_km2": one.area_km2 for one in fix.regions}
    values: dict[str, Any] = {
        "name": fix.name,
        "kind": fix.kind,
        "places": len(fix.places),
        "region_68_km2": areas.get("region_68_km2"),
        "region_95_km2": areas.get("region_95_km2"),
        "events": fix.events,
        "receivers_used": sum(one.used for one in fix.residuals),
        "receivers_left_out": len(left_out),
        "left_out": _names(left_out),
        "consistent": fix.consistent,
        "flagged": fix.flagged,
        "error_m": answer.error_m(fix),
    }
    if event is not None:
        values |= {"utc": answer.utc(event), "time_s": event.time_s, "transmitter": event.transmitter}
    if fix.places:
        best = fix.places[0]
        ellipse, (east_m, north_m) = ellipse_95(best.covariance_m2), fix_words.sigma_m(best)
        values |= {
            "latitude_deg": best.latitude_deg,
            "longitude_deg": best.longitude_deg,
            "altitude_m": best.altitude_m,
            "altitude_sigma_m": best.altitude_sigma_m,
            "sigma_east_m": east_m,
            "sigma_north_m": north_m,
            "covariance_en_m2": float(best.covariance_m2[0, 1]),
            "ellipse_95_major_m": ellipse.major_m,
            "ellipse_95_minor_m": ellipse.minor_m,
            "ellipse_azimuth_deg": ellipse.azimuth_deg,
            "probability": best.probability,
        }
    return {name: _cell(values.get(name)) for name in COLUMNS}


def _names(residuals: list[Residual]) -> str:
    return "; ".join(one.receiver for one in residuals)


def _cell(value: str | float | None) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        name = printable(value)
        return f"'{name}" if name.startswith(_FORMULA) else name
    return str(value) if math.isfinite(value) else ""
