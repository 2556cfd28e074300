"""How strong receivers have the parts of a signal's band, beside each other, and correlations without that.

A receiver's filter multiplies its spectra by a gain that stays; echoes do, too, with another gain for each
transmitter. The correlation of two receivers about its peak has as its spectrum what was sent, times both
gains. Of three receivers and more, the logarithms of the magnitudes tell by how much each one's gain differs
from the others', frequency by frequency.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.fft
from scipy.interpolate import CubicSpline

from heimdall.core.params import FeatureParams
from heimdall.signal.arrival import Observation, correlated_pairs, correlations
from heimdall.signal.interpolation import interpolate
from heimdall.signal.sessions import SessionFeatures
from heimdall.signal.transforms import squared_magnitude

Float64 = npt.NDArray[np.float64]

_HALF_WIDTH = 16  # lags on either side of a peak: a ripple of a filter has its echoes within a few
_LEAST = 1e-4  # of the strongest part of the band; weaker ones tell nothing


class Gains(NamedTuple):
    """Of n receivers of a session, over that which hears best.

    Attributes:
        row: Of their recordings, shape (n,).
        log_gain: Logarithms of the magnitudes at F frequencies, shape (n, F). A factor is left open.
        variance: What noise makes of them, shape (n, F).
        offset_hz: Of the carrier at each, Hz, shape (n,): the frequencies are beside it.
        best: Row of the one that hears best.
        best_offset_hz: Of the carrier there, Hz.
    """

    row: npt.NDArray[np.intp]
    log_gain: Float64
    variance: Float64
    offset_hz: Float64
    best: int
    best_offset_hz: float


def frequencies_hz(params: FeatureParams) -> Float64:
    """The F frequencies of gains, beside the carrier, Hz: those of the correlated band, without its edges."""
    step_hz = params.correlation_rate_hz / (2 * _HALF_WIDTH)
    most = max(int(np.ceil(params.correlation_band_hz / step_hz)) - 1, 1)
    return np.asarray(step_hz * np.arange(-most, most + 1), np.float64)


def between(frequency_hz: Float64, at_hz: Float64) -> Float64:
    """Weights (n, F) of a gain at F frequencies that give it at n others; beyond the outermost it stays."""
    spline = CubicSpline(frequency_hz, np.eye(len(frequency_hz)))
    return np.asarray(spline(np.clip(at_hz, frequency_hz[0], frequency_hz[-1])), np.float64)


def gains(observation: Observation, params: FeatureParams) -> Gains | None:
    """What a session says of its receivers' gains; None of a keyed carrier, and with fewer than three times.

    Args:
        observation: The session.
        params: The parameters that its features were made with.
    """
    session, arrivals = observation.session, observation.arrivals
    best = hears_best(observation)
    if best is None:
        return None
    delay = arrivals.delay_s * params.correlation_rate_hz
    pairs = correlated_pairs(session, arrivals.information_s2 > 0, delay)
    rows = np.unique(pairs)
    series = correlations(session, pairs)
    limit = series.shape[1] // 2
    first, second = pairs.T
    step = np.arange(-_HALF_WIDTH, _HALF_WIDTH + 1)
    lags = (delay[first] - delay[second])[:, None] + step
    around = interpolate(series, np.clip(lags, -limit, limit)) * (np.abs(lags) <= limit)
    around = around * np.cos(np.pi / 2 * step / (_HALF_WIDTH + 1)) ** 2
    turns = np.outer(frequencies_hz(params) / params.correlation_rate_hz, step)
    spectrum = np.einsum("pl,fl->pf", around, np.cos(2 * np.pi * turns) - 1j * np.sin(2 * np.pi * turns))
    power = np.maximum(squared_magnitude(spectrum), np.finfo(np.float64).tiny)
    sent = np.sqrt(power).mean(axis=0)

    snr = 10.0 ** (session.snr_db.astype(np.float64) / 10)
    cells = 2 * params.correlation_band_hz * observation.duration_s
    noise = (1 / snr[first] + 1 / snr[second] + 1 / (snr[first] * snr[second])) / cells
    design = (pairs[:, :1] == rows) * 1.0 + (pairs[:, 1:] == rows)
    normal = np.einsum("pi,pj,p->ij", design, design, 1 / noise)
    inverse = np.linalg.inv(normal)
    log_gain = np.einsum("ij,pj,pf->if", inverse, design / noise[:, None], np.log(power) / 2)
    own = int(np.searchsorted(rows, best))
    variance = inverse.diagonal() + inverse[own, own] - 2 * inverse[own]
    others = rows != best
    offset_hz = np.where(np.isfinite(session.cfo_hz), session.cfo_hz, 0.0).astype(np.float64)
    return Gains(
        rows[others],
        (log_gain - log_gain[own])[others],
        variance[others, None] / np.maximum(sent / sent.max(), _LEAST) ** 2,
        offset_hz[rows[others]],
        best,
        float(offset_hz[best]),
    )


def hears_best(observation: Observation) -> int | None:
    """Row of the receiver that tilts and spreads are relative to; None where there are none."""
    arrivals = observation.arrivals
    if not np.any((arrivals.tilt_s != 0) | (arrivals.spread_s2 != 0)):
        return None
    level = 10.0 ** (observation.session.snr_db.astype(np.float64) / 10)
    return int(np.argmax(np.where(arrivals.information_s2 > 0, level, -np.inf)))


def equalised(
    session: SessionFeatures, frequency_hz: Float64, log_gain: Float64, rate_hz: float
) -> SessionFeatures:
    """The session with the correlations of receivers that have no gains.

    Args:
        session: R recordings.
        frequency_hz: F frequencies beside that to which the receivers are tuned, Hz.
        log_gain: Logarithms of the gains' magnitudes there, shape (R, F).
        rate_hz: Lags of the correlations a second, Hz.
    """
    lags = session.xcorr.shape[1]
    offset_hz = np.where(np.isfinite(session.cfo_hz), session.cfo_hz, 0.0)
    axis_hz = scipy.fft.fftfreq(lags, 1 / rate_hz)
    each = [
        np.einsum("nf,f->n", between(frequency_hz, axis_hz + one_hz), gain)
        for one_hz, gain in zip(offset_hz.tolist(), log_gain, strict=True)
    ]
    of_pairs = np.array(each)[session.pair].sum(axis=1)
    spectrum = scipy.fft.fft(scipy.fft.ifftshift(session.xcorr.astype(np.complex128), axes=1), axis=1)
    made = scipy.fft.fftshift(scipy.fft.ifft(spectrum * np.exp(-of_pairs), axis=1), axes=1)
    return replace(session, xcorr=made.astype(np.complex64))
