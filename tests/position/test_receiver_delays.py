"""A receiver's own delay is found by known transmitters where it is more than chance, and is taken off."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pytest

from heimdall.baselines import baselines
from heimdall.baselines.fitted import Baselines
from heimdall.baselines.methods import Method
from heimdall.position import receiver_delays
from heimdall.position.receiver_delays import NO_DELAYS, Delays
from heimdall.signal.arrival import Observation
from tests.synthetic_sessions import PLANE, RATE_HZ, RECEIVERS, delays_s, exact, session

OWN_S = np.array([300e-9, -100e-9, 0.0, 150e-9, -250e-9, 0.0, -100e-9])
AT_M = np.array([9_000.0, -12_000.0])
ALL = list(range(7))


def heard(random: np.random.Generator, own_s: np.ndarray) -> tuple[Observation, np.ndarray]:
    """By three receivers or more: echoes of 100 ns, one of thirty of 3 us, clocks of 50 ns."""
    at_m = random.uniform([-60e3, -50e3], [75e3, 50e3])
    rows = np.sort(random.permutation(7)[: int(random.integers(3, 8))]).tolist()
    wide = np.where(random.uniform(size=len(rows)) < 1 / 30, 30, 1)
    echo_s = 100e-9 * wide * random.normal(size=len(rows)) + 50e-9 * random.normal(size=len(rows))
    late_s = own_s[rows] + echo_s
    return exact(session(at_m, rows, late_s=late_s), delays_s(at_m, rows) + late_s), at_m


def fitted(count: int, own_s: np.ndarray, seed: int = 3, of_one: int = 1) -> Delays:
    random = np.random.default_rng(seed)
    seen, at_m = zip(*(heard(random, own_s) for _ in range(count)), strict=True)
    names = [f"t{number // of_one}" for number in range(count)]
    return receiver_delays.fit(seen, np.array(at_m), PLANE, transmitter=names, websdr_id=RECEIVERS.websdr_id)


def test_delays_are_found_up_to_what_is_common_to_all() -> None:
    found = fitted(120, OWN_S)
    assert found.websdr_id == tuple(RECEIVERS.websdr_id.tolist())
    np.testing.assert_allclose(found.delay_s, OWN_S - OWN_S.mean(), atol=50e-9)


def test_without_delays_chance_makes_none() -> None:
    left_s = np.concatenate([fitted(40, 0 * OWN_S, seed).delay_s for seed in range(12)])
    assert np.sqrt(np.mean(left_s**2)) < 8e-9  # a receiver's error is about 25 ns


def test_four_transmitters_tell_nothing_however_often_they_send() -> None:
    assert fitted(4, OWN_S) == NO_DELAYS
    assert fitted(60, OWN_S, of_one=15) == NO_DELAYS


def test_they_are_taken_off_where_there_is_a_time() -> None:
    found = Delays((1, 3), (200e-9, -200e-9))
    item = exact(session(AT_M, ALL), delays_s(AT_M, ALL))
    silent = replace(item.arrivals, information_s2=item.arrivals.information_s2 * (np.arange(7) != 2))
    after_s = found.taken_off(replace(item, arrivals=silent))
    np.testing.assert_allclose(after_s - item.arrivals.delay_s, [-200e-9, 0, 0, 0, 0, 0, 0], atol=1e-15)
    np.testing.assert_array_equal(NO_DELAYS.taken_off(item), item.arrivals.delay_s)
    assert Delays.from_dict(asdict(found)) == found


def test_keyed_carriers_do_not_count() -> None:
    random = np.random.default_rng(4)
    seen, at_m = zip(*(heard(random, OWN_S) for _ in range(40)), strict=True)
    keyed = [replace(one, arrivals=replace(one.arrivals, rms_bandwidth_hz=30.0)) for one in seen]
    names = [f"t{number}" for number in range(40)]
    found = receiver_delays.fit(
        keyed, np.array(at_m), PLANE, transmitter=names, websdr_id=RECEIVERS.websdr_id
    )
    assert found == NO_DELAYS


@pytest.mark.parametrize("method", ["time_of_arrival", "direct_position", "combined"])
def test_the_rivals_take_them_off_too(method: Method) -> None:
    random = np.random.default_rng(5)
    seen, at_m = zip(*(heard(random, OWN_S) for _ in range(60)), strict=True)
    names = [f"t{number}" for number in range(60)]
    tuned = baselines.fit(seen, np.array(at_m), RECEIVERS, PLANE, RATE_HZ, transmitter=names)
    late = exact(session(AT_M, ALL, late_s=OWN_S), delays_s(AT_M, ALL) + OWN_S)

    def off_m(known: Baselines) -> float:
        return float(np.hypot(*(baselines.locate(method, late, known).position_m[0] - AT_M)))

    unaware = replace(tuned, tuned=replace(tuned.tuned, delays=NO_DELAYS))
    assert off_m(tuned) < off_m(unaware) / 2
