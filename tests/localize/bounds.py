"""The bound of Cramer and Rao for arrival times of a waveform that nobody knows, and for the position."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from tests.localize.transmissions import BANDWIDTH_HZ, PERIOD_S, Front, Waveform, passed

Float64 = npt.NDArray[np.float64]


def delay_information_s2(
    sent: Waveform, fronts: Sequence[Front], *, duration_s: float = 1.0, offset_known: bool = False
) -> Float64:
    """Inverse variance of each receiver's delay, 1/s^2, if the time of emission were known; shape (R,).

    The waveform, each receiver's amplitude, carrier phase and carrier offset are unknown. With G the real
    Gram matrix of what a small delay, a turn of phase and an offset do to the waveform w(t),

        d = -w',  j w,  2j pi t w,

    the energy of d that neither of the others can imitate is e, and the information of receiver i is
    2 e a_i^2 / N0_i: a change of the waveform can imitate what is common to all receivers, which is what an
    unknown time of emission does, too (Yeredor and Angel, IEEE Trans. Signal Processing 59 (2011), 1612).
    The differences of two delays then have variances 1 / I_a + 1 / I_b.

    That is for much more signal than noise at each frequency. A Gaussian waveform of which the mean power
    alone is known has at each frequency S / (1 + S) of it, with S the sum over the receivers of signal over
    noise: for two receivers this is the coherence's c / (1 - c) = s_a s_b / (1 + s_a + s_b), c = |gamma|^2
    (Knapp and Carter, IEEE Trans. ASSP 24 (1976), 320; Weinstein and Weiss, IEEE Trans. ASSP 32 (1984),
    1064). So w is first filtered by its root: where noise hides it, a sideband tells nothing.

    Args:
        sent: The transmission.
        fronts: Of the receivers, all of one sample rate; starts are not looked at.
        duration_s: Of the recordings; the middle of the period counts.
        offset_known: Whether the carriers' offsets are known.
    """
    rate_hz = fronts[0].rate_hz
    frequency_hz = sent.frequency_hz
    inside = passed(frequency_hz / rate_hz) > 0.1  # the filter takes noise and signal alike
    # Signal over noise: snr times the bandwidth is power over density.
    ratio = np.array([10 ** (one.snr_db / 10) * BANDWIDTH_HZ[sent.kind] for one in fronts])
    share = ratio.sum() * sent.power * PERIOD_S
    told = np.where(inside, sent.coefficient * np.sqrt(share / (1 + share)), 0)
    half = len(told) // 2
    size = 2 * half

    def series(coefficient: npt.NDArray[np.complex128]) -> npt.NDArray[np.complex128]:
        return np.fft.ifft(np.fft.ifftshift(coefficient)) * size

    wave, slope = series(told), series(2j * np.pi * frequency_hz * told)
    time_s = (np.arange(size) - half) * (PERIOD_S / size)
    kept = np.abs(time_s) < duration_s / 2
    directions = [-slope, 1j * wave] + ([] if offset_known else [2j * np.pi * time_s * wave])
    real = np.array([[one.real[kept], one.imag[kept]] for one in directions]).reshape(len(directions), -1)
    gram = real @ real.T * (PERIOD_S / size)
    scale = np.sqrt(np.diag(gram))
    inverse = np.linalg.inv(gram / np.outer(scale, scale))
    return 2 * ratio * scale[0] ** 2 / inverse[0, 0]


def position_covariance_m2(
    delays_s: Callable[[Float64], Float64],
    place_m: Float64,
    sigma_s: Float64,
    prior_sigma_m: Float64 | None = None,
) -> Float64:
    """Smallest covariance of a place from independent arrival times and an unknown time of emission.

    Args:
        delays_s: Delays to the receivers, shape (R,), at a place of n coordinates in metres.
        place_m: The true one, shape (n,).
        sigma_s: Standard deviation of each arrival time, seconds, shape (R,).
        prior_sigma_m: What is known of each coordinate beforehand, shape (n,); inf for nothing, None for
            nothing of all.

    Returns:
        Shape (n, n): the inverse of sum_i w_i (g_i - g_mean)(g_i - g_mean)^T and the prior's information,
        w_i = 1 / sigma_i^2.
    """
    step_m = 1.0
    steps = step_m * np.eye(len(place_m))
    slope = np.array([(delays_s(place_m + one) - delays_s(place_m - one)) / (2 * step_m) for one in steps]).T
    weight = 1 / sigma_s**2
    centred = slope - (weight @ slope) / weight.sum()
    prior = np.zeros(len(place_m)) if prior_sigma_m is None else 1 / prior_sigma_m**2
    return np.asarray(np.linalg.inv(centred.T @ (weight[:, None] * centred) + np.diag(prior)), np.float64)
