"""A session as one HTML page, which needs no network: why is this answer right or wrong?"""

from __future__ import annotations

import math
from collections.abc import Sequence

from heimdall.core.provenance import provenance
from heimdall.localize.fix_words import area, latitude_longitude, length
from heimdall.pages import elements, page, vector_map
from heimdall.pages.elements import Link, Markup, Table
from heimdall.pages.page import Page
from heimdall.session import account, correlations, figures, residuals, session_map
from heimdall.session.detail import Detail, Receiver
from heimdall.session.figures import Figure
from heimdall.session.located import Located
from heimdall.session.residuals import Deviation
from heimdall.session.session_text import SHORTEST, heading, hears, moment, timing

_OF_MARKS = (
    "The triangle is the time that was taken, with a bar of one stated standard deviation to either side; "
    "the cross is the time from the known position, and the circle that from the answer."
)


def text(detail: Detail, answers: Sequence[Located]) -> str:
    """The page, with a newline at its end. It loads nothing, and only its own style and script run.

    Args:
        detail: The session; its recordings are read from the snapshot.
        answers: Of `located.locate_session`, the one to look at first.

    Raises:
        HeimdallError: The snapshot is missing or damaged.
    """
    data = provenance([detail.session.simulated])
    sections = [_where(detail, answers), _residuals(detail, answers[0]), *_receivers(detail, answers[0])]
    lead = account.sentences(detail, answers)
    return page.text(Page(heading(detail.session), data, lead, [*sections, _session(detail)]))


def _where(detail: Detail, answers: Sequence[Located]) -> Markup:
    maps = [vector_map.figure(one, name) for name, one in session_map.maps(detail, answers)]
    return elements.section("Where", *maps, elements.note(vector_map.HINT), _answers(answers))


def _answers(answers: Sequence[Located]) -> Markup:
    headings = ("method", "latitude", "longitude", "68 % region", "95 % region", "error", "known position")
    rows = []
    for one in answers:
        sizes = {region.probability: area(region.area_km2) for region in one.fix.regions}
        rows.append(
            (
                one.method,
                *(("", "") if one.place is None else latitude_longitude(one.place)),
                sizes.get(0.68, ""),
                sizes.get(0.95, ""),
                "unknown" if one.error_m is None else length(one.error_m),
                "unknown" if one.held_within is None else _held(one.held_within),
            )
        )
    keys = {
        3: [_area_km2(one, 0.68) for one in answers],
        4: [_area_km2(one, 0.95) for one in answers],
        5: [math.nan if one.error_m is None else one.error_m for one in answers],
    }
    return elements.table(Table(headings, tuple(rows), "lrrrrrl", keys), caption="The answers")


def _area_km2(one: Located, probability: float) -> float:
    return next((each.area_km2 for each in one.fix.regions if each.probability == probability), math.nan)


def _held(within: float) -> str:
    return "outside of both" if within == 1.0 else f"inside of the {100 * within:.0f} % region"


def _residuals(detail: Detail, answer: Located) -> Markup:
    drawn = figures.of_residuals(detail, answer)
    if drawn is None:
        said = "No receiver has an arrival time, so that there are no residuals."
        return elements.section("Residuals", elements.paragraphs([said]))
    units = ("µs", "m", "sigmas")
    headings = (
        "receiver",
        "stated sigma, µs",
        *(f"known position, {unit}" for unit in units),
        *(f"answer, {unit}" for unit in units),
    )
    cells = tuple(
        (
            one.label,
            f"{one.sigma_s * 1e6:.2f}",
            *_deviation(one.against_truth),
            *_deviation(one.against_answer),
        )
        for one in residuals.of(detail, answer)
    )
    note = (
        "Nobody knows when the signal was sent, so only differences between receivers mean something: the "
        "time of sending is fitted so that a single wrong time stands out. Two times have one difference: it "
        "is drawn as equally many sigmas of both, and the answer leaves hardly any of it wherever it lies on "
        "their line. The stated sigma is that of noise and clock together."
    )
    return elements.section(
        "Residuals",
        elements.figure(drawn.drawing, drawn.caption),
        elements.table(Table(headings, cells, "lrrrrrrr"), caption="Later than expected from there"),
        elements.note(note),
    )


