"""Answers made by hand: what `heimdall locate` may find out, far apart and hostile places included."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np

from heimdall.localize.answer import Answer, Beside
from heimdall.maps.projection import Projection, wrapped
from heimdall.multilateration.event import Event, Position
from heimdall.multilateration.fix import Fix, Place, Region, Residual, Velocity

RINGS = 48  # corners of a region
HOSTILE = "<script>alert(1)</script>"
FORMULA = '=HYPERLINK("http://example.org","a,b")'
CONTROL = "a\nb\x1b[31m\u202e]]>&amp;"


def place(
    latitude_deg: float,
    longitude_deg: float,
    sigma_m: tuple[float, float] = (9_900.0, 3_300.0),
    probability: float = 0.9996,
    correlation: float = 0.3,
) -> Place:
    east, north = sigma_m
    cross = correlation * east * north
    covariance = np.array([[east**2, cross], [cross, north**2]])
    return Place(latitude_deg, longitude_deg, 0.0, 0.0, covariance, probability)


def circle(
    latitude_deg: float, longitude_deg: float, radius_m: float, clockwise: bool = False
) -> tuple[tuple[float, float], ...]:
    """A closed ring whose longitudes jump by 360 degrees where they leave [-180, 180)."""
    turn = np.linspace(0, 2 * np.pi, RINGS, endpoint=False) + 0.1
    turn = turn[::-1] if clockwise else turn
    chart = Projection(latitude_deg, longitude_deg)
    latitude, longitude = chart.to_degrees(radius_m * np.cos(turn), radius_m * np.sin(turn))
    corners = [(wrapped(x), y) for x, y in zip(longitude.tolist(), latitude.tolist(), strict=True)]
    return (*corners, corners[0])


def region(
    latitude_deg: float, longitude_deg: float, radius_m: float, probability: float, hole_m: float = 0.0
) -> Region:
    rings = [circle(latitude_deg, longitude_deg, radius_m)]
    if hole_m:
        rings.append(circle(latitude_deg, longitude_deg, hole_m, clockwise=True))
    return Region(probability, tuple(rings), math.pi * (radius_m**2 - hole_m**2) / 1e6)


def event(
    name: str = "2017-11-27T10:41:57Z",
    where: Sequence[tuple[str, float, float]] = (
        ("DF0KL", 53.665337, 7.282766),
        ("F1JEK", 45.77929, 0.614638),
        ("HB9RYZ", 47.1721, 8.42683),
    ),
    truth: Position | None = None,
    time_s: float = float("nan"),
) -> Event:
    positions = [Position(latitude, longitude, 100.0) for _, latitude, longitude in where]
    made = Event.of_times(name, [one for one, _, _ in where], positions, [0.0] * len(where), 5e-6)
    return Event(**{**vars(made), "truth": truth, "time_s": time_s})


def fix(
    of: Event,
    places: Sequence[Place],
    regions: Sequence[Region] = (),
    kind: str = "position",
    remarks: Sequence[str] = (),
    *,
    residuals: Sequence[Residual] | None = None,
    **others: object,
) -> Fix:
    made = residuals
    if made is None:
        made = [Residual(name, 1.25e-6 * k, 5e-6, used=True) for k, name in enumerate(of.receiver)]
    return Fix(  # type: ignore[arg-type]
        name=of.name,
        kind=kind,
        places=tuple(places),
        regions=tuple(regions),
        residuals=tuple(made),
        consistent=bool(others.pop("consistent", True)),
        remarks=tuple(remarks),
        **others,
    )


def around(latitude_deg: float, longitude_deg: float, radius_m: float = 10_000.0) -> tuple[Region, Region]:
    return (
        region(latitude_deg, longitude_deg, radius_m, 0.68),
        region(latitude_deg, longitude_deg, 2 * radius_m, 0.95),
    )


TRUTH = Position(50.0152, 9.0112, 120.0)


def normal() -> Answer:
    one = event(truth=TRUTH)
    found = fix(one, [place(50.0987, 9.0112)], around(50.0987, 9.0112), remarks=["the sky wave may be late"])
    beside = Beside("models/model.onnx", place(50.2, 9.1, (2_000.0, 3_000.0), 0.6), "trained at 145 MHz")
    return Answer("DCF77, 77.5 kHz", (one,), (found,), simulated=False, beside=beside)


def seconds(count: int = 28) -> Answer:
    events = tuple(
        event(f"2017-11-27T10:41:{second:02d}Z", truth=TRUTH, time_s=float(second)) for second in range(count)
    )
    fixes = tuple(
        fix(one, [place(50.0 + 0.01 * k, 9.0)], around(50.0 + 0.01 * k, 9.0)) for k, one in enumerate(events)
    )
    whole = fix(events[0], [place(50.05, 9.02, (2_000.0, 800.0))], around(50.05, 9.02, 2_000.0), events=count)
    together = Fix(**{**vars(whole), "name": "all"})
    origin = datetime(2017, 11, 27, 10, 41, tzinfo=UTC)
    return Answer("DCF77, 77.5 kHz", events, fixes, together, simulated=True, origin_utc=origin)


def ambiguous() -> Answer:
    one = event()
    places = [place(50.1, 9.0, probability=0.62), place(47.3, 5.4, probability=0.38)]
    regions = [
        Region(p, (circle(50.1, 9.0, radius), circle(47.3, 5.4, radius)), 2 * math.pi * radius**2 / 1e6)
        for p, radius in ((0.68, 10_000.0), (0.95, 20_000.0))
    ]
    left_out = [
        Residual("DF0KL", 2e-6, 5e-6, used=True),
        Residual("F1JEK", 3e-3, 5e-6, used=False, reason="its time is 3 ms off"),
        Residual("HB9RYZ", float("nan"), float("nan"), used=False, reason="it hears nothing"),
    ]
    said = ["the hyperbolas cross twice"]
    return Answer("two places", (one,), (fix(one, places, regions, "ambiguous", said, residuals=left_out),))


def only_region() -> Answer:
    one = event()
    wide = place(49.0, 6.0, (300_000.0, 250_000.0), 1.0)
    regions = [region(49.0, 6.0, r, p, hole_m=r / 3) for r, p in ((300_000.0, 0.68), (600_000.0, 0.95))]
    said = ["two receivers leave a line"]
    return Answer("a region", (one,), (fix(one, [wide], regions, "region", said, consistent=False),))


def nothing() -> Answer:
    one = event()
    untimed = [Residual(name, float("nan"), float("nan"), used=False) for name in one.receiver]
    said = ["no receiver hears a signal"]
    return Answer("noise", (one,), (fix(one, [], [], "nothing", said, residuals=untimed, consistent=False),))


def fiji() -> Answer:
    where = (("Suva", -18.14, 178.44), ("Taveuni", -16.85, -179.97), ("Lau", -18.2, -178.8))
    one = event("Fiji", where, truth=Position(-17.5, 179.95, None))
    at = place(-17.5, -179.99, (20_000.0, 15_000.0))
    regions = [region(-17.5, -179.99, r, p, hole_m=r / 4) for r, p in ((30_000.0, 0.68), (80_000.0, 0.95))]
    return Answer("Fiji, 7 MHz", (one,), (fix(one, [at], regions),))


def pole() -> Answer:
    where = (("Alert", 82.5, -62.3), ("Ny-Ålesund", 78.9, 11.9), ("Barrow", 71.3, -156.8))
    one = event("drifting station", where)
    regions = [region(89.5, 30.0, r, p) for r, p in ((20_000.0, 0.68), (150_000.0, 0.95))]
    return Answer("near the pole", (one,), (fix(one, [place(89.5, 30.0)], regions),))


def many_receivers(count: int = 60) -> Answer:
    turn = np.linspace(0, 2 * np.pi, count, endpoint=False).tolist()
    where = [
        (f"receiver {k}", 52.0 + math.cos(a) * (1 + k % 3), 10.0 + 2 * math.sin(a) * (1 + k % 2))
        for k, a in enumerate(turn)
    ]
    one = event("60 receivers", where)
    residuals = [Residual(name, 3e-8 * (k % 5 - 2), 5e-8, used=True) for k, (name, _, _) in enumerate(where)]
    moving = Velocity(100.0, -100.0, np.diag([25.0, 25.0]))
    found = fix(
        one, [place(52.1, 10.2, (30.0, 20.0))], around(52.1, 10.2, 30.0), residuals=residuals, velocity=moving
    )
    return Answer("60 receivers, 145 MHz", (one,), (found,))


def hostile() -> Answer:
    where = ((HOSTILE, 50.0, 8.0), (FORMULA, 51.0, 9.0), (CONTROL, 49.0, 10.0))
    one = event(FORMULA, where)
    residuals = [
        Residual(name, 1e-6, 1e-6, used=k > 1, reason=HOSTILE if k < 2 else "")
        for k, (name, _, _) in enumerate(where)
    ]
    found = fix(one, [place(50.0, 9.0)], around(50.0, 9.0), remarks=[HOSTILE, CONTROL], residuals=residuals)
    beside = Beside(HOSTILE, place(50.2, 9.1), HOSTILE)
    return Answer(HOSTILE, (one,), (found,), beside=beside)


ALL = {
    made.__name__: made
    for made in (
        normal,
        seconds,
        ambiguous,
        only_region,
        nothing,
        fiji,
        pole,
        many_receivers,
        hostile,
    )
}
