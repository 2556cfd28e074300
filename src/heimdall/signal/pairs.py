"""What pairs of receivers say of their delays that the delays of all together do not account for.

Noise of one receiver is in all its pairs alike, so the delays of pairs add up around a triangle however noisy
they are, but for products of noise. A second transmission, which lies at other delays and phases, changes the
slope of the phase of each pair by another amount, and nothing else shows that: against the sum of the others
it averages out, and over the band it is smooth.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import scipy.fft

from heimdall.signal.transforms import squared_magnitude

Float64 = npt.NDArray[np.float64]
Complex128 = npt.NDArray[np.complex128]

_LEAST_ALIKE = 1e-12  # of the most of all pairs: what is below says nothing of time


def disagreement_s(had: Complex128, slope: Complex128, rest: Complex128, rate_hz: float) -> Float64:
    """Standard deviation of the delays by what the pairs say beyond them, seconds, shape (R,).

    By the scatter of the scores of a receiver's pairs, less what products of noise make of them. It is drawn
    from (R - 1) (R - 2) / 2 triangles: of few it may be too small by chance, and so it is taken for more, by
    the mean of the inverse of a chi-square variable. Without a triangle it is 0.

    Args:
        had: Weighted time series of the receivers, aligned at their delays, shape (R, T).
        slope: Their derivatives, shape (R, T).
        rest: What the others do not say of them, shape (R, T).
        rate_hz: Of the samples.
    """
    receivers, size = had.shape
    triangles = (receivers - 1) * (receivers - 2) // 2
    if not triangles:
        return np.zeros(receivers)
    product = had @ had.conj().T
    along = product.real * (1 - np.eye(receivers))
    first = slope @ had.conj().T
    first = (first - first.conj().T) / 2
    evident = along > _LEAST_ALIKE * max(float(along.max()), np.finfo(np.float64).tiny)
    centre = np.where(evident, first.imag, 0.0) / np.where(evident, along, 1.0)
    information = np.where(evident, (slope @ slope.conj().T).real - centre * first.imag, 0.0)
    information = np.maximum(information, 0.0)
    score = np.where(information > 0, first.real + centre * product.imag, 0.0)
    power = squared_magnitude(scipy.fft.fft(rest)) / size
    by = 2 * math.pi * rate_hz * scipy.fft.fftfreq(size)
    chance = power * by * by @ power.T - centre * (2 * (power * by) @ power.T - centre * (power @ power.T))
    chance = np.where(information > 0, chance / 2, 0.0)
    excess = np.maximum((score * score - chance).sum(axis=1), 0.0)
    excess *= (receivers - 1) / (receivers - 2) * (1 + 2 / triangles)
    total = information.sum(axis=1)
    return np.asarray(np.sqrt(excess) / np.where(total > 0, total, math.inf))
