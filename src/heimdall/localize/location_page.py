"""Where sessions of the data have their transmitter, by every method, as one HTML page and as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from heimdall.core.provenance import Provenance
from heimdall.geometry.area import Receivers
from heimdall.geometry.geo import TangentPlane
from heimdall.localize import fix_words, location_text, network_map, prediction
from heimdall.localize.location import TOGETHER, Answers, Location
from heimdall.localize.network_map import Scene
from heimdall.multilateration.fix import Place
from heimdall.pages import elements, page, picture, vector_map
from heimdall.pages.elements import Link, Markup, Table
from heimdall.pages.page import Page
from heimdall.position.posterior import Posterior

_FIRST = "fusion"
_DETAILS = 5  # of more sessions each has one map


@dataclass(frozen=True, eq=False)
class Located:
    """A session with what the methods say of it.

    Attributes:
        headline: What it is, in a sentence.
        scene: What its map shows; the places are of the first method.
        locations: Of every method, the first of which is read first.
    """

    headline: str
    scene: Scene
    locations: Sequence[Location]


@dataclass(frozen=True, eq=False)
class Network:
    """The receivers.

    Attributes:
        receivers: Their numbers and places.
        plane: Of their places.
        file: receivers.parquet of the features, which has their names.
    """

    receivers: Receivers
    plane: TangentPlane
    file: Path


def located(answers: Answers, network: Network) -> list[Located]:
    """Sessions with what their maps show, all of them together first if they are said to be of one place.

    The fusion model is read first if it is among the methods.

    Args:
        answers: What the methods say.
        network: The receivers.
    """
    names = network_map.names(network.file, network.receivers, network.plane)
    found = []
    for number, (session, observation, by_method) in enumerate(
        zip(answers.sessions, answers.observations, answers.located, strict=True)
    ):
        ordered = sorted(by_method, key=lambda one: one.method != _FIRST)
        first, *others = ordered
        places = [network_map.place(first, 1.0)]
        if first.method == _FIRST:
            places = _places(answers.posteriors[_FIRST], number, network.plane)
        truth = float(session["latitude_deg"]), float(session["longitude_deg"])
        scene = Scene(
            title=f"Session {str(session['session_id'])[:8]}: {session['modulation']} at "
            f"{session['frequency_mhz']:.4f} MHz",
            stations=network_map.stations(observation, network.receivers, network.plane, names),
            plane=network.plane,
            places=places,
            others={one.method: network_map.place(one, 1.0) for one in others},
            truth=truth if np.isfinite(truth).all() else None,
        )
        found.append(Located(location_text.headline(session, observation), scene, ordered))
    return [_together(found, answers, network.plane), *found] if answers.together else found


def _together(found: Sequence[Located], answers: Answers, plane: TangentPlane) -> Located:
    """Sessions of one place with what they tell together."""
    first, *others = ordered = sorted(answers.located_together, key=lambda one: one.method != _FIRST)
    places = [network_map.place(first, 1.0)]
    if first.method == _FIRST:
        places = _places(answers.together[_FIRST], 0, plane)
    scene = Scene(
        title=f"All {len(found)} sessions together",
        stations=network_map.in_any([one.scene.stations for one in found]),
        plane=plane,
        places=places,
        others={one.method: network_map.place(one, 1.0) for one in others},
        truth=None if first.error_m is None else found[0].scene.truth,
    )
    return Located(location_text.all_together(len(found)), scene, ordered)


def _places(posterior: Posterior, number: int, plane: TangentPlane) -> list[Place]:
    """The answer of the fusion model, and the other places of at least 5 %."""
    mean_deg = np.stack(plane.to_degrees(*np.moveaxis(posterior.mean_m[number], -1, 0)), axis=-1)
    head_deg = np.stack(plane.to_degrees(*posterior.position_m[number]), axis=-1)
    answer = {
        "weights": posterior.weight[number : number + 1],
        "means_deg": mean_deg[np.newaxis],
        "covariances": posterior.covariance_m2[number : number + 1],
        "positions": head_deg[np.newaxis],
        "covariance": posterior.medoid_covariance_m2[number : number + 1],
    }
    first, *rest = prediction.places(answer)
    return [network_map.place(one, one.weight) for one in (first, *prediction.shown(rest))]


def text(found: Sequence[Located], data: Provenance) -> str:
    """The page, with a newline at its end.

    Args:
        found: At least one session.
        data: Whether they are simulated.
    """
    if len(found) == 1:
        (one,) = found
        return page.text(Page(one.scene.title, data, _sentences(one), _sections(one, 2)))
    together = found[0].locations[0].session_id == TOGETHER
    title = f"{len(found) - together} sessions located"
    links = [Link(one.scene.title, _identifier(one)) for one in found]
    sections = [
        elements.section(
            one.scene.title,
            elements.paragraphs(_sentences(one)),
            *_drawn(one, 2 if len(found) <= _DETAILS else 1),
            elements.table(_table(one)),
            identifier=_identifier(one),
        )
        for one in found
    ]
    lead = ["Each session has its own answer, with a map and what every method says."]
    if together:
        lead.insert(
            0, "The first answer is that of all sessions together, which are said to be of one place."
        )
    return page.text(Page(title, data, lead, [elements.bullets(links), *sections]))


def png(one: Located, data: Provenance) -> bytes:
    """The maps of one session as a PNG file."""
    return picture.png(one.scene.title, data, network_map.maps(one.scene))


def _identifier(one: Located) -> str:
    return f"session-{one.locations[0].session_id}"


def _sections(one: Located, most: int) -> list[Markup]:
    return [
        elements.section(
            "Map", *_drawn(one, most), elements.note(f"{vector_map.HINT} {network_map.ELLIPSES}")
        ),
        elements.section("Methods", elements.table(_table(one))),
    ]


def _drawn(one: Located, most: int) -> list[Markup]:
    return [vector_map.figure(drawn, name) for name, drawn in network_map.maps(one.scene)[:most]]


def _sentences(one: Located) -> list[str]:
    first = one.locations[0]
    said = []
    if one.scene.places:
        said = fix_words.whereabouts(one.scene.places, f", by the method {first.method}")
    if first.error_m is not None:
        said.append(f"The true place is known, and {fix_words.length(first.error_m)} away.")
    return [*said, f"{one.headline}."]


def _table(one: Located) -> Table:
    headings = (
        "method",
        "latitude, °",
        "longitude, °",
        "sigma E x N, m",
        "95 % ellipse, m",
        "azimuth, °",
        "error, m",
    )
    rows = tuple(
        (
            location.method,
            f"{location.latitude_deg:.5f}",
            f"{location.longitude_deg:.5f}",
            f"{location.sigma_east_m:.0f} x {location.sigma_north_m:.0f}",
            f"{location.ellipse_95_major_m:.0f} x {location.ellipse_95_minor_m:.0f}",
            f"{location.ellipse_azimuth_deg:.0f}",
            "unknown" if location.error_m is None else f"{location.error_m:.0f}",
        )
        for location in one.locations
    )
    return Table(headings, rows, "lrrrrrr")
