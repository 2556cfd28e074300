"""How near `locate` comes to what physics allows, and what it says where that is nothing (simulated).

`benchmarks/bound.py` prints the same for every kind of signal, sample rate and network.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from scipy.optimize import minimize

from heimdall.core.randomness import generator
from heimdall.geometry.propagation import SPEED_OF_LIGHT_M_S
from heimdall.multilateration import rays
from heimdall.multilateration.fix import Fix
from heimdall.signal.arrival_times import measure
from tests.localize import known_networks, trials, unlocatable
from tests.localize.bounds import delay_information_s2
from tests.localize.networks import Network
from tests.localize.transmissions import (
    BANDWIDTH_HZ,
    PERIOD_S,
    Front,
    Kind,
    Sent,
    clean,
    record,
    waveform,
    white,
)
from tests.localize.trials import Trial

Float64 = npt.NDArray[np.float64]

WITHIN = 1.3  # of the bound


def test_a_recording_is_the_delayed_waveform_at_its_own_instants() -> None:
    sent = waveform("gmsk9600", generator(0, "recording"))
    front = Front(12_001.3, 30.0, start_s=1.234567e-3, clock_error=2e-6)
    series = clean(sent, 3.3e-3, front, 12_001, 57.0)
    step_s = (1 - 2e-6) / 12_001.3
    for n in (0, 1, 6_000, 12_000):
        at_s = 1.234567e-3 + n * step_s
        inside = np.abs(sent.frequency_hz + 57.0) < 12_001.3 / 2
        waves = sent.coefficient * np.exp(2j * np.pi * sent.frequency_hz * (at_s - 3.3e-3))
        turned = waves[inside].sum() * np.exp(2j * np.pi * 57.0 * (n - 6_000) * step_s)
        np.testing.assert_allclose(series[n], turned, atol=1e-9)


@pytest.mark.parametrize(
    ("make", "propagation", "within_m"),
    [(known_networks.metre_waves, "line-of-sight", 2.0), (known_networks.short_wave, "sky-wave", 1.0)],
)
def test_rays_are_as_long_as_by_formulas_of_another_hand(
    make: Callable[[int], Network], propagation: rays.Propagation, within_m: float
) -> None:
    """To 150 km in air, by rays that dip below the height between their ends; to 900 km by the F layer."""
    network = make(0)
    names = ("latitude_deg", "longitude_deg", "altitude_m")
    sites = rays.Sites.at(
        *(np.array([getattr(one, name) or 0.0 for one in network.receiver]) for name in names)
    )
    there = (np.array(getattr(network.transmitter, name) or 0.0) for name in names)
    ours = rays.paths(*there, sites, propagation).length_m
    np.testing.assert_allclose(ours, network.delays_s * SPEED_OF_LIGHT_M_S, atol=within_m)


@pytest.mark.parametrize(("kind", "snr_db"), [("ssb", (20.0, 10.0, 15.0)), ("gmsk9600", (3.0, 0.0, -3.0))])
def test_who_knows_the_mean_spectrum_reaches_the_bound_of_the_delays(
    kind: Kind, snr_db: tuple[float, ...]
) -> None:
    """Maximum likelihood for a Gaussian waveform of known mean power, at high SNR and at low."""
    square = [_delay_error_squared(kind, snr_db, seed) for seed in range(40)]
    assert 0.8 < np.sqrt(np.mean(square)) < 1.2  # of 80 squared deviates: one standard deviation is 0.08


def _delay_error_squared(kind: Kind, snr_db: tuple[float, ...], seed: int) -> float:
    """Errors of two delays against a third over the bound, squared: the mean of the two."""
    random = generator(seed, "oracle")
    sent = waveform(kind, random)
    fronts = [Front(48_000.0, one) for one in snr_db]
    variance = 1 / delay_information_s2(sent, fronts, duration_s=PERIOD_S, offset_known=True)
    gain = np.sqrt([10 ** (one / 10) * BANDWIDTH_HZ[kind] * PERIOD_S for one in snr_db])
    received = gain[:, None] * sent.coefficient + [white(len(sent.coefficient), random) for _ in snr_db]
    weight = sent.power / (1 + (gain**2).sum() * sent.power)
    kept = weight > 1e-9 * weight.max()
    weight, received, frequency_hz = weight[kept], received[:, kept], sent.frequency_hz[kept]
    unit_s, unit = np.sqrt(variance[0]), 1e-2

    def loss(step: Float64) -> tuple[float, Float64]:
        delay_s, phase = np.append(0.0, step[:2]) * unit_s, np.append(0.0, step[2:]) * unit
        turn = np.exp(1j * (2 * np.pi * frequency_hz * delay_s[:, None] + phase[:, None]))
        each = gain[:, None] * turn * received
        whole = each.sum(axis=0)
        by_delay = [
            -2 * unit_s * (weight * (whole.conj() * 2j * np.pi * frequency_hz * one).real).sum()
            for one in each
        ]
        by_phase = [-2 * unit * (weight * (whole.conj() * 1j * one).real).sum() for one in each]
        return -float((weight * np.abs(whole) ** 2).sum()), np.array(by_delay[1:] + by_phase[1:])

    found = minimize(
        loss, np.zeros(4), jac=True, method="BFGS", options={"gtol": 1e-8 * abs(loss(np.zeros(4))[0])}
    )
    error_s = found.x[:2] * unit_s
    covariance = variance[0] + np.diag(variance[1:])
    return float(error_s @ np.linalg.solve(covariance, error_s)) / 2


@pytest.mark.parametrize(
    ("make", "sigma_s"),
    [
        (known_networks.short_wave, 1e-6),
        (known_networks.seven, 1e-7),
        (known_networks.metre_waves, 5e-8),
        (known_networks.city, 2e-8),
    ],
    ids=["3 by 1000 km", "7 over 120 km", "30 over 300 km", "12 over 5 km"],
)
def test_any_network_locates_within_the_bound_and_says_how_well(
    make: Callable[[int], Network], sigma_s: float
) -> None:
    found = trials.summary(
        [trials.of_times(make(seed), sigma_s, generator(seed, "times")) for seed in range(25)]
    )
    assert found.positions > 0.9
    assert max(found.median_ratio, found.rms_ratio) < WITHIN
    assert 1 / WITHIN < found.honesty_rms < WITHIN
    assert found.within_68 > 0.45
    assert found.within_95 > 0.8
    assert found.cpu_s < 1.0


@pytest.mark.parametrize("wrong_s", [10e-6, -3e-3, 1.0])
def test_one_wrong_time_of_five_is_left_out_and_said(wrong_s: float) -> None:
    seeds = range(15)
    right = [trials.of_times(known_networks.five(seed), 1e-7, generator(seed, "wrong")) for seed in seeds]
    wrong = [
        trials.of_times(known_networks.five(seed), 1e-7, generator(seed, "wrong"), [wrong_s])
        for seed in seeds
    ]
    for one in wrong:
        assert [residual.used for residual in one.fix.residuals] == [False, True, True, True, True]
        assert "rx01" in " ".join(one.fix.remarks)
        assert abs(one.fix.residuals[0].residual_s - wrong_s) < 2e-6
    assert trials.summary(wrong).error_m < WITHIN * trials.summary(right).error_m


@pytest.mark.parametrize("wrong_s", [10e-6, -3e-3, 1.0])
def test_one_recording_of_five_with_a_wrong_stamp_is_left_out_and_said(wrong_s: float) -> None:
    for seed in range(3):
        random = generator(seed, "stamp")
        found = trials.of_signals(
            known_networks.five(seed), "gmsk9600", 12_000.0, 25.0, random, wrong_s=wrong_s
        )
        assert [residual.used for residual in found.fix.residuals] == [False, True, True, True, True]
        assert "rx01" in " ".join(found.fix.remarks)
        assert not found.fix.flagged
        assert found.error_m @ np.linalg.solve(found.bound_m2, found.error_m) < 16


@pytest.mark.parametrize("case", unlocatable.CASES, ids=lambda case: case.name)
def test_what_cannot_be_located_is_said(case: unlocatable.Case) -> None:
    for seed in range(3):
        answer = case.answer(seed)
        assert not answer.misleads
        assert answer.fix.remarks
        assert all(place.probability < 1.0 for place in answer.fix.places)


@pytest.mark.parametrize(
    "answer",
    [unlocatable.noise, unlocatable.one_receiver, unlocatable.one_place],
    ids=lambda one: one.__name__,
)
def test_where_nothing_can_be_known_no_place_is_said(answer: Callable[[int], unlocatable.Answer]) -> None:
    fixes: list[Fix] = [answer(seed).fix for seed in range(4)]
    assert {fix.kind for fix in fixes} <= {"nothing", "region"}
    for fix in fixes:
        assert all(region.area_km2 > 1e3 for region in fix.regions)


RECORDED: tuple[tuple[Kind, float, float], ...] = (
    ("morse", 12_000.0, 30.0),
    ("morse", 48_000.0, 50.0),
    ("ssb", 12_000.0, 30.0),
    ("am", 12_000.0, 30.0),
    ("nfm", 12_000.0, 30.0),
    ("qpsk2400", 12_000.0, 30.0),
    ("gmsk9600", 48_000.0, 30.0),
    ("time signal", 12_000.0, 40.0),
    ("gmsk9600", 12_000.0, 0.0),
)


@pytest.fixture(scope="module")
def recorded() -> list[list[Trial]]:
    """Eight seeds of each kind of signal."""
    return [
        [
            trials.of_signals(
                known_networks.seven(seed), kind, rate_hz, snr_db, generator(seed, "test"), offset_hz=80.0
            )
            for seed in range(8)
        ]
        for kind, rate_hz, snr_db in RECORDED
    ]


def test_recordings_of_any_kind_locate_within_the_bound_and_say_how_well(recorded: list[list[Trial]]) -> None:
    """Of 144 squared deviates: one standard deviation is 0.06; of one kind alone, 0.18."""
    found = trials.summary([trial for kind in recorded for trial in kind])
    assert found.positions > 0.95
    assert max(found.median_ratio, found.rms_ratio) < WITHIN
    assert 1 / WITHIN < found.honesty_rms < WITHIN
    assert 0.58 < found.within_68 < 0.9
    assert found.within_95 > 0.9
    for kind in recorded:
        assert trials.summary(kind).rms_ratio < 1.7


def test_a_keyed_carrier_beside_the_receivers_own_direct_current_is_timed_within_the_bound() -> None:
    found = trials.summary(
        [
            trials.of_signals(
                known_networks.seven(seed), "morse", 12_000.0, 50.0, generator(seed, "line"), offset_hz=2.0
            )
            for seed in range(10)
        ]
    )
    assert found.positions > 0.8
    assert found.rms_ratio < WITHIN
    assert found.honesty_rms < WITHIN


def test_one_weak_signal_is_not_taken_for_two_transmitters() -> None:
    for seed in range(4):
        random, network = generator(seed, "weak"), known_networks.five(seed)
        fronts = [Front(12_000.0, -4.0) for _ in network.receiver]
        sent = Sent.alone(waveform("qpsk2400", random), network.delays_s, 80.0)
        times = measure(record([sent], fronts, random, frequency_hz=145e6), network.position_m)
        assert times.reason == ("",) * 5


def test_files_of_seven_receivers_are_located_within_three_seconds_of_cpu(tmp_path: Path) -> None:
    run = trials.program(known_networks.seven(0), "nfm", 192_000.0, 25.0, tmp_path)
    assert run.cpu_s < 3.0
    assert run.error_m < 150.0
