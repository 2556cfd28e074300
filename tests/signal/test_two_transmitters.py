"""Recordings of two transmissions at once: delays are off by no more than they say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from heimdall.core.randomness import generator
from heimdall.signal.arrival_times import UNLIKE, measure
from tests.signal.test_arrival_times import DELAY_S, POSITION_M, heard, noise_like


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


def test_an_echo_at_one_receiver_leaves_the_others_their_times() -> None:
    """Of 0.5 ms, in the receiver that would be the reference, too."""
    random = generator(2, "test.two_transmitters")
    sent = noise_like(random, 12e3, 1500.0)
    delay_s = np.append(DELAY_S, 50e-6)
    position_m = np.vstack([POSITION_M, [30e3, 30e3, 0.0]])
    for who in (0, 3):
        given = heard(sent, 12e3, delay_s, 0.1, random)
        late = heard(sent, 12e3, delay_s + 500e-6, 0.0, random)[who]
        given[who] = replace(given[who], iq=given[who].iq + np.float32(0.7) * late.iq)
        found = measure(given, position_m)
        others = np.arange(5) != who
        assert found.reason[who] == UNLIKE
        assert found.delay_s[found.reference] == 0
        error_s = (found.delay_s - delay_s)[others]
        assert np.abs(error_s - error_s.mean()).max() < 4 * found.sigma_s[others].max() < 4e-6
