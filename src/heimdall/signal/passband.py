"""How strong receivers have the parts of a signal's band, beside each other, and correlations without that.

A receiver's filter multiplies its spectra by a gain that stays; echoes do, too, with another gain for each
transmitter. The correlation of two receivers about its peak has as its spectrum what was sent, times both
gains. Of three receivers and more, the logarithms of the magnitudes tell by how much each one's gain differs
from the others', frequency by frequency.

Frequencies are those beside the tuned frequency of a receiver. The correlations of a session are beside that
of its reference, to whose carrier the others are turned (`heimdall.signal.correlation`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.fft
from scipy.interpolate import CubicSpline

from heimdall.core.params import FeatureParams
from heimdall.signal.arrival import (
    Observation,
    carriers_hz,
    correlated_pairs,
    correlations,
    loudest,
    reference_carrier_hz,
)
from heimdall.signal.interpolation import interpolate
from heimdall.signal.sessions import SessionFeatures
from heimdall.signal.transforms import squared_magnitude

Float64 = npt.NDArray[np.float64]

_STEPS = 8  # of the frequency, from the middle of the band to its edge
_DISTINCT = 1e-9  # of the pairs' normal equations: below it they leave differences open
_LEAST_SENT = 0.05  # of the power of the strongest part of the band; weaker ones tell nothing
_NOTHING = 100.0  # variance of a logarithm of which nothing is known
_LEAST = 1e-6
_TINY = np.finfo(np.float64).tiny


class Gains(NamedTuple):
    """Of n receivers of a session.

    Attributes:
        row: Of their recordings, shape (n,).
        log_gain: Logarithms of the magnitudes at F frequencies, over a function that all have in common and a
            factor of each, shape (n, F).
        sigma: What noise makes of them, standard deviations, shape (n, F); infinite where nothing was sent.
        blur: Weights (F, F) of the gains in what is measured: it is a mean over neighbouring frequencies by
            what was sent there.
        offset_hz: Of the receiver's frequencies over those of the correlations, shape (n,).
    """

    row: npt.NDArray[np.intp]
    log_gain: Float64
    sigma: Float64
    blur: Float64
    offset_hz: Float64

    def noise(self, number: int, likeness: Float64) -> Float64:
        """Covariance of what noise makes of the gains of one receiver, shape (F, F).

        Where nothing was sent they are not known, and have nothing in common with others.

        Args:
            number: Of the receiver, among the n.
            likeness: As of `likeness`, shape (F, F).
        """
        known = np.isfinite(self.sigma[number])
        sigma = np.where(known, self.sigma[number], 0.0)
        noise = np.outer(sigma, sigma) * likeness + np.diag(np.where(known, 0.0, _NOTHING))
        return np.asarray(noise, np.float64)


def frequencies_hz(params: FeatureParams) -> Float64:
    """The F frequencies of gains, Hz: those of the correlated band, without its edges."""
    step_hz = params.correlation_band_hz / _STEPS
    return np.asarray(step_hz * np.arange(1 - _STEPS, _STEPS), np.float64)


def between(frequency_hz: Float64, at_hz: Float64) -> Float64:
    """Weights (n, F) of a gain at F frequencies that give it at n others; beyond the outermost it stays."""
    spline = CubicSpline(frequency_hz, np.eye(len(frequency_hz)))
    return np.asarray(spline(np.clip(at_hz, frequency_hz[0], frequency_hz[-1])), np.float64)


def likeness(params: FeatureParams) -> Float64:
    """Correlation of what noise makes of gains at the F frequencies, shape (F, F)."""
    lag, window = _window(params)
    square = window * window
    apart = np.subtract.outer(frequencies_hz(params), frequencies_hz(params)) / params.correlation_rate_hz
    return np.asarray(np.cos(2 * np.pi * apart[..., None] * lag) @ square / square.sum(), np.float64)


def gains(observation: Observation, params: FeatureParams) -> Gains | None:
    """What a session says of its receivers' gains; None where it says nothing.

    That is so of a keyed carrier, with fewer than three times, and where too few pairs of receivers have a
    correlation to tell all of them apart.

    Args:
        observation: The session.
        params: The parameters that its features were made with.
    """
    session, arrivals = observation.session, observation.arrivals
    if hears_best(observation) is None:
        return None
    rate_hz, frequency_hz = params.correlation_rate_hz, frequencies_hz(params)
    delay = arrivals.delay_s * rate_hz
    pairs = correlated_pairs(session, arrivals.information_s2 > 0, delay)
    rows = np.unique(pairs)
    design = (pairs[:, :1] == rows) * 1.0 + (pairs[:, 1:] == rows)
    alone = np.linalg.eigvalsh(design.T @ design)
    if alone[0] < _DISTINCT * alone[-1]:
        return None
    series = correlations(session, pairs)
    limit = series.shape[1] // 2
    first, second = pairs.T
    lag, window = _window(params)
    lags = (delay[first] - delay[second])[:, None] + lag
    around = interpolate(series, np.clip(lags, -limit, limit)) * (np.abs(lags) <= limit)
    around = around / around[:, len(lag) // 2][:, None]
    turns = np.outer(frequency_hz / rate_hz, lag)
    turn = np.cos(2 * np.pi * turns) - 1j * np.sin(2 * np.pi * turns)
    power = squared_magnitude(np.einsum("pl,fl->pf", around * window, turn))
    power = np.maximum(power, _LEAST**2 * power.max())

    snr = 10.0 ** (session.snr_db.astype(np.float64) / 10)
    noise = 1 / snr[first] + 1 / snr[second] + 1 / (snr[first] * snr[second])
    weight = power / noise[:, None]  # pairs without a signal at a frequency tell nothing there
    normal = np.einsum("pi,pj,pf->fij", design, design, weight)
    right = np.einsum("pi,pf->fi", design, weight * np.log(power) / 2)
    log_gain = np.linalg.solve(normal, right[..., None])[..., 0].T  # (n, F), half of what was sent in each

    heard = np.exp(2 * log_gain)  # power of the signal in each, over its mean in the band
    ratio = snr[rows, None] * heard / heard.mean(axis=1, keepdims=True)
    cells = rate_hz * observation.duration_s / float((window * window).sum())
    own = 1 / np.maximum(ratio, _TINY)
    variance = own * (1 + (own.sum(axis=0) - own) / (len(rows) - 1)) / (2 * cells)
    # Beside the strong parts of a band is what the window spreads of them.
    variance = np.where(heard > _LEAST_SENT * heard.max(axis=1, keepdims=True), variance, np.inf)

    sent = np.maximum(np.einsum("pl,fl->f", around, turn).real, 0.0)
    apart = np.subtract.outer(frequency_hz, frequency_hz) / rate_hz
    blur = np.maximum(np.cos(2 * np.pi * apart[..., None] * lag) @ window, 0.0) * sent
    blur = blur / np.maximum(blur.sum(axis=1, keepdims=True), _LEAST * float(blur.sum(axis=1).max()))
    offset_hz = carriers_hz(session)[rows] - axis_hz(observation)
    return Gains(rows, log_gain, np.sqrt(variance), blur, offset_hz)


def hears_best(observation: Observation) -> int | None:
    """Row of the receiver that tilts and spreads are relative to; None where there are none."""
    arrivals = observation.arrivals
    if not np.any((arrivals.tilt_s != 0) | (arrivals.spread_s2 != 0)):
        return None
    return loudest(observation.session, arrivals.information_s2 > 0)


def axis_hz(observation: Observation) -> float:
    """Carrier beside 0 Hz of the correlations' spectra, Hz: that at the receiver which they are turned to."""
    if observation.carrier_hz is not None:
        return observation.carrier_hz
    return reference_carrier_hz(observation.session)


