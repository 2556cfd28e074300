"""The maps of an answer: receivers, regions, places and hyperbolas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from heimdall.localize import error_ellipse, fix_words
from heimdall.localize.answer import Answer
from heimdall.localize.error_ellipse import ellipse_95
from heimdall.maps import hyperbolas
from heimdall.maps.hyperbolas import Timed
from heimdall.maps.projection import Degrees, Projection, middle
from heimdall.multilateration.event import Position
from heimdall.multilateration.fix import Fix, Place
from heimdall.multilateration.fix import Region as FixRegion
from heimdall.pages import vector_map
from heimdall.pages.elements import printable
from heimdall.pages.frame import Frame
from heimdall.pages.vector_map import Line, Map, Mark, Region

DETAIL = 6  # a place has a map of its own if the whole one is more times as wide
_MAXDETAILS = 3
_FEW = 5  # of more events only the outlines of the 95 % regions are drawn


def maps(answer: Answer) -> list[tuple[str, Map]]:
    """The maps of an answer, each with what it shows: all of it, then the places that are small on that."""
    marks = [*_receivers(answer), *_events(answer), *_places(answer)]
    main = answer.main
    places = () if main is None else fix_words.shown(main)
    shown = [main] if main is not None else list(answer.fixes)
    corners = [(y, x) for fix in shown for region in fix.regions for ring in region.rings for x, y in ring]
    positions = [*(mark.position for mark in marks), *corners]
    first = (places[0].latitude_deg, places[0].longitude_deg) if places else middle(positions)
    whole = Frame.around(Projection(*first), positions)
    frames = [("Receivers and places", whole)]
    others = [mark.position for mark in marks if mark.kind in ("truth", "model")]
    for place in places[:_MAXDETAILS]:
        name = "The place" if len(places) == 1 else f"The place with {fix_words.share(place.probability)}"
        frames.append((f"{name}, enlarged", around(place, others)))
    if main is None and corners:
        frames.append(("The events, enlarged", Frame.around(Projection(*middle(corners)), corners)))
    shown_frames = frames[:1] + [one for one in frames[1:] if one[1].m_per_px * DETAIL < whole.m_per_px]
    return [(name, _map(answer, shown, marks, frame)) for name, frame in shown_frames]


def around(place: Place, others: Sequence[Degrees]) -> Frame:
    """A place with its ellipse, and what else is said of it if that is near."""
    projection = Projection(place.latitude_deg, place.longitude_deg)
    reach_m = 1.2 * ellipse_95(place.covariance_m2).major_m
    corners = zip(*projection.to_degrees([reach_m, 0, -reach_m, 0], [0, reach_m, 0, -reach_m]), strict=True)
    near = [one for one in others if np.hypot(*projection.to_m(*one)).item() < DETAIL * reach_m]
    return Frame.around(projection, [*((float(y), float(x)) for y, x in corners), *near])


def _receivers(answer: Answer) -> list[Mark]:
    """Those that no answer rests on are drawn apart."""
    fixes = answer.fixes if answer.main is None else (answer.main,)
    used = {one.receiver for fix in fixes for one in fix.residuals if one.used}
    reasons = {one.receiver: one.reason for fix in fixes for one in fix.residuals if not one.used}
    marks = []
    for name, where in answer.receivers().items():
        reason = f": {reasons[name]}" if reasons.get(name) else ""
        said = "is used" if name in used else f"is not used{reason}"
        kind = "receiver" if name in used else "unused"
        marks.append(_mark(where, kind, printable(name), f"{printable(name)} {said}"))
    return marks


def _events(answer: Answer) -> list[Mark]:
    """The events' own places, where there are several events, and the truth where each has its own."""
    marks = []
    if answer.truth is None:
        for event in answer.events:
            if event.truth is not None:
                title = f"Truth of {printable(event.name)}: {_exact(event.truth)}"
                marks.append(_mark(event.truth, "truths", "", title))
    if len(answer.fixes) > 1:
        for fix in answer.fixes:
            for place in fix.places[:1]:
                title = f"{printable(fix.name)}: {fix_words.where(place)}"
                marks.append(_mark(_of(place), "event", "", title))
    return marks


def _places(answer: Answer) -> list[Mark]:
    """What a model says, the places of the answer, and the truth, the most important last."""
    marks = []
    if answer.beside is not None and answer.beside.place is not None:
        place, name = answer.beside.place, printable(answer.beside.name)
        marks.append(_mark(_of(place), "model", "model", f"Trained model {name}: {fix_words.where(place)}"))
    places = () if answer.main is None else fix_words.shown(answer.main)
    for number, place in reversed(list(enumerate(places))):
        share = fix_words.share(place.probability)
        label = "" if len(places) == 1 else share
        title = f"{fix_words.where(place)}, probability {share}"
        marks.append(_mark(_of(place), "alternative" if number else "place", label, title))
    if answer.truth is not None:
        marks.append(_mark(answer.truth, "truth", "truth", f"Truth: {_exact(answer.truth)}"))
    return marks


def _mark(position: Position, symbol: str, label: str, title: str) -> Mark:
    return Mark((position.latitude_deg, position.longitude_deg), symbol, label, title)


def _exact(position: Position) -> str:
    return f"{position.latitude_deg:.5f}, {position.longitude_deg:.5f}"


def _of(place: Place) -> Position:
    return Position(place.latitude_deg, place.longitude_deg)


def _map(answer: Answer, shown: Sequence[Fix], marks: Sequence[Mark], frame: Frame) -> Map:
    many = len(shown) > _FEW
    lines: list[Line] = []
    if answer.main is not None:
        lines = hyperbolas_of(answer.main, answer.receivers(), frame)
    regions: list[Region] = []
    for fix in shown:
        largest_first = sorted(fix.regions, key=lambda region: -region.probability)
        if many:
            regions += [_region(one, "outline") for one in largest_first[:1]]
        else:
            regions += [_region(one, f"p{100 * one.probability:.0f}") for one in largest_first]
    if answer.beside is not None and answer.beside.place is not None:
        regions.append(_region(error_ellipse.region(answer.beside.place), "by-model"))
    return Map(answer.title, marks, regions, lines, frame)


def hyperbolas_of(fix: Fix, receivers: Mapping[str, Position], frame: Frame) -> list[Line]:
    """Where pairs of receivers have the difference of arrival times that they had.

    The lines are those of the likeliest place, off it by what the residuals of the pair say: whatever the
    rays are made of, it is in the residuals.
    """
    used = [
        one for one in fix.residuals if one.used and np.isfinite(one.residual_s) and one.receiver in receivers
    ]
    if not fix.places or len(used) < 2:
        return []
    best = fix.places[0]
    sites = [receivers[one.receiver] for one in used]
    timed = [
        Timed((site.latitude_deg, site.longitude_deg), one.residual_s, one.sigma_s)
        for site, one in zip(sites, used, strict=True)
    ]
    at = best.latitude_deg, best.longitude_deg
    box = frame.box.grown(vector_map.AROUND)
    return [
        Line(one.positions, "hyperbola", f"{used[one.first].receiver} and {used[one.second].receiver}")
        for one in hyperbolas.lines(timed, at, frame.projection, box)
    ]


def _region(region: FixRegion, kind: str) -> Region:
    name = "model" if kind == "by-model" else f"{100 * region.probability:.0f} % region"
    return Region(region.rings, kind, f"{name}, {fix_words.area(region.area_km2)}")
