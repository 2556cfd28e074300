"""What was located as JSON: every number in full, units in the names, null for what is not known.

docs/answers.md has the schema. Within a version names are only added.
"""

from __future__ import annotations

import json
import math
from typing import Any

from heimdall.localize import fix_words
from heimdall.localize.answer import Answer, Beside
from heimdall.localize.error_ellipse import ellipse_95
from heimdall.localize.fix_shapes import DECIMALS
from heimdall.multilateration.event import Event, Position
from heimdall.multilateration.fix import Fix, Place, Velocity

SCHEMA = "heimdall-locate"
SCHEMA_VERSION = 1


def text(answer: Answer) -> str:
    """The document as JSON without NaN: a line for each receiver and event, with a newline at the end."""
    parts = []
    for name, value in document(answer).items():
        rows = [f"    {_dumps(one)}" for one in value] if isinstance(value, list) else []
        shown = "[\n" + ",\n".join(rows) + "\n  ]" if rows else _dumps(value)
        parts.append(f"  {_dumps(name)}: {shown}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _dumps(value: Any) -> str:  # noqa: ANN401 - any JSON value
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def document(answer: Answer) -> dict[str, Any]:
    """The answer as one JSON object without NaN. Outlines have 7 digits of a degree, all else every digit."""
    together = answer.together
    return {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "title": answer.title,
        "simulated": answer.simulated,
        "receivers": [{"name": name, **_position(one)} for name, one in answer.receivers().items()],
        "events": [_fix(answer, fix, event) for event, fix in zip(answer.events, answer.fixes, strict=True)],
        "together": None if together is None else _fix(answer, together, None),
        "beside": None if answer.beside is None else _beside(answer.beside),
        "beside_each": [_beside(one) for one in answer.beside_each],
    }


def _fix(answer: Answer, fix: Fix, event: Event | None) -> dict[str, Any]:
    places = [_place(one) for one in fix.places]
    truth = answer.truth_of(fix)
    return {
        "name": fix.name,
        "kind": fix.kind,
        "flagged": fix.flagged,
        "consistent": fix.consistent,
        "events": fix.events,
        "time_s": None if event is None else _number(event.time_s),
        "utc": None if event is None else answer.utc(event),
        "frequency_hz": None if event is None else _number(event.frequency_hz),
        "transmitter": None if event is None else event.transmitter,
        "position": places[0] if fix.kind == "position" else None,
        "places": places,
        "regions": [
            {
                "probability": one.probability,
                "area_km2": _number(one.area_km2),
                "rings_deg": [[[round(x, DECIMALS) for x in point] for point in ring] for ring in one.rings],
            }
            for one in fix.regions
        ],
        "residuals": [
            {
                "receiver": one.receiver,
                "residual_s": _number(one.residual_s),
                "sigma_s": _number(one.sigma_s),
                "used": one.used,
                "reason": one.reason,
            }
            for one in fix.residuals
        ],
        "velocity": None if fix.velocity is None else _velocity(fix.velocity),
        "remarks": list(fix.remarks),
        "truth": None if truth is None else _position(truth),
        "error_m": answer.error_m(fix),
    }


def _place(place: Place) -> dict[str, Any]:
    ellipse, (east_m, north_m) = ellipse_95(place.covariance_m2), fix_words.sigma_m(place)
    return {
        "latitude_deg": place.latitude_deg,
        "longitude_deg": place.longitude_deg,
        "altitude_m": _number(place.altitude_m),
        "altitude_sigma_m": _number(place.altitude_sigma_m),
        "sigma_east_m": _number(east_m),
        "sigma_north_m": _number(north_m),
        "covariance_m2": [[_number(one) for one in row] for row in place.covariance_m2.tolist()],
        "ellipse_95_major_m": _number(ellipse.major_m),
        "ellipse_95_minor_m": _number(ellipse.minor_m),
        "ellipse_azimuth_deg": _number(ellipse.azimuth_deg),
        "probability": _number(place.probability),
    }


def _velocity(velocity: Velocity) -> dict[str, Any]:
    return {
        "east_m_s": _number(velocity.east_m_s),
        "north_m_s": _number(velocity.north_m_s),
        "covariance_m2_s2": [[_number(one) for one in row] for row in velocity.covariance_m2_s2.tolist()],
    }


def _position(position: Position) -> dict[str, Any]:
    altitude_m = position.altitude_m
    return {
        "latitude_deg": position.latitude_deg,
        "longitude_deg": position.longitude_deg,
        "altitude_m": None if altitude_m is None else _number(altitude_m),
    }


def _beside(beside: Beside) -> dict[str, Any]:
    place = None if beside.place is None else _place(beside.place)
    return {"name": beside.name, "place": place, "remark": beside.remark}


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