def equalised(
    observation: Observation, frequency_hz: Float64, log_gain: Float64, rate_hz: float
) -> SessionFeatures:
    """The session with the correlations of receivers that have no gains.

    Args:
        observation: A session of R recordings.
        frequency_hz: F frequencies beside that to which the receivers are tuned, Hz.
        log_gain: Logarithms of the gains' magnitudes there, shape (R, F).
        rate_hz: Lags of the correlations a second, Hz.
    """
    session = observation.session
    carrier_hz = carriers_hz(session) - axis_hz(observation)
    spectrum_hz = scipy.fft.fftfreq(session.xcorr.shape[1], 1 / rate_hz)
    each = [
        np.einsum("nf,f->n", between(frequency_hz, spectrum_hz + one_hz), gain)
        for one_hz, gain in zip(carrier_hz.tolist(), log_gain, strict=True)
    ]
    of_pairs = np.array(each)[session.pair].sum(axis=1)
    spectrum = scipy.fft.fft(scipy.fft.ifftshift(session.xcorr.astype(np.complex128), axes=1), axis=1)
    made = scipy.fft.fftshift(scipy.fft.ifft(spectrum * np.exp(-of_pairs), axis=1), axes=1)
    return replace(session, xcorr=made.astype(np.complex64))


def _window(params: FeatureParams) -> tuple[npt.NDArray[np.int64], Float64]:
    """Lags about a peak, and weights of them, that resolve the frequencies; (L,) each."""
    most = round(_STEPS * params.correlation_rate_hz / (2 * params.correlation_band_hz))
    half = max(min(most, round(params.correlation_max_lag_s * params.correlation_rate_hz)), 1)
    lag = np.arange(-half, half + 1)
    return lag, np.asarray(np.cos(np.pi / 2 * lag / (half + 1)) ** 2, np.float64)
