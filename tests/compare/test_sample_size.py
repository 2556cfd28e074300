"""Sample sizes against closed forms and by simulation."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from heimdall.compare import sample_size
from heimdall.compare.sample_size import SampleSize
from heimdall.core.randomness import generator

SESSIONS_A_TRANSMITTER = 4
Z = 1.959964 + 0.841621


def differences(
    transmitters: int, purpose: str, *indices: int, mean_m: float = 100.0
) -> npt.NDArray[np.float64]:
    """Half of the variance is the transmitter's; shape (transmitters, sessions)."""
    random = generator(11, purpose, *indices)
    shared = 300 * random.standard_normal((transmitters, 1))
    return mean_m + shared + 300 * random.standard_normal((transmitters, SESSIONS_A_TRANSMITTER))


def sized(found: npt.NDArray[np.float64]) -> SampleSize:
    names = np.repeat(np.arange(len(found)), found.shape[1]).astype(str).tolist()
    made = sample_size.of_paired(found.ravel(), names)
    assert made is not None
    return made


def power(transmitters: int) -> float:
    """How often a test of that many transmitters shows the difference, one session mean each."""
    trials = 2000
    means = np.stack([differences(transmitters, "canary trials", trial).mean(1) for trial in range(trials)])
    return float((stats.ttest_1samp(means, 0, axis=1).pvalue < 0.05).mean())


def test_the_named_number_of_sessions_has_the_named_power() -> None:
    found = sized(differences(4000, "canary pilot"))
    assert found.intraclass_correlation == pytest.approx(0.5, abs=0.03)
    assert found.design_effect == pytest.approx(1 + 3 * 0.5, abs=0.1)
    assert found.sessions is not None
    assert found.transmitters is not None
    assert found.transmitters == math.ceil(found.sessions / SESSIONS_A_TRANSMITTER)
    assert 0.7 <= power(found.transmitters) <= 0.9
    # As many sessions as would do if all were independent are too few.
    assert power(round(found.transmitters / found.design_effect)) < 0.6


def test_transmitters_of_one_session_are_independent_pairs() -> None:
    difference_m = np.array([100.0, 300, -100, 500, 200])
    found = sample_size.of_paired(difference_m, list("abcde"))
    assert found is not None
    std_m = difference_m.std(ddof=1)
    assert found.std_m == pytest.approx(std_m)
    assert (found.design_effect, found.intraclass_correlation) == (1, None)
    assert found.sessions == math.ceil((Z * std_m / 200) ** 2)
    assert found.detectable_m == pytest.approx(Z * std_m / math.sqrt(5), rel=1e-5)


def test_sessions_that_repeat_their_transmitter_add_nothing() -> None:
    single = sample_size.of_paired(np.array([100.0, 300, -100]), list("abc"))
    thrice = sample_size.of_paired(np.repeat([100.0, 300, -100], 3), list("aaabbbccc"))
    assert single is not None
    assert thrice is not None
    assert (thrice.intraclass_correlation, thrice.design_effect) == (1, 3)
    assert thrice.transmitters == pytest.approx(single.transmitters, abs=1)
    assert thrice.detectable_m == pytest.approx(single.detectable_m)


def test_unequal_transmitters_weigh_by_their_sessions() -> None:
    found = sample_size.of_paired(np.array([0.0, 1, 2, 3, 10, -10]), list("aaaabc"))
    assert found is not None
    assert found.sessions_per_transmitter == pytest.approx(18 / 6)


def test_a_canary_of_unequal_shares_has_the_textbooks_size() -> None:
    """Chow, Shao and Wang, section 3.2: n_A = kappa n_B, n_B = (1 + 1 / kappa) (z sigma / difference)^2."""
    a_m = np.array([100.0, 300, -100, 500, 200])
    b_m = a_m + 50
    (step,) = sample_size.of_canary(a_m, b_m, list("abcde"), (0.1,)) or []
    kappa, sigma_m = 9, a_m.std(ddof=1)
    assert step.canary_sessions == pytest.approx((1 + 1 / kappa) * (Z * sigma_m / 50) ** 2, abs=1)
    assert step.canary_sessions == math.ceil(step.sessions / 10)
    (half,) = sample_size.of_canary(a_m, b_m, list("abcde"), (0.5,)) or []
    assert half.sessions == pytest.approx(4 * (Z * sigma_m / 50) ** 2, abs=1)


def test_a_rising_canary_has_the_named_power() -> None:
    """Steps of equally many sessions, each step's difference weighed by its precision."""
    random = generator(12, "canary pilot")
    pilot_m = 300 * random.standard_normal(20_000)
    names = [str(number) for number in range(len(pilot_m))]
    steps = sample_size.of_canary(pilot_m, pilot_m + 60, names, sample_size.SHARES) or []
    assert [step.share for step in steps] == [0.1, 0.25, 0.5]
    trials, weights, found = 4000, [], []
    for step in steps:
        others = step.sessions - step.canary_sessions
        variance = 300**2 * (1 / step.canary_sessions + 1 / others)
        drift_m = 1000 * random.standard_normal(trials)  # of both models alike, from step to step
        b_m = drift_m + 60 + 300 / math.sqrt(step.canary_sessions) * random.standard_normal(trials)
        a_m = drift_m + 300 / math.sqrt(others) * random.standard_normal(trials)
        found.append((b_m - a_m) / variance)
        weights.append(1 / variance)
    statistic = np.sum(found, axis=0) / math.sqrt(sum(weights))
    assert 0.77 <= float((np.abs(statistic) > 1.959964).mean()) <= 0.83


def test_what_cannot_be_told() -> None:
    assert sample_size.of_paired(np.array([1.0, 2]), ["a", "a"]) is None
    equal = sample_size.of_paired(np.zeros(4), list("aabb"))
    assert equal is not None
    assert (equal.sessions, equal.transmitters, equal.detectable_m) == (None, None, 0)
    assert sample_size.of_canary(np.array([1.0, 2]), np.array([2.0, 1]), list("ab"), (0.1,)) is None
    assert sample_size.of_canary(np.array([1.0, 2]), np.array([2.0, 4]), ["a", "a"], (0.1,)) is None
