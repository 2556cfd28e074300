"""What pairs of receivers say of their delays that the delays of all together do not account for.

Noise of one receiver is in all its pairs alike, so the delays of pairs add up around a triangle however noisy
they are, but for products of noise. A second transmission, which lies at other delays and phases, changes the
slope of the phase of each pair by another amount, and nothing else shows that: against the sum of the others
it averages out, and over the band it is smooth. Three receivers have one triangle, whose delays may add up by
chance; there the coherences in single cells of the band tell.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import scipy.fft
from scipy.special import chdtrc

from heimdall.signal.transforms import squared_magnitude

Float64 = npt.NDArray[np.float64]
Complex128 = npt.NDArray[np.complex128]

_LEAST_ALIKE = 1e-12  # of the most of all pairs: what is below says nothing of time
_LEAST_COHERENCE = 1e-6
_COARSER = 4  # cells in one of the next coarser
# Of a phase, and of the logarithm of a share: what echoes at several receivers make of them, which differ
# within a cell of the band.
_NOT_NOISE = 5e-3
_LEAST_DIRECT = 1e-5  # of the energy of a line in the cell that has most of it
_FALSE_ALARM = 1e-5  # of one statistic, of which there are four for each size of cells


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


def more_than_one(values: Complex128, lines: Complex128, edges: npt.NDArray[np.int64]) -> bool:
    """Whether three recordings show more in common than one signal.

    Of one signal and noise that is each receiver's own, the coherences are c_kl = a_k a_l^*, with |a_k|^2 the
    signal's share of the power, whatever filters and echoes the receivers have. So their phases add up to 0
    around the triangle (R. C. Jennison, Monthly Notices of the RAS 118 (1958), 276-284), and no share
    |c_kl c_km / c_lm| exceeds 1 (H. B. Heywood, Proc. Royal Society A 134 (1931), 486-501). Two signals of
    other phases at the receivers break the first if one is weaker, and the second if they are alike.

    Noise shows in either by products alone: of receivers k and l with ratios r of noise to signal, with the
    variance r_k r_l / 2 n of n bins. As r_k + r_l is at most 1 / |c_kl|^2 - 1, that is bound.

    Args:
        values: Aligned spectra, by rising frequency, shape (3, F).
        lines: What direct current is in each, shape (3, F): cells that have it are left out, for receivers
            may have that in common, too.
        edges: Where cells of the band begin, and where the last one ends, shape (cells + 1,).
    """
    others, next_others = values[[1, 2, 0]], values[[2, 0, 1]]  # than the first, the second and the third
    product = np.add.reduceat(others * next_others.conj(), edges[:-1], axis=1)
    power = np.add.reduceat(squared_magnitude(values), edges[:-1], axis=1)
    power = np.maximum(power, np.finfo(np.float64).tiny)
    coherence = product / np.sqrt(power[[1, 2, 0]]) / np.sqrt(power[[2, 0, 1]])
    alike = np.clip(np.abs(coherence), _LEAST_COHERENCE, 1.0)
    unlike = 1 / alike**2 - 1
    most = np.minimum(unlike[[1, 2, 0]], unlike[[2, 0, 1]])  # of noise to signal, of each receiver
    noise = np.minimum(unlike**2 / 4, most[[1, 2, 0]] * most[[2, 0, 1]])
    variance = noise / (2 * np.diff(edges)) + _NOT_NOISE**2
    around = np.angle(coherence.prod(axis=0))
    share = np.log(alike).sum(axis=0) - 2 * np.log(alike)
    statistics = [(around, variance.sum(axis=0), -math.inf)]
    statistics += [(found, by, 0.0) for found, by in zip(share, variance, strict=True)]  # less is noise
    direct = np.add.reduceat(squared_magnitude(lines), edges[:-1], axis=1).max(axis=0)
    kept = np.flatnonzero(direct <= _LEAST_DIRECT * direct.max())
    count, chances = len(kept), [1.0]
    while count:
        first = (np.arange(count) * len(kept)) // count
        for found, by, least in statistics:
            weight = 1 / by[kept]
            sums = np.add.reduceat(found[kept] * weight, first)
            deviation = sums / np.sqrt(np.add.reduceat(weight, first))
            beyond = np.maximum(deviation, least)
            chances.append(float(chdtrc(count, float((beyond * beyond).sum()))))
        count = max(count // _COARSER, 1) if count > 1 else 0
    return min(chances) < _FALSE_ALARM
