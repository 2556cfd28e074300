"""Lag and carrier offset of one recording against another, roughly, wherever they are, and how evident."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.fft
import scipy.ndimage

from heimdall.signal import chirp
from heimdall.signal.detection import CARRIER_SEARCH_HZ, peak, refined_hz
from heimdall.signal.transforms import delay_ramp, phase_ramp, squared_magnitude

Float64 = npt.NDArray[np.float64]
Complex128 = npt.NDArray[np.complex128]

SMOOTH_BINS = 15
_FLOOR_CELLS = 31  # of SMOOTH_BINS: within 465 Hz for one second
_FLOOR_QUANTILE = 25.0
_FLOOR_BIAS = 0.82  # that quantile of the mean of 15 squared magnitudes of noise, over their expectation
_LEAST_SHARE = 0.05
_QUIET = 0.1
_LEAST_BLOCK_S = 0.02
_MOST_SAMPLES = 1 << 17
_EVIDENT_NATS = 20.0
_LINE_SHARE = 0.5  # at 0 Hz, of all else
_DIRECT_SHARE = 0.01  # alike
_LINE_STEPS = 4  # of half a cycle over the length
_ONE_CARRIER = 0.5  # of the coherence: what else there is in the band is less
_TINY = np.finfo(np.float64).tiny


class Alignment(NamedTuple):
    """Of a recording against the reference.

    Attributes:
        lag_s: Delay of the recording less that of the reference.
        offset_hz: Its carrier offset less that of the reference, in the middle of the series.
        evidence: Of one signal in both, nats: noise and unlike signals have t or more with a probability of
            exp(-t) in each cell of the search.
        carrier_nats: The same, if noise is what else they may hold: a carrier, which has one amplitude and
            one phase, is like any other carrier.
        chirp_hz_s: Drift of its carrier less that of the reference's, Hz/s; 0 where that is not evident.
    """

    lag_s: float
    offset_hz: float
    evidence: float
    carrier_nats: float
    chirp_hz_s: float = 0.0


class Whitened(NamedTuple):
    """A spectrum in FFT order without what is at 0 Hz, shape (n,) each, and what is told of it.

    Attributes:
        by_noise: Over the noise around each bin.
        flat: Over the power around each bin, too, where that is a signal's.
        prominence: Its power over that of the band's quietest tenth.
        whole: As `by_noise`, with what is at 0 Hz.
        line: Whether most of that is at 0 Hz.
        direct: Whether a hundredth of it is.
    """

    by_noise: Complex128
    flat: Complex128
    prominence: float
    whole: Complex128
    line: bool
    direct: bool


def whitened(spectrum: Complex128, inside: npt.NDArray[np.intp], whole: Complex128) -> Whitened:
    """A spectrum over the noise around each bin, and over the power around it where that is a signal's.

    Receivers' own direct current is alike in all of them, so what is at 0 Hz is no evidence of a signal.

    Noise is what a quarter of the cells around have at most: behind a filter it is that within the filter.
    The first keeps what a signal's strong parts are worth, and the second takes all parts for equal, so that
    a carrier does not hide its side bands.

    Args:
        spectrum: In FFT order, shape (n,), without what is at 0 Hz.
        inside: The band's bins by rising frequency, shape (F,).
        whole: The same spectrum with what is at 0 Hz.
    """
    # No running sum: what a strong signal leaves of one by rounding outweighs the bins behind a filter.
    padded = np.pad(squared_magnitude(spectrum[inside]), SMOOTH_BINS // 2, mode="edge")
    power = np.lib.stride_tricks.sliding_window_view(padded, SMOOTH_BINS).mean(axis=-1)
    cells = power[SMOOTH_BINS // 2 :: SMOOTH_BINS]
    # The higher one of both sides: noise beside a filter's edge is not to be measured beyond it.
    sides = [
        scipy.ndimage.percentile_filter(cells, _FLOOR_QUANTILE, _FLOOR_CELLS, mode="nearest", origin=origin)
        for origin in (-(_FLOOR_CELLS // 2), _FLOOR_CELLS // 2)
    ]
    low = np.maximum(*sides)
    centre = SMOOTH_BINS // 2 + SMOOTH_BINS * np.arange(len(cells))
    floor = np.maximum(np.interp(np.arange(len(power)), centre, low) / _FLOOR_BIAS, _TINY)
    ratio = power / floor
    surplus = np.where(ratio > 1 + 4 / math.sqrt(SMOOTH_BINS), ratio - 1, 0.0)
    share = np.maximum(surplus / (1 + surplus), _LEAST_SHARE)
    by_noise, flat = np.zeros_like(spectrum), np.zeros_like(spectrum)
    by_noise[inside] = spectrum[inside] / np.sqrt(floor)
    flat[inside] = spectrum[inside] * np.sqrt(share / np.maximum(power, _TINY))
    quiet = max(float(np.quantile(cells, _QUIET)), _TINY)
    with_line = np.zeros_like(spectrum)
    with_line[inside] = whole[inside] / np.sqrt(floor)
    at_zero, all_else = (float(squared_magnitude(one).sum()) for one in (with_line - by_noise, by_noise))
    line, direct = (at_zero > share * all_else for share in (_LINE_SHARE, _DIRECT_SHARE))
    return Whitened(by_noise, flat, float(cells.mean()) / quiet, with_line, line, direct)


def align(
    reference: Whitened,
    other: Whitened,
    rate_hz: float,
    max_lag_s: float,
) -> Alignment:
    """Align two recordings.

    The offset is found with all power that stands out of the noise, the lag by all parts of the signal alike
    if they are evident.

    Args:
        reference: The reference's spectrum.
        other: The recording's.
        rate_hz: Rate of the time series that they belong to.
        max_lag_s: Largest lag.
    """
    size = len(reference[0])
    series = [scipy.fft.ifft(one) for one in (reference[0], other[0])]
    untuned = [series[1], scipy.fft.ifft(other.flat)]
    coarse, offset_hz = _search(series[0], series[1], rate_hz, max_lag_s)
    lag = float(coarse)
    for _ in range(2):
        product = np.roll(series[1], -round(lag)) * series[0].conj()
        offset_hz = refined_hz(product, offset_hz, rate_hz)
        fit = _fit(reference, untuned, offset_hz, rate_hz, max_lag_s)
        lag = fit.lag
    later = delay_ramp(-lag, size)
    drift = _drift(scipy.fft.ifft(fit.by_noise * later), series[0], rate_hz)
    if drift.evident and (reference.direct or other.direct):
        # A carrier that drifts past 0 Hz has lost a part there.
        turned = scipy.fft.fft(scipy.fft.ifft(other.whole) * phase_ramp(-offset_hz / rate_hz, size))
        drift = min(
            drift,
            _drift(scipy.fft.ifft(turned * later), scipy.fft.ifft(reference.whole), rate_hz),
            key=lambda one: one.unlike,
        )
    chirp_hz_s = drift.rate_hz_s if drift.evident else 0.0
    if drift.evident:
        still = chirp.ramp(-chirp_hz_s, rate_hz, size)
        untuned = [one * still for one in untuned]
        offset_hz += drift.offset_hz
        fit = _fit(reference, untuned, offset_hz, rate_hz, max_lag_s)
    found = Alignment(fit.lag / rate_hz, offset_hz, max(fit.power, fit.flat), fit.carrier, chirp_hz_s)
    if not (reference.line and other.line) or fit.flat <= _EVIDENT_NATS:
        return found
    # A carrier there tells the offset, which is well known if all else fits by it.
    whole = scipy.fft.ifft(other.whole)
    if drift.evident:
        whole *= still
    product = np.roll(whole, -round(fit.lag)) * scipy.fft.ifft(reference.whole).conj()
    offset_hz = _strongest_hz(product, offset_hz, rate_hz)
    tuned = scipy.fft.fft(untuned[1] * phase_ramp(-offset_hz / rate_hz, size))
    lag, nats, _ = _best_lag(reference.flat, tuned, rate_hz, max_lag_s)
    if nats > fit.flat:
        return found._replace(lag_s=lag / rate_hz, offset_hz=offset_hz, evidence=max(found.evidence, nats))
    return found


def _drift(aligned: Complex128, reference: Complex128, rate_hz: float) -> chirp.Chirp:
    """The drift of a recording's carrier, its time series being at the reference's lag and carrier."""
    return chirp.relative(aligned * reference.conj(), squared_magnitude(reference), rate_hz)


class _Fit(NamedTuple):
    """A recording of the reference's carrier.

    Attributes:
        lag: The likeliest one, samples.
        power: Evidence there by all power, as of `_best_lag`.
        carrier: The same of one carrier.
        flat: Evidence of the likeliest lag by all parts alike.
        by_noise: Its spectrum over the noise, shape (n,).
    """

    lag: float
    power: float
    carrier: float
    flat: float
    by_noise: Complex128


def _fit(
    reference: Whitened, untuned: list[Complex128], offset_hz: float, rate_hz: float, max_lag_s: float
) -> _Fit:
    """The likeliest lag of a recording's two time series, over the noise and flat, at some carrier offset."""
    turn = phase_ramp(-offset_hz / rate_hz, len(untuned[0]))
    tuned = [scipy.fft.fft(one * turn) for one in untuned]
    by_power, flat = (_best_lag(a, b, rate_hz, max_lag_s) for a, b in zip(reference[:2], tuned, strict=True))
    lag = flat[0] if flat[1] > _EVIDENT_NATS else by_power[0]
    return _Fit(lag, by_power[1], by_power[2], flat[1], tuned[0])


