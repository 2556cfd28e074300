"""The drawings of a session with their captions, for its page and its picture."""

from __future__ import annotations

import re
from dataclasses import dataclass

from heimdall.pages import chart
from heimdall.pages.elements import Markup
from heimdall.session import charts, correlations, residuals, spectra
from heimdall.session.charts import Spec
from heimdall.session.correlations import Curve
from heimdall.session.detail import Detail, Receiver
from heimdall.session.located import Located
from heimdall.session.spectra import Spectrum

_HEIGHT = re.compile(r' height="([0-9.]+)"')


@dataclass(frozen=True)
class Figure:
    """A drawing.

    Attributes:
        drawing: An SVG element.
        caption: What it shows, in sentences.
    """

    drawing: Markup
    caption: str

    @property
    def height(self) -> float:
        """Of the drawing, in its units."""
        found = _HEIGHT.search(self.drawing)
        return float(found[1]) if found else 0.0


def of_residuals(detail: Detail, answer: Located) -> Figure | None:
    """The residuals of all receivers; None where no receiver has an arrival time."""
    rows = residuals.of(detail, answer)
    if not rows:
        return None
    caption = (
        "How much later the signal came to each receiver than it should have, had it been sent from the "
        "known position (cross) or from the answer (circle). The bands are one and two stated standard "
        "deviations."
    )
    said = [
        f"{one.label}: {value.sigmas:+.1f} from the {what}."
        for one in rows
        for what, value in (("known position", one.against_truth), ("answer", one.against_answer))
        if value is not None
    ]
    return _figure(charts.residuals(rows), "Residuals of the arrival times", " ".join(said), caption)


def of_recordings(detail: Detail, answer: Located) -> dict[int, list[Figure]]:
    """Spectrum and waterfall of each recording and its correlation with the reference, which itself has none.

    Args:
        detail: The session; its recordings are read from the snapshot.
        answer: Whose place is marked in the correlations.

    Returns:
        By the number of the receiver, in the order of the network.

    Raises:
        HeimdallError: The snapshot is missing or damaged.
    """
    curves, held = correlations.with_reference(detail, answer), spectra.of_recordings(detail)
    found = {}
    for one in detail.receivers:
        if one.websdr_id not in held:
            continue
        drawn = [
            _spectrum(one, held[one.websdr_id], detail.session.frequency_mhz),
            _waterfall(one, held[one.websdr_id]),
        ]
        if one.websdr_id in curves:
            drawn.append(_correlation(one, curves[one.websdr_id]))
        found[one.websdr_id] = drawn
    return found


def _spectrum(one: Receiver, held: Spectrum, frequency_mhz: float) -> Figure:
    strongest = int(held.level_db.argmax())
    said = (
        f"The strongest part is {held.level_db[strongest]:.0f} dBFS/Hz at "
        f"{held.offset_hz[strongest] / 1e3:+.1f} kHz from {frequency_mhz:.4f} MHz."
    )
    return _figure(charts.spectrum(held), f"Spectrum of {one.label}", said, f"Spectrum. {said}")


def _waterfall(one: Receiver, held: Spectrum) -> Figure:
    low_db, high_db = held.range_db
    said = f"Dark is {low_db:.0f} dBFS/Hz and less, bright {high_db:.0f} dBFS/Hz and more."
    return _figure(charts.waterfall(held), f"Waterfall of {one.label}", said, f"Waterfall. {said}")


def _correlation(one: Receiver, curve: Curve) -> Figure:
    said = " ".join(_times(curve))
    title = f"Correlation of {one.label} with {curve.reference}"
    return _figure(charts.correlation(curve), title, said, f"Correlation with {curve.reference}. {said}")


def _times(curve: Curve) -> list[str]:
    """What the marks of a correlation say."""
    said = [f"The peak is at {curve.peak_s * 1e6:+.0f} µs."]
    if not curve.timed:
        said.append("Nobody knows how the two recordings lie in time, so that its place says nothing.")
    elif curve.taken_s is None or curve.sigma_s is None:
        said.append("No time was taken.")
    else:
        said.append(f"Taken: {curve.taken_s * 1e6:+.2f} µs, stated sigma {curve.sigma_s * 1e6:.2f} µs.")
    for name, value_s in (("known position", curve.true_s), ("answer", curve.answered_s)):
        if value_s is not None:
            beyond = ", beyond what is shown" if abs(value_s) > curve.reach_s else ""
            said.append(f"From the {name}: {value_s * 1e6:+.2f} µs{beyond}.")
    return said


def _figure(spec: Spec, title: str, description: str, caption: str) -> Figure:
    return Figure(chart.svg(spec, title=title, description=description), caption)
