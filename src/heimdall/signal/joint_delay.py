"""Delays of one signal at all its receivers together, by maximum likelihood, and how well they are known.

The signal is Gaussian of unknown spectrum, alike at all receivers but for gain, phase, delay and carrier
offset; noise is what is not alike. With signal to noise ratios s_k(f), S their sum, the likelihood of aligned
spectra X_k with noise N_k is the sum over frequencies of |sum_k sqrt(s_k / N_k) X_k|^2 / (1 + S), for two
receivers the weights of E. J. Hannan and P. J. Thomson, "Estimating group delay", Biometrika 60 (1973),
241-253, and of C. H. Knapp and G. C. Carter, IEEE Trans. ASSP 24 (1976), 320-327: |coherence|^2 /
(1 - |coherence|^2). Its curvature is the information on a delay.

Recordings begin and end, which is no part of the signal: spectra are of an interval within all of them, and a
delay moves what a recording has beyond it into it. So derivatives are taken before the window is applied.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.fft

from heimdall.signal.band import Band
from heimdall.signal.transforms import phase_ramp, squared_magnitude

Float64 = npt.NDArray[np.float64]
Complex128 = npt.NDArray[np.complex128]

_ROUNDS = 5
_EDGE_SHARE = 0.05  # of the interval, on which the window rises, and falls
_CELL_BINS = 16
_MOST_CELLS = 256
_FINER = 4  # cells of one level in one of the next coarser
_UNLIKE = 2.5  # standard deviations of its coherence by which a cell differs from a coarser one
_LEAST_NOISE_SHARE = 0.2  # of what makes the most alike pair of a receiver unlike
_FACTOR_STEPS = 15
_HELD_BACK = 1.0  # standard deviations of a coherence
_MOST_COHERENT = 1 - 1e-9
CLUSTERS = 12
_MOST_OWN = 0.95
_LEAST_SNR = 1e-3
_TINY = np.finfo(np.float64).tiny


@dataclass(frozen=True, eq=False)
class JointDelays:
    """Of R receivers.

    Attributes:
        delay_s: Delays, seconds, shape (R,); that of the reference is as given.
        sigma_s: Standard deviations from noise, independent of each other, shape (R,).
        offset_hz: Carrier offsets, shape (R,).
        offset_sigma_hz: Standard deviations, shape (R,).
        snr_db: Of what is alike to what is not, in the weighted band, shape (R,).
        rms_bandwidth_hz: Of the signal, weighted by what it says of the delay.
    """

    delay_s: Float64
    sigma_s: Float64
    offset_hz: Float64
    offset_sigma_hz: Float64
    snr_db: Float64
    rms_bandwidth_hz: float


class Interval:
    """Part of the time axis that all recordings have, at their delays, with soft edges."""

    def __init__(self, first: int, count: int) -> None:
        edge = max(math.floor(_EDGE_SHARE * count), 1)
        rise = np.sin(math.pi / 2 * (np.arange(edge) + 0.5) / edge) ** 2
        self.part = slice(first, first + count)
        self.window = np.concatenate([rise, np.ones(count - 2 * edge), rise[::-1]])


def solve(
    band: Band, delay_s: Float64, offset_hz: Float64, reference: int, interval: Interval
) -> JointDelays:
    """Delays next to given ones.

    Args:
        band: Spectra of R recordings, two at least.
        delay_s: Delays within a part of 1 / bandwidth, shape (R,).
        offset_hz: Carrier offsets within a part of 1 / duration, shape (R,).
        reference: Row whose delay and offset stay.
        interval: Where all recordings have the signal.
    """
    delay_s, offset_hz = delay_s.copy(), offset_hz.copy()
    for number in range(_ROUNDS):
        values, slopes = _aligned(band, delay_s, offset_hz, interval)
        values, slopes = _in_phase(values, slopes, reference)
        amplitude, noise = signal_and_noise(values)
        moves = _moves(values, slopes, amplitude, noise, reference)
        limit_s = 0.5 / (band.high_hz - band.low_hz)
        delay_s += np.clip(moves, -limit_s, limit_s)
        turn_hz, turn_sigma_hz = _turns(values, amplitude, noise, band.rate_hz, len(interval.window))
        turn_hz[reference] = 0.0
        if number < _ROUNDS - 1:
            offset_hz += turn_hz
    sigma_s, snr_db, bandwidth_hz = _judged(values, slopes, amplitude, noise, len(interval.window))
    return JointDelays(delay_s, sigma_s, offset_hz, turn_sigma_hz, snr_db, bandwidth_hz)


def _aligned(
    band: Band, delay_s: Float64, offset_hz: Float64, interval: Interval
) -> tuple[Complex128, Complex128]:
    """Spectra of the interval at no delay and no offset, by rising frequency, and of the time derivative."""
    frequency = band.frequency_hz
    size = scipy.fft.next_fast_len(len(interval.window))
    values: list[Complex128] = []
    slopes: list[Complex128] = []
    for spectrum, delay, offset in zip(band.spectrum, delay_s.tolist(), offset_hz.tolist(), strict=True):
        moved = spectrum * np.exp(2j * np.pi * np.remainder(frequency * delay, 1.0))
        turn = phase_ramp(-offset / band.rate_hz, len(frequency))[interval.part] * interval.window
        line = phase_ramp(-band.centre_hz / band.rate_hz, len(frequency))[interval.part] * interval.window
        for found, one in ((values, moved), (slopes, moved * (2j * np.pi * frequency))):
            part = scipy.fft.ifft(one)[interval.part]
            part = part - np.vdot(line, part * interval.window) / np.vdot(line, line) * line / interval.window
            part = part * turn
            found.append(scipy.fft.fft(part, size)[_inside(band, size)])
    return np.array(values), np.array(slopes)


def _inside(band: Band, size: int) -> npt.NDArray[np.int64]:
    """Bins of a transform of `size` samples within the band, by rising frequency."""
    half = math.floor((band.high_hz - band.low_hz) / 2 * size / band.rate_hz)
    return np.arange(-half, half + 1)


def _in_phase(values: Complex128, slopes: Complex128, reference: int) -> tuple[Complex128, Complex128]:
    """The same with the phase of the reference."""
    smooth = _spread(_cells(squared_magnitude(values)), values.shape[1])
    flat = values / np.sqrt(np.maximum(smooth, _TINY))
    mean = (flat * flat[reference].conj()).sum(axis=1)
    for _ in range(2):  # TODO
        turned = flat * (mean.conj() / np.maximum(np.abs(mean), _TINY))[:, None]
        total = turned.sum(axis=0)
        mean = (flat * (total - turned).conj()).sum(axis=1)
    turn = (mean.conj() / np.maximum(np.abs(mean), _TINY))[:, None]
    return values * turn, slopes * turn


def _cell_count(bins: int) -> int:
    return max(min(bins // _CELL_BINS, _MOST_CELLS), 1)


def _cells(values: Float64, count: int | None = None) -> Float64:
    """Means of the last axis over `count` cells of nearly the same size."""
    count = count or _cell_count(values.shape[-1])
    edges = np.linspace(0, values.shape[-1], count + 1).astype(np.int64)
    return np.asarray(np.add.reduceat(values, edges[:-1], axis=-1) / np.diff(edges))


def _spread(cells: Float64, bins: int) -> Float64:
    """Values of each bin from those of cells, (..., cells) to (..., bins)."""
    edges = np.linspace(0, bins, cells.shape[-1] + 1).astype(np.int64)
    return np.asarray(np.repeat(cells, np.diff(edges), axis=-1))


def signal_and_noise(values: Complex128) -> tuple[Float64, Float64]:
    """Amplitude of the signal and power of the noise in each bin, shape (R, F) each.

    In each cell of bins, the products of all pairs are those of amplitudes, a_k a_l, and the powers those
    and the noise. A cell that shows no coherence of a receiver has that of a coarser one.

    Args:
        values: Aligned spectra, shape (R, F).
    """
    bins = values.shape[1]
    power = np.maximum(_cells(squared_magnitude(values)), _TINY)
    flat = values / np.sqrt(_spread(power, bins))
    finest = _cell_count(bins)
    coherence = _coherence(flat, 1)
    count = 1
    while count < finest:
        count = min(count * _FINER, finest)
        found = _coherence(flat, count)
        coherence = _refined(coherence, count)
        sigma = (1 - coherence * coherence) / math.sqrt(2 * bins / count)
        coherence = np.where(np.abs(found - coherence) > _UNLIKE * sigma, found, coherence)
    share = _shares(coherence, bins / finest)
    return np.sqrt(_spread(share * power, bins)), _spread((1 - share) * power, bins)


def _refined(cells: Float64, count: int) -> Float64:
    """Values of coarser cells in finer ones."""
    place = (np.arange(count) * cells.shape[-1]) // count
    return np.asarray(cells[..., place])


def _coherence(flat: Complex128, count: int) -> Float64:
    """Of all pairs in each cell, (R, R, count): that part of it which has the phase of the whole."""
    receivers = len(flat)
    products = np.empty((receivers, receivers, count))
    for a in range(receivers):
        for b in range(a, receivers):
            cross = flat[a].real * flat[b].real + flat[a].imag * flat[b].imag
            products[a, b] = products[b, a] = _cells(cross, count)
    own = np.maximum(np.einsum("aac->ac", products), _TINY)
    return np.asarray(products / np.sqrt(own[:, None] * own[None]))


def _shares(coherence: Float64, cell: float) -> Float64:
    """Share of the signal in the power of each receiver and cell, (R, cells), of cells of so many bins."""
    receivers, _, count = coherence.shape
    if receivers == 2:
        return np.asarray(np.clip(np.broadcast_to(coherence[0, 1], (2, count)), 0.0, _MOST_COHERENT))
    # By least squares in turn. What chance makes of no coherence is held back.
    weight = 1 / (1 - np.minimum(coherence * coherence, 1.0) + 1 / cell) ** 2
    weight[np.arange(receivers), np.arange(receivers)] = 0.0
    best = np.where(weight > 0, coherence, 0.0).max(axis=1)
    most = np.sqrt(1 - _LEAST_NOISE_SHARE * (1 - np.clip(best, 0.0, 1.0)))
    chance = _HELD_BACK * (receivers - 1) / math.sqrt(2 * cell)
    factor = np.full((receivers, count), 0.7)
    for _ in range(_FACTOR_STEPS):
        for k in range(receivers):
            top = (weight[k] * factor * coherence[k]).sum(axis=0)
            below = (weight[k] * factor * factor).sum(axis=0) + chance * (1 - factor[k] * factor[k])
            factor[k] = np.clip(top / np.maximum(below, _TINY), 0.0, most[k])
    return np.asarray(np.minimum(factor * factor, _MOST_COHERENT))


def _weighted(values: Complex128, amplitude: Float64, noise: Float64) -> Complex128:
    """Spectra as they go into the likelihood, times the root of its weight; shape (R, F)."""
    total = (amplitude * amplitude / noise).sum(axis=0)
    return np.asarray(values * (amplitude / noise) / np.sqrt(1 + total))


def _moves(
    values: Complex128, slopes: Complex128, amplitude: Float64, noise: Float64, reference: int
) -> Float64:
    """What is to be added to the delays for the largest likelihood, by one step of scoring."""
    y, d = _weighted(values, amplitude, noise), _weighted(slopes, amplitude, noise)
    total, slope = y.sum(axis=0), d.sum(axis=0)
    # The derivative across what a phase does; products of one receiver with itself have noise in them.
    along = max(_real_dot(total, total) - _real_dot(y, y), _TINY)
    centre = (complex(np.vdot(total, slope)) - complex(np.vdot(y, d))).imag / along
    across = d - 1j * centre * y
    information = -2 * np.einsum("af,bf->ab", across.conj(), across).real
    count = len(y)
    own = np.arange(count)
    information[own, own] = 0.0
    information[own, own] = -information.sum(axis=0)
    score = np.zeros(count)
    for k in range(count):
        model, direction = total - y[k], slope - d[k]
        score[k] = -2 * _real_dot(_against(model, direction, y[k], d[k])[0], y[k])
    free = np.flatnonzero((own != reference) & (information[own, own] > 0))
    moves = np.zeros(count)
    matrix = information[np.ix_(free, free)]
    moves[free] = np.linalg.lstsq(matrix, score[free], rcond=1e-6)[0]
    return moves


def _real_dot(a: Complex128, b: Complex128) -> float:
    return float((a.real * b.real + a.imag * b.imag).sum())


def _against(
    model: Complex128, direction: Complex128, y: Complex128, d: Complex128
) -> tuple[Complex128, float, complex]:
    """Derivative of the others' sum across itself, information on the delay, and gain."""
    energy = max(float(squared_magnitude(model).sum()), _TINY)
    across = direction - (complex(np.vdot(model, direction)) / energy) * model
    gain = complex(np.vdot(model, y)) / energy
    return across, 2 * _real_dot(across, d), gain


