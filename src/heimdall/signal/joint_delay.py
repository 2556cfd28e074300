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

import itertools
import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.fft
import scipy.ndimage

from heimdall.signal.band import Band
from heimdall.signal.correlation import normalised_product
from heimdall.signal.pairs import disagreement_s, more_than_one
from heimdall.signal.sample_clock import Growth
from heimdall.signal.transforms import delay_ramp, phase_ramp, squared_magnitude

Float64 = npt.NDArray[np.float64]
Complex128 = npt.NDArray[np.complex128]

_ROUNDS = 8
_SETTLED = 0.05  # standard deviations
# Over the signal, one round after the other. No two receivers are more alike than the last.
_LEAST_NOISE = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
_STARTS = 3
_BETTER_NATS = 1.0
_MOST_NATS = 600.0
_FINE = 4  # lags a sample
_SIGMAS = 6.0  # from a delay to another one
_BROAD = 2.0
_EVIDENT = (
    4.0  # of carriers that are never keyed 3.0 was the most, of Morse code 4 and more where it is heard
)
_MOST_ALIKE = 300.0  # of recordings, over what is not alike: echoes and clocks allow no more
_BACK = 0.3  # of the step before
_PHASE_ROUNDS = 2
_PHASE_STEPS = 4
_EDGE_SHARE = 0.05  # of the interval, on which the window rises, and falls
_CELL_BINS = 64
_MOST_CELLS = 256
_SHAPE_BINS = 15  # of about 1 Hz: the side bands of slow Morse code are a few hertz apart
_LEAST_SHAPE = 1e-3
_NEAR_CYCLES = 1.5  # over the interval
_SAME_LINE = 1e-6  # of its energy
_LINE_BINS = 32  # of a line of direct current, on either side
_LEAST_POWER = 1e-15  # of the strongest cell: below it is what rounding leaves
_FINER = 4  # cells of one level in one of the next coarser
_UNLIKE = 2.5  # standard deviations of its coherence by which a cell differs from a coarser one
_LEAST_NOISE_SHARE = 0.2  # of what makes the most alike pair of a receiver unlike
_FACTOR_STEPS = 15
_NOISE_CELLS = 5
_WEAK = 0.3  # share of the signal: of more, the recording itself tells the spectrum well
_EVIDENT_OTHER = 2.0  # standard deviations
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
        sigma_s: Standard deviations by noise and by what pairs do not agree in, independent of each other,
            shape (R,).
        offset_hz: Carrier offsets, shape (R,).
        offset_sigma_hz: Standard deviations, shape (R,).
        snr_db: Of what is alike to what is not, in the weighted band, shape (R,).
        rms_bandwidth_hz: Of the signal, weighted by what it says of the delay.
        doubt: Probability that the delay is another one, far away, shape (R,).
        other_share: Power of what else is alike in each recording and others, such as a second transmission,
            over that of the signal, shape (R,).
        direct: Amplitude of each receiver's own direct current, complex128, shape (R,).
        growth: Of the delays over the interval, over that of the reference.
    """

    delay_s: Float64
    sigma_s: Float64
    offset_hz: Float64
    offset_sigma_hz: Float64
    snr_db: Float64
    rms_bandwidth_hz: float
    doubt: Float64
    other_share: Float64
    direct: Complex128
    growth: Growth


class Interval:
    """Part of the time axis that all recordings have, at their delays, with soft edges."""

    def __init__(self, first: int, count: int) -> None:
        edge = max(math.floor(_EDGE_SHARE * count), 1)
        rise = np.sin(math.pi / 2 * (np.arange(edge) + 0.5) / edge) ** 2
        self.part = slice(first, first + count)
        self.window = np.concatenate([rise, np.ones(count - 2 * edge), rise[::-1]])


def solve(
    band: Band,
    delay_s: Float64,
    offset_hz: Float64,
    *,
    reference: int,
    interval: Interval,
    max_lag_s: Float64,
) -> JointDelays:
    """The most likely delays of all receivers.

    Args:
        band: Spectra of R recordings, two at least.
        delay_s: Delays within a part of 1 / bandwidth, shape (R,).
        offset_hz: Carrier offsets within a part of 1 / duration, shape (R,).
        reference: Row whose delay and offset stay.
        interval: Where all recordings have the signal.
        max_lag_s: Largest delay over that of the reference, shape (R,).
    """
    delay_s, offset_hz = delay_s.copy(), offset_hz.copy()
    for _ in range(_STARTS):
        last = _converged(band, delay_s, offset_hz, reference, interval)
        elsewhere = _all_elsewhere(last, band, interval, max_lag_s)
        delay_s, offset_hz = last.delay_s.copy(), last.offset_hz.copy()
        better = [one.lag_s if one.gain_nats > _BETTER_NATS else 0.0 for one in elsewhere]
        better[reference] = 0.0
        if not any(better):
            break
        delay_s += better
    sigma_s, snr_db, bandwidth_hz = _judged(last.standing, last.snr)
    sigma_s = np.hypot(sigma_s, last.unlike_s)
    # All that is not alike at three receivers may then be of the other signal.
    unlike = float(np.mean(10 ** (-snr_db / 10))) if last.several else 0.0
    # What the reference's offset should still change by: with carriers near 0 Hz not all agree.
    left_hz = last.standing[reference].offset_hz
    offset_sigma_hz = np.array([math.hypot(one.offset_sigma_hz, left_hz) for one in last.standing])
    doubt = np.array([one.probability for one in elsewhere])
    doubt[[one.evidence < _EVIDENT for one in last.standing]] = 1.0
    return JointDelays(
        last.delay_s,
        sigma_s,
        last.offset_hz,
        offset_sigma_hz,
        snr_db,
        bandwidth_hz,
        doubt,
        np.maximum(last.other_share, unlike),
        last.direct[:, 0],
        Growth(last.growth, sigma_s * last.growth_ratio),
    )


@dataclass(frozen=True, eq=False)
class _Converged:
    """Delays and offsets, and each receiver against the others there.

    `weight` turns spectra of the interval, by rising frequency, to what goes into the likelihood, (R, F).
    `direct` is the amplitude of each receiver's own direct current, (R, 1). `growth` is that of the delays,
    and `growth_ratio` its standard deviation over that of the delay, 1 / s, (R,) each. `unlike_s` is what the
    delays scatter by because pairs do not agree, (R,). `several` is whether three
    receivers show more than one signal; of more receivers `other_share` tells.
    """

    delay_s: Float64
    offset_hz: Float64
    standing: list[_Standing]
    snr: Float64
    weight: Complex128
    other_share: Float64
    direct: Complex128
    growth: Float64
    growth_ratio: Float64
    unlike_s: Float64
    several: bool


def _converged(
    band: Band, delay_s: Float64, offset_hz: Float64, reference: int, interval: Interval
) -> _Converged:
    """The nearest maximum of the likelihood."""
    delay_s, offset_hz = delay_s.copy(), offset_hz.copy()
    last_s = np.zeros_like(delay_s)
    limit_s = 0.5 / (band.high_hz - band.low_hz)
    count = len(interval.window)
    limit_hz = 0.25 * band.rate_hz / count
    for number in range(_ROUNDS):
        given, slopes = _aligned(band, delay_s, offset_hz, interval)
        lines = _lines(band, delay_s, offset_hz, interval)
        near = _around_lines(band, offset_hz, given.shape[1], count)
        if number == 0:
            direct = _onto(lines[:, near], given[:, near])
        values = given - direct * lines
        flat = values / np.sqrt(
            _spread(np.maximum(_cells(squared_magnitude(values)), _TINY), values.shape[1])
        )
        whole = _phases(flat)
        for _ in range(_PHASE_ROUNDS):  # a phase that is off passes for noise, and noise for other weights
            values = (given - direct * lines) * whole
            cells, noise = signal_and_noise(values)
            # What is not aligned yet passes for noise: at first nobody is to be trusted more than others.
            least = _LEAST_NOISE[min(number, len(_LEAST_NOISE) - 1)] * cells * cells
            trusted = bool((noise >= least).all())
            noise = np.maximum(noise, least)
            amplitude = cells * np.sqrt(_shape(values, cells, noise))
            snr = amplitude * amplitude / noise
            weight = amplitude / noise / np.sqrt(1 + snr.sum(axis=0))
            whole = whole * _phases(values * weight)
            direct = _direct(lines[:, near], given[:, near], noise[:, near], (weight * whole)[:, near])
        by = weight * whole
        line_slope = -2j * np.pi * (band.centre_hz + offset_hz[:, None])
        weighted = (given - direct * lines) * by, (slopes - direct * line_slope * lines) * by
        y, d, line = (np.array([_in_time(one, count) for one in ones]) for ones in (*weighted, lines * by))
        time_s = np.asarray((np.arange(y.shape[1]) - count / 2) / band.rate_hz, np.float64)
        # What the others say that each has: weights differ from one receiver and cell to the next.
        said = (weighted[0].sum(axis=0) - weighted[0]) * (snr / (1 + snr.sum(axis=0) - snr))
        near_lines = _near_lines(line, offset_hz, count / band.rate_hz)
        others_y, others_d = y.sum(axis=0) - y, d.sum(axis=0) - d
        standing = [
            _standing((y[k], d[k]), (others_y[k], others_d[k]), _in_time(one, count), time_s, near_lines[k])
            for k, one in enumerate(said)
        ]
        left_s = np.array([one.delay_s for one in standing])
        left_hz = np.array([one.offset_hz for one in standing])
        step_s = np.clip(_jointly(left_s, d - y * _centre(y, d), reference), -limit_s, limit_s)
        step_hz = np.clip(
            _jointly(left_hz, np.asarray(y * time_s, np.complex128), reference), -limit_hz, limit_hz
        )
        information = np.array([one.information for one in standing])
        settled = bool((step_s * step_s * information < _SETTLED**2).all())
        if number == _ROUNDS - 1 or (settled and (trusted or number >= len(_LEAST_NOISE) - 1)):
            break
        # Weights that a step changes may send it back and forth.
        if number > 1 and -float((step_s * last_s).sum()) > _BACK * float((last_s * last_s).sum()):
            step_s = step_s / 2
        delay_s, offset_hz, last_s = delay_s + step_s, offset_hz + step_hz, step_s
    values, bins = (given - direct * lines) * whole, given.shape[1]
    other = _other_share(values, cells)
    several = len(values) == 3 and more_than_one(values, lines, _edges(bins, _cell_count(bins)))
    rate, ratio = np.array(
        [_growth(one, d[k], _in_time(said[k], count), time_s) for k, one in enumerate(standing)]
    ).T
    growing = np.asarray((d - y * _centre(y, d)) * time_s, np.complex128)
    unlike_s = disagreement_s(y, d, np.array([one.rest for one in standing]), band.rate_hz)
    return _Converged(
        delay_s,
        offset_hz,
        standing,
        snr,
        by,
        other,
        direct,
        _jointly(rate, growing, reference),
        ratio,
        unlike_s,
        several,
    )


class _Elsewhere(NamedTuple):
    """The best other lag, how many nats more it has, and the probability of all others."""

    lag_s: float
    gain_nats: float
    probability: float


def _weighted(last: _Converged, band: Band, interval: Interval) -> Complex128:
    """Spectra of the whole recordings as they go into the likelihood, in FFT order, shape (R, n)."""
    size = len(band.frequency_hz)
    cycles = scipy.fft.fftfreq(size)
    half = last.weight.shape[1] // 2
    axis = np.arange(-half, half + 1) / scipy.fft.next_fast_len(len(interval.window))
    found = np.empty((len(last.delay_s), size), np.complex128)
    for row, spectrum in enumerate(band.spectrum - last.direct * band.direct):
        moved = spectrum * delay_ramp(-float(last.delay_s[row]) * band.rate_hz, size)
        turn = phase_ramp(-float(last.offset_hz[row]) / band.rate_hz, size)
        weight = last.weight[row]
        by = np.interp(cycles, axis, weight.real) + 1j * np.interp(cycles, axis, weight.imag)
        found[row] = scipy.fft.fft(scipy.fft.ifft(moved) * turn) * by
    return found


def _all_elsewhere(last: _Converged, band: Band, interval: Interval, max_lag_s: Float64) -> list[_Elsewhere]:
    """Whether the delays of receivers may be other ones: the likelihood at all lags.

    The recording is not cut, only what the others say is, and each lag is normalised by what the recording
    has there: so a carrier that is never keyed is as likely at all lags.
    """
    weighted = _weighted(last, band, interval)
    size, rate_hz = weighted.shape[1], band.rate_hz
    window = np.zeros(_FINE * size)
    window[_FINE * interval.part.start : _FINE * interval.part.stop] = np.repeat(interval.window**2, _FINE)
    window_spectrum = scipy.fft.fft(window)
    bins = np.arange(-(size // 2), (size + 1) // 2)
    total = weighted.sum(axis=0)
    found = []
    for row, (one, delay, most) in enumerate(
        zip(last.standing, last.delay_s.tolist(), max_lag_s.tolist(), strict=True)
    ):
        if one.information <= 0 or abs(delay) > most:
            found.append(_Elsewhere(0.0, 0.0, 1.0))
            continue
        reach = min(math.ceil(max(most + abs(delay), 2 / rate_hz) * rate_hz), size // 4)
        own, others = np.zeros((2, _FINE * size), np.complex128)
        own[bins], others[bins] = weighted[row, bins], (total - weighted[row])[bins]
        within = scipy.fft.fft(window * scipy.fft.ifft(others))
        lags = normalised_product(scipy.fft.ifft(own), own, within, window_spectrum, _FINE * reach)
        found.append(_elsewhere(one, lags, _FINE * rate_hz, (-most - delay, most - delay)))
    return found


def _elsewhere(one: _Standing, found: Complex128, fine_hz: float, lags_s: tuple[float, float]) -> _Elsewhere:
    """What the likelihood of a delay, at lags on either side of it, says of other ones within `lags_s`."""
    strength = np.sqrt(squared_magnitude(found))
    middle = len(strength) // 2
    lag_s = np.arange(-middle, middle + 1) / fine_hz
    fall = strength / max(float(strength[middle]), _TINY) - 1
    alike = min(one.along, _MOST_ALIKE * one.cells)
    # Of a peak as broad as that, and of the delay itself.
    broad_s, sigma_s = math.sqrt(one.along / alike / one.information), 1 / math.sqrt(one.information)
    step_s = 1 / fine_hz
    possible = (lag_s >= lags_s[0]) & (lag_s <= lags_s[1])
    away = possible & (np.abs(lag_s) > max(_SIGMAS * broad_s, 2 * step_s))
    if sigma_s > step_s:  # the peak itself is to be as narrow as it claims
        near = possible & (np.abs(lag_s) <= _SIGMAS * sigma_s)
        height = np.exp(np.clip(2 * one.along * fall[near], -_MOST_NATS, _MOST_NATS))
        spread_s2 = float((height * lag_s[near] ** 2).sum() / height.sum())
        if spread_s2 > (_BROAD * sigma_s) ** 2 or lags_s[1] - lags_s[0] < _SIGMAS * sigma_s:
            return _Elsewhere(0.0, 0.0, 1.0)
    nats = 2 * alike * fall
    mass = (
        float(np.exp(np.minimum(nats[away], _MOST_NATS)).sum()) * step_s / (math.sqrt(2 * math.pi) * broad_s)
    )
    peaks = 1 + np.flatnonzero((nats[1:-1] >= nats[:-2]) & (nats[1:-1] > nats[2:]) & away[1:-1])
    if not len(peaks):
        return _Elsewhere(0.0, 0.0, mass / (1 + mass))
    # Between the lags a peak may be higher than at any.
    before, at, after = nats[peaks - 1], nats[peaks], nats[peaks + 1]
    top = at - (before - after) ** 2 / (8 * (before - 2 * at + after))
    best = int(np.argmax(top))
    gain = float(top[best])
    mass = max(mass, math.exp(min(gain, _MOST_NATS)))
    return _Elsewhere(float(lag_s[peaks[best]]), gain, mass / (1 + mass))


def aligned(band: Band, delay_s: Float64, offset_hz: Float64, interval: Interval) -> Complex128:
    """Spectra of the interval at no delay and no offset, by rising frequency, shape (R, F)."""
    return _aligned(band, delay_s, offset_hz, interval)[0]


def _aligned(
    band: Band, delay_s: Float64, offset_hz: Float64, interval: Interval
) -> tuple[Complex128, Complex128]:
    """Spectra of the interval at no delay and no offset, by rising frequency, and of the time derivative."""
    frequency = band.frequency_hz
    size = scipy.fft.next_fast_len(len(interval.window))
    values: list[Complex128] = []
    slopes: list[Complex128] = []
    for spectrum, delay, offset in zip(band.spectrum, delay_s.tolist(), offset_hz.tolist(), strict=True):
        moved = spectrum * delay_ramp(-delay * band.rate_hz, len(frequency))
        turn = phase_ramp(-offset / band.rate_hz, len(frequency))[interval.part] * interval.window
        # About its own carrier: what the offset turns is the phase, which is another unknown.
        for found, one in ((values, moved), (slopes, moved * (2j * np.pi * (frequency - offset)))):
            found.append(scipy.fft.fft(scipy.fft.ifft(one)[interval.part] * turn, size)[_inside(band, size)])
    return np.array(values), np.array(slopes)


def _lines(band: Band, delay_s: Float64, offset_hz: Float64, interval: Interval) -> Complex128:
    """What direct current of amplitude 1 is in each spectrum of `_aligned`, shape (R, F)."""
    size = scipy.fft.next_fast_len(len(interval.window))
    inside = _inside(band, size)
    found = np.zeros((len(delay_s), len(inside)), np.complex128)
    for row in np.flatnonzero(band.direct_level).tolist():
        turn = phase_ramp(-(band.centre_hz + float(offset_hz[row])) / band.rate_hz, len(band.frequency_hz))
        begin = np.exp(-2j * np.pi * np.remainder(band.centre_hz * delay_s[row], 1.0))
        line = scipy.fft.fft(begin * turn[interval.part] * interval.window, size)
        found[row] = band.direct_level[row] * line[inside]
    return found


def _around_lines(band: Band, offset_hz: Float64, bins: int, count: int) -> slice:
    """The bins in which direct current shows, of `bins` by rising frequency."""
    place = bins // 2 - (band.centre_hz + offset_hz) * scipy.fft.next_fast_len(count) / band.rate_hz
    first, last = math.floor(place.min()) - _LINE_BINS, math.ceil(place.max()) + _LINE_BINS
    return slice(min(max(first, 0), bins), min(max(last + 1, 0), bins))


def _onto(lines: Complex128, given: Complex128) -> Complex128:
    """Amplitudes of the lines in spectra, by least squares, shape (R, 1)."""
    energy = np.maximum(squared_magnitude(lines).sum(axis=1, keepdims=True), _TINY)
    return np.asarray((lines.conj() * given).sum(axis=1, keepdims=True) / energy)


def _direct(lines: Complex128, given: Complex128, noise: Float64, by: Complex128) -> Complex128:
    """The most likely amplitudes of the receivers' direct current, shape (R, 1).

    Those for which the sum over frequencies of |X_k|^2 / N_k less |sum_k by_k X_k|^2, in which X_k are the
    spectra less the lines, is least: a carrier that is there, too, is what others have as well.
    """
    if not lines.any():
        return np.zeros((len(lines), 1), np.complex128)
    weighted = lines * by
    matrix = -np.array([(one.conj() * weighted).sum(axis=1) for one in weighted])
    own = np.arange(len(lines))
    matrix[own, own] += (squared_magnitude(lines) / noise).sum(axis=1) + _TINY
    right = (lines.conj() * given / noise).sum(axis=1) - (weighted.conj() * (given * by).sum(axis=0)).sum(
        axis=1
    )
    return _solved(matrix, right)[:, None]


def _solved(matrix: Complex128, right: Complex128) -> Complex128:
    """The solution of a Hermitian positive definite system, by elimination."""
    rows = np.concatenate([matrix, right[:, None]], axis=1)
    count = len(rows)
    for k in range(count):
        rows[k] /= rows[k, k]
        others = np.arange(count) != k
        rows[others] -= rows[others, k][:, None] * rows[k]
    return rows[:, -1]


def _inside(band: Band, size: int) -> npt.NDArray[np.int64]:
    """Bins of a transform of `size` samples within the band, by rising frequency.

    Not those where its edges take most: what a window leaves there of the signal would count for much.
    """
    half = math.floor(((band.high_hz - band.low_hz) / 2 - band.soft_hz / 2) * size / band.rate_hz)
    return np.arange(-half, half + 1)


def _phases(y: Complex128) -> Complex128:
    """What turns each of R spectra to the phase of the sum of the others, shape (R, 1)."""
    count = len(y)
    products = np.zeros((count, count), np.complex128)
    for a, b in itertools.combinations(range(count), 2):
        products[a, b] = np.vdot(y[a], y[b])
        products[b, a] = products[a, b].conjugate()
    turns = np.ones(count, np.complex128)
    for step in range(_PHASE_STEPS):
        for k in range(count):
            model = slice(k - 1, k) if step == 0 and k else slice(None)
            mean = complex((turns[model].conj() * products[model, k]).sum()) * complex(turns[k])
            turns[k] *= mean.conjugate() / abs(mean) if mean else 1.0
    return turns[:, None]


def _cell_count(bins: int) -> int:
    return max(min(bins // _CELL_BINS, _MOST_CELLS), 1)


def _edges(bins: int, count: int) -> npt.NDArray[np.int64]:
    """Where `count` cells of nearly the same size begin, and where the last one ends."""
    return np.linspace(0, bins, count + 1).astype(np.int64)


def _cells(values: Float64, count: int | None = None) -> Float64:
    """Means of the last axis over `count` cells of nearly the same size."""
    count = count or _cell_count(values.shape[-1])
    edges = _edges(values.shape[-1], count)
    return np.asarray(np.add.reduceat(values, edges[:-1], axis=-1) / np.diff(edges))


def _spread(cells: Float64, bins: int) -> Float64:
    """Values of each bin from those of cells, (..., cells) to (..., bins)."""
    return np.asarray(np.repeat(cells, np.diff(_edges(bins, cells.shape[-1])), axis=-1))


def signal_and_noise(values: Complex128) -> tuple[Float64, Float64]:
    """Amplitude of the signal and power of the noise in each bin, shape (R, F) each.

    In each cell of bins, the products of all pairs are those of amplitudes, a_k a_l, and the powers those
    and the noise. A cell that shows no coherence of a receiver has that of a coarser one.

    Args:
        values: Aligned spectra, shape (R, F).
    """
    bins = values.shape[1]
    power = _cells(squared_magnitude(values))
    power = np.maximum(power, np.maximum(_LEAST_POWER * power.max(axis=1, keepdims=True), _TINY))
    flat = values / np.sqrt(_spread(power, bins))
    finest = _cell_count(bins)
    counts = [1]
    while counts[-1] < finest:
        counts.append(min(counts[-1] * _FINER, finest))
    coherence, *finer = _coherences(flat, counts)
    for count, found in zip(counts[1:], finer, strict=True):
        coherence = _refined(coherence, count)
        sigma = (1 - np.maximum(coherence**2, found**2)) / math.sqrt(2 * bins / count)
        coherence = np.where(np.abs(found - coherence) > _UNLIKE * sigma, found, coherence)
    share = _as_strongest(_shares(coherence, bins / finest), power, bins / finest)
    # Noise is smooth: where a cell has less by chance, it would count for too much.
    noise = (1 - share) * power
    noise = np.maximum(noise, scipy.ndimage.median_filter(noise, (1, _NOISE_CELLS), mode="nearest"))
    return np.sqrt(_spread(share * power, bins)), _spread(noise, bins)


def _as_strongest(share: Float64, power: Float64, cell: float) -> Float64:
    """Shares of the signal by its spectrum where it is strongest, unless a receiver's own differ from it.

    The signal has one spectrum. In a recording where it is weak, single cells show little of it.

    Args:
        share: Of the signal in the power, shape (R, cells).
        power: Shape (R, cells).
        cell: How many bins a cell has.
    """
    strongest = int(np.argmax(share.sum(axis=1)))
    expected = share[strongest] * power[strongest] / power
    sigma = (2 * np.sqrt(share) * (1 - share) + 1 / math.sqrt(cell)) / math.sqrt(2 * cell)
    weight = (expected / sigma) ** 2
    gain = (weight * share / np.maximum(expected, _TINY)).sum(axis=1) / np.maximum(weight.sum(axis=1), _TINY)
    said = gain[:, None] * expected
    weak = (np.maximum(share, said) < _WEAK) & (np.abs(share - said) < _UNLIKE * sigma)
    return np.asarray(np.where(weak, said, share))


def _other_share(values: Complex128, amplitude: Float64) -> Float64:
    """What the products of a receiver with the others have that one signal does not explain, shape (R,).

    Over what it explains, and as far as it is more than noise has by chance: n products have a coherence
    squared of 1 / n in the mean, and that as standard deviation.

    Args:
        values: Aligned spectra, also in phase, shape (R, F).
        amplitude: Of the signal in each bin, alike within a cell, shape (R, F).
    """
    receivers, bins = values.shape
    power, said = _cells(squared_magnitude(values)), _cells(amplitude)
    share = power.shape[1] / bins
    explained, other, scatter = np.zeros((3, receivers))
    for a in range(receivers):
        for b in range(a + 1, receivers):
            product = values[a] * values[b].conj()
            alike = said[a] * said[b]
            real, imaginary = _cells(product.real), _cells(product.imag)
            # Of weak recordings the amplitudes are held back, which is no other signal.
            alike *= max(float((real * alike).sum()) / max(float((alike * alike).sum()), _TINY), 1.0)
            real -= alike
            chance = np.maximum(power[a] * power[b] - alike * alike, 0.0) * share
            other[[a, b]] += float((real * real + imaginary * imaginary - chance).sum())
            scatter[[a, b]] += float((chance * chance).sum())
            explained[[a, b]] += float((alike * alike).sum())
    other = np.maximum(other - _EVIDENT_OTHER * np.sqrt(scatter), 0.0)
    return np.asarray(other / np.maximum(explained, _TINY))


def _shape(values: Complex128, amplitude: Float64, noise: Float64) -> Float64:
    """Power of the signal in each bin over that in its cell, shape (F,): a keyed carrier is narrower.

    By the power of the sum of all, of expectation S + S^2 with S the sum of their ratios of signal to noise,
    over the bins around each; as far as that is not what chance makes of it.
    """
    weight = amplitude / noise
    total = np.clip((amplitude * weight).sum(axis=0), 1e-9, 1e9)
    ratio = squared_magnitude((values * weight).sum(axis=0)) / (total * (1 + total))
    mean = scipy.ndimage.correlate1d(ratio, np.full(_SHAPE_BINS, 1 / _SHAPE_BINS), mode="nearest")
    found = np.maximum((mean * (1 + total) - 1) / total, _LEAST_SHAPE)
    chance = (1 + 1 / total) / math.sqrt(_SHAPE_BINS)
    shape = np.asarray(np.where(np.abs(found - 1) > _UNLIKE * chance, found, 1.0))
    return shape / _spread(_cells(shape), len(shape))


def _refined(cells: Float64, count: int) -> Float64:
    """Values of coarser cells in finer ones."""
    place = (np.arange(count) * cells.shape[-1]) // count
    return np.asarray(cells[..., place])


def _coherences(flat: Complex128, counts: list[int]) -> list[Float64]:
    """Of all pairs in each cell, (R, R, count) each: that part of it which has the phase of the whole."""
    receivers, bins = flat.shape
    edges = [_edges(bins, count)[:-1] for count in counts]
    parts = np.unique(np.concatenate(edges))
    products = np.empty((receivers, receivers, len(parts)))
    real, imaginary = flat.real.copy(), flat.imag.copy()
    for a in range(receivers):
        cross = real[a] * real[a:] + imaginary[a] * imaginary[a:]
        products[a, a:] = products[a:, a] = np.add.reduceat(cross, parts, axis=-1)
    found = []
    for first in edges:
        sums = np.add.reduceat(products, np.searchsorted(parts, first), axis=-1)
        own = np.maximum(np.einsum("aac->ac", sums), _TINY)
        found.append(np.asarray(sums / np.sqrt(own[:, None] * own[None])))
    return found


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
    weighted = weight * coherence
    factor = np.full((receivers, count), 0.7)
    square = factor * factor
    for _ in range(_FACTOR_STEPS):
        for k in range(receivers):
            top = (weighted[k] * factor).sum(axis=0)
            below = (weight[k] * square).sum(axis=0) + chance * (1 - square[k])
            factor[k] = np.minimum(np.maximum(top / np.maximum(below, _TINY), 0.0), most[k])
            square[k] = factor[k] * factor[k]
    return np.asarray(np.minimum(square, _MOST_COHERENT))


@dataclass(frozen=True, eq=False)
class _Standing:
    """One receiver against the sum of the others.

    Attributes:
        delay_s: How much later it has the signal, as far as it is not accounted for.
        offset_hz: How much higher.
        information: On its delay against the others, 1 / s^2; 0 if it says nothing.
        offset_sigma_hz: Of its carrier offset.
        along: Product of what it has and the others' sum: the energy that is alike over noise.
        across: What a delay does to the others' sum that gain, phase and offset do not, time series.
        had: What the receiver has, time series.
        slope: Its derivative.
        said: As much of it as the others say.
    """

    delay_s: float
    offset_hz: float
    information: float
    offset_sigma_hz: float
    along: float
    across: Complex128
    had: Complex128
    slope: Complex128
    said: Complex128

    @property
    def rest(self) -> Complex128:
        """What the receiver has that the others do not say, time series."""
        return self.had - self.said

    @property
    def cells(self) -> float:
        """Of the spectrum that the energy which is alike comes from, a number."""
        power = squared_magnitude(scipy.fft.fft(self.said))
        return float(power.sum()) ** 2 / max(float((power * power).sum()), _TINY)

    @property
    def evidence(self) -> float:
        """Of the information, in standard deviations of what a signal has that says nothing of time."""
        if self.information <= 0:
            return 0.0
        own = complex(np.vdot(self.had, self.slope)) / float(squared_magnitude(self.had).sum())
        across, centred = scipy.fft.fft(np.array([self.across, self.slope - own * self.had]))
        parts = across.real * centred.real + across.imag * centred.imag
        return float(parts.sum()) / math.sqrt(max(float((parts * parts).sum()), _TINY))


def _standing(
    own: tuple[Complex128, Complex128],
    others: tuple[Complex128, Complex128],
    said: Complex128,
    time_s: Float64,
    lines: _Lines,
) -> _Standing:
    """A receiver by its weighted time series and its derivative, those of the others' sum, and what they say.

    What is along the lines of direct current, its own and what cannot be told from it, is left out of all.

    The derivatives by phase, delay and offset are the others', where noise is another than that of what they
    are multiplied with.
    """
    (had, slope), (model, direction) = map(lines.beside, own), map(lines.beside, others)
    said = lines.beside(said)
    energy = squared_magnitude(said)
    # Gain and phase, by what the receiver should have: the model is of another shape, by others' weights.
    alike = complex(np.vdot(said, model))
    growth = complex(np.vdot(said, direction)) / alike if alike.real > 0 else 0.0
    said = said * (complex(np.vdot(said, had)) / max(float(energy.sum()), _TINY))
    rest = had - said
    along = _real_dot(model, had)
    around = 2j * math.pi * (time_s - float((energy * time_s).sum()) / max(float(energy.sum()), _TINY))
    theirs = (1j * model, direction - growth * model, lines.beside(around * said))
    ours = (1j * had, slope, around * had)
    normal = np.array([[_real_dot(a, b) for b in ours] for a in theirs])
    nothing = _Standing(0.0, 0.0, 0.0, math.inf, along, theirs[1], had, slope, said)
    if min(along, alike.real) <= 0 or not np.all(normal.diagonal() > 0):
        return nothing
    nuisance = [0, 2]
    inner = normal[np.ix_(nuisance, nuisance)]
    if abs(np.linalg.det(inner)) <= _TINY:
        return nothing
    left = normal[1, nuisance] @ np.linalg.inv(inner)
    across = theirs[1] - left[0] * theirs[0] - left[1] * theirs[2]
    information = float(normal[1, 1] - left @ normal[nuisance, 1])
    if information <= 0:
        return nothing
    score = np.array([_real_dot(a, had) for a in theirs[:2]] + [_real_dot(theirs[2], rest)])
    delay = -(score[1] - left @ score[nuisance]) / information
    _, offset = -np.linalg.solve(inner, score[nuisance] + normal[nuisance, 1] * delay)
    scale = along / max(_real_dot(said, had), _TINY)  # of `said` to `model`
    sigma_hz = 1 / math.sqrt(2 * scale * normal[2, 2])
    return _Standing(delay, -offset, 2 * information, sigma_hz, along, across, had, slope, said)


def _growth(one: _Standing, slope: Complex128, said: Complex128, time_s: Float64) -> tuple[float, float]:
    """How the delay of a receiver grows against the others, and the sigma of that over that of its delay."""
    beside: list[Complex128] = []
    for series in (1j * said, 1j * time_s * said, one.across, time_s * one.across):
        rest = np.asarray(series, np.complex128)
        for other in beside:
            rest = rest - _real_dot(other, rest) * other
        energy = _real_dot(rest, rest)
        if energy <= _TINY:
            return 0.0, math.inf
        beside.append(rest / math.sqrt(energy))
    by, scale = beside[-1], _real_dot(beside[-1], np.asarray(time_s * one.across, np.complex128))
    information = scale * _real_dot(by, np.asarray(time_s * slope, np.complex128))
    if information <= 0 or one.information <= 0:
        return 0.0, math.inf
    return -scale * _real_dot(by, one.rest) / information, math.sqrt(one.information / 2 / information)


class _Lines(NamedTuple):
    """Lines of direct current as time series, (m, T), and the inverse of their products, (m, m)."""

    series: Complex128
    inverse: Complex128

    def beside(self, series: Complex128) -> Complex128:
        """A time series less what is along them."""
        along = np.array([complex((one.conj() * series).sum()) for one in self.series])
        for amplitude, one in zip((self.inverse * along).sum(axis=1).tolist(), self.series, strict=True):
            series = series - amplitude * one
        return series


def _near_lines(line: Complex128, offset_hz: Float64, span_s: float) -> list[_Lines]:
    """For each receiver, its line of direct current and those near it that are not made up of nearer ones.

    Two carriers a part of a cycle apart are told from two lines there by nothing. The matrix of products is
    swept, by J. H. Goodnight, "A tutorial on the SWEEP operator", American Statistician 33 (1979), 149-158:
    of lines swept it has the inverse, and of others what is left of them beside those.
    """
    away = np.abs(offset_hz[:, None] - offset_hz) * span_s
    product = np.zeros(away.shape, np.complex128)
    for a, b in zip(*np.nonzero(np.triu(away <= 2 * _NEAR_CYCLES)), strict=True):  # both near a third
        product[a, b] = (line[a].conj() * line[b]).sum()
        product[b, a] = product[a, b].conjugate()
    energy = product.diagonal().real
    found = []
    for k in range(len(line)):
        swept, rows = product.copy(), []
        for row in np.argsort(away[k], kind="stable").tolist():
            if away[k, row] > _NEAR_CYCLES or not energy[row]:
                break
            left = swept[row, row]
            if left.real > _SAME_LINE * energy[row]:
                rows.append(row)
                before, after = swept[:, row] / left, swept[row] / left
                swept -= left * before[:, None] * after
                swept[:, row], swept[row] = -before, after
                swept[row, row] = 1 / left
        found.append(_Lines(line[rows], swept[np.ix_(rows, rows)]))
    return found


def _centre(y: Complex128, d: Complex128) -> complex:
    """What a phase does of the derivative, with products of different receivers alone."""
    total, slope = y.sum(axis=0), d.sum(axis=0)
    along = _real_dot(total, total) - _real_dot(y, y)
    return 1j * (complex(np.vdot(total, slope)) - complex(np.vdot(y, d))).imag / max(along, _TINY)


def _jointly(left: Float64, derivative: Complex128, reference: int) -> Float64:
    """Steps of all receivers from what each needs against the others, over that of the reference."""
    count = len(left)
    own = np.arange(count)
    parts = derivative.view(np.float64)
    information = -np.einsum("at,bt->ab", parts, parts)
    information[own, own] = 0.0
    information[own, own] = -information.sum(axis=0)
    free = np.flatnonzero((own != reference) & (information[own, own] > 0))
    steps = np.zeros(count)
    if len(free):
        score = information[own, own][free] * left[free]
        steps[free] = np.linalg.lstsq(information[np.ix_(free, free)], score, rcond=1e-6)[0]
    return steps


def _real_dot(a: Complex128, b: Complex128) -> float:
    """Real part of the inner product of contiguous series."""
    return float((a.view(np.float64) * b.view(np.float64)).sum())


def _judged(standing: list[_Standing], snr: Float64) -> tuple[Float64, Float64, float]:
    """Standard deviations of the delays, ratios of signal to noise, and the rms bandwidth, as `JointDelays`.

    The score of a delay is a sum over frequencies, or over times. Model and recordings agree if the sums
    of `CLUSTERS` parts scatter as the information says; if they scatter more, by echoes, filters or
    interference, so does the delay. What the last step left over counts, too.
    """
    share = snr / np.maximum(snr.sum(axis=0), _TINY)
    receivers, bins = snr.shape
    sigma_s, level, bandwidth_hz = np.full(receivers, np.inf), np.zeros(receivers), np.zeros(receivers)
    for k, one in enumerate(standing):
        if one.information <= 0:
            continue
        across, rest = _spectrum(one.across, bins), _spectrum(one.rest, bins)
        bandwidth_hz[k] = math.sqrt(one.information / 2 / one.along) / (2 * math.pi)
        weight = squared_magnitude(across)
        # What a receiver says of itself is in its product with the others: of two alike, twice as much.
        own = min(float((share[k] * weight).sum() / weight.sum()), _MOST_OWN)
        scatter = max(_scatter(across, rest), _scatter(one.across, one.rest), one.information)
        sigma_s[k] = math.hypot(math.sqrt((1 - own) * scatter) / one.information, one.delay_s)
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
    """Time series of a spectrum by rising frequency, from the interval's `count` samples on."""
    size = scipy.fft.next_fast_len(count)
    half = len(spectrum) // 2
    whole = np.zeros(size, np.complex128)
    whole[np.arange(-half, half + 1)] = spectrum
    return np.asarray(scipy.fft.ifft(whole) * math.sqrt(size), np.complex128)


def _spectrum(series: Complex128, bins: int) -> Complex128:
    """The spectrum, by rising frequency, of a time series as of `_in_time`."""
    half = bins // 2
    return np.asarray(scipy.fft.fft(series)[np.arange(-half, half + 1)] / math.sqrt(len(series)))
