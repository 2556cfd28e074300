"""Direct position: the place at whose delays the correlations themselves are large.

No delay is decided on before (A. J. Weiss, "Direct position determination of narrowband radio frequency
transmitters", IEEE Signal Processing Letters 11, 2004).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from heimdall.baselines.delays import Timed
from heimdall.geometry.geo import TangentPlane
from heimdall.geometry.propagation import SPEED_OF_LIGHT_M_S, distances_m
from heimdall.signal.arrival import Observation
from heimdall.signal.correlation import NARROW_HZ
from heimdall.signal.interpolation import interpolate

Float64 = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

_FINE = 16  # lags a sample at which the correlations are interpolated
_LEAST_FALL = 1e-6


@dataclass(frozen=True, eq=False)
class Pairs:
    """The P pairs of a session's receivers that know the time.

    Attributes:
        timed: The receivers.
        first: Of each pair the one receiver, its place in `timed`, shape (P,).
        second: The other, shape (P,).
        power: |r|^2 over its largest value, at the fine lags, shape (P, fine lags).
        lags_m: Fine lags a metre.
        fall_m2: By what share of itself the power of a pair falls with the squared error of a range, 1/m^2.
    """

    timed: Timed
    first: Indices
    second: Indices
    power: Float64
    lags_m: float
    fall_m2: float

    @classmethod
    def of(cls, observation: Observation, timed: Timed, rate_hz: float) -> Pairs:
        """Those of a session; `rate_hz` is that of the lags."""
        place = {row: number for number, row in enumerate(timed.row.tolist())}
        pairs = [
            (number, place[a], place[b])
            for number, (a, b) in enumerate(observation.session.pair.tolist())
            if a in place and b in place
        ]
        number, first, second = np.array(pairs, np.intp).T
        power = _relative_power(observation.session.xcorr[number])
        bandwidth_hz = observation.arrivals.rms_bandwidth_hz
        fall_m2 = (2 * math.pi * bandwidth_hz / SPEED_OF_LIGHT_M_S) ** 2
        if bandwidth_hz >= NARROW_HZ:  # the peak of a narrower one is flatter than noise is
            best = int(np.argmin(first + second))  # the two that know the time best
            fall_m2 = _fall(power[best]) * (rate_hz / SPEED_OF_LIGHT_M_S) ** 2
        return cls(timed, first, second, power, rate_hz * _FINE / SPEED_OF_LIGHT_M_S, fall_m2)


def log_likelihood(
    pairs: Pairs,
    position_m: Float64,
    side_m: float,
    plane: TangentPlane,
    *,
    excess_s: float,
    inflation: float,
) -> Float64:
    """What stands for the log-likelihood of a transmitter in each of some squares.

    Minus half of the pairs' losses of power, each with the weight that the pair has in time. Near a peak
    |r|^2 falls by the squared bandwidth times the squared error of the delay, so that the sum over all pairs
    is the cost of the weighted least squares; far from it the pair has nothing more to say. As the density of
    Gaussian errors would be, it is lower for larger squares.

    Args:
        pairs: Of a session.
        position_m: Centres of the squares, east and north, metres, shape (G, 2).
        side_m: Of the squares, metres; 0 for points.
        plane: Of the positions.
        excess_s: Standard deviation of the delays beyond noise and clock, seconds.
        inflation: By what the losses are divided.

    Returns:
        Natural logarithms, up to a constant of the session, shape (G,).
    """
    distance_m = distances_m(position_m, pairs.timed.position_m, plane) + pairs.timed.own_m
    place = (distance_m[:, pairs.first] - distance_m[:, pairs.second]) * pairs.lags_m
    weight = pairs.timed.scale_m(excess_s, side_m) ** -2
    shared = weight[pairs.first] * weight[pairs.second] / weight.sum()
    loss = 1 - _cubic(pairs.power, place + pairs.power.shape[1] // 2)
    height = 0.5 * (np.log(weight).sum() - math.log(weight.sum()))
    return np.asarray(height - 0.5 * (shared / pairs.fall_m2 * loss).sum(axis=-1) / inflation, np.float64)


@lru_cache(maxsize=4)
def _fine_weights(lags: int) -> Float64:
    """Weight of each lag at the fine lags, shape (lags, _FINE (lags - 1) + 1)."""
    half = lags // 2
    fine = np.arange(-half * _FINE, half * _FINE + 1) / _FINE
    return np.ascontiguousarray(interpolate(np.eye(lags, dtype=np.complex128), fine[None]).real)


def _relative_power(series: npt.NDArray[np.complex64]) -> Float64:
    """|r|^2 of correlations (pairs, lags) at the fine lags, over its largest value, (pairs, fine lags)."""
    table = _fine_weights(series.shape[1])
    real = np.einsum("pl,lf->pf", series.real.astype(np.float64), table)
    imaginary = np.einsum("pl,lf->pf", series.imag.astype(np.float64), table)
    square = real * real + imaginary * imaginary
    return np.asarray(square / square.max(axis=1, keepdims=True), np.float64)


def _fall(power: Float64) -> float:
    """By how much the power falls from its peak, over the squared distance in samples."""
    step = _FINE // 2
    peak = int(np.clip(np.argmax(power), step, len(power) - 1 - step))
    fall = power[peak] - (power[peak - step] + power[peak + step]) / 2
    return max(float(fall), _LEAST_FALL) * (_FINE / step) ** 2


def _cubic(table: Float64, place: Float64) -> Float64:
    """Values at places (G, P) of P rows by the cubic through four neighbours, shape (G, P)."""
    whole = np.clip(np.floor(place).astype(np.int64), 1, table.shape[1] - 3)
    x = np.clip(place - whole, -1.0, 2.0)
    row = np.arange(len(table))
    a, b, c, d = (table[row, whole + step] for step in (-1, 0, 1, 2))
    # Newton's form over the nodes -1, 0, 1, 2.
    first, second, third = b - a, (c - 2 * b + a) / 2, (d - 3 * c + 3 * b - a) / 6
    return np.asarray(a + (x + 1) * (first + x * (second + (x - 1) * third)), np.float64)
