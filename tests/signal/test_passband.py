"""Gains of receivers within a signal's band, from recordings on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.fft

from heimdall.signal import passband
from heimdall.signal.arrival import Observation, arrivals, without_receiver
from heimdall.signal.correlation import Recording
from tests.signal.test_arrival import DELAYS_S, PARAMS, RATE_HZ, features, made_of, record

TUNED_HZ = np.array([0.0, 40.0, -60.0, 25.0])  # errors of the receivers' oscillators
FREQUENCY_HZ = passband.frequencies_hz(PARAMS)


def log_gain(row: int, frequency_hz: np.ndarray) -> np.ndarray:
    """Of a receiver's filter, beside its tuned frequency."""
    return np.asarray(0.05 * np.cos(2 * np.pi * (frequency_hz / (9e3 + 3e3 * row) + 0.2 * row)))


def filtered(carrier_hz: float) -> Observation:
    """A signal of 5 kHz, its carrier that much over the tuned frequency, in receivers with unlike filters."""
    recordings = []
    for row, item in enumerate(record(3, DELAYS_S, np.array([45.0, 40, 40, 40]), half_width_hz=2500.0)):
        turn = np.exp(2j * np.pi * (carrier_hz + TUNED_HZ[row]) * np.arange(len(item.iq)) / RATE_HZ)
        spectrum = scipy.fft.fft(item.iq * turn)
        spectrum *= np.exp(log_gain(row, scipy.fft.fftfreq(len(item.iq), 1 / RATE_HZ)))
        iq = scipy.fft.ifft(spectrum).astype(np.complex64)
        recordings.append(Recording(row, iq, item.sample_rate_hz, item.start_gps_ns, item.timing_sigma_ns))
    session = features(recordings)
    return Observation(session, arrivals(session, PARAMS), 145e6)


@pytest.mark.parametrize("carrier_hz", [0.0, 1700.0, -1700.0])
def test_gains_are_those_of_the_filters_at_the_receivers_own_frequencies(carrier_hz: float) -> None:
    seen = filtered(carrier_hz)
    found = passband.gains(seen, PARAMS)
    assert found is not None
    np.testing.assert_allclose(found.offset_hz, TUNED_HZ - TUNED_HZ[0], atol=2)
    true = np.array(
        [found.blur @ log_gain(row, FREQUENCY_HZ + by) for row, by in enumerate(found.offset_hz.tolist())]
    )
    told, within = (found.sigma < 0.01).all(axis=0), np.abs(FREQUENCY_HZ - carrier_hz) < 2500
    assert told[within].all()
    assert not told[np.abs(FREQUENCY_HZ - carrier_hz) > 3600].any()  # no signal is there
    off = (found.log_gain - true)[:, within]
    off = off - off[0]
    off = off - off.mean(axis=1, keepdims=True)
    assert np.abs(off[1:]).max() < 3e-3


def test_frequencies_at_which_nothing_was_sent_tell_nothing_of_others() -> None:
    found = passband.gains(filtered(1700.0), PARAMS)
    assert found is not None
    likeness = passband.likeness(PARAMS)
    for row, sigma in enumerate(found.sigma):
        heard, noise = np.isfinite(sigma), found.noise(row, likeness)
        assert heard.any() and not heard.all()
        assert not noise[np.ix_(heard, ~heard)].any()
        assert np.sqrt(noise.diagonal()[~heard]).min() > 1  # of a logarithm
        np.testing.assert_allclose(np.sqrt(noise.diagonal()[heard]), sigma[heard])
        assert (noise[np.ix_(heard, heard)] > 0).sum() > heard.sum()


@pytest.mark.parametrize("carrier_hz", [0.0, 1700.0])
def test_channels_without_the_filters_are_flat(carrier_hz: float) -> None:
    """Also where the receiver to whose carrier the others are turned is not there any more."""
    whole = filtered(carrier_hz)
    for seen, rows in ((whole, range(4)), (without_receiver(whole, 0, PARAMS), range(1, 4))):
        gain = np.array([log_gain(row, FREQUENCY_HZ) for row in rows])
        session = passband.equalised(seen, FREQUENCY_HZ, gain, float(RATE_HZ))
        before, after = seen.arrivals, arrivals(session, PARAMS)
        assert np.abs(before.spread_s2.real).max() > 20e-12
        assert np.abs(after.spread_s2.real).max() < 4e-12
        assert np.abs(after.tilt_s).max() < 0.2 * np.abs(before.tilt_s).max()


def test_pairs_that_leave_a_receiver_open_tell_nothing() -> None:
    """The outer two are too far apart to be correlated, so sums of two do not tell single ones."""
    lag = np.arange(-32, 33)
    delay_s = np.array([0.0, 420e-6, -420e-6])
    apart = RATE_HZ * np.array([-420e-6, 420e-6, 840e-6])
    series = np.exp(-(((lag - apart[:, None]) / 4) ** 2)).astype(np.complex128)
    series[:2] *= np.exp(0.02j * (lag - apart[:2, None]))
    session = made_of(series, delay_s)
    seen = Observation(session, arrivals(session, PARAMS), 145e6)
    assert passband.hears_best(seen) is not None
    assert passband.gains(seen, PARAMS) is None


def test_frequencies_fit_any_band() -> None:
    for band_hz, rate_hz in ((1500.0, 32000.0), (8000.0, 192000.0), (4000.0, 8000.0)):
        params = replace(PARAMS, correlation_band_hz=band_hz, correlation_rate_hz=rate_hz)
        frequency_hz = passband.frequencies_hz(params)
        assert len(frequency_hz) == 15
        assert np.abs(frequency_hz).max() == band_hz * 7 / 8
        assert np.linalg.eigvalsh(passband.likeness(params)).min() > -1e-9
