"""The maps of a session: who heard the signal, where the answers are, and where it truly came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from heimdall.localize.fix_words import area, length, where
from heimdall.maps import hyperbolas
from heimdall.maps.hyperbolas import Timed
from heimdall.multilateration.fix import Place
from heimdall.pages import vector_map
from heimdall.pages.frame import Frame
from heimdall.pages.vector_map import Line, Map, Mark, Region
from heimdall.session import lateness
from heimdall.session.detail import Detail, Receiver
from heimdall.session.located import Located

_DETAIL = 5  # what is enlarged has a map of its own if the whole one is more times as wide
_KINDS = {0.68: "p68", 0.95: "p95"}
_LEGEND = {
    "place": "the answer",
    "method": "the other answer",
    "receiver": "a receiver with an arrival time",
    "untimed": "a receiver that hears the signal, without an arrival time",
    "unused": "a receiver that hears nothing",
    "absent": "a receiver without a recording",
    "truth": "the known position",
    "error": "from the known position to the answer",
}


def maps(detail: Detail, answers: Sequence[Located]) -> list[tuple[str, Map]]:
    """The maps of a session, each with what it shows: the whole network, and if that is small, the answer.

    Args:
        detail: The session.
        answers: Of `located.locate_session`, the one to look at first.
    """
    receivers = [_receiver(one) for one in detail.receivers]
    places = _places(detail, answers)
    title = f"session {detail.session.session_id}"
    whole = vector_map.around([*receivers, *places])
    found = [("The network", _map(title, whole, detail, answers, receivers + places))]
    near = vector_map.around(
        [one for one in places if one.kind in ("place", "truth")] or places or receivers,
        _regions(answers[0]),
    )
    if _DETAIL * near.m_per_px < whole.m_per_px:
        # Most receivers lie outside of it: what has the focus must be seen.
        marks = [replace(one, identifier="") for one in receivers] + places
        found.append(("The answer, enlarged", _map(title, near, detail, answers, marks)))
    return found


def _map(title: str, frame: Frame, detail: Detail, answers: Sequence[Located], marks: Sequence[Mark]) -> Map:
    lines = _hyperbolas(detail, answers[0].place, frame) + _error(detail, answers[0])
    return Map(title, marks, _regions(answers[0]), lines, frame, _LEGEND)


def _hyperbolas(detail: Detail, place: Place | None, frame: Frame) -> list[Line]:
    """Where pairs of receivers have the difference of arrival times that they had."""
    at = frame.projection.latitude_deg, frame.projection.longitude_deg
    if place is not None:
        at = place.latitude_deg, place.longitude_deg
    numbers = detail.observation.session.websdr_id.tolist()
    travelled_s = lateness.travel_s(detail.observation, *at, detail.plane)
    travel_s = dict(zip(numbers, travelled_s.tolist(), strict=True))
    sites, timed = [], []
    for one in detail.receivers:
        if one.delay_s is not None and one.delay_sigma_s is not None:
            sites.append(one)
            late_s = one.delay_s - travel_s[one.websdr_id]
            timed.append(Timed((one.latitude_deg, one.longitude_deg), late_s, one.delay_sigma_s))
    box = frame.box.grown(vector_map.AROUND)
    return [
        Line(one.positions, "hyperbola", f"{sites[one.first].label} and {sites[one.second].label}")
        for one in hyperbolas.lines(timed, at, frame.projection, box)
    ]


def _receiver(one: Receiver) -> Mark:
    if one.delay_usable:
        kind, state = "receiver", "hears the signal, arrival time used"
    elif one.detected:
        kind, state = "untimed", "hears the signal, without an arrival time"
    elif one.recorded:
        kind, state = "unused", "hears nothing"
    else:
        kind, state = "absent", "has no recording"
    title = f"Receiver {one.label}: {state}"
    return Mark((one.latitude_deg, one.longitude_deg), kind, one.label, title, card(one.websdr_id))


def card(websdr_id: int) -> str:
    """The identifier of a receiver's part of the page."""
    return f"receiver-{websdr_id}"


def _places(detail: Detail, answers: Sequence[Located]) -> list[Mark]:
    """The answers and the known position, the most important last."""
    marks = []
    for answer, kind, label in reversed(
        list(zip(answers, ("place", "method"), ("answer", "other"), strict=False))
    ):
        if answer.place is not None:
            title = f"{answer.method}: {where(answer.place)}"
            at = answer.place.latitude_deg, answer.place.longitude_deg
            marks.append(Mark(at, kind, label, title))
    if detail.has_truth:
        at = detail.latitude_deg, detail.longitude_deg
        marks.append(Mark(at, "truth", "truth", f"The known position: {at[0]:.5f}, {at[1]:.5f}"))
    return marks


def _regions(answer: Located) -> list[Region]:
    """Both regions of the answer, the larger one first."""
    return [
        Region(
            one.rings,
            _KINDS[one.probability],
            f"{100 * one.probability:.0f} % region of the answer: {area(one.area_km2)}",
        )
        for one in sorted(answer.fix.regions, key=lambda region: -region.probability)
    ]


def _error(detail: Detail, answer: Located) -> list[Line]:
    if answer.place is None or answer.error_m is None:
        return []
    ends = [
        (detail.latitude_deg, detail.longitude_deg),
        (answer.place.latitude_deg, answer.place.longitude_deg),
    ]
    return [Line(np.array(ends), "error", f"error of the answer: {length(answer.error_m)}")]
