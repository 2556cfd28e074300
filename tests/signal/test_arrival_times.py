"""Arrival times of simulated signals of every kind, whose delays are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import scipy.fft

from heimdall.core.randomness import generator
from heimdall.signal.arrival_times import ALONE, COPIED, NO_TIME, SEVERAL, STUCK, measure
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


def time_signal() -> Complex128:
    """A long-wave time signal: a carrier, lower for 0.1 s, with pseudo-random phases of +-15 degrees."""
    time_s = np.arange(15000) / 12000
    chips = 2 * generator(4, "test.arrival_times.chips").integers(0, 2, 820) - 1
    phase = np.where(time_s > 0.4, chips[(time_s * 645.83).astype(np.int64)], 0)
    return np.asarray(np.where(time_s < 0.3, 0.15, 1.0) * np.exp(1j * np.radians(15) * phase))


def test_noise_is_what_is_not_alike_also_behind_a_filter() -> None:
    """Outside of a filter there is quantisation, which says nothing of the noise within."""
    random = generator(5, "test.arrival_times")
    deviation, sigma_s = [], []
    for _ in range(6):
        recordings = []
        for one in heard(time_signal(), 12e3, DELAY_S, 0.5, random):
            spectrum = scipy.fft.fft(one.iq.astype(np.complex128))
            spectrum[np.abs(scipy.fft.fftfreq(12000, 1 / 12e3)) > 550] = 0
            iq = scipy.fft.ifft(spectrum)
            rounded = np.round(iq.real * 32768) + 1j * np.round(iq.imag * 32768)
            recordings.append(replace(one, iq=(rounded / 32768).astype(np.complex64)))
        found = measure(recordings, POSITION_M)
        known = np.isfinite(found.delay_s)
        sigma_s.extend(found.sigma_s[known])
        if known.any():
            error_s, weight = (found.delay_s - DELAY_S)[known], 1 / found.sigma_s[known] ** 2
            error_s -= (error_s * weight).sum() / weight.sum()
            deviation.append((error_s**2 * weight).sum() / (known.sum() - 1))
    assert len(sigma_s) >= 20  # of 24: where the search does not settle, no time is said
    assert 5e-6 < min(sigma_s) < max(sigma_s) < 80e-6
    assert 1 / 2 < np.sqrt(np.mean(deviation)) < 1.5


def test_a_carrier_that_is_never_keyed_is_heard_and_has_no_time() -> None:
    random = generator(6, "test.arrival_times")
    carrier = np.exp(2j * np.pi * 400 * np.arange(15000) / 12000)
    found = measure(heard(carrier, 12e3, DELAY_S, 0.1, random), POSITION_M)
    assert found.heard.all()
    assert np.isnan(found.delay_s).all()
    assert set(found.reason) == {NO_TIME}


def test_two_tones_fit_at_many_delays_and_have_no_time() -> None:
    random = generator(7, "test.arrival_times")
    tones = np.cos(2 * np.pi * 480 * np.arange(15000) / 12000).astype(np.complex128)
    assert np.isnan(measure(heard(tones, 12e3, DELAY_S, 0.1, random), POSITION_M).delay_s).all()


@pytest.mark.parametrize("offset_hz", [40.0, 170.0])
def test_a_keyed_carrier_is_timed_however_unlike_the_receivers_are_tuned(offset_hz: float) -> None:
    """Two receivers, whose carriers lie many times the signal's width apart."""
    random = generator(7, "test.arrival_times")
    keyed = np.repeat(random.integers(0, 2, 25).astype(np.float64), 600)
    edge = np.hanning(61)
    carrier = np.convolve(keyed, edge / edge.sum(), mode="same") * np.exp(
        2j * np.pi * 90 * np.arange(15000) / 12e3
    )
    found = measure(heard(carrier, 12e3, DELAY_S[:2], 0.1, random, offset_hz=offset_hz), POSITION_M[:2])
    error_s = (found.delay_s[1] - found.delay_s[0]) - (DELAY_S[1] - DELAY_S[0])
    assert abs(error_s) < 3 * np.hypot(*found.sigma_s)
    assert np.hypot(*found.sigma_s) < 30e-6


def test_the_band_is_where_recordings_are_alike_whatever_the_noise_of_a_receivers_filter_fills() -> None:
    """Noise behind a filter of +-16 kHz in a file of 48 kHz stands out of quantisation as a signal would."""
    random = generator(8, "test.arrival_times")
    recordings = []
    for one in heard(noise_like(random, 48e3, 3e3), 48e3, DELAY_S, 0.3, random):
        spectrum = scipy.fft.fft(one.iq.astype(np.complex128))
        spectrum[np.abs(scipy.fft.fftfreq(48000, 1 / 48e3)) > 16e3] = 0
        rounded = np.round(scipy.fft.ifft(spectrum) * 32768)
        recordings.append(replace(one, iq=(rounded / 32768).astype(np.complex64)))
    found = measure(recordings, POSITION_M)
    assert found.low_hz == pytest.approx(-3.4e3, abs=400)
    assert found.high_hz == pytest.approx(3.4e3, abs=400)
    error_s = found.delay_s - DELAY_S
    assert np.abs(error_s - error_s.mean()).max() < 4 * found.sigma_s.max()


