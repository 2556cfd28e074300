"""A recording against the reference, over lags and carrier offsets: the gate, and a wider search."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.fft
import scipy.ndimage

from heimdall.signal import chirp
from heimdall.signal.transforms import blocks, delay_ramp, lag_window, phase_ramp, squared_magnitude

Float64 = npt.NDArray[np.float64]
Complex128 = npt.NDArray[np.complex128]

CARRIER_SEARCH_HZ = 500.0  # two receivers' offsets of 200 Hz each, and a margin
_TRACK_RATE_HZ = 2000.0  # rate of the phase track; the search loses 0.9 dB at its edge of 500 Hz
_NEWTON_STEPS = 6


class Match(NamedTuple):
    """Of a recording against the reference.

    Attributes:
        gate: Statistic T.
        offset_hz: Its carrier less the reference's in the middle of the series, Hz.
        chirp_hz_s: Drift of its carrier less that of the reference's, Hz/s; 0 where that is not evident.
    """

    gate: float
    offset_hz: float
    chirp_hz_s: float


def match(ref: Complex128, other: Complex128, band_hz: float, rate_hz: float, lags: int) -> Match:
    """Statistic T of `other` against `ref`, and its carrier offset relative to it.

    First a search over lags and offsets on the critically sampled series, in blocks short enough for any
    offset in question. Then lag and offset are refined in turn, because with a modulation that is not even
    in time an error in one shifts the other. A drift of the carrier that is evident is taken off, too.

    Args:
        ref: Whitened reference, time series at `rate_hz`, shape (n,); noise has unit power in its FFT.
        other: The other recording, alike.
        band_hz: Half width of the band in Hz.
        rate_hz: Rate of both in Hz.
        lags: Largest lag in samples.

    Returns:
        What was found; zeros if the reference is nothing.
    """
    size = len(ref)
    ref_spectrum = scipy.fft.fft(ref)
    energy = float(squared_magnitude(ref_spectrum).sum())
    if energy == 0:
        return Match(0.0, 0.0, 0.0)
    lag, offset_hz = _search(ref, other, band_hz, rate_hz, lags)
    offset_hz = refined_hz(np.roll(other, lag) * ref.conj(), offset_hz, rate_hz)
    product = _product(ref, ref_spectrum, other * phase_ramp(-offset_hz / rate_hz, size), lags)
    drift = chirp.relative(product, squared_magnitude(ref), rate_hz)
    if drift.evident:
        offset_hz += drift.offset_hz
        still = other * chirp.ramp(-drift.rate_hz_s, rate_hz, size)
        product = _product(ref, ref_spectrum, still * phase_ramp(-offset_hz / rate_hz, size), lags)
    rest_hz = refined_hz(product, 0.0, rate_hz)
    total = complex((product * phase_ramp(-rest_hz / rate_hz, size)).sum())
    gate = (total.real**2 + total.imag**2) * size**2 / energy
    return Match(gate, offset_hz + rest_hz, drift.rate_hz_s if drift.evident else 0.0)


def _product(ref: Complex128, ref_spectrum: Complex128, tuned: Complex128, lags: int) -> Complex128:
    """A recording of the reference's carrier, at its likeliest lag, times the conjugate reference."""
    spectrum = scipy.fft.fft(tuned)
    shift = peak(squared_magnitude(lag_window(ref_spectrum * spectrum.conj(), lags))) - lags
    aligned = scipy.fft.ifft(spectrum * delay_ramp(shift, len(ref)), overwrite_x=True)
    return np.asarray(aligned * ref.conj(), np.complex128)


def match_anywhere(ref: Complex128, other: Complex128, band_hz: float, rate_hz: float) -> tuple[float, float]:
    """The same over all lags that the series hold, at the cost of one transform for each carrier offset.

    The search takes the loudest second of the reference: a transform as long as the series for each of
    their finer offsets would take minutes for ten seconds.

    Args:
        ref: Whitened reference, as of `match`.
        other: The other recording, alike.
        band_hz: Half width of the band in Hz.
        rate_hz: Rate of both in Hz.

    Returns:
        Lag of ref less that of other in samples, as of a correlation, and T.
    """
    size = len(ref)
    power = squared_magnitude(ref)
    if not power.any():
        return 0.0, 0.0
    second = min(math.floor(rate_hz), size)
    total = np.concatenate([[0.0], np.cumsum(power)])
    first = int(np.argmax(total[second:] - total[: size - second + 1]))
    part = slice(first, first + second)
    loudest = np.zeros_like(ref)
    loudest[part] = ref[part]
    lag, offset_hz = _search_everywhere(loudest, other, band_hz, rate_hz)
    shifted = np.roll(other, lag)
    product = shifted[part] * ref[part].conj()
    near_hz = [offset_hz + quarter / 4 * (rate_hz / second) for quarter in range(-2, 3)]
    sums = [abs(complex((product * phase_ramp(-one / rate_hz, second)).sum())) for one in near_hz]
    offset_hz = refined_hz(product, near_hz[int(np.argmax(sums))], rate_hz)
    offset_hz = refined_hz(shifted * ref.conj(), offset_hz, rate_hz)
    spectrum = scipy.fft.fft(ref)
    tuned = scipy.fft.fft(other * phase_ramp(-offset_hz / rate_hz, size))
    reach = (size - 1) // 2
    strength = squared_magnitude(lag_window(spectrum * tuned.conj(), reach))
    return peak(strength) - reach, float(strength.max() / squared_magnitude(spectrum).sum())


