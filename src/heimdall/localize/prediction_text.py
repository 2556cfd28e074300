"""The exported model's answers as lines of text."""

from __future__ import annotations

from collections.abc import Sequence

from heimdall.core import table
from heimdall.localize.prediction import Prediction, SessionPrediction

NOTHING_HEARD = "no receiver hears a signal: there is nothing to locate"
SURE = 0.9995  # from here on a share would read 100.0%, which nobody knows


def session(prediction: SessionPrediction) -> str:
    """The prediction of a session as lines of text, lengths in metres."""
    if prediction.place is None:
        return NOTHING_HEARD
    headings = ("", "latitude", "longitude", "sigma E x N, m", "95 % ellipse, m, azimuth", "weight")
    cells = []
    shown = [("position", prediction.place), *(("alternative", one) for one in prediction.alternatives)]
    for label, place in shown:
        axes = f"{place.ellipse_95_major_m:.0f} x {place.ellipse_95_minor_m:.0f}"
        cells.append(
            (
                label,
                f"{place.latitude_deg:.5f}",
                f"{place.longitude_deg:.5f}",
                f"{place.sigma_east_m:.0f} x {place.sigma_north_m:.0f}",
                f"{axes}, {place.ellipse_azimuth_deg:.0f}°",
                _share(place.weight),
            )
        )
    lines = table.lines(headings, cells, "lrrrrr")
    heard, timed = (
        ", ".join(map(str, numbers)) or "none"
        for numbers in (prediction.receivers_heard, prediction.receivers_timed)
    )
    lines.append(
        "the transmitter is within 1 km of the position with probability "
        f"{_share(prediction.probability_within_1km or 0.0)}; the answer took {prediction.latency_ms:.0f} ms"
    )
    lines.append(f"receivers that hear the signal: {heard}; receivers with a usable arrival time: {timed}")
    whys = dict.fromkeys(one.why for one in prediction.receivers_untimed)
    for why in whys:
        numbers = ", ".join(str(one.websdr_id) for one in prediction.receivers_untimed if one.why == why)
        lines.append(f"receivers without a usable arrival time: {numbers} ({why})")
    if len(prediction.receivers_heard) == 1:
        lines.append(
            "only one receiver hears the signal: its level says roughly how far away the transmitter is, "
            "but not in which direction"
        )
    return "\n".join(lines)


def _share(probability: float) -> str:
    return f"{probability:.1%}" if probability < SURE else "> 99.9%"


def recordings(predictions: Sequence[Prediction]) -> str:
    """Predictions of recordings as lines of text, lengths in metres."""
    headings = ("recording", "latitude", "longitude", "sigma E x N, m", "95 % ellipse E x N, m", "time, ms")
    cells = [
        (
            one.file,
            f"{one.latitude_deg:.5f}",
            f"{one.longitude_deg:.5f}",
            f"{one.sigma_east_m:.0f} x {one.sigma_north_m:.0f}",
            f"{one.ellipse_95_east_m:.0f} x {one.ellipse_95_north_m:.0f}",
            f"{one.latency_ms:.1f}",
        )
        for one in predictions
    ]
    return "\n".join(table.lines(headings, cells, "lrrrrr"))
