"""A receiver's own delay is found by known transmitters where it is more than chance, and is taken off."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pytest

from heimdall.baselines import baselines
from heimdall.baselines.fitted import Baselines
from heimdall.baselines.methods import Method
from heimdall.position import receiver_delays
from heimdall.position.receiver_delays import NO_DELAYS, Delays, Difference
from heimdall.signal.arrival import Observation
from tests.synthetic_sessions import PLANE, RATE_HZ, RECEIVERS, delays_s, exact, session

OWN_S = np.array([300e-9, -100e-9, 0.0, 150e-9, -250e-9, 0.0, -100e-9])
AT_M = np.array([9_000.0, -12_000.0])
ALL = list(range(7))


def heard(
    random: np.random.Generator, own_s: np.ndarray, coarse_s: float | None = None
) -> tuple[Observation, np.ndarray]:
    """By three receivers or more: echoes of 100 ns, one of thirty of 3 us, clocks of 50 ns."""
    at_m = random.uniform([-60e3, -50e3], [75e3, 50e3])
    rows = np.sort(random.permutation(7)[: int(random.integers(3, 8))]).tolist()
    wide = np.where(random.uniform(size=len(rows)) < 1 / 30, 30, 1)
    echo_s = 100e-9 * wide * random.normal(size=len(rows)) + 50e-9 * random.normal(size=len(rows))
    clock_s = np.full(len(rows), 50e-9)
    if coarse_s is not None:  # of the last receiver
        clock_s[np.array(rows) == 6] = coarse_s
        echo_s += np.where(np.array(rows) == 6, coarse_s * random.normal(size=len(rows)), 0)
    late_s = own_s[rows] + echo_s
    features = session(at_m, rows, late_s=late_s, timing_sigma_s=clock_s)
    return exact(features, delays_s(at_m, rows) + late_s), at_m


def fitted(
    count: int, own_s: np.ndarray, seed: int = 3, of_one: int = 1, coarse_s: float | None = None
) -> Delays:
    random = np.random.default_rng(seed)
    seen, at_m = zip(*(heard(random, own_s, coarse_s) for _ in range(count)), strict=True)
    names = [f"t{number // of_one}" for number in range(count)]
    return receiver_delays.fit(seen, np.array(at_m), PLANE, transmitter=names, websdr_id=RECEIVERS.websdr_id)


def test_delays_are_found_up_to_what_is_common_to_all() -> None:
    found = fitted(120, OWN_S)
    assert found.websdr_id == tuple(RECEIVERS.websdr_id.tolist())
    off_s = found.delay_s - OWN_S
    np.testing.assert_allclose(off_s - off_s.mean(), 0, atol=50e-9)


def test_without_delays_chance_makes_none() -> None:
    left_s = np.concatenate([fitted(40, 0 * OWN_S, seed).delay_s for seed in range(12)])
    assert np.sqrt(np.mean(left_s**2)) < 8e-9  # a receiver's error is about 25 ns


def test_four_transmitters_tell_nothing_however_often_they_send() -> None:
    assert fitted(4, OWN_S) == NO_DELAYS
    assert fitted(60, OWN_S, of_one=15) == NO_DELAYS


def test_a_coarse_clock_of_one_receiver_leaves_the_others_their_delays() -> None:
    for sigma_s in (577e-6, 577e-3, 100.0):
        off_s = fitted(120, OWN_S, coarse_s=sigma_s).delay_s - OWN_S[:6]
        np.testing.assert_allclose(off_s - off_s.mean(), 0, atol=50e-9)


def test_a_difference_that_is_no_number_or_of_one_receiver_tells_nothing() -> None:
    def told(number: int) -> Difference:
        first, second = number % 3, (number + 1) % 3
        return Difference(f"t{number}", first, second, float(first - second), 0.1)

    good = [told(number) for number in range(30)]
    odd = [Difference("t0", 0, 1, np.nan, 0.1), Difference("t1", 1, 1, 0.5, 0.1)]
    odd += [Difference("t2", 0, 2, 0.5, sigma) for sigma in (0.0, np.inf)]
    rows, values = receiver_delays.that_stay([*odd, *good], 3)
    assert rows.tolist() == [0, 1, 2]
    np.testing.assert_allclose(values - values.mean(), [-1, 0, 1], atol=1e-6)
    assert len(receiver_delays.that_stay(odd, 3)[0]) == len(receiver_delays.that_stay([], 0)[0]) == 0


def test_one_receiver_unlike_all_others_is_found() -> None:
    random = np.random.default_rng(8)
    own = np.array([0, 0, 0, 0, 0, 0, 100.0])
    pairs = [(a, b) for _ in range(60) for a, b in [random.permutation(7)[:2].tolist()]]
    found = [
        Difference(f"t{k}", a, b, float(own[a] - own[b] + random.normal()), 1.0)
        for k, (a, b) in enumerate(pairs)
    ]
    _, values = receiver_delays.that_stay(found, 7)
    assert values[6] - values[:6].mean() == pytest.approx(100, abs=3)


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
