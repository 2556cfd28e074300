"""The maps of a session of the network: which receivers hear it, and where methods have the transmitter."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import pandas as pd

from heimdall.geometry.area import Receivers
from heimdall.geometry.geo import TangentPlane
from heimdall.geometry.propagation import SPEED_OF_LIGHT_M_S, distances_m
from heimdall.localize import fix_map, fix_words
from heimdall.localize.error_ellipse import RADIUS_95
from heimdall.maps import ellipse, hyperbolas
from heimdall.maps.hyperbolas import Timed
from heimdall.maps.projection import Degrees, Projection
from heimdall.metrics.metrics import chi_square_2
from heimdall.multilateration.fix import Place
from heimdall.pages import vector_map
from heimdall.pages.frame import Frame
from heimdall.pages.vector_map import Line, Map, Mark, Region
from heimdall.signal.arrival import Observation

State = Literal["heard", "silent", "unrecorded", "absent"]

ELLIPSES = (
    "The ellipses are those of the likeliest part of the answer. The answer has tails, and other parts where "
    "several places explain the recordings, so the transmitter is outside of the 95 % ellipse more often "
    "than its name says."
)
LEGEND = {
    "receiver": "a receiver with an arrival time",
    "untimed": "a receiver that hears the signal, without an arrival time",
    "unused": "a receiver that hears nothing",
    "unrecorded": "no recording, counted as hearing nothing",
    "absent": "no usable recording, counted as unknown",
    "place": "the position",
    "p68": "68 % ellipse of the likeliest part",
    "p95": "95 % ellipse of the likeliest part",
    "method": "another method, with its 95 % ellipse",
}
_RADIUS_68 = math.sqrt(chi_square_2(0.68))
_KINDS: dict[State, str] = {
    "heard": "untimed",
    "silent": "unused",
    "unrecorded": "unrecorded",
    "absent": "absent",
}
SAID: dict[State, str] = {
    "heard": "hears the signal",
    "silent": "hears nothing",
    "unrecorded": "no recording, counted as hearing nothing",
    "absent": "no usable recording, counted as unknown",
}
_SAME_M = 100.0  # a receiver of that number that stands further away is another one


@dataclass(frozen=True)
class Station:
    """A receiver of the network in a session.

    Attributes:
        number: Its websdr_id.
        name: What a person calls it.
        position: Latitude and longitude, degrees.
        position_m: East, north and up in the plane of the network, metres.
        state: Whether it hears the signal, or nothing; or whether it has no recording and the methods take it
            as one that hears nothing (unrecorded), or as one of which nothing is known (absent).
        delay_s: When it had the signal, seconds from a moment that all share; None without a usable time.
        sigma_s: Standard deviation of that, seconds; None without one.
    """

    number: int
    name: str
    position: Degrees
    position_m: tuple[float, float, float]
    state: State
    delay_s: float | None = None
    sigma_s: float | None = None


@dataclass(frozen=True, eq=False)
class Scene:
    """A session with what is said of it.

    Attributes:
        title: What it is, in a few words.
        stations: Every receiver of the network.
        plane: Of their positions; it assumes an altitude of the transmitter.
        places: Where the transmitter may be, the answer first; empty where nobody hears it.
        others: Where other methods have it, by their names.
        truth: Latitude and longitude of the transmitter, degrees; None where that is not known.
    """

    title: str
    stations: Sequence[Station]
    plane: TangentPlane
    places: Sequence[Place]
    others: Mapping[str, Place]
    truth: Degrees | None


def stations(
    observation: Observation,
    receivers: Receivers,
    plane: TangentPlane,
    names: Mapping[int, str],
) -> list[Station]:
    """The receivers of the network in a session, by number.

    Args:
        observation: The session.
        receivers: All receivers of the network.
        plane: Of their positions.
        names: What a person calls them, by number; others are called by their number.
    """
    rows = {number: row for row, number in enumerate(observation.session.websdr_id.tolist())}
    found = []
    for number, position_m in zip(receivers.websdr_id.tolist(), receivers.position_m.tolist(), strict=True):
        name, row = names.get(number, f"WebSDR {number}"), rows.get(number)
        state: State = "absent" if number in observation.absent else "unrecorded"
        delay_s = sigma_s = None
        if row is not None:
            state = "heard" if observation.session.detected[row] > 0 else "silent"
            information_s2 = float(observation.arrivals.information_s2[row])
            if information_s2 > 0:
                clock_s = float(observation.session.timing_sigma_s[row])
                delay_s = float(observation.arrivals.delay_s[row])
                sigma_s = math.hypot(information_s2**-0.5, clock_s)
        latitude_deg, longitude_deg = plane.to_degrees(*position_m[:2])
        position = float(latitude_deg), float(longitude_deg)
        found.append(Station(number, name, position, tuple(position_m), state, delay_s, sigma_s))
    return found


def in_any(sessions: Sequence[Sequence[Station]]) -> list[Station]:
    """The receivers in several sessions: one hears the signal, or has a time, if it does in any.

    Args:
        sessions: As `stations` gives them, of one network.
    """
    order: tuple[State, ...] = ("heard", "silent", "unrecorded", "absent")
    return [
        replace(
            each[0],
            state=min((one.state for one in each), key=order.index),
            delay_s=next((one.delay_s for one in each if one.delay_s is not None), None),
            sigma_s=None,
        )
        for each in zip(*sessions, strict=True)
    ]


def names(file: Path, receivers: Receivers, plane: TangentPlane) -> dict[int, str]:
    """What the receivers of the features are called, by number, if they are those of the network.

    Args:
        file: receivers.parquet of the features; without it nothing is known.
        receivers: Those of the network.
        plane: Of their positions.
    """
    try:
        table = pd.read_parquet(file, columns=["websdr_id", "name", "latitude_deg", "longitude_deg"])
    except (ValueError, OSError):
        return {}
    east_m, north_m = plane.to_local(table["latitude_deg"], table["longitude_deg"])
    known = dict(zip(receivers.websdr_id.tolist(), receivers.position_m[:, :2].tolist(), strict=True))
    rows = zip(table["websdr_id"].tolist(), table["name"].tolist(), east_m, north_m, strict=True)
    return {
        number: name
        for number, name, east, north in rows
        if number in known and math.dist(known[number], (east, north)) < _SAME_M
    }


def maps(scene: Scene) -> list[tuple[str, Map]]:
    """The maps of a session, each with what it shows: all of it, and the position if it is small on that."""
    marks = [*map(_station, scene.stations), *_places(scene)]
    regions = _regions(scene)
    corners = [(y, x) for region in regions for ring in region.rings for x, y in ring]
    positions = [*(mark.position for mark in marks), *corners]
    best = scene.places[0] if scene.places else None
    middle = scene.stations[0].position if best is None else (best.latitude_deg, best.longitude_deg)
    whole = Frame.around(Projection(*middle), positions)
    frames = [("Receivers and positions", whole)]
    if best is not None:
        others = [mark.position for mark in marks if mark.kind in ("truth", "method")]
        near = fix_map.around(best, others)
        if near.m_per_px * fix_map.DETAIL < whole.m_per_px:
            frames.append(("The position, enlarged", near))
    return [
        (name, Map(scene.title, marks, regions, _hyperbolas(scene, frame), frame, LEGEND))
        for name, frame in frames
    ]


def _station(one: Station) -> Mark:
    if one.delay_s is not None:
        return Mark(
            one.position, "receiver", one.name, f"{one.name}: {SAID[one.state]}, with an arrival time"
        )
    return Mark(one.position, _KINDS[one.state], one.name, f"{one.name}: {SAID[one.state]}")


def _places(scene: Scene) -> list[Mark]:
    """Where other methods have it, where it may be, and the truth, the most important last."""
    marks = [
        Mark((place.latitude_deg, place.longitude_deg), "method", name, f"{name}: {fix_words.where(place)}")
        for name, place in scene.others.items()
    ]
    for number, place in reversed(list(enumerate(scene.places))):
        label, title = "", fix_words.where(place)
        if len(scene.places) > 1:
            label = fix_words.share(place.probability)
            title += f", probability {label}"
        kind = "alternative" if number else "place"
        marks.append(Mark((place.latitude_deg, place.longitude_deg), kind, label, title))
    if scene.truth is not None:
        title = f"Truth: {scene.truth[0]:.5f}, {scene.truth[1]:.5f}"
        marks.append(Mark(scene.truth, "truth", "truth", title))
    return marks


def _regions(scene: Scene) -> list[Region]:
    regions = [
        _region(place, RADIUS_95, "by-method", f"95 % ellipse of {name}")
        for name, place in scene.others.items()
    ]
    for place in reversed(scene.places):
        regions.append(_region(place, RADIUS_95, "p95", LEGEND["p95"]))
        regions.append(_region(place, _RADIUS_68, "p68", LEGEND["p68"]))
    return regions


def _region(place: Place, radius: float, kind: str, title: str) -> Region:
    ring = ellipse.ring(place.latitude_deg, place.longitude_deg, place.covariance_m2, radius)
    return Region((ring,), kind, title)


def _hyperbolas(scene: Scene, frame: Frame) -> list[Line]:
    """Where pairs of receivers have the difference of arrival times that they had."""
    at = frame.projection.latitude_deg, frame.projection.longitude_deg
    if scene.places:
        at = scene.places[0].latitude_deg, scene.places[0].longitude_deg
    from_m = np.stack(scene.plane.to_local(*at), axis=-1)
    sites, timed = [], []
    for one in scene.stations:
        if one.delay_s is not None and one.sigma_s is not None:
            sites.append(one)
            (ray_m,) = distances_m(from_m, np.array([one.position_m]), scene.plane).tolist()
            timed.append(Timed(one.position, one.delay_s - ray_m / SPEED_OF_LIGHT_M_S, one.sigma_s))
    box = frame.box.grown(vector_map.AROUND)
    return [
        Line(one.positions, "hyperbola", f"{sites[one.first].name} and {sites[one.second].name}")
        for one in hyperbolas.lines(timed, at, frame.projection, box)
    ]


class _Ellipse(Protocol):
    """A position with its 95 % ellipse, as methods give it."""

    @property
    def latitude_deg(self) -> float: ...
    @property
    def longitude_deg(self) -> float: ...
    @property
    def ellipse_95_major_m(self) -> float: ...
    @property
    def ellipse_95_minor_m(self) -> float: ...
    @property
    def ellipse_azimuth_deg(self) -> float: ...


def place(one: _Ellipse, probability: float) -> Place:
    """A position with its 95 % ellipse as a place with a covariance."""
    azimuth = math.radians(one.ellipse_azimuth_deg)
    axes = np.array([[math.sin(azimuth), math.cos(azimuth)], [math.cos(azimuth), -math.sin(azimuth)]])
    sigma_m = np.array([one.ellipse_95_major_m, one.ellipse_95_minor_m]) / RADIUS_95
    covariance_m2 = axes @ np.diag(sigma_m**2) @ axes.T
    return Place(one.latitude_deg, one.longitude_deg, 0.0, 0.0, covariance_m2, probability)