def _strongest_hz(product: Complex128, near_hz: float, rate_hz: float) -> float:
    """The strongest frequency of a time series within some cycles over its length of another one."""
    step_hz = rate_hz / len(product) / 2
    near = [near_hz + step * step_hz for step in range(-_LINE_STEPS, _LINE_STEPS + 1)]
    found = [refined_hz(product, one, rate_hz) for one in near]
    return max(
        found, key=lambda one: abs(complex((product * phase_ramp(-one / rate_hz, len(product))).sum()))
    )


def _best_lag(a: Complex128, b: Complex128, rate_hz: float, max_lag_s: float) -> tuple[float, float, float]:
    """Lag of b after a in samples, and the evidence of one signal in both there, and of one carrier."""
    size = len(a)
    lags = min(math.ceil(max_lag_s * rate_hz), (size - 1) // 2)
    series = scipy.fft.ifft(a.conj() * b) * size
    power = squared_magnitude(np.concatenate([series[size - lags :], series[: lags + 1]]))
    power_a, power_b = squared_magnitude(a), squared_magnitude(b)
    energy = float(power_a.sum()) * float(power_b.sum())
    both = float((power_a * power_b).sum())
    if both <= 0:
        return 0.0, 0.0, 0.0
    cells = max(energy / both - 1, 0.0)
    coherence = min(float(power.max()) / energy, 1 - 1e-12)
    carrier = float(power.max()) / float(power_a.sum()) if coherence > _ONE_CARRIER else 0.0
    return peak(power) - lags, -cells * math.log1p(-coherence), carrier


def _search(ref: Complex128, other: Complex128, rate_hz: float, max_lag_s: float) -> tuple[int, float]:
    """Lag in samples and carrier offset in Hz at which |r| is largest, each on a grid.

    Blocks, so short that an offset of the grid's step turns little in one, are correlated by FFT for each
    offset of that grid; a transform over the blocks gives the offset finely.
    """
    if len(ref) > _MOST_SAMPLES:
        first = (len(ref) - _MOST_SAMPLES) // 2
        ref, other = ref[first : first + _MOST_SAMPLES], other[first : first + _MOST_SAMPLES]
    lags = min(math.ceil(max_lag_s * rate_hz), len(ref) // 4)
    length = min(max(4 * lags, math.ceil(_LEAST_BLOCK_S * rate_hz)), len(ref))
    count = len(ref) // length
    size = scipy.fft.next_fast_len(length + 2 * lags)
    left = scipy.fft.fft(
        ref[: count * length].reshape(count, length).astype(np.complex64), size, axis=1
    ).conj()
    padded = np.concatenate([np.zeros(lags), other, np.zeros(lags)]).astype(np.complex64)
    segments = np.lib.stride_tricks.sliding_window_view(padded, length + 2 * lags)[::length][:count]
    right = scipy.fft.fft(segments, size, axis=1)
    bins = scipy.fft.next_fast_len(2 * count)
    step_hz, block_hz = rate_hz / size, rate_hz / length
    best = (-1.0, 0, 0.0)
    reach = math.ceil(min(CARRIER_SEARCH_HZ, rate_hz / 4) / step_hz)
    for shift in range(-reach, reach + 1):
        blocks = scipy.fft.ifft(left * np.roll(right, -shift, axis=1), axis=1)[:, : 2 * lags + 1]
        ambiguity = scipy.fft.fft(blocks, bins, axis=0)
        strength = ambiguity.real**2 + ambiguity.imag**2
        place = int(np.argmax(strength))
        row, column = divmod(place, 2 * lags + 1)
        if strength[row, column] > best[0]:
            fine_hz = row / bins * block_hz
            fine_hz += block_hz * round((shift * step_hz - fine_hz) / block_hz)
            best = (float(strength[row, column]), column - lags, fine_hz)
    return best[1], best[2]