def _turns(
    values: Complex128, amplitude: Float64, noise: Float64, rate_hz: float, count: int
) -> tuple[Float64, Float64]:
    """Carrier offsets that are left, Hz, and their standard deviations, shape (R,) each."""
    y = _weighted(values, amplitude, noise)
    series = np.array([_in_time(one, count) for one in y])
    time_s = (np.arange(count) - (count - 1) / 2) / rate_hz
    total = series.sum(axis=0)
    turns, sigmas = np.zeros(len(y)), np.full(len(y), np.inf)
    for k, one in enumerate(series):
        product = one * (total - one).conj()
        weight = float(product.real.sum())
        if weight <= 0:
            continue
        middle = float((product.real * time_s).sum()) / weight
        around = time_s - middle
        information = 2 * (2 * math.pi) ** 2 * float((product.real * around * around).sum())
        if information <= 0:
            continue
        turns[k] = 2 * 2 * math.pi * float((product.imag * around).sum()) / information
        sigmas[k] = 1 / math.sqrt(information)
    return turns, sigmas


def _judged(
    values: Complex128, slopes: Complex128, amplitude: Float64, noise: Float64, count: int
) -> tuple[Float64, Float64, float]:
    """Standard deviations of the delays, ratios of signal to noise, and the rms bandwidth, as `JointDelays`.

    The score of a delay is a sum over frequencies, or over times. Model and recordings agree if the sums
    of `CLUSTERS` parts scatter as the information says; if they scatter more, by echoes, filters or
    interference, so does the delay.
    """
    y, d = _weighted(values, amplitude, noise), _weighted(slopes, amplitude, noise)
    snr = amplitude * amplitude / noise
    share = snr / np.maximum(snr.sum(axis=0), _TINY)
    total, slope = y.sum(axis=0), d.sum(axis=0)
    receivers = len(y)
    sigma_s, level, bandwidth_hz = np.full(receivers, np.inf), np.zeros(receivers), np.zeros(receivers)
    for k in range(receivers):
        model, direction = total - y[k], slope - d[k]
        across, information, gain = _against(model, direction, y[k], d[k])
        along = _real_dot(model, y[k])
        if information <= 0 or along <= 0:
            continue
        bandwidth_hz[k] = math.sqrt(information / 2 / along) / (2 * math.pi)
        weight = squared_magnitude(across)
        # What a receiver says of itself is in its product with the others: of two alike, twice as much.
        own = min(float((share[k] * weight).sum() / weight.sum()), _MOST_OWN)
        rest = y[k] - gain * model
        scatter = max(
            _scatter(across, rest), _scatter(_in_time(across, count), _in_time(rest, count)), information
        )
        sigma_s[k] = math.sqrt((1 - own) * scatter) / information
        level[k] = float((weight * snr[k]).sum() / weight.sum())
    best = int(np.argmin(sigma_s))
    return sigma_s, np.asarray(10 * np.log10(np.maximum(level, _LEAST_SNR))), float(bandwidth_hz[best])


def _scatter(across: Complex128, rest: Complex128) -> float:
    """Variance of the score by the scatter of its parts, each with as much of the derivative."""
    score = -2 * (across.real * rest.real + across.imag * rest.imag)
    ends = np.cumsum(squared_magnitude(across))
    part = np.minimum((ends / ends[-1] * CLUSTERS).astype(np.int64), CLUSTERS - 1)
    sums = np.bincount(part, score, CLUSTERS)
    return CLUSTERS / (CLUSTERS - 1) * float((sums * sums).sum())


def _in_time(spectrum: Complex128, count: int) -> Complex128:
    """Time series of a spectrum by rising frequency, within the interval."""
    size = scipy.fft.next_fast_len(count)
    half = len(spectrum) // 2
    whole = np.zeros(size, np.complex128)
    whole[np.arange(-half, half + 1)] = spectrum
    return np.asarray(scipy.fft.ifft(whole)[:count] * math.sqrt(size), np.complex128)
