"""What each receiver's channel does to the signal beyond a delay: the cumulants of its paths' delays."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from heimdall.signal.interpolation import interpolate

Float64 = npt.NDArray[np.float64]
Complex128 = npt.NDArray[np.complex128]

# Of a channel before it is measured: in strong multipath tilt and spread are of this size.
TILT_SIGMA_S, SPREAD_SIGMA_S2 = 2e-6, 20e-12
_CHANNEL_LAGS = 7  # samples about a peak that tell of the channel
_LEAST_NOISE = 0.01  # of a lag, beside that which has the signal's spectrum: some spectra are lines
# Of a function at five neighbouring lags: itself and its first two derivatives (Abramowitz and Stegun, 25.3).
_DERIVATIVES = np.array([[0, 0, 12, 0, 0], [1, -8, 0, 8, -1], [-1, 16, -30, 16, -1]]).T / 12


class Channels(NamedTuple):
    """Of R receivers; as of `Arrivals`."""

    tilt_s: Float64
    spread_s2: Complex128
    spread_sigma_s2: Float64


def cumulants(
    pairs: npt.NDArray[np.intp],
    series: Complex128,
    delay: Float64,
    snr: Float64,
    *,
    level: int,
    cells: float,
    rate_hz: float,
) -> Channels:
    """What each receiver's channel does to a correlation beyond its delay.

    With D the derivative by the lag, the correlation of a and b about its peak is, but for a factor,

        exp(-(mean_a - mean_b*) D + (spread_a + spread_b*) D^2 / 2) rho

    where rho is that of what was sent. It is taken to be the pairs' mean, without what is not symmetric. A
    pair's factor and its two terms are fitted by generalised least squares (noise in a correlation has the
    signal's spectrum), and both cumulants of the receivers by least squares from those of the pairs. They are
    expected to be of the usual size, for between two weak receivers there is noise, and nothing else tells a
    strong third one's channel from theirs. Sums of two say nothing of what is common to all, as nobody knows
    the spectrum that was sent: the receiver that hears best is taken for level.

    Args:
        pairs: Rows (a, b) of receivers that know the time, each of at least three in one, shape (P, 2).
        series: Their correlations, shape (P, lags).
        delay: In samples, shape (R,).
        snr: Of the receivers, linear, shape (R,).
        level: Row of the one that hears best.
        cells: Bandwidth times duration.
        rate_hz: Lags a second, Hz.
    """
    limit = series.shape[1] // 2
    first, second = pairs.T
    peak = delay[first] - delay[second]
    middle = 2 * _CHANNEL_LAGS
    lags = np.clip(peak[:, None] + np.arange(-middle, middle + 1), -limit, limit)
    around = interpolate(series, lags)
    around = around / around[:, middle][:, None]
    noise = (1 / snr[first] + 1 / snr[second] + 1 / (snr[first] * snr[second])) / cells
    sent = (around / noise[:, None]).sum(axis=0) / (1 / noise).sum()
    sent = (sent + sent[::-1].conj()) / 2
    step = np.arange(-_CHANNEL_LAGS, _CHANNEL_LAGS + 1)
    neighbours = np.stack([sent[middle + step + move] for move in range(-2, 3)], axis=-1)
    terms = np.einsum("ln,nt->lt", neighbours, _DERIVATIVES)
    covariance = sent[step[:, None] - step + middle]
    short = max(0.0, -float(np.linalg.eigvalsh(covariance)[0]))  # noise gives the spectrum negative parts
    covariance += (short + _LEAST_NOISE) * np.eye(len(step))
    weighted = np.linalg.solve(covariance, terms).conj()  # (lags, 3)
    information = np.einsum("li,lj->ij", weighted, terms)
    right = np.einsum("li,pl->pi", weighted, around[:, middle + step])
    scatter = np.linalg.inv(information).real.diagonal()
    factor, slope, curve = np.linalg.solve(information, right.T)  # (P,) each
    mean = -slope / factor
    spread = 2 * curve / factor - mean * mean

    of_mean, of_spread = scatter[1] / 2 * noise, 2 * scatter[2] * noise  # variances of one part, (P,)
    usual_mean, usual_spread = TILT_SIGMA_S * rate_hz, SPREAD_SIGMA_S2 * rate_hz**2
    rows, count = np.unique(pairs), len(delay)
    over = partial(_of_receivers, pairs, level=level, count=count)
    tilt = over(mean.imag, 1, of_mean, usual=usual_mean)
    real = over(spread.real, 1, of_spread, usual=usual_spread)
    imaginary = over(spread.imag, -1, of_spread, usual=usual_spread)
    sigma = np.zeros(count)
    sigma[rows] = np.sqrt(2 * scatter[2] / (snr[rows] * cells))
    spread_s2 = np.asarray((real + 1j * imaginary) / rate_hz**2, np.complex128)
    return Channels(tilt / rate_hz, spread_s2, sigma / rate_hz**2)


def _of_receivers(
    pairs: npt.NDArray[np.intp],
    value: Float64,
    sign: int,
    variance: Float64,
    *,
    usual: float,
    level: int,
    count: int,
) -> Float64:
    """Numbers x of R receivers of which x_a + sign x_b is measured, over that of one of them.

    Args:
        pairs: Rows a and b, shape (P, 2).
        value: Measured, shape (P,).
        sign: 1 or -1.
        variance: Of the measurements, shape (P,).
        usual: Standard deviation of x before anything is measured.
        level: Row of the receiver whose x is 0.
        count: R.

    Returns:
        Shape (R,); 0 for receivers in no pair.
    """
    rows = np.unique(pairs)
    design = (pairs[:, :1] == rows) + sign * (pairs[:, 1:] == rows)  # (P, n)
    normal = np.einsum("pi,pj,p->ij", design, design, 1 / variance)
    right = np.einsum("pi,p->i", design, value / variance)
    # Sums leave open what is common to all, and so does this: differences are of the usual size.
    expected = np.eye(len(rows)) - (sign > 0) / len(rows)
    found = np.zeros(count)
    found[rows] = np.linalg.solve(normal + expected / usual**2, right)
    found[rows] -= found[level]
    return found
