"""A start time that the other recordings contradict is left out; what nobody can tell is not."""

from __future__ import annotations

import dataclasses
import math
from functools import cache

import numpy as np
import numpy.typing as npt
import pytest

from heimdall import simulate
from heimdall.core.randomness import generator
from heimdall.pipeline.simulate import simulated
from heimdall.signal import coherence
from heimdall.signal.coherence import CONTRADICTS, EXCESS_S, SIGMAS, STARTS_ELSEWHERE
from heimdall.signal.correlation import Recording, claimed_delays, correlate
from tests.fusion_world import FEATURES, world

SIGMA_S = 50e-9
# Light takes 100 us over each side of this square, and 141 us over a diagonal.
SQUARE_M = 29_979.2458 * np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0.5, 0.5, 0]])
NAN = math.nan


def wrong(delay_us: list[float], sigma_s: float = SIGMA_S) -> list[int]:
    count = len(delay_us)
    found = coherence.contradicting(1e-6 * np.array(delay_us), np.full(count, sigma_s), SQUARE_M[:count])
    return np.flatnonzero(found).tolist()


@pytest.mark.parametrize(
    ("delay_us", "left_out"),
    [
        ([0, 99, 140, 50], []),
        ([0, 0, 300, 0], [2]),
        ([0, 300, 300, 300], [0]),  # the reference itself
        ([0, 0, 0, 500, -500], [3, 4]),
        ([0, 0, 0, 500, 500], [3, 4]),  # two that agree with each other are fewer
        ([0, 300], [0, 1]),
        ([0, NAN], []),
        ([NAN, NAN, NAN], []),
        ([0, 300, NAN], [0, 1]),
    ],
)
def test_the_one_that_contradicts_most_is_left_out(delay_us: list[float], left_out: list[int]) -> None:
    assert wrong(delay_us) == left_out


def test_echoes_and_clocks_may_delay_by_as_much_as_is_said_of_them() -> None:
    longest_us = 1e6 * (100e-6 + EXCESS_S + SIGMAS * math.sqrt(2) * SIGMA_S)
    assert wrong([0, longest_us - 0.01]) == []
    assert wrong([0, longest_us + 0.01]) == [0, 1]
    assert wrong([0, 500], sigma_s=1e-4) == []  # these clocks claim no more


def test_why_a_time_is_not_used() -> None:
    found = coherence.reasons(
        [0, 0, 5 * 10**9, None, 0], [50.0, 50.0, 50.0, 50.0, None], 1.0, [True, False, False, False, False]
    )
    assert found == [None, CONTRADICTS, STARTS_ELSEWHERE, None, None]


@pytest.mark.series
def test_simulated_sessions_lose_no_time() -> None:
    for observation in world().observations:
        session = observation.session
        coazze = session.websdr_id == 4  # has no GPS
        np.testing.assert_array_equal(np.isinf(session.timing_sigma_s), coazze)


def of_one_signal(duration_s: float, *heard: tuple[int, float, float]) -> list[Recording]:
    """Recordings of a wide signal at 32 kHz, by samples of delay, carrier offset in Hz and noise."""
    random = generator(1, "test far delays")
    count = round(32_000 * duration_s)
    signal = np.exp(0.5j * np.cumsum(random.standard_normal(count + 4_000)))
    recordings = []
    for number, (late, offset_hz, noise) in enumerate(heard):
        turned = signal[2_000 - late :][:count] * np.exp(2j * np.pi * offset_hz * np.arange(count) / 32_000)
        noisy = turned + noise * (random.standard_normal(count) + 1j * random.standard_normal(count))
        recordings.append(Recording(number, noisy.astype(np.complex64), 32_000.0, 10**18, 50.0))
    return recordings


@pytest.mark.parametrize("loudest", [0, 3])
def test_a_receiver_beyond_the_lags_has_no_time_rather_than_a_false_one(loudest: int) -> None:
    # Two near the transmitter and two 500 km on, which is 53 samples; the lags end at 32.
    place_m = 1e3 * np.array([[0, 0, 0], [10, 0, 0], [500, 0, 0], [500, 10, 0]], np.float64)
    noise = [0.1 if row == loudest else 0.2 for row in range(4)]
    recordings = of_one_signal(
        0.25, (0, 0.0, noise[0]), (1, 0.0, noise[1]), (53, 0, noise[2]), (53, 0, noise[3])
    )
    found = coherence.correlate_coherent(recordings, place_m, FEATURES)
    assert found.detected.all()
    assert found.timed.tolist() == [(row < 2) == (loudest < 2) for row in range(4)]


@pytest.mark.parametrize("duration_s", [0.25, 2.0])
def test_the_delay_is_found_at_any_lag_and_carrier_offset(duration_s: float) -> None:
    recordings = of_one_signal(duration_s, (0, 10.3, 0.1), (3, -77.77, 0.2), (1700, 150.1, 0.2))
    grid = FEATURES.correlation_band_hz, FEATURES.correlation_rate_hz, FEATURES.correlation_max_lag_s
    delay_s = claimed_delays(recordings, correlate(recordings, *grid), *grid)
    np.testing.assert_allclose(32_000 * delay_s, [0, 3, 1700], atol=0.1)


@cache
def session() -> tuple[list[Recording], npt.NDArray[np.float64]]:
    """A simulated session of voice or data, heard by four receivers with GPS time or more; their places."""
    made = simulate.make_world(5, 4, "light")
    places = {site.websdr_id: made.receiver_position_m[k] for k, site in enumerate(made.receivers)}
    for plan in simulate.sessions(made, 8):
        recordings = simulated.as_received(simulate.render(made, plan))
        timed = [item for item in recordings if item.start_gps_ns is not None]
        if len(timed) >= 4 and made.transmitters[plan.transmitter].modulation != "cw":
            return timed[:4], np.array([places[item.websdr_id] for item in timed[:4]])
    raise AssertionError("no such session")


def late(errors_s: dict[int, float]) -> tuple[list[int], list[bool]]:
    """Rows without time once the stamps of some are wrong, and who is heard."""
    recordings, place_m = session()
    given = [
        dataclasses.replace(item, start_gps_ns=(item.start_gps_ns or 0) + round(1e9 * errors_s.get(row, 0)))
        for row, item in enumerate(recordings)
    ]
    found = coherence.correlate_coherent(given, place_m, FEATURES)
    return np.flatnonzero(~found.timed).tolist(), found.detected.tolist()


@pytest.mark.parametrize("error_s", [0.0, 1e-6])
def test_what_physics_cannot_tell_stays(error_s: float) -> None:
    assert late({1: error_s}) == ([], [True] * 4)


@pytest.mark.parametrize("error_s", [1.5e-3, -20e-3])
@pytest.mark.parametrize("row", [pytest.param(0, marks=pytest.mark.series), 1])
def test_a_wrong_stamp_is_left_out_and_its_receiver_stays_heard(row: int, error_s: float) -> None:
    assert late({row: error_s}) == ([row], [True] * 4)


@pytest.mark.series
def test_error_is_found_from_the_size_on_at_which_no_place_explains_it() -> None:
    _, place_m = session()
    far_m = max(math.dist(a, b) for a in place_m for b in place_m)
    surely_s = 2 * far_m / 299_792_458.0 + EXCESS_S + 1e-6
    assert 1 in late({1: surely_s})[0]
    assert 1 in late({1: -surely_s})[0]


def test_two_wrong_stamps_are_left_out() -> None:
    assert late({0: 3e-3, 2: -20e-3})[0] == [0, 2]
