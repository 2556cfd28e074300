"""What the exported model says of recordings, as an HTML page and as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from heimdall.geometry.geo import TangentPlane
from heimdall.localize import fix_words, network_map, prediction_text
from heimdall.localize.error_ellipse import RADIUS_95, ellipse_95
from heimdall.localize.network_map import Scene, Station
from heimdall.localize.prediction import Prediction, SessionPrediction
from heimdall.maps import ellipse
from heimdall.pages import elements, page, picture, vector_map
from heimdall.pages.elements import Table
from heimdall.pages.page import Page
from heimdall.pages.vector_map import Map, Mark, Region

_RECORDINGS = "Places of recordings"


def scene(
    title: str, prediction: SessionPrediction, stations: Sequence[Station], plane: TangentPlane
) -> Scene:
    """What the map of a session shows.

    Args:
        title: What it is, in a few words.
        prediction: The answer.
        stations: The receivers of the model's network.
        plane: Of their positions.
    """
    places = [] if prediction.place is None else [prediction.place, *prediction.alternatives]
    return Scene(title, stations, plane, [network_map.place(one, one.weight) for one in places], {}, None)


def session(drawn: Scene, prediction: SessionPrediction, trained_on: str) -> str:
    """The page of a session, with a newline at its end.

    Args:
        drawn: What its map shows.
        prediction: The answer.
        trained_on: The data of the model's training: simulated, recorded or mixed; "" if nothing says it.
    """
    maps = [vector_map.figure(one, name) for name, one in network_map.maps(drawn)]
    sections = [elements.section("Map", *maps, elements.note(f"{vector_map.HINT} {network_map.ELLIPSES}"))]
    if drawn.places:
        sections.append(elements.section("Positions", elements.table(_places(drawn))))
    sections.append(elements.section("Receivers", elements.table(_receivers(drawn, prediction))))
    lead = [*_sentences(drawn, prediction), *_training(trained_on)]
    return page.text(Page(drawn.title, "unknown", lead, sections))


def session_png(drawn: Scene) -> bytes:
    """The maps of a session as a PNG file."""
    return picture.png(drawn.title, "unknown", network_map.maps(drawn))


def recordings(found: Sequence[Prediction], trained_on: str) -> str:
    """The page of recordings of which each has its own answer, with a newline at its end."""
    headings = ("recording", "latitude, °", "longitude, °", "sigma E x N, m", "95 % ellipse E x N, m")
    rows = tuple(
        (
            _name(one),
            f"{one.latitude_deg:.5f}",
            f"{one.longitude_deg:.5f}",
            f"{one.sigma_east_m:.0f} x {one.sigma_north_m:.0f}",
            f"{one.ellipse_95_east_m:.0f} x {one.ellipse_95_north_m:.0f}",
        )
        for one in found
    )
    lead = [f"The model locates each of {len(found)} recordings by itself.", *_training(trained_on)]
    sections = [
        elements.section("Map", vector_map.figure(_map(found), _RECORDINGS), elements.note(vector_map.HINT)),
        elements.section("Recordings", elements.table(Table(headings, rows, "lrrrr"))),
    ]
    return page.text(Page(_RECORDINGS, "unknown", lead, sections))


def recordings_png(found: Sequence[Prediction]) -> bytes:
    """The map of recordings as a PNG file."""
    return picture.png(_RECORDINGS, "unknown", [(_RECORDINGS, _map(found))])


def _training(trained_on: str) -> list[str]:
    return [f"The model was trained on {trained_on} data."] if trained_on else []


def _map(found: Sequence[Prediction]) -> Map:
    marks, regions = [], []
    for one in found:
        where = (one.latitude_deg, one.longitude_deg)
        covariance_m2 = np.diag([one.sigma_east_m**2, one.sigma_north_m**2])
        ring = ellipse.ring(*where, covariance_m2, RADIUS_95)
        regions.append(Region((ring,), "outline", f"95 % ellipse of {_name(one)}"))
        marks.append(Mark(where, "event", "", f"{_name(one)}: {where[0]:.5f}, {where[1]:.5f}"))
    return Map(
        _RECORDINGS, marks, regions, legend={"event": "the place of a recording", "outline": "95 % ellipse"}
    )


def _name(one: Prediction) -> str:
    """What a page calls a recording: whoever reads it need not know in which folders its author has it."""
    return Path(one.file).name


def _sentences(drawn: Scene, prediction: SessionPrediction) -> list[str]:
    if not drawn.places:
        nothing = prediction_text.NOTHING_HEARD
        return [f"{nothing[:1].upper()}{nothing[1:]}."]
    said = fix_words.whereabouts(drawn.places)
    near = prediction.probability_within_1km or 0.0
    said.append(f"It is within 1 km of this position with {fix_words.share(near)} probability.")
    return said


def _places(drawn: Scene) -> Table:
    headings = ("probability", "latitude, °", "longitude, °", "sigma E x N", "95 % ellipse", "azimuth, °")
    rows = []
    for one in drawn.places:
        axes = ellipse_95(one.covariance_m2)
        rows.append(
            (
                fix_words.share(one.probability),
                *fix_words.latitude_longitude(one),
                " x ".join(map(fix_words.length, fix_words.sigma_m(one))),
                f"{fix_words.length(axes.major_m)} x {fix_words.length(axes.minor_m)}",
                f"{axes.azimuth_deg:.0f}",
            )
        )
    keys = {
        3: [max(fix_words.sigma_m(one)) for one in drawn.places],
        4: [ellipse_95(one.covariance_m2).major_m for one in drawn.places],
    }
    return Table(headings, tuple(rows), "rrrrrr", keys)


def _receivers(drawn: Scene, prediction: SessionPrediction) -> Table:
    why = {one.websdr_id: one.why for one in prediction.receivers_untimed}
    rows = tuple(
        (
            one.name,
            network_map.SAID[one.state],
            "yes" if one.delay_s is not None else f"no: {why[one.number]}" if one.number in why else "no",
        )
        for one in drawn.stations
    )
    return Table(("receiver", "signal", "arrival time used"), rows, "lll")
