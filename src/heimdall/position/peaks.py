"""Peaks of correlations: where they are, how sharp, and whether they are those of a signal with a time."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from heimdall.position.interpolation import FINE_PER_SAMPLE, fine_weights, interpolate
from heimdall.signal.correlation import NARROW_HZ
from heimdall.signal.transforms import squared_magnitude

Float64 = npt.NDArray[np.float64]
Complex128 = npt.NDArray[np.complex128]

# Rms bandwidth of Morse code. A carrier that is not keyed has less; with more it has another slow modulation:
# times of recorded DCF77 (36 Hz) were 80 to 230 us off, tens of times what noise explains (docs/log.md).
KEYED_HZ = (7.0, 30.0)
_PAIR_REACH = 24  # of that grid: a pair's peak is the one within 1.5 samples of the prediction
_REFINE_STEPS = (1 / FINE_PER_SAMPLE, 1 / (8 * FINE_PER_SAMPLE))  # samples
_CURVATURE_STEP = 0.5  # samples; the fourth order adds 1 % to the bandwidth squared of a full band
_WIDE_STEP = 4.0  # samples; noise curves a peak a seventh as much as over half a sample
_SIGNIFICANT = 3.0  # standard deviations of the curvature; a weak carrier's noise has maxima, too
# The same for carriers: their noise is alike at neighbouring lags, and a parabola leaves little of it over.
# Of simulated ones silent carriers reached 8, keyed ones of 3 dB and more 15.
_KEYED_SIGNIFICANT = 10.0
TINY = np.finfo(np.float64).tiny


@dataclass(frozen=True, eq=False)
class Peaks:
    """Peaks of the correlations with the reference.

    Attributes:
        lag: Places, samples, shape (P,).
        inside: Whether they are peaks within the lags, shape (P,).
        curvature: Of -log |r| at the peak of the strongest pair, per sample squared.
        keyed: Whether the signal is a carrier, keyed or not.
        significant: Whether the curvature is that of a signal with a time, and not of noise.
    """

    lag: Float64
    inside: npt.NDArray[np.bool_]
    curvature: float
    keyed: bool
    significant: bool


def find(star: Complex128, snr_reference: float, snr: Float64, cells: float, rate_hz: float) -> Peaks:
    """Peaks of the correlations (P, lags) of receivers with SNR (P,) with the reference."""
    lag, inside = _largest(star)
    lag, magnitude = _refined(star, lag)
    strongest = int(np.argmax(np.where(inside, magnitude, -np.inf)))
    curvature, wide = _curvatures(star[strongest], float(lag[strongest]))
    unit = (2 * math.pi / rate_hz) ** 2  # the curvature of a bandwidth of 1 Hz
    if min(curvature, wide) < unit * NARROW_HZ**2:
        lag, inside, curvatures, noises = vertices(star)
        curvature, noise = float(curvatures[strongest]), float(noises[strongest])
        is_morse = unit * KEYED_HZ[0] ** 2 <= curvature <= unit * KEYED_HZ[1] ** 2
        significant = is_morse and curvature >= _KEYED_SIGNIFICANT * noise
        return Peaks(lag, inside, curvature, True, significant)
    noise = _curvature_noise(snr_reference, snr[strongest], cells)
    return Peaks(lag, inside, curvature, False, wide >= _SIGNIFICANT * noise)


def _largest(series: Complex128) -> tuple[Float64, npt.NDArray[np.bool_]]:
    """Lag of the largest magnitude of each row on the fine grid, samples, and whether it is a peak.

    At the end of the lags the magnitude is still rising: there is no peak.
    """
    table = fine_weights(series.shape[1])
    power = np.einsum("gl,pl->pg", table, series.real) ** 2 + np.einsum("gl,pl->pg", table, series.imag) ** 2
    place = np.argmax(power, axis=1)
    half = (len(table) - 1) // 2
    return (place - half) / FINE_PER_SAMPLE, (place > 0) & (place < 2 * half)


def nearest(series: Complex128, predicted: Float64) -> tuple[Float64, npt.NDArray[np.bool_]]:
    """Lag of the largest magnitude near a prediction, samples, and whether it is a peak."""
    table = fine_weights(series.shape[1])
    half = (len(table) - 1) // 2
    around = np.rint(predicted * FINE_PER_SAMPLE).astype(np.int64)[:, None] + np.arange(
        -_PAIR_REACH, _PAIR_REACH + 1
    )
    weight = table[np.clip(around + half, 0, 2 * half)]  # (P, places, lags)
    power = np.einsum("pgl,pl->pg", weight, series.real) ** 2
    power += np.einsum("pgl,pl->pg", weight, series.imag) ** 2
    place = np.argmax(power, axis=1)
    inside = (place > 0) & (place < 2 * _PAIR_REACH)
    lag = np.take_along_axis(around, place[:, None], axis=1)[:, 0] / FINE_PER_SAMPLE
    inside &= np.abs(lag) < half / FINE_PER_SAMPLE
    lag = np.where(inside, lag, 0.0)
    return _refined(series, lag)[0], inside


def _refined(series: Complex128, lag: Float64) -> tuple[Float64, Float64]:
    """Peaks next to `lag`, samples, and their magnitude; each of shape (P,).

    Parabolas through the logarithm of the power, the second an eighth as wide as the first.
    """
    limit = series.shape[1] // 2
    for step in _REFINE_STEPS:
        before, at, after = _logarithms(series, lag, step)
        second_difference = before - 2 * at + after
        move = 0.5 * step * (before - after) / np.where(second_difference < 0, second_difference, -1.0)
        lag = np.clip(lag + np.where(second_difference < 0, np.clip(move, -step, step), 0.0), -limit, limit)
    return lag, np.sqrt(squared_magnitude(interpolate(series, lag[:, None])[:, 0]))


def vertices(series: Complex128) -> tuple[Float64, npt.NDArray[np.bool_], Float64, Float64]:
    """Peaks of magnitudes so flat that a parabola through their logarithm at many lags is their shape.

    It goes through the half of the lags that lie around the largest magnitude, then through those around its
    own vertex: of a peak that is not in the middle the fourth order would pull at it.

    Args:
        series: Correlations, shape (P, lags).

    Returns:
        Places in samples, whether they are peaks within the lags, and curvatures of -log |r| per sample
        squared with their standard deviations; each of shape (P,).
    """
    half = series.shape[1] // 2
    quarter = half // 2
    logarithm = 0.5 * np.log(np.maximum(squared_magnitude(series), TINY))
    place = np.argmax(logarithm, axis=1) - float(half)
    for _ in range(2):
        centre = np.clip(np.rint(place), quarter - half, half - quarter).astype(np.int64)
        around = centre[:, None] + np.arange(half - quarter, half + quarter + 1)
        offset, square_term, noise = _parabola(np.take_along_axis(logarithm, around, axis=1))
        place = centre + np.clip(offset, -quarter, quarter)
    inside = (square_term < 0) & (np.abs(offset) < quarter) & (np.abs(place) < half)
    return np.where(inside, place, 0.0), inside, -2 * square_term, 2 * noise


def _parabola(values: Float64) -> tuple[Float64, Float64, Float64]:
    """Parabolas through all values of each row (P, n), n odd.

    Returns:
        Vertices from the middle, 0 where one opens upwards; square terms; their standard deviations, by what
        the parabola leaves over; each of shape (P,).
    """
    half = values.shape[1] // 2
    step = np.arange(-half, half + 1.0)
    square = step * step - (step * step).mean()  # orthogonal to 1 and to step
    slope = (values * step).sum(axis=1) / (step * step).sum()
    square_term = (values * square).sum(axis=1) / (square * square).sum()
    rest = values - values.mean(axis=1, keepdims=True) - slope[:, None] * step - square_term[:, None] * square
    noise = np.sqrt((rest * rest).sum(axis=1) / ((len(step) - 3) * (square * square).sum()))
    return (
        np.where(square_term < 0, slope / np.where(square_term < 0, -2 * square_term, 1.0), 0.0),
        square_term,
        noise,
    )


def _curvatures(series: Complex128, lag: float) -> tuple[float, float]:
    """Curvature of -log |r| at a peak of one row, per sample squared: narrowly and widely about it."""
    found = []
    for step in (_CURVATURE_STEP, _WIDE_STEP):
        before, at, after = _logarithms(series[None], np.array([lag]), step)
        found.append(float(-0.5 * (before - 2 * at + after)[0] / step**2))
    return found[0], found[1]


def _curvature_noise(snr_a: float, snr_b: float, cells: float) -> float:
    """Standard deviation of the wide curvature of a pair, per sample squared.

    Noise in r has a variance of E_a + E_b + cells, with E = cells * SNR and |r|^2 = E_a E_b; half of it
    is in phase. Three lags as far apart as this have independent noise.
    """
    relative = (1 / snr_a + 1 / snr_b + 1 / (snr_a * snr_b)) / cells
    return math.sqrt(6 * relative / 2) / _WIDE_STEP**2


def _logarithms(series: Complex128, lag: Float64, step: float) -> tuple[Float64, Float64, Float64]:
    """Logarithm of |r|^2 a step before each lag, there, and a step after."""
    limit = series.shape[1] // 2
    lags = np.clip(lag[:, None] + step * np.array([-1.0, 0.0, 1.0]), -limit, limit)
    before, at, after = np.log(np.maximum(squared_magnitude(interpolate(series, lags)), TINY)).T
    return before, at, after