def _deviation(one: Deviation | None) -> tuple[str, str, str]:
    if one is None:
        return "", "", ""
    return _signed(one.late_s * 1e6, 2), _signed(one.metres, 0), _signed(one.sigmas, 1)


def _signed(value: float, decimals: int) -> str:
    return f"{round(value, decimals) + 0.0:+,.{decimals}f}"  # no -0.0


def _receivers(detail: Detail, answer: Located) -> list[Markup]:
    drawn = figures.of_recordings(detail, answer)
    headings = (
        "receiver",
        "hears it",
        "level, dBFS",
        "SNR, dB",
        "carrier offset, Hz",
        "arrival time",
        "stated sigma, µs",
        "distance, km",
    )
    rows = tuple(
        (
            Link(one.label, session_map.card(one.websdr_id)),
            hears(one),
            _number(one.level_db, ".1f"),
            _number(one.snr_db, ".1f"),
            _number(one.carrier_offset_hz, "+.2f"),
            timing(one),
            _number(one.delay_sigma_s, ".2f", 1e6),
            _number(one.distance_m, ".1f", 1e-3),
        )
        for one in detail.receivers
    )
    caption = "What each receiver has of the session"
    cards = [_card(one, drawn.get(one.websdr_id, []), detail) for one in detail.receivers]
    return [
        elements.section("Receivers", elements.table(Table(headings, rows, "llrrrlrr"), caption=caption)),
        elements.section("Recordings", elements.note(_OF_MARKS), *cards),
    ]


def _number(value: float | None, form: str, scale: float = 1.0) -> str:
    return "" if value is None else format(value * scale, form)


def _card(one: Receiver, drawn: Sequence[Figure], detail: Detail) -> Markup:
    sentence = _state(one)
    if one.recorded and one.label == detail.name(correlations.reference_row(detail)):
        sentence += " It is the reference with which the others are correlated."
    parts = [elements.paragraphs([sentence])]
    if drawn:
        shown = [elements.figure(each.drawing, each.caption) for each in drawn]
        parts.append(elements.beside(*shown, narrow=True))
    return elements.subsection(one.label, *parts, identifier=session_map.card(one.websdr_id))


def _state(one: Receiver) -> str:
    quarantined = f"A recording is in the quarantine: {one.quarantined}." if one.quarantined else ""
    if not one.recorded:
        return quarantined or "There is no recording."
    if not one.detected:
        said = "The signal is not heard."
    elif one.delay_usable:
        said = "The signal is heard, and its arrival time is used."
    else:
        said = f"The signal is heard, but {account.no_time(one)}."
    return f"{said} {quarantined}".strip()


def _session(detail: Detail) -> Markup:
    session = detail.session
    facts = [
        ("session", session.session_id),
        ("time", f"{moment(session.time)} UTC"),
        ("frequency", f"{session.frequency_mhz:.4f} MHz"),
        ("modulation", session.modulation),
        ("split", session.split),
        ("transmitter", f"{session.source_id or 'unknown'}, near {session.region}"),
        ("known position", _position(detail)),
    ]
    name = session.session_id[:SHORTEST]
    commands = [f"heimdall session fetch {name}", f"heimdall locate {name}"]
    return elements.section(
        "Session",
        elements.definitions(facts),
        elements.paragraphs(["These commands write its recordings as files, and locate it by every method:"]),
        elements.code(commands),
    )


def _position(detail: Detail) -> str:
    return f"{detail.latitude_deg:.5f}, {detail.longitude_deg:.5f}" if detail.has_truth else "unknown"
