"""Whether samples are made by the oscillator that tunes: by what the recordings say (simulated)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from heimdall.core.randomness import generator
from heimdall.signal.arrival_times import ArrivalTimes, measure
from heimdall.signal.correlation import Recording
from heimdall.signal.sample_clock import Growth, Oscillators, correction, expected
from tests.localize import known_networks
from tests.localize.transmissions import Sent, record, usual_fronts, waveform

NETWORK = known_networks.seven(0)
FREE = Oscillators(NETWORK.frequency_hz, np.ones(7, np.bool_), np.zeros(7))
PPM = np.array([1.2, -0.4, 0.7, -1.5, 0.0, 2.1, -0.9])
RATE = 1e-6 * PPM
SINCE_S = np.full(7, 0.5)


def worst_error_s(found: ArrivalTimes) -> float:
    error_s = found.delay_s - NETWORK.delays_s
    return float(np.abs(error_s - np.median(error_s)).max())


def recordings(clock_ppm: npt.NDArray[np.float64]) -> list[Recording]:
    """Data in GMSK, by receivers whose oscillators are off by so much."""
    random = generator(1, "test.sample_clock")
    sent = waveform("gmsk9600", random)
    fronts = [
        replace(front, clock_error=1e-6 * ppm)
        for front, ppm in zip(usual_fronts(7, 48e3, 25.0, random), clock_ppm.tolist(), strict=True)
    ]
    on_air = Sent.alone(sent, NETWORK.delays_s, 40.0)
    return record([on_air], fronts, random, frequency_hz=NETWORK.frequency_hz, clock_sigma_ns=0.1)


def test_samples_of_free_oscillators_are_put_right_by_the_carriers_offsets() -> None:
    given = recordings(PPM)
    plain_s = worst_error_s(measure(given, NETWORK.position_m))
    found = measure(given, NETWORK.position_m, oscillators=FREE)
    assert plain_s > 5e-7
    assert worst_error_s(found) < plain_s / 5
    assert worst_error_s(found) < 4 * found.sigma_s.max()


def test_exact_samples_of_receivers_that_tune_wrongly_stay_as_they_are() -> None:
    given = [
        replace(
            one, iq=(one.iq * np.exp(2j * np.pi * hz * np.arange(len(one.iq)) / 48e3)).astype(np.complex64)
        )
        for one, hz in zip(recordings(np.zeros(7)), (RATE * NETWORK.frequency_hz).tolist(), strict=True)
    ]
    plain = measure(given, NETWORK.position_m)
    found = measure(given, NETWORK.position_m, oscillators=FREE)
    np.testing.assert_allclose(found.delay_s, plain.delay_s, atol=0.2 * plain.sigma_s.min())


def test_a_moving_transmitter_is_not_taken_for_clocks_that_gps_disciplines() -> None:
    """Its Doppler shifts and the growth of its delays are those of oscillators that are off."""
    locked = replace(FREE, free=np.zeros(7, np.bool_))
    rate = expected(locked, np.arange(7), 40.0 - RATE * NETWORK.frequency_hz)
    found = correction(Growth(RATE, np.full(7, 1e-8)), rate, SINCE_S)
    assert not found.delay_s.any()
    assert not found.sigma_s.any()


def test_what_recordings_do_not_tell_is_in_the_standard_deviation() -> None:
    found = correction(Growth(np.zeros(7), np.full(7, np.inf)), RATE, SINCE_S)
    np.testing.assert_allclose(found.delay_s, -RATE / 4)
    np.testing.assert_allclose(found.sigma_s, np.abs(RATE) / 4)


def test_one_receiver_may_be_unlike_the_others() -> None:
    grown = np.where(np.arange(7) == 3, 0.0, RATE)
    found = correction(Growth(grown, np.full(7, 5e-8)), RATE, SINCE_S)
    assert found.delay_s[3] == pytest.approx(0.0, abs=1e-9)
    np.testing.assert_allclose(np.delete(found.delay_s, 3), np.delete(-RATE / 2, 3), atol=2e-8)
