"""The exported model's answers as lines of text."""

from __future__ import annotations

from collections.abc import Sequence

from heimdall.localize.prediction import Prediction, SessionPrediction


def session(prediction: SessionPrediction) -> str:
    """The prediction of a session as lines of text, lengths in metres."""
    lines = [
        f"{'':<11}  {'latitude':>10}  {'longitude':>10}  {'sigma E x N, m':>17}"
        f"  {'95 % ellipse, m, azimuth':>27}  {'weight':>7}"
    ]
    shown = [("position", prediction.place), *(("alternative", one) for one in prediction.alternatives)]
    for label, place in shown:
        sigma = f"{place.sigma_east_m:.0f} x {place.sigma_north_m:.0f}"
        axes = f"{place.ellipse_95_major_m:.0f} x {place.ellipse_95_minor_m:.0f}"
        ellipse = f"{axes}, {place.ellipse_azimuth_deg:.0f}°"
        lines.append(
            f"{label:<11}  {place.latitude_deg:>10.5f}  {place.longitude_deg:>10.5f}  {sigma:>17}"
            f"  {ellipse:>27}  {place.weight:>7.1%}"
        )
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
    width = max(len("recording"), *(len(prediction.file) for prediction in predictions))
    lines = [
        f"{'recording':<{width}}  {'latitude':>10}  {'longitude':>10}  {'sigma E x N, m':>17}"
        f"  {'95 % ellipse E x N, m':>22}  {'ms':>6}"
    ]
    for one in predictions:
        sigma = f"{one.sigma_east_m:.0f} x {one.sigma_north_m:.0f}"
        ellipse = f"{one.ellipse_95_east_m:.0f} x {one.ellipse_95_north_m:.0f}"
        lines.append(
            f"{one.file:<{width}}  {one.latitude_deg:>10.5f}  {one.longitude_deg:>10.5f}  {sigma:>17}"
            f"  {ellipse:>22}  {one.latency_ms:>6.1f}"
        )
    return "\n".join(lines)
