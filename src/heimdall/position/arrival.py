"""When a session's signal came to each of its receivers, and how well that is known.

A delay is first taken from the largest magnitude of a receiver's correlation with the reference, over all
lags: a peak looked for near a first fix would confirm a wrong fix. Then all pairs are solved together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from heimdall.core.params import FeatureParams
from heimdall.position import peaks
from heimdall.position.channels import Channels, cumulants
from heimdall.position.interpolation import interpolate
from heimdall.signal.sessions import SessionFeatures

Float64 = npt.NDArray[np.float64]
Complex128 = npt.NDArray[np.complex128]

SHAPE_LAGS = 9
SHAPE_STEP = 2.0  # samples
SHAPE_LIMIT = 3.0


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
    reference = int(np.argmax(np.where(usable, snr, -np.inf)))
    others = [int(row) for row in np.flatnonzero(usable) if row != reference]
    cells = 2 * params.correlation_band_hz * duration_s
    star = _correlations(session, [(row, reference) for row in others])
    found = peaks.find(star, snr[reference], snr[others], cells, rate_hz)
    bandwidth_hz = math.sqrt(max(found.curvature, 0.0)) * rate_hz / (2 * math.pi)
    if not found.inside.any() or not found.significant:
        return replace(nothing, rms_bandwidth_hz=bandwidth_hz)

    delay = np.zeros(count)  # in samples
    delay[others] = np.where(found.inside, found.lag, 0.0)
    timed = sorted([reference, *(row for row, kept in zip(others, found.inside, strict=True) if kept)])
    pairs = [(a, b) for a in timed for b in timed if a < b]
    series = _correlations(session, pairs)
    channels = Channels(nothing.tilt_s, nothing.spread_s2, nothing.spread_sigma_s2)
    if len(timed) > 2:
        delay, kept = _of_all_pairs(pairs, series, delay, snr, reference=reference, keyed=found.keyed)
        if not found.keyed:
            channels = cumulants(
                np.array(pairs)[kept], series[kept], delay, snr, level=reference, cells=cells, rate_hz=rate_hz
            )

    information = np.zeros(count)
    information[timed] = 2 * (2 * math.pi * bandwidth_hz) ** 2 * cells * snr[timed]
    shape = _shapes(count, pairs, series, delay)
    return Arrivals(delay / rate_hz, information, bandwidth_hz, shape, *channels)


def _correlations(session: SessionFeatures, pairs: Sequence[tuple[int, int]]) -> Complex128:
    """r(a, b), shape (pairs, lags), also for a > b: r(b, a) at a lag is r(a, b)* at minus that lag."""
    by_rows = {(int(a), int(b)): row for row, (a, b) in enumerate(session.pair)}
    rows = [
        session.xcorr[by_rows[a, b]] if a < b else session.xcorr[by_rows[b, a]][::-1].conj() for a, b in pairs
    ]
    return np.array(rows, np.complex128)


def _of_all_pairs(
    pairs: list[tuple[int, int]],
    series: Complex128,
    delay: Float64,
    snr: Float64,
    *,
    reference: int,
    keyed: bool,
) -> tuple[Float64, npt.NDArray[np.bool_]]:
    """Delays by the peaks of all pairs, in samples, shape (R,), and which pairs have one, shape (P,).

    Args:
        pairs: Of the receivers with a time, three at least.
        series: Their correlations, shape (P, lags).
        delay: By the correlations with the reference, samples, shape (R,).
        snr: Of the receivers, linear, shape (R,).
        reference: Its row; pairs with it keep their global peaks, so that every receiver stays tied to it.
        keyed: Whether the signal is a carrier.
    """
    timed = sorted({row for pair in pairs for row in pair})
    measured = np.array([delay[a] - delay[b] for a, b in pairs])
    share = np.array([snr[a] * snr[b] for a, b in pairs]) / sum(snr[row] for row in timed) ** 2
    free = np.array([reference not in pair for pair in pairs])
    if keyed:
        measured[free], inside, _, _ = peaks.vertices(series[free])
    else:
        measured[free], inside = peaks.nearest(series[free], measured[free])
    weight = share.copy()
    weight[free] = np.where(inside, share[free], 0.0)
    unknown = [row for row in timed if row != reference]
    return _solved(len(delay), unknown, pairs, measured, weight), weight > 0


def without_gps(observation: Observation, params: FeatureParams) -> Observation:
    """The same session, had no receiver known the GPS time.

    Args:
        observation: A session.
        params: The parameters that its features were made with.
    """
    unknown = np.full_like(observation.session.timing_sigma_s, np.inf)
    session = replace(observation.session, timing_sigma_s=unknown)
    return replace(observation, session=session, arrivals=arrivals(session, params))


def squared_magnitude(values: Complex128) -> Float64:
    """|x|^2 without hypot, whose last bit depends on the CPU."""
    return np.asarray(values.real * values.real + values.imag * values.imag, np.float64)


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


def _shapes(count: int, pairs: list[tuple[int, int]], series: Complex128, delay: Float64) -> Float64:
    """Correlation of each receiver around its peak, of mean phase 0 there; shape (count, 18)."""
    step = SHAPE_STEP * (np.arange(SHAPE_LAGS) - SHAPE_LAGS // 2)
    limit = series.shape[1] // 2
    peak = np.array([delay[a] - delay[b] for a, b in pairs])
    around = interpolate(series, np.clip(peak[:, None] + step, -limit, limit))
    middle = around[:, SHAPE_LAGS // 2]
    around = around * (middle.conj() / np.sqrt(np.maximum(squared_magnitude(middle), peaks.TINY)))[:, None]
    total = np.zeros((count, SHAPE_LAGS), np.complex128)
    for (a, b), values in zip(pairs, around, strict=True):
        total[a] += values
        total[b] += values[::-1].conj()
    total /= np.maximum(total[:, SHAPE_LAGS // 2].real, peaks.TINY)[:, None]
    shape = np.concatenate([total.real, total.imag], axis=1)
    return np.asarray(np.clip(shape, -SHAPE_LIMIT, SHAPE_LIMIT), np.float64)
