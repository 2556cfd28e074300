"""The test sessions of a report: their map, their table, and what is known of each."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from heimdall.pages import elements, vector_map
from heimdall.pages.elements import Cell, Link, Markup, Table
from heimdall.pages.vector_map import Line, Map, Mark, Region
from heimdall.report import ellipses, words
from heimdall.report.run import ERROR_BOUND, Receiver, Recorded, Run, Session

MOST = 400  # sessions on a page; of more, every so many-th by the size of its error
_SHORT = 8  # first digits of a session by which a page calls it
_PROBABILITY = 0.95
_UNKNOWN = "not known"
_THERE = {
    "inside": "inside its 95 % region",
    "region alone": "inside its 95 % region, outside of its ellipse",
    "outside": "outside its 95 % region",
}


def parts(run: Run) -> tuple[Markup, ...]:
    """Map, table and cards of the test sessions; a sentence where their places are missing."""
    if not run.sessions:
        return (elements.paragraphs(["The places of the test sessions are missing, see the last section."]),)
    shown = _chosen(run.sessions)
    cards = [_card(run, one) for one in shown]
    return (
        elements.paragraphs(_remarks(run, len(shown))),
        _map(shown, run.receivers),
        elements.subsection("Table of the sessions", _table(run, shown)),
        elements.subsection("Session by session", elements.note("The largest error comes first."), *cards),
    )


def _chosen(found: Sequence[Session]) -> list[Session]:
    """The sessions, the largest error first; of too many an even choice of all sizes of errors."""
    by_error = sorted(found, key=lambda one: (-one.error_m, one.session_id))
    return by_error[:: math.ceil(len(by_error) / MOST)]


def _remarks(run: Run, shown: int) -> list[str]:
    said = [
        "Each line leads from where the transmitter was to where the model says it is. A click on an answer, "
        "or Enter when it has the focus, opens what is known of the session."
    ]
    if shown < len(run.sessions):
        said.append(
            f"Of {len(run.sessions)} sessions {shown} are shown, an even choice of all sizes of errors."
        )
    if any(one.correlation is None for one in run.sessions):
        said.append(
            "This revision did not record how the deviations to the east and to the north are correlated, "
            "nor whether a region holds the transmitter: its ellipses are drawn without their tilt."
        )
    return said


def _map(shown: Sequence[Session], receivers: Sequence[Receiver]) -> Markup:
    marks = [
        Mark((one.latitude_deg, one.longitude_deg), "receiver", one.name, f"Receiver {one.name}")
        for one in receivers
    ]
    # The smallest errors lie above the others, so that they can be pointed at.
    for one in shown:
        truth = one.latitude_deg, one.longitude_deg
        marks.append(Mark(truth, "truths", "", f"The transmitter of session {_name(one)}"))
    for one in shown:
        answer = one.estimated_latitude_deg, one.estimated_longitude_deg
        marks.append(Mark(answer, "event", "", _summary(one), _identifier(one)))
    drawn = Map(
        "test sessions",
        marks,
        [
            Region((ellipses.ring(one, _PROBABILITY),), "outline", f"95 % ellipse of session {_name(one)}")
            for one in shown
        ],
        [Line(_way(one), "error", _summary(one)) for one in shown],
        frame=vector_map.around(marks),
        legend={
            "receiver": "receiver",
            "event": "answer of the model",
            "truths": "transmitter",
            "outline": "95 % ellipse of an answer",
        },
    )
    caption = (
        f"The {len(shown)} test sessions: from each transmitter to the model's answer, with the 95 % ellipse "
        "of the likeliest part of the answer."
    )
    return vector_map.figure(drawn, caption, identifier="sessions-map")


def _way(one: Session) -> npt.NDArray[np.float64]:
    return np.array(
        [
            [one.latitude_deg, one.longitude_deg],
            [one.estimated_latitude_deg, one.estimated_longitude_deg],
        ]
    )


def _table(run: Run, shown: Sequence[Session]) -> Markup:
    headings = (
        "session",
        "error, m",
        "stated deviation, m",
        "95 % region",
        "bound, m",
        "heard by",
        "highest SNR, dB",
        "kind of signal",
        "frequency, MHz",
        "time (UTC)",
    )
    known = ERROR_BOUND in run.tables
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (
            Link(_name(one), _identifier(one)),
            f"{one.error_m:.0f}",
            f"{_deviation_m(one):.0f}",
            _inside(one) or _UNKNOWN,
            ("none" if known else _UNKNOWN) if one.bound_m is None else f"{one.bound_m:.0f}",
            *_cells(one.recorded),
        )
        for one in shown
    )
    times = [
        one.recorded.time.timestamp() if one.recorded and one.recorded.time else math.nan for one in shown
    ]
    caption = (
        "The test sessions, the largest error first. The transmitter is inside the region and the ellipse of "
        "its likeliest part, inside the region alone, or outside of both. A heading sorts by its column."
    )
    content = Table(headings, rows, "lrrlrrrlrr", {len(headings) - 1: times})
    return elements.table(content, caption=caption)


def _cells(said: Recorded | None) -> tuple[str, ...]:
    """Receivers, SNR, kind, frequency and time of a session."""
    if said is None:
        return (_UNKNOWN,) * 5
    snr_db = f"{max(said.heard.values()):.1f}" if said.heard else ""
    return str(len(said.heard)), snr_db, said.modulation, f"{said.frequency_mhz:.4f}", _time(said) or _UNKNOWN


def _card(run: Run, one: Session) -> Markup:
    names = {receiver.websdr_id: receiver.name for receiver in run.receivers}
    inside = _inside(one)
    level = "" if one.level is None else f"; the smallest region that holds it has {words.share(one.level)}"
    pairs = [
        ("Error", words.length(one.error_m)),
        ("Stated standard deviation", words.length(_deviation_m(one))),
        (
            "95 % region",
            _UNKNOWN if inside is None else f"the transmitter is {_THERE[inside]} it{level}",
        ),
        ("Cramer-Rao bound", _bound(run, one)),
        ("Transmitter", _degrees(one.latitude_deg, one.longitude_deg)),
        ("Answer", _degrees(one.estimated_latitude_deg, one.estimated_longitude_deg)),
    ]
    pairs += _recorded(one.recorded, names)
    short = _name(one)
    return elements.details(
        f"{short}: {_outcome(one)}",
        elements.definitions([("Session", one.session_id), *pairs]),
        elements.paragraphs(["This command shows spectra, correlations and residuals:"]),
        elements.code([f"heimdall session show {short} --html session-{short}.html"]),
        identifier=_identifier(one),
    )


def _bound(run: Run, one: Session) -> str:
    if one.bound_m is not None:
        return words.length(one.bound_m)
    if ERROR_BOUND not in run.tables:
        return _UNKNOWN
    return "none: fewer than three arrival times, or the receivers are in one line with the transmitter"


def _recorded(said: Recorded | None, names: dict[int, str]) -> list[tuple[str, str]]:
    if said is None:
        return [("Time, frequency, kind of signal, receivers", _UNKNOWN)]
    heard = [
        f"{names.get(number, f'receiver {number}')} ({snr_db:.1f} dB)"
        for number, snr_db in said.heard.items()
    ]
    silent = [names.get(number, f"receiver {number}") for number in said.silent]
    return [
        ("Time", _time(said) or _UNKNOWN),
        ("Frequency", f"{said.frequency_mhz:.4f} MHz"),
        ("Kind of signal", said.modulation),
        ("Nearest receiver", said.region),
        ("Heard by, with its SNR", words.listed(heard) if heard else "no receiver"),
        ("Recorded without the signal", words.listed(silent) if silent else "by no receiver"),
    ]


def _name(one: Session) -> str:
    return one.session_id[:_SHORT]


def _identifier(one: Session) -> str:
    return f"session-{one.session_id}"


def _summary(one: Session) -> str:
    return f"Session {_name(one)}: {_outcome(one)}"


def _outcome(one: Session) -> str:
    inside = _inside(one)
    return f"error {words.length(one.error_m)}" + ("" if inside is None else f", {_THERE[inside]}")


def _inside(one: Session) -> str | None:
    """Where the transmitter is by the 95 % region; None where the revision does not tell it."""
    if one.level is None:
        return None
    if one.level > _PROBABILITY:
        return "outside"
    return "region alone" if ellipses.holds(one, _PROBABILITY) is False else "inside"


def _deviation_m(one: Session) -> float:
    """Root mean square distance that the likeliest part of the answer states, metres."""
    return math.hypot(one.sigma_east_m, one.sigma_north_m)


def _time(said: Recorded) -> str:
    return "" if said.time is None else f"{said.time:%Y-%m-%d %H:%M:%S}"


def _degrees(latitude_deg: float, longitude_deg: float) -> str:
    return f"{latitude_deg:.5f}, {longitude_deg:.5f} degrees"