def test_two_transmitters_at_once_have_no_time_and_are_said() -> None:
    random = generator(9, "test.arrival_times")
    both = [heard(noise_like(random, 12e3, 3e3), 12e3, one, 0.05, random) for one in (DELAY_S, DELAY_S[::-1])]
    recordings = [replace(a, iq=a.iq + np.float32(0.8) * b.iq) for a, b in zip(*both, strict=True)]
    found = measure(recordings, POSITION_M)
    assert np.isnan(found.delay_s).all()
    assert set(found.reason) == {SEVERAL}


def with_direct_current(recordings: list[Recording], level: float) -> list[Recording]:
    """The same from receivers that have direct current of this amplitude, each at its own phase."""
    return [
        replace(one, iq=(one.iq + level * np.exp(2j * number)).astype(np.complex64))
        for number, one in enumerate(recordings)
    ]


def test_direct_current_of_the_receivers_is_no_signal() -> None:
    random = generator(11, "test.arrival_times")
    for _ in range(3):
        noise = heard(np.zeros(15000, np.complex128), 12000.0, DELAY_S, 1.0, random)
        assert not measure(with_direct_current(noise, 0.1), POSITION_M).heard.any()


def test_a_carrier_at_the_tuned_frequency_keeps_its_time_beside_direct_current() -> None:
    """AM, whose carriers are 0, 0.15, 0.3 and 0.45 Hz from the lines of the receivers' own direct current."""
    random = generator(12, "test.arrival_times")
    sent = 1 + 0.3 * noise_like(random, 12e3, 2000.0).real
    given = heard(sent.astype(np.complex128), 12e3, DELAY_S, 0.2, random, offset_hz=0.15)
    clear = measure(given, POSITION_M)
    found = measure(with_direct_current(given, 3e-3), POSITION_M)
    error_s = found.delay_s - DELAY_S
    error_s -= error_s.mean()
    assert np.abs(error_s).max() < 4 * found.sigma_s.max()
    assert np.all(found.sigma_s < 1.3 * clear.sigma_s)
    assert found.snr_db == pytest.approx(clear.snr_db, abs=1.0)


@pytest.mark.parametrize("toggles", [0.0, 0.01])
def test_two_stuck_receivers_leave_the_others_their_times(toggles: float) -> None:
    """They are alike in all they have, and their spectra are quietest."""
    random = generator(13, "test.arrival_times")
    given = heard(noise_like(random, 12e3, 1500.0), 12e3, DELAY_S, 0.1, random)
    stuck = (0.5 + 0.2j + toggles * (np.arange(12000) % 2)).astype(np.complex64)
    dead = [Recording(number, stuck, 12e3, GPS_NS, 50.0) for number in (4, 5)]
    found = measure([dead[0], *given, dead[1]], np.array([[9e3, 0, 0], *POSITION_M, [0, 9e3, 0]]))
    np.testing.assert_allclose(found.delay_s[1:5], measure(given, POSITION_M).delay_s, rtol=1e-12)
    assert np.isnan(found.delay_s[[0, 5]]).all()
    assert np.isnan(found.level_db[[0, 5]]).all()
    assert found.reason == (STUCK, "", "", "", "", STUCK)
    assert not measure(dead, POSITION_M[:2]).heard.any()


def test_a_recording_under_two_names_is_no_witness_of_itself() -> None:
    """Noise that is there twice is a signal of which nobody else has anything."""
    random = generator(14, "test.arrival_times")
    given = heard(noise_like(random, 12e3, 1500.0), 12e3, DELAY_S, 0.1, random)
    hiss = heard(np.zeros(15000, np.complex128), 12e3, DELAY_S[:1], 30.0, random)[0]
    found = measure([hiss, hiss, *given], np.array([[9e3, 0, 0], [0, 9e3, 0], *POSITION_M]))
    assert found.reason == (COPIED, COPIED, "", "", "", "")


def test_recordings_that_begin_muted_are_not_the_same() -> None:
    random = generator(15, "test.arrival_times")
    given = heard(noise_like(random, 12e3, 1500.0), 12e3, DELAY_S, 0.1, random)
    muted = [replace(one, iq=np.where(np.arange(12000) < 4200, np.complex64(0), one.iq)) for one in given]
    found = measure(muted, POSITION_M)
    error_s = found.delay_s - DELAY_S
    assert np.abs(error_s - error_s.mean()).max() < 4 * found.sigma_s.max()
