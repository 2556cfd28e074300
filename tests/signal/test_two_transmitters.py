"""Recordings of two transmissions at once: delays are off by no more than they say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from heimdall.core.randomness import generator
from heimdall.signal.arrival_times import measure
from tests.signal.test_arrival_times import POSITION_M, heard, noise_like


@pytest.mark.parametrize("second_db", [-12.0, -8.0])
def test_a_weaker_second_transmitter_moves_delays_by_no_more_than_they_claim(second_db: float) -> None:
    """Alone the first one is timed to 0.2 us; the second moves that by several microseconds."""
    random = generator(1, "test.two_transmitters")
    level = np.float32(10 ** (second_db / 20))
    scatter, moved_s = [], []
    for _ in range(6):
        delays_s = random.uniform(0.0, 200e-6, (2, 4))
        one, other = (
            heard(noise_like(random, 12e3, 1500.0), 12e3, delay_s, noise, random)
            for delay_s, noise in zip(delays_s, (0.1, 0.0), strict=True)
        )
        found = measure(
            [replace(a, iq=a.iq + level * b.iq) for a, b in zip(one, other, strict=True)], POSITION_M
        )
        known = np.isfinite(found.delay_s)
        error_s, weight = (found.delay_s - delays_s[0])[known], found.sigma_s[known] ** -2
        error_s -= (error_s * weight).sum() / max(weight.sum(), 1.0)
        moved_s.extend(np.abs(error_s))
        scatter.extend(error_s * error_s * weight)
    assert len(scatter) >= 12
    assert np.max(moved_s) > 2e-6
    assert np.sqrt(np.mean(scatter)) < 1.5
