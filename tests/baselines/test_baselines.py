"""The baselines: where theory says what the answer is, they give it; where there is none, they say so."""

from __future__ import annotations

import dataclasses
from functools import cache

import numpy as np
import pytest

from heimdall.baselines import baselines
from heimdall.baselines.baselines import Baselines, Timing
from heimdall.baselines.cramer_rao import cramer_rao_m2
from heimdall.baselines.methods import METHODS, Method
from heimdall.core.randomness import generator
from heimdall.position.arrival import Observation
from tests.synthetic_sessions import (
    PLANE,
    RATE_HZ,
    RECEIVERS,
    delays_s,
    exact,
    measured,
    session,
)

FIX_M = np.array([11_000.0, -7_000.0])
SIX = [0, 1, 2, 4, 5, 6]
TIMING: tuple[Method, ...] = ("time_of_arrival", "direct_position")


@cache
def fitted() -> Baselines:
    """Tuned on forty sessions whose delays are off by 400 ns; five receivers, 50 ns clocks."""
    random = generator(1, "test baselines")
    truth_m = random.uniform([-55e3, -45e3], [70e3, 45e3], (40, 2))
    rows = [0, 1, 2, 4, 6]
    late_s = 4e-7 * random.normal(size=(40, 5))
    observations = [
        exact(session(at, rows, late_s=late), delays_s(at, rows) + late)
        for at, late in zip(truth_m, late_s, strict=True)
    ]
    return baselines.fit(observations, truth_m, RECEIVERS, PLANE, RATE_HZ)


def sharp() -> Baselines:
    """The same with delays that are as good as noise and clock say."""
    return dataclasses.replace(fitted(), arrival=Timing(0.0, 1.0), direct=Timing(0.0, 1.0))


def exact_session(at_m: np.ndarray, rows: list[int]) -> Observation:
    return exact(session(at_m, rows), delays_s(at_m, rows))


@pytest.mark.parametrize("at_m", [FIX_M, np.array([-45e3, 21e3]), np.array([62e3, -20e3])], ids=str)
def test_exact_delays_give_the_place_and_the_bound(at_m: np.ndarray) -> None:
    observation = exact_session(at_m, SIX)
    found = baselines.locate("time_of_arrival", observation, sharp())
    assert np.hypot(*(found.position_m[0] - at_m)) < 1.0
    bound_m2 = cramer_rao_m2(
        at_m,
        observation.arrivals.information_s2,
        observation.session.timing_sigma_s,
        observation.session.position_enu_m,
        PLANE,
    )
    assert found.medoid_covariance_m2[0] == pytest.approx(bound_m2, rel=1e-3)


def test_one_delay_that_is_far_off_moves_the_place_little() -> None:
    delay_s = delays_s(FIX_M, SIX)
    delay_s[2] += 8e-6
    found = baselines.locate("time_of_arrival", exact(session(FIX_M, SIX), delay_s), sharp())
    assert np.hypot(*(found.position_m[0] - FIX_M)) < 20.0


@pytest.mark.parametrize("method", TIMING)
def test_correlations_without_noise_give_the_place(method: Method) -> None:
    observation = measured(session(FIX_M, SIX, snr_db=np.array([30, 10, 50, 20, 40, 5.0])))
    found = baselines.locate(method, observation, sharp())
    assert np.hypot(*(found.position_m[0] - FIX_M)) < 3.0


def test_direct_position_agrees_with_time_of_arrival_where_delays_disagree() -> None:
    late_s = np.array([0.0, 9e-8, -5e-8, 3e-8, 1e-7, -8e-8])
    observation = measured(session(FIX_M, SIX, late_s=late_s))
    arrival, direct = (baselines.locate(method, observation, fitted()) for method in TIMING)
    apart_m = np.hypot(*(arrival.position_m[0] - direct.position_m[0]))
    assert np.hypot(*(direct.position_m[0] - FIX_M)) > 10.0
    assert apart_m < 0.1 * np.hypot(*(direct.position_m[0] - FIX_M))


