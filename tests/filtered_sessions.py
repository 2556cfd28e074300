"""Sessions of receivers with unlike filters: correlations in closed form, a channel and a filter at each."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from heimdall.signal.arrival import Observation
from tests import synthetic_sessions
from tests.synthetic_sessions import RATE_HZ

Float64 = npt.NDArray[np.float64]

SENT_HZ = np.linspace(-7500.0, 7500.0, 301)
ROWS = [0, 1, 2, 4]  # of the receivers 1, 2, 3 and 5, which know the time
# Amplitude as a logarithm, period and place of each receiver's ripple.
RIPPLES: Mapping[int, tuple[float, float, float]] = {
    1: (0.03, 9e3, 0.3),
    2: (0.03, 14e3, 0.9),
    3: (0.02, 7e3, 0.6),
    5: (0.03, 20e3, 0.1),
}
NOISE = 2e-4  # of a correlation, over its peak


def log_gain(websdr_id: int, frequency_hz: Float64) -> Float64:
    """What a receiver's filter does at frequencies beside that to which it is tuned, a logarithm."""
    size, period_hz, turn = RIPPLES[websdr_id]
    return np.asarray(size * np.cos(2 * np.pi * (frequency_hz / period_hz + turn)), np.float64)


def session(
    random: np.random.Generator,
    *,
    filtered: bool,
    echo: float = 0.02,
    rows: list[int] = ROWS,
    noise: float = NOISE,
) -> Observation:
    """A transmission whose echoes, one at each receiver, have this amplitude and are 1 to 4 us late.

    The same random numbers are drawn with and without filters.
    """
    count = len(rows)
    truth_m = random.uniform(-40e3, 40e3, 2)
    snr_db = np.sort(random.uniform(30, 45, count))[::-1]
    plain = synthetic_sessions.session(truth_m, rows, snr_db=snr_db)
    offset_hz = random.uniform(-600, 600) + random.uniform(-50, 50, count)
    late_s, turn = random.uniform(1e-6, 4e-6, count), random.random(count)
    channel = 1 + echo * np.exp(2j * np.pi * (turn[:, None] - np.outer(late_s, SENT_HZ)))
    if filtered:
        names = plain.websdr_id.tolist()
        beside_hz = offset_hz - offset_hz[0]  # the loudest: the others are turned to its carrier
        channel *= np.exp([log_gain(k, SENT_HZ + by) for k, by in zip(names, beside_hz, strict=True)])
    sent = np.exp(-(((SENT_HZ - offset_hz[0]) / 2500) ** 2) / 2) * random.uniform(0.5, 1.5, len(SENT_HZ))
    first, second = plain.pair.T
    half = plain.xcorr.shape[1] // 2
    lag_s = np.arange(-half, half + 1) / RATE_HZ - (plain.delay_s[first] - plain.delay_s[second])[:, None]
    cross = sent * channel[first] * channel[second].conj()
    xcorr = np.einsum("pf,plf->pl", cross, np.exp(2j * np.pi * lag_s[..., None] * SENT_HZ)) / sent.sum()
    added = noise * random.standard_normal((2, *xcorr.shape))
    made = dataclasses.replace(
        plain, cfo_hz=offset_hz, xcorr=(xcorr + added[0] + 1j * added[1]).astype(np.complex64)
    )
    return synthetic_sessions.measured(made)


def sessions(count: int, *, filtered: bool, echo: float = 0.02, seed: int = 5) -> list[Observation]:
    """As many transmissions, alike with and without filters."""
    random = np.random.default_rng(seed)
    return [session(random, filtered=filtered, echo=echo) for _ in range(count)]