def _search_everywhere(
    ref: Complex128, other: Complex128, band_hz: float, rate_hz: float
) -> tuple[int, float]:
    """Lag in samples and carrier offset in Hz at which |r| is largest, of all lags and offsets 1 Hz apart."""
    size = len(ref)
    step_hz = rate_hz / size
    half = min(math.floor(band_hz / step_hz), (size - 1) // 2)
    bins = scipy.fft.next_fast_len(2 * half + 1)
    band = np.arange(-half, half + 1)
    left = scipy.fft.fft(ref)[band].astype(np.complex64)
    right = scipy.fft.fft(other).conj().astype(np.complex64)
    stride = max(math.floor(1 / step_hz), 1)
    reach = math.floor(CARRIER_SEARCH_HZ / step_hz) // stride
    best = (-1.0, 0, 0)
    for shift in range(-reach * stride, reach * stride + 1, stride):
        series = scipy.fft.ifft(left * right[(band + shift) % size], bins, overwrite_x=True)
        strength = series.real**2 + series.imag**2
        place = int(np.argmax(strength))
        best = max(best, (float(strength[place]), place, shift))
    _, place, shift = best
    return round((place if place <= bins // 2 else place - bins) * size / bins), shift * step_hz


def _search(
    ref: Complex128, other: Complex128, band_hz: float, rate_hz: float, lags: int
) -> tuple[int, float]:
    """Lag in samples and carrier offset in Hz at which |r| is largest, each on a grid."""
    skip = max(math.floor(rate_hz / (2 * band_hz)), 1)
    length = max(math.floor(rate_hz / skip / _TRACK_RATE_HZ), 1)
    conjugate = blocks(ref.conj()[::skip].astype(np.complex64), length)
    thinned = other[::skip].astype(np.complex64)
    reach = lags // skip
    tracks = np.array(
        [
            np.add.reduce(blocks(np.roll(thinned, lag), length) * conjugate, axis=0)
            for lag in range(-reach, reach + 1)
        ]
    )
    bins = scipy.fft.next_fast_len(2 * tracks.shape[1])
    offset_hz = scipy.fft.fftfreq(bins, skip * length / rate_hz)
    ambiguity = scipy.fft.fft(tracks, bins, axis=1)
    strength = ambiguity.real**2 + ambiguity.imag**2
    strength[:, np.abs(offset_hz) > CARRIER_SEARCH_HZ] = 0
    row, column = divmod(int(np.argmax(strength)), bins)
    return (row - reach) * skip, float(offset_hz[column])


def peak(power: Float64) -> float:
    """Place of the maximum, interpolated by a parabola."""
    place = int(np.argmax(power))
    if not 0 < place < len(power) - 1:
        return float(place)
    before, at, after = (float(value) for value in power[place - 1 : place + 2])
    curvature = before - 2 * at + after
    return place + (0.5 * (before - after) / curvature if curvature < 0 else 0.0)


def refined_hz(product: Complex128, near_hz: float, rate_hz: float) -> float:
    """Frequency near `near_hz` at which |sum of product(t) exp(-2 pi i f t)| is largest, by Newton's method.

    Args:
        product: Shape (n,).
        near_hz: Start, within a quarter of a cycle over the length of `product`.
        rate_hz: Sample rate in Hz.

    Returns:
        The frequency in Hz, no more than one cycle over the length away from the start.
    """
    length = max(math.floor(rate_hz / _TRACK_RATE_HZ), 1)
    track = np.add.reduce(blocks(product, length), axis=0)
    span_s = len(product) / rate_hz
    time_s = (np.arange(len(track)) - (len(track) - 1) / 2) * (length / rate_hz)
    offset_hz = near_hz
    for _ in range(_NEWTON_STEPS):
        turned = track * np.exp(-2j * np.pi * offset_hz * time_s)
        total = complex(turned.sum())
        first = -2j * math.pi * complex((turned * time_s).sum())
        second = -4 * math.pi**2 * complex((turned * time_s * time_s).sum())
        slope = 2 * (first * total.conjugate()).real
        curvature = 2 * (first * first.conjugate() + second * total.conjugate()).real
        if curvature >= 0:  # outside the main lobe: the search's answer is the better one
            return near_hz
        offset_hz += min(max(-slope / curvature, -0.25 / span_s), 0.25 / span_s)
    return offset_hz if abs(offset_hz - near_hz) <= 1 / span_s else near_hz
