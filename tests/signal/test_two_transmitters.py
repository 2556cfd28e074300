"""Recordings of two transmissions at once: delays are off by no more than they say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from heimdall.core.randomness import generator
from heimdall.signal.arrival_times import SEVERAL, UNLIKE, measure
from heimdall.signal.pairs import more_than_one
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


@pytest.mark.parametrize("second_db", [-12.0, -6.0, 0.0])
def test_three_receivers_claim_no_small_error_where_two_transmit(second_db: float) -> None:
    """Alone the first one is timed to 0.2 us; of both, most have no times, and what others claim holds."""
    random = generator(3, "test.two_transmitters")
    level = np.float32(10 ** (second_db / 20))
    told = 0
    for _ in range(8):
        delays_s = random.uniform(0.0, 200e-6, (2, 3))
        one, other = (
            heard(noise_like(random, 12e3, 1500.0), 12e3, delay_s, noise, random)
            for delay_s, noise in zip(delays_s, (0.1, 0.0), strict=True)
        )
        assert measure(one, POSITION_M[:3]).sigma_s.max() < 0.3e-6
        found = measure(
            [replace(a, iq=a.iq + level * b.iq) for a, b in zip(one, other, strict=True)], POSITION_M[:3]
        )
        told += SEVERAL in found.reason
        if np.isfinite(found.delay_s).all():
            errors_s = found.delay_s - delays_s
            errors_s -= errors_s.mean(axis=1, keepdims=True)
            assert np.abs(errors_s).max(axis=1).min() < 2 * found.sigma_s.min()
    assert told >= 5


@pytest.mark.parametrize("noise", [0.01, 0.1, 0.3])
def test_echoes_of_one_transmitter_are_not_taken_for_another(noise: float) -> None:
    """Each of three receivers has one of its own, 0.1 to 1 ms late and 3 dB weaker."""
    random = generator(4, "test.two_transmitters")
    frequency_hz = np.arange(-1500.0, 1500.0)
    edges = np.arange(0, 3001, 60)
    none = np.zeros((3, 3000), np.complex128)
    found = []
    for _ in range(20):
        parts = random.standard_normal((2, 5, 3000))
        drawn = (parts[0] + 1j * parts[1]) / np.sqrt(2)
        own = noise * drawn[:3]
        turns = [np.exp(-2j * np.pi * late_s * frequency_hz) for late_s in random.uniform(1e-4, 1e-3, 3)]
        one = drawn[3] * (1 + 0.7 * np.array(turns)) + own
        assert not more_than_one(one, none, edges)
        phase = np.exp(2j * np.pi * random.random((3, 1)))
        found.append(more_than_one(one + 0.5 * phase * drawn[4], none, edges))
    assert np.mean(found) > 0.8


def test_direct_current_of_receivers_is_not_taken_for_another_transmitter() -> None:
    random = generator(5, "test.two_transmitters")
    parts = random.standard_normal((2, 4, 3000))
    drawn = (parts[0] + 1j * parts[1]) / np.sqrt(2)
    lines = np.zeros((3, 3000), np.complex128)
    lines[:2, 1500] = 50.0, 50.0j
    seen, edges = drawn[3] + 0.1 * drawn[:3] + lines, np.arange(0, 3001, 60)
    assert not more_than_one(seen, lines, edges)
    assert more_than_one(seen, np.zeros_like(lines), edges)
