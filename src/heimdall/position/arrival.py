"""When a session's signal came to each of its receivers, and how well that is known.

The correlations of a session are given at lags of one sample. Between them they are interpolated by a
Kaiser-windowed sinc, whose weights are normalised so that a flat correlation stays flat up to its ends. A
shorter kernel moves peaks: W = 11.5, beta = 6 costs more than the receivers' clocks at high SNR.

A delay is first taken from the largest magnitude of a receiver's correlation with the reference, over all
lags: a peak looked for near a first fix would confirm a wrong fix. Then all pairs are solved together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from heimdall.core.params import FeatureParams
from heimdall.signal.correlation import NARROW_HZ
from heimdall.signal.sessions import SessionFeatures

Float64 = npt.NDArray[np.float64]
Complex128 = npt.NDArray[np.complex128]

KERNEL_HALF_WIDTH = 16  # samples
KERNEL_BETA = 10.0
# Rms bandwidth of Morse code. A carrier that is not keyed has less; with more it has another slow modulation:
# times of recorded DCF77 (36 Hz) were 80 to 230 us off, tens of times what noise explains (docs/log.md).
KEYED_HZ = (7.0, 30.0)
# Of a channel before it is measured: in strong multipath tilt and spread are of this size.
TILT_SIGMA_S, SPREAD_SIGMA_S2 = 2e-6, 20e-12
SHAPE_LAGS = 9
SHAPE_STEP = 2.0  # samples
SHAPE_LIMIT = 3.0
_GRID = 16  # lags a sample on which the largest magnitude is looked for
_PAIR_REACH = 24  # of that grid: a pair's peak is the one within 1.5 samples of the prediction
_REFINE_STEPS = (1 / _GRID, 1 / (8 * _GRID))  # samples
_CURVATURE_STEP = 0.5  # samples; the fourth order adds 1 % to the bandwidth squared of a full band
_WIDE_STEP = 4.0  # samples; noise bends a peak a seventh as much as over half a sample
_SIGNIFICANT = 3.0  # standard deviations of the curvature; a weak carrier's noise has maxima, too
# The same for carriers: their noise is alike at neighbouring lags, and a parabola leaves little of it over.
# Of simulated ones silent carriers reached 8, keyed ones of 3 dB and more 15.
_KEYED_SIGNIFICANT = 10.0
_CHANNEL_LAGS = 7  # samples about a peak that tell of the channel
_LEAST_NOISE = 0.01  # of a lag, beside that which has the signal's spectrum: some spectra are lines
# Of a function at five neighbouring lags: itself and its first two derivatives (Abramowitz and Stegun, 25.3).
_DERIVATIVES = np.array([[0, 0, 12, 0, 0], [1, -8, 0, 8, -1], [-1, 16, -30, 16, -1]]).T / 12
_I0_SERIES = tuple((KERNEL_BETA**2 / 4) ** k / math.factorial(k) ** 2 for k in range(25, -1, -1))
_TINY = np.finfo(np.float64).tiny


@dataclass(frozen=True, eq=False)
class Arrivals:
    """Arrival times of one session at its R receivers.

    Attributes:
        delay_s: Delay relative to the reference receiver, seconds, shape (R,), float64; 0 where there is no
            information.
        information_s2: Inverse variance of the delay from noise alone, 1/s^2, shape (R,), float64. The error
            of the receiver's clock is not in it. 0 where the recording carries no usable time.
        rms_bandwidth_hz: Root mean square bandwidth of the signal about its centre, Hz; 0 without a pair.
        shape: Mean correlation with all other usable receivers around its peak, shape (R, 18), float64: real
            parts at `SHAPE_LAGS` lags `SHAPE_STEP` samples apart, then imaginary parts. 1 at the peak,
            clipped to +-`SHAPE_LIMIT`; 0 where there is no information.
        tilt_s: Imaginary part of the channel's mean delay, seconds, shape (R,), float64.
        spread_s2: Variance of the channel's delays, seconds squared, shape (R,), complex128.
        spread_sigma_s2: What noise of the recording alone adds to either part of that, standard deviation,
            shape (R,), float64.

    A channel of paths with complex gains g and delays t is, near its centre, exp(mean * x + spread * x^2 / 2)
    with x = -2 pi i f: mean and variance of t under the weights g / sum(g), the first two cumulants. The real
    part of the mean is the arrival time. Tilt and spread are relative to those of the receiver that hears
    best, and 0 for a keyed carrier, with fewer than three arrival times, and where there is no information.
    """

    delay_s: Float64
    information_s2: Float64
    rms_bandwidth_hz: float
    shape: Float64
    tilt_s: Float64
    spread_s2: Complex128
    spread_sigma_s2: Float64

    @classmethod
    def without_echoes(
        cls, delay_s: Float64, information_s2: Float64, rms_bandwidth_hz: float, shape: Float64
    ) -> Arrivals:
        """Arrivals by channels that only delay."""
        flat = np.zeros_like(delay_s)
        return cls(delay_s, information_s2, rms_bandwidth_hz, shape, flat, flat.astype(np.complex128), flat)


@dataclass(frozen=True, eq=False)
class Observation:
    """What is known of one session when its transmitter is to be found.

    Attributes:
        session: Its recordings' features.
        arrivals: Its arrival times, in the same order.
        frequency_hz: Carrier, Hz.
    """

    session: SessionFeatures
    arrivals: Arrivals
    frequency_hz: float


def arrivals(session: SessionFeatures, params: FeatureParams, duration_s: float = 1.0) -> Arrivals:
    """Arrival times from the correlations of a session.

    Usable are recordings that hear the signal and know the GPS time. The reference is the usable one with the
    highest SNR. Each other's delay is at the largest |r| against the reference. With more than two, the
    peaks of all pairs near those delays are then solved by least squares with weights rho_a rho_b, rho being
    a receiver's share of the signal energy. To second order in the delays this is the maximum likelihood for
    a waveform that nobody knows, which makes the largest eigenvalue of the matrix of aligned correlations as
    large as it can be (Weiss, IEEE Signal Processing Letters 11 (2004), 513-516).

    The information is 2 (2 pi beta)^2 E with E = 2 band duration SNR, the energy over the noise density, and
    beta^2 the variance of the frequency over the power spectrum (Kay, Fundamentals of Statistical Signal
    Processing: Estimation Theory, 1993, section 3.11). (2 pi beta)^2 is the curvature of -log |r| at the peak
    of the strongest pair; the magnitude knows nothing of the spectrum's centre.

    The peak of a carrier, keyed perhaps, with beta below `NARROW_HZ` is too flat for these steps and is that
    of a parabola through many lags. A recording has no time if its peak is at the end of the lags. None has
    where fewer than two are usable, where a carrier's beta is not within `KEYED_HZ`, or where a curvature (of
    other signals that over `_WIDE_STEP` samples either way) is not clearly above its noise: a silent
    carrier's peak is a maximum of the noise.

    Args:
        session: R recordings.
        params: The parameters that its features were made with.
        duration_s: Length of the recordings in seconds. Features do not say it; it scales the information,
            and the noise of the curvature. A recording whose filter is narrower than the correlation's band
            has less information than is said.

    Returns:
        The arrivals, in the order of the recordings; every value is finite.
    """
    count = len(session.websdr_id)
    snr = np.array([10.0 ** (float(level_db) / 10) for level_db in session.snr_db])
    usable = (session.detected > 0) & np.isfinite(session.timing_sigma_s)
    nothing = Arrivals.without_echoes(
        np.zeros(count), np.zeros(count), 0.0, np.zeros((count, 2 * SHAPE_LAGS))
    )
    if np.count_nonzero(usable) < 2:
        return nothing
    rate_hz = params.correlation_rate_hz
    by_rows = {(int(a), int(b)): row for row, (a, b) in enumerate(session.pair)}

    def correlations(pairs: list[tuple[int, int]]) -> Complex128:
        """r(a, b), shape (pairs, lags), also for a > b: r(b, a) at a lag is r(a, b)* at minus that lag."""
        rows = [
            session.xcorr[by_rows[a, b]] if a < b else session.xcorr[by_rows[b, a]][::-1].conj()
            for a, b in pairs
        ]
        return np.array(rows, np.complex128)

    reference = int(np.argmax(np.where(usable, snr, -np.inf)))
    others = [int(row) for row in np.flatnonzero(usable) if row != reference]
    cells = 2 * params.correlation_band_hz * duration_s
    peaks = _peaks(
        correlations([(row, reference) for row in others]), snr[reference], snr[others], cells, rate_hz
    )
    bandwidth_hz = math.sqrt(max(peaks.curvature, 0.0)) * rate_hz / (2 * math.pi)
    if not peaks.inside.any() or not peaks.significant:
        return replace(nothing, rms_bandwidth_hz=bandwidth_hz)

    delay = np.zeros(count)  # in samples
    delay[others] = np.where(peaks.inside, peaks.lag, 0.0)
    timed = sorted([reference, *(row for row, kept in zip(others, peaks.inside, strict=True) if kept)])
    pairs = [(a, b) for a in timed for b in timed if a < b]
    series = correlations(pairs)
    channels = _Channels(nothing.tilt_s, nothing.spread_s2, nothing.spread_sigma_s2)
    if len(timed) > 2:
        measured = np.array([delay[a] - delay[b] for a, b in pairs])
        share = np.array([snr[a] * snr[b] for a, b in pairs]) / sum(snr[row] for row in timed) ** 2
        # Pairs with the reference keep their global peaks, so that every receiver stays tied to it.
        free = np.array([reference not in pair for pair in pairs])
        if peaks.keyed:
            measured[free], found, _, _ = _vertices(series[free])
        else:
            measured[free], found = _nearest(series[free], measured[free])
        weight = share.copy()
        weight[free] = np.where(found, share[free], 0.0)
        unknown = [row for row in timed if row != reference]
        delay = _solved(count, unknown, pairs, measured, weight)
        if not peaks.keyed:
            kept = weight > 0
            channels = _channels(
                np.array(pairs)[kept], series[kept], delay, snr, level=reference, cells=cells, rate_hz=rate_hz
            )

    information = np.zeros(count)
    information[timed] = 2 * (2 * math.pi * bandwidth_hz) ** 2 * cells * snr[timed]
    shape = _shapes(count, pairs, series, delay)
    return Arrivals(delay / rate_hz, information, bandwidth_hz, shape, *channels)


def without_gps(observation: Observation, params: FeatureParams) -> Observation:
    """The same session, had no receiver known the GPS time.

    Args:
        observation: A session.
        params: The parameters that its features were made with.
    """
    unknown = np.full_like(observation.session.timing_sigma_s, np.inf)
    session = replace(observation.session, timing_sigma_s=unknown)
    return replace(observation, session=session, arrivals=arrivals(session, params))


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


@lru_cache(maxsize=4)
def _table(lags: int) -> Float64:
    """Weights of all lags for each lag of the fine grid, shape ((lags - 1) * _GRID + 1, lags)."""
    half = lags // 2
    fine = np.arange(-half * _GRID, half * _GRID + 1) / _GRID
    distance = fine[:, None] - np.arange(-half, half + 1)
    weight = np.where(np.abs(distance) < KERNEL_HALF_WIDTH, _kernel(distance), 0.0)
    return np.asarray(weight / weight.sum(axis=1, keepdims=True), np.float64)


def _power(values: Complex128) -> Float64:
    """|x|^2 without hypot, whose last bit depends on the CPU."""
    return np.asarray(values.real * values.real + values.imag * values.imag, np.float64)


@dataclass(frozen=True, eq=False)
class _Peaks:
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


def _peaks(star: Complex128, snr_reference: float, snr: Float64, cells: float, rate_hz: float) -> _Peaks:
    """Peaks of the correlations (P, lags) of receivers with SNR (P,) with the reference."""
    lag, inside = _largest(star)
    lag, magnitude = _refined(star, lag)
    strongest = int(np.argmax(np.where(inside, magnitude, -np.inf)))
    curvature, wide = _curvatures(star[strongest], float(lag[strongest]))
    unit = (2 * math.pi / rate_hz) ** 2  # the curvature of a bandwidth of 1 Hz
    if min(curvature, wide) < unit * NARROW_HZ**2:
        lag, inside, bend, noise_of_bend = _vertices(star)
        curvature, noise = float(bend[strongest]), float(noise_of_bend[strongest])
        is_morse = unit * KEYED_HZ[0] ** 2 <= curvature <= unit * KEYED_HZ[1] ** 2
        significant = is_morse and curvature >= _KEYED_SIGNIFICANT * noise
        return _Peaks(lag, inside, curvature, True, significant)
    noise = _curvature_noise(snr_reference, snr[strongest], cells)
    return _Peaks(lag, inside, curvature, False, wide >= _SIGNIFICANT * noise)


def _largest(series: Complex128) -> tuple[Float64, npt.NDArray[np.bool_]]:
    """Lag of the largest magnitude of each row on the fine grid, samples, and whether it is a peak.

    At the end of the lags the magnitude is still rising: there is no peak.
    """
    table = _table(series.shape[1])
    power = np.einsum("gl,pl->pg", table, series.real) ** 2 + np.einsum("gl,pl->pg", table, series.imag) ** 2
    place = np.argmax(power, axis=1)
    half = (len(table) - 1) // 2
    return (place - half) / _GRID, (place > 0) & (place < 2 * half)


def _nearest(series: Complex128, predicted: Float64) -> tuple[Float64, npt.NDArray[np.bool_]]:
    """Lag of the largest magnitude near a prediction, samples, and whether it is a peak."""
    table = _table(series.shape[1])
    half = (len(table) - 1) // 2
    around = np.rint(predicted * _GRID).astype(np.int64)[:, None] + np.arange(-_PAIR_REACH, _PAIR_REACH + 1)
    weight = table[np.clip(around + half, 0, 2 * half)]  # (P, places, lags)
    power = np.einsum("pgl,pl->pg", weight, series.real) ** 2
    power += np.einsum("pgl,pl->pg", weight, series.imag) ** 2
    place = np.argmax(power, axis=1)
    inside = (place > 0) & (place < 2 * _PAIR_REACH)
    lag = np.take_along_axis(around, place[:, None], axis=1)[:, 0] / _GRID
    inside &= np.abs(lag) < half / _GRID
    lag = np.where(inside, lag, 0.0)
    return _refined(series, lag)[0], inside


def _refined(series: Complex128, lag: Float64) -> tuple[Float64, Float64]:
    """Peaks next to `lag`, samples, and their magnitude; each of shape (P,).

    Parabolas through the logarithm of the power, the second an eighth as wide as the first.
    """
    limit = series.shape[1] // 2
    for step in _REFINE_STEPS:
        before, at, after = _logarithms(series, lag, step)
        bend = before - 2 * at + after
        move = 0.5 * step * (before - after) / np.where(bend < 0, bend, -1.0)
        lag = np.clip(lag + np.where(bend < 0, np.clip(move, -step, step), 0.0), -limit, limit)
    return lag, np.sqrt(_power(interpolate(series, lag[:, None])[:, 0]))


def _vertices(series: Complex128) -> tuple[Float64, npt.NDArray[np.bool_], Float64, Float64]:
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
    logarithm = 0.5 * np.log(np.maximum(_power(series), _TINY))
    place = np.argmax(logarithm, axis=1) - float(half)
    for _ in range(2):
        centre = np.clip(np.rint(place), quarter - half, half - quarter).astype(np.int64)
        around = centre[:, None] + np.arange(half - quarter, half + quarter + 1)
        offset, bend, noise = _parabola(np.take_along_axis(logarithm, around, axis=1))
        place = centre + np.clip(offset, -quarter, quarter)
    inside = (bend < 0) & (np.abs(offset) < quarter) & (np.abs(place) < half)
    return np.where(inside, place, 0.0), inside, -2 * bend, 2 * noise


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
    bend = (values * square).sum(axis=1) / (square * square).sum()
    rest = values - values.mean(axis=1, keepdims=True) - slope[:, None] * step - bend[:, None] * square
    noise = np.sqrt((rest * rest).sum(axis=1) / ((len(step) - 3) * (square * square).sum()))
    return np.where(bend < 0, slope / np.where(bend < 0, -2 * bend, 1.0), 0.0), bend, noise


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
    before, at, after = np.log(np.maximum(_power(interpolate(series, lags)), _TINY)).T
    return before, at, after


def _solved(
    count: int,
    unknown: list[int],
    pairs: list[tuple[int, int]],
    measured: Float64,
    weight: Float64,
) -> Float64:
    """Delays, shape (count,), of which the differences fit those of the pairs best; 0 where not unknown."""
    normal, right = np.zeros((count, count)), np.zeros(count)
    for (a, b), lag, w in zip(pairs, measured.tolist(), weight.tolist(), strict=True):
        normal[a, a] += w
        normal[b, b] += w
        normal[a, b] -= w
        normal[b, a] -= w
        right[a] += w * lag
        right[b] -= w * lag
    delay = np.zeros(count)
    delay[unknown] = np.linalg.solve(normal[np.ix_(unknown, unknown)], right[unknown])
    return delay


class _Channels(NamedTuple):
    """Of R receivers; as of `Arrivals`."""

    tilt_s: Float64
    spread_s2: Complex128
    spread_sigma_s2: Float64


def _channels(
    pairs: npt.NDArray[np.intp],
    series: Complex128,
    delay: Float64,
    snr: Float64,
    *,
    level: int,
    cells: float,
    rate_hz: float,
) -> _Channels:
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
    return _Channels(tilt / rate_hz, spread_s2, sigma / rate_hz**2)


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


def _shapes(count: int, pairs: list[tuple[int, int]], series: Complex128, delay: Float64) -> Float64:
    """Correlation of each receiver around its peak, of mean phase 0 there; shape (count, 18)."""
    step = SHAPE_STEP * (np.arange(SHAPE_LAGS) - SHAPE_LAGS // 2)
    limit = series.shape[1] // 2
    peak = np.array([delay[a] - delay[b] for a, b in pairs])
    around = interpolate(series, np.clip(peak[:, None] + step, -limit, limit))
    middle = around[:, SHAPE_LAGS // 2]
    around = around * (middle.conj() / np.sqrt(np.maximum(_power(middle), _TINY)))[:, None]
    total = np.zeros((count, SHAPE_LAGS), np.complex128)
    for (a, b), values in zip(pairs, around, strict=True):
        total[a] += values
        total[b] += values[::-1].conj()
    total /= np.maximum(total[:, SHAPE_LAGS // 2].real, _TINY)[:, None]
    shape = np.concatenate([total.real, total.imag], axis=1)
    return np.asarray(np.clip(shape, -SHAPE_LIMIT, SHAPE_LIMIT), np.float64)