@pytest.mark.parametrize("method", TIMING)
def test_without_three_receivers_that_know_the_time_the_answer_is_that_of_received_power(
    method: Method,
) -> None:
    two = measured(session(FIX_M, [0, 6]))
    untimed = measured(session(FIX_M, SIX, timing_sigma_s=np.array([5e-8, 5e-8, *[np.inf] * 4])))
    for observation in (two, untimed):
        found = baselines.locate(method, observation, fitted())
        power = baselines.locate("received_power", observation, fitted())
        assert (found.position_m == power.position_m).all()
        assert (found.medoid_covariance_m2 == power.medoid_covariance_m2).all()


def test_mean_position_is_that_of_the_training_transmitters() -> None:
    truth_m = np.array([[10e3, 0.0], [20e3, 30e3], [30e3, 0.0]])
    found = baselines.fit([exact_session(at, SIX) for at in truth_m], truth_m, RECEIVERS, PLANE, RATE_HZ)
    assert found.mean_m == (20e3, 10e3)
    one = baselines.fit([exact_session(FIX_M, SIX)], FIX_M[None], RECEIVERS, PLANE, RATE_HZ)
    assert np.sqrt(one.covariance_m2[0][0]) > 20e3  # one transmitter says little of where others are


def test_excess_and_inflation_say_how_far_the_training_delays_were_off() -> None:
    known = fitted()
    variance_s2 = known.arrival.inflation * (known.arrival.excess_sigma_s**2 + 5e-8**2)
    assert np.sqrt(variance_s2) == pytest.approx(4e-7, rel=0.35)
    assert known.direct.excess_sigma_s == known.arrival.excess_sigma_s


@pytest.mark.parametrize("method", METHODS)
def test_coverage_is_what_it_says(method: Method) -> None:
    random = generator(2, "test baselines")
    rows = [0, 1, 2, 4, 6]
    levels = []
    for _ in range(60):
        at = random.uniform([-55e3, -45e3], [70e3, 45e3])
        late_s = 4e-7 * random.normal(size=5)
        observation = measured(session(at, rows, late_s=late_s))
        levels.append(baselines.locate(method, observation, fitted()).level(at[None])[0])
    assert 0.5 < np.mean(np.array(levels) < 0.68) <= 1.0
    assert np.mean(np.array(levels) < 0.95) > 0.85


def test_where_hyperbolas_cross_twice_the_covariance_reaches_the_other_place() -> None:
    at_m = np.array([-18e3, -40e3])
    found = baselines.locate("time_of_arrival", exact_session(at_m, [2, 3, 6]), sharp())
    assert np.hypot(*(found.position_m[0] - at_m)) > 70e3  # the other crossing is nearer to the mean position
    assert found.level(at_m[None])[0] < 0.8
    settled = baselines.locate("time_of_arrival", exact_session(at_m, [2, 3, 5, 6]), sharp())
    assert np.hypot(*(settled.position_m[0] - at_m)) < 1.0
    assert settled.sigma_m.max() < 1e3


@pytest.mark.parametrize("method", METHODS)
def test_any_session_has_an_answer(method: Method) -> None:
    """Nothing heard, receivers in line, receivers at one place, delays that no place explains."""
    deaf = session(FIX_M, SIX)
    deaf = dataclasses.replace(deaf, detected=np.zeros(6, np.uint8))
    together = exact_session(FIX_M, [0, 0, 0])
    ridge = measured(session(np.array([60e3, -58e3]), [0, 3, 2]))
    absurd = exact(session(FIX_M, SIX), np.array([0, 1e-3, -1e-3, 1e-3, -1e-3, 5e-4]))
    for observation in (measured(deaf), together, ridge, absurd, measured(session(FIX_M, [4]))):
        found = baselines.locate(method, observation, fitted())
        assert (np.linalg.eigvalsh(found.medoid_covariance_m2[0]) > 0).all()
        assert found.sigma_m.max() < 100e3


def test_received_power_finds_the_loud_receiver() -> None:
    near = np.array([-20e3, 20e3])
    loud = session(near, [0, 1, 2], snr_db=np.array([10.0, 45.0, 15.0]))
    quiet = session(near, [0, 1, 2], snr_db=np.array([10.0, 0.0, 45.0]))
    east_m = [
        baselines.locate("received_power", measured(one), fitted()).position_m[0, 0] for one in (loud, quiet)
    ]
    assert east_m[0] > east_m[1]
