"""Arrival times of simulated signals of every kind, whose delays are known."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import scipy.fft

from heimdall.core.randomness import generator
from heimdall.signal.arrival_times import ALONE, measure
from heimdall.signal.correlation import Recording

Float64 = npt.NDArray[np.float64]
Complex128 = npt.NDArray[np.complex128]
GPS_NS = 1_400_000_000_000_000_000
POSITION_M = np.array([[0.0, 0.0, 0.0], [80e3, 0.0, 0.0], [0.0, 60e3, 0.0], [-50e3, -50e3, 0.0]])
DELAY_S = np.array([101.3e-6, 233.33e-6, 17.05e-6, 190.9e-6])


def heard(
    sent: Complex128,
    rate_hz: float,
    delay_s: Float64,
    noise: float,
    random: np.random.Generator,
    *,
    offset_hz: float = 0.0,
) -> list[Recording]:
    """One second in the middle of a signal of 1.25 s, delayed exactly, in noise of this amplitude."""
    frequency_hz = scipy.fft.fftfreq(len(sent), 1 / rate_hz)
    spectrum = scipy.fft.fft(sent)
    count = round(rate_hz)
    found = []
    for number, delay in enumerate(delay_s.tolist()):
        signal = scipy.fft.ifft(spectrum * np.exp(-2j * np.pi * frequency_hz * delay))[count // 8 :][:count]
        turn = np.exp(2j * np.pi * (random.random() + number * offset_hz * np.arange(count) / rate_hz))
        iq = signal * turn + noise * np.sqrt(0.5) * (
            random.standard_normal(count) + 1j * random.standard_normal(count)
        )
        found.append(Recording(number, (0.01 * iq).astype(np.complex64), rate_hz, GPS_NS, 50.0))
    return found


def noise_like(random: np.random.Generator, rate_hz: float, half_width_hz: float) -> Complex128:
    """A signal of mean power 1 with a flat spectrum."""
    count = round(1.25 * rate_hz)
    filled = np.abs(scipy.fft.fftfreq(count, 1 / rate_hz)) < half_width_hz
    values = np.where(filled, random.standard_normal(count) + 1j * random.standard_normal(count), 0)
    return np.asarray(scipy.fft.ifft(values) * count / np.sqrt(2 * np.count_nonzero(filled)))


@pytest.mark.parametrize("rate_hz", [12000.0, 48000.0])
def test_delays_are_right(rate_hz: float) -> None:
    random = generator(1, "test.arrival_times")
    recordings = heard(noise_like(random, rate_hz, 3000.0), rate_hz, DELAY_S, 0.1, random, offset_hz=37.0)
    found = measure(recordings, POSITION_M)
    assert found.heard.all()
    error_s = found.delay_s - DELAY_S
    error_s -= error_s.mean()
    assert np.abs(error_s).max() < 4 * found.sigma_s.max()
    assert found.sigma_s.max() < 2e-6
    assert np.diff(found.offset_hz) == pytest.approx([37.0] * 3, abs=0.01)


def test_noise_is_nothing_heard() -> None:
    random = generator(2, "test.arrival_times")
    for _ in range(5):
        found = measure(heard(np.zeros(15000, np.complex128), 12000.0, DELAY_S, 1.0, random), POSITION_M)
        assert not found.heard.any()
        assert np.isnan(found.delay_s).all()
        assert found.reference == -1


def test_one_receiver_has_no_time_and_says_why() -> None:
    random = generator(3, "test.arrival_times")
    found = measure(heard(noise_like(random, 12e3, 3e3), 12e3, DELAY_S[:1], 0.1, random), POSITION_M[:1])
    assert np.isnan(found.delay_s).all()
    assert found.reason == (ALONE,)
