"""Correlations between their lags.

They are given at lags of one sample. Between them they are interpolated by a Kaiser-windowed sinc, whose
weights are normalised so that a flat correlation stays flat up to its ends. A shorter kernel moves peaks:
W = 11.5, beta = 6 costs more than the receivers' clocks at high SNR.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]
Complex128 = npt.NDArray[np.complex128]

KERNEL_HALF_WIDTH = 16  # samples
KERNEL_BETA = 10.0
_I0_SERIES = tuple((KERNEL_BETA**2 / 4) ** k / math.factorial(k) ** 2 for k in range(25, -1, -1))


def interpolate(series: Complex128, lag: Float64) -> Complex128:
    """Correlations between their lags.

    Args:
        series: Correlations, shape (P, lags), an odd number of lags, lag 0 in the middle.
        lag: Where, samples, shape (P, n), within the lags.

    Returns:
        Values, shape (P, n), complex128.
    """
    half = series.shape[1] // 2
    whole = np.floor(lag)
    taps = np.arange(1 - KERNEL_HALF_WIDTH, KERNEL_HALF_WIDTH + 1)
    place = whole[..., None].astype(np.int64) + taps + half  # (P, n, taps)
    weight = _kernel((lag - whole)[..., None] - taps)
    weight = np.where((place >= 0) & (place < series.shape[1]), weight, 0.0)
    row = np.arange(len(series))[:, None, None]
    value = (weight * series[row, np.clip(place, 0, series.shape[1] - 1)]).sum(axis=-1)
    return np.asarray(value / weight.sum(axis=-1), np.complex128)


def _kernel(distance: Float64) -> Float64:
    """Sinc times Kaiser's window, at distances of at most `KERNEL_HALF_WIDTH` samples, up to a factor.

    I0 by its power series (Abramowitz and Stegun 9.6.12), which is a polynomial in the argument squared: a
    third of the time of np.i0, to the last digits as all terms are positive.
    """
    inside = np.maximum(1 - (distance / KERNEL_HALF_WIDTH) ** 2, 0.0)
    window = np.zeros_like(inside)
    for coefficient in _I0_SERIES:
        window *= inside
        window += coefficient
    return np.asarray(np.sinc(distance) * window, np.float64)
