"""When a session's signal came to each of its receivers, and how well that is known.

Delays are those that the features have (`heimdall.signal.arrival_times`); the correlations about them tell of
each receiver's channel.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt

from heimdall.core.params import FeatureParams
from heimdall.signal.channels import Channels, cumulants
from heimdall.signal.correlation import NARROW_HZ
from heimdall.signal.interpolation import interpolate
from heimdall.signal.sessions import SessionFeatures
from heimdall.signal.transforms import squared_magnitude

Float64 = npt.NDArray[np.float64]
Complex128 = npt.NDArray[np.complex128]

SHAPE_LAGS = 9
SHAPE_STEP = 2.0  # samples
SHAPE_LIMIT = 3.0
_TINY = np.finfo(np.float64).tiny


@dataclass(frozen=True, eq=False)
class Arrivals:
    """Arrival times of one session at its R receivers.

    Attributes:
        delay_s: Delay relative to the reference receiver, seconds, shape (R,), float64; 0 where there is no
            information.
        information_s2: Inverse variance of the delay by what the recordings hold, 1/s^2, shape (R,), float64.
            The error of the receiver's clock is not in it. 0 where the recording carries no usable time.
        rms_bandwidth_hz: Root mean square bandwidth of the signal about its centre, Hz; 0 without a delay.
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
        absent: Receivers of the network that say nothing, as switched-off ones. Others without a recording
            heard nothing.
        duration_s: Length of its recordings, which scales the noise of the channels; 1 s where it is not
            said, as in the features of a training.
        carrier_hz: At its reference, as of `reference_carrier_hz`, where that is none of the recordings.
    """

    session: SessionFeatures
    arrivals: Arrivals
    frequency_hz: float
    absent: tuple[int, ...] = ()
    duration_s: float = 1.0
    carrier_hz: float | None = None


def carriers_hz(session: SessionFeatures) -> Float64:
    """Carriers over the tuned frequency, Hz, shape (R,); 0 where the signal is not heard."""
    return np.where(np.isfinite(session.cfo_hz), session.cfo_hz, 0.0)


def reference_carrier_hz(session: SessionFeatures) -> float:
    """That of the recording to whose carrier the others are turned, Hz.

    As `correlation.correlate` chooses it: the loudest of those with GPS time, or of all.
    """
    timed = np.isfinite(session.timing_sigma_s)
    return float(carriers_hz(session)[loudest(session, timed if timed.any() else ~timed)])


def loudest(session: SessionFeatures, among: npt.NDArray[np.bool_]) -> int:
    """Row of the best ratio of signal to noise among some of the recordings, shape (R,)."""
    return int(np.argmax(np.where(among, session.snr_db, -np.inf)))


def arrivals(session: SessionFeatures, params: FeatureParams, duration_s: float = 1.0) -> Arrivals:
    """Arrival times of a session, and what its correlations tell of the channels.

    Used are the delays of recordings that hear the signal and know the GPS time, if there are two at least.
    The channels of a signal below `NARROW_HZ` tell nothing: nor do those of pairs whose delays lie beyond the
    correlations' lags.

    Args:
        session: R recordings.
        params: The parameters that its features were made with.
        duration_s: Length of the recordings in seconds, which scales the noise of the channels.

    Returns:
        The arrivals, in the order of the recordings; every value is finite.
    """
    count = len(session.websdr_id)
    snr = np.array([10.0 ** (float(level_db) / 10) for level_db in session.snr_db])
    usable = (session.detected > 0) & np.isfinite(session.timing_sigma_s) & np.isfinite(session.delay_s)
    nothing = Arrivals.without_echoes(
        np.zeros(count), np.zeros(count), 0.0, np.zeros((count, 2 * SHAPE_LAGS))
    )
    if np.count_nonzero(usable) < 2:
        return nothing
    rate_hz = params.correlation_rate_hz
    bandwidth_hz = float(session.rms_bandwidth_hz[0])
    best = loudest(session, usable)
    delay_s = np.where(usable, session.delay_s - session.delay_s[best], 0.0)
    information_s2 = np.where(usable, np.where(usable, session.delay_sigma_s, 1.0) ** -2, 0.0)
    delay = delay_s * rate_hz
    pairs = correlated_pairs(session, usable, delay)
    if not len(pairs):
        return replace(nothing, delay_s=delay_s, information_s2=information_s2, rms_bandwidth_hz=bandwidth_hz)
    series = correlations(session, pairs)
    channels = Channels(nothing.tilt_s, nothing.spread_s2, nothing.spread_sigma_s2)
    heard = np.unique(pairs)
    if len(heard) > 2 and best in heard and bandwidth_hz >= NARROW_HZ:
        cells = 2 * params.correlation_band_hz * duration_s
        channels = cumulants(pairs, series, delay, snr, level=best, cells=cells, rate_hz=rate_hz)
    shape = _shapes(count, pairs, series, delay)
    return Arrivals(delay_s, information_s2, bandwidth_hz, shape, *channels)


def correlated_pairs(
    session: SessionFeatures, usable: npt.NDArray[np.bool_], delay: Float64
) -> npt.NDArray[np.intp]:
    """Rows a < b of usable recordings (R,) whose delays (R,), in samples, differ by what the lags reach.

    Returns:
        Shape (P, 2).
    """
    timed = np.flatnonzero(usable).tolist()
    most = session.xcorr.shape[1] // 2 - SHAPE_STEP * (SHAPE_LAGS // 2)
    found = [(a, b) for a in timed for b in timed if a < b and abs(delay[a] - delay[b]) <= most]
    return np.array(found, np.intp).reshape(-1, 2)


def correlations(session: SessionFeatures, pairs: npt.NDArray[np.intp]) -> Complex128:
    """r(a, b), shape (P, lags), also for a > b: r(b, a) at a lag is r(a, b)* at minus that lag."""
    by_rows = {(int(a), int(b)): row for row, (a, b) in enumerate(session.pair)}
    rows = [
        session.xcorr[by_rows[a, b]] if a < b else session.xcorr[by_rows[b, a]][::-1].conj()
        for a, b in pairs.tolist()
    ]
    return np.array(rows, np.complex128)


def without_gps(observation: Observation, params: FeatureParams) -> Observation:
    """The same session, had no receiver known the GPS time.

    Args:
        observation: A session.
        params: The parameters that its features were made with.
    """
    unknown = np.full_like(observation.session.timing_sigma_s, np.inf)
    session = replace(observation.session, timing_sigma_s=unknown)
    return replace(observation, session=session, arrivals=arrivals(session, params, observation.duration_s))


def without_receiver(observation: Observation, row: int, params: FeatureParams) -> Observation:
    """The same session, had a receiver been switched off.

    Args:
        observation: A session of at least two recordings.
        row: Of its recording.
        params: The parameters that its features were made with.
    """
    session = observation.session
    kept = np.arange(len(session.websdr_id)) != row
    new_row = np.cumsum(kept) - 1
    pairs = (session.pair != row).all(axis=1)
    of_rows = {
        field.name: getattr(session, field.name)[kept]
        for field in fields(session)
        if field.name not in ("session_id", "pair", "xcorr")
    }
    of_pairs = {"pair": new_row[session.pair[pairs]], "xcorr": session.xcorr[pairs]}
    absent = (*observation.absent, int(session.websdr_id[row]))
    session = replace(session, **of_rows, **of_pairs)
    seen = arrivals(session, params, observation.duration_s)
    carrier_hz = observation.carrier_hz
    if carrier_hz is None:
        carrier_hz = reference_carrier_hz(observation.session)
    return replace(observation, session=session, arrivals=seen, absent=absent, carrier_hz=carrier_hz)


def stamped_late(observation: Observation, row: int, late_s: float) -> Observation:
    """The same session, had a receiver's clock been wrong.

    Args:
        observation: A session.
        row: Of its recording.
        late_s: By how much its arrival time is late, seconds.
    """
    moved = np.zeros(len(observation.arrivals.delay_s))
    moved[row] = late_s
    return replace(
        observation, arrivals=replace(observation.arrivals, delay_s=observation.arrivals.delay_s + moved)
    )


def _shapes(count: int, pairs: npt.NDArray[np.intp], series: Complex128, delay: Float64) -> Float64:
    """Correlation of each receiver around its peak, of mean phase 0 there; shape (count, 18)."""
    step = SHAPE_STEP * (np.arange(SHAPE_LAGS) - SHAPE_LAGS // 2)
    limit = series.shape[1] // 2
    peak = delay[pairs[:, 0]] - delay[pairs[:, 1]]
    around = interpolate(series, np.clip(peak[:, None] + step, -limit, limit))
    middle = around[:, SHAPE_LAGS // 2]
    around = around * (middle.conj() / np.sqrt(np.maximum(squared_magnitude(middle), _TINY)))[:, None]
    total = np.zeros((count, SHAPE_LAGS), np.complex128)
    for (a, b), values in zip(pairs.tolist(), around, strict=True):
        total[a] += values
        total[b] += values[::-1].conj()
    total /= np.maximum(total[:, SHAPE_LAGS // 2].real, _TINY)[:, None]
    shape = np.concatenate([total.real, total.imag], axis=1)
    return np.asarray(np.clip(shape, -SHAPE_LIMIT, SHAPE_LIMIT), np.float64)
