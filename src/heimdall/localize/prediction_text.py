"""The exported model's answers as lines of text."""

from __future__ import annotations

from collections.abc import Sequence

from heimdall.core import table
from heimdall.localize.prediction import Prediction, SessionPrediction


def session(prediction: SessionPrediction) -> str:
    """The prediction of a session as lines of text, lengths in metres."""
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
                f"{place.weight:.1%}",
            )
        )
    lines = table.lines(headings, cells, "lrrrrr")
    heard, timed = (
        ", ".join(map(str, numbers)) or "none"
        for numbers in (prediction.receivers_heard, prediction.receivers_timed)
    )
    lines.append(
        f"within 1 km of the position with probability {prediction.probability_within_1km:.1%};"
        f" {prediction.latency_ms:.0f} ms"
    )
    lines.append(f"receivers that hear it: {heard}; with a usable arrival time: {timed}")
    return "\n".join(lines)


def recordings(predictions: Sequence[Prediction]) -> str:
    """Predictions of recordings as lines of text, lengths in metres."""
    headings = ("recording", "latitude", "longitude", "sigma E x N, m", "95 % ellipse E x N, m", "ms")
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
