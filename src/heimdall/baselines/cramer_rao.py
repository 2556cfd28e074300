"""How well any unbiased estimator can know a position from arrival times: the bound of Cramer and Rao."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from heimdall.baselines.delays import LEAST_TIMED
from heimdall.geometry.geo import TangentPlane
from heimdall.geometry.propagation import SPEED_OF_LIGHT_M_S, gradients

Float64 = npt.NDArray[np.float64]

_SINGULAR = 1e-12  # of the determinant over the product of the diagonal: two directions that are one


def cramer_rao_m2(
    truth_m: Float64,
    information_s2: Float64,
    timing_sigma_s: Float64,
    receiver_m: Float64,
    plane: TangentPlane,
) -> Float64:
    """Smallest covariance of a position's unbiased estimate from the arrival times of one session.

    The inverse of F = sum_i w_i (g_i - g_mean)(g_i - g_mean)^T, with g_i the derivative of receiver i's delay
    by position, w_i = 1 / (1 / information_i + sigma_i^2) and g_mean the mean weighted by w.

    With perfect clocks this is the Fisher information of a waveform that nobody knows, received with an
    unknown complex amplitude by each receiver in white noise. A change d_i of the delays changes frequency f
    of what receiver i gets by -2 pi i f d_i of itself. Subtracting what a change of the waveform can imitate
    leaves d_i - d_mean, weighted by energy (the unknown time of emission is one such change); subtracting
    what a change of phase can imitate puts the centre of the spectrum at f = 0. What is left is
    2 (2 pi beta)^2 E_i (d_i - d_mean)^2, summed (Yeredor and Angel, IEEE Trans. Signal Processing 59 (2011),
    1612-1623; for beta and one receiver: Kay, Estimation Theory, 1993, section 3.11). A Gaussian error
    of the clock adds its variance to that of the delay, because a delay is measured with noise that is nearly
    Gaussian: exact where the noise is weak enough for any bound to be reached.

    Multipath and an altitude other than the plane's are not in it, nor are levels and what is known of a
    position before anything is heard: `heimdall.baselines.van_trees` has these.

    Args:
        truth_m: East and north of the transmitter, metres, shape (2,).
        information_s2: Inverse variance of each delay from noise alone, 1/s^2, shape (R,); 0 for none.
        timing_sigma_s: Standard deviation of each clock, seconds, shape (R,); inf for no time.
        receiver_m: East, north and up of the receivers, metres, shape (R, 3).
        plane: Gives the height of the transmitter.

    Returns:
        Covariance in square metres, shape (2, 2), float64. Where fewer than three receivers have a time, or
        all of them see the transmitter in line, inf on the diagonal and 0 beside it.
    """
    unknown = np.array([[np.inf, 0.0], [0.0, np.inf]])
    if np.count_nonzero(_timed(information_s2, timing_sigma_s)) < 3:
        return unknown
    information_m2 = times_information_m2(truth_m, information_s2, timing_sigma_s, receiver_m, plane)
    (f_ee, f_en), (_, f_nn) = information_m2.tolist()
    determinant = f_ee * f_nn - f_en * f_en
    if not determinant > _SINGULAR * f_ee * f_nn:
        return unknown
    return np.asarray(np.array([[f_nn, -f_en], [-f_en, f_ee]]) / determinant, np.float64)


def times_information_m2(
    truth_m: Float64,
    information_s2: Float64,
    timing_sigma_s: Float64,
    receiver_m: Float64,
    plane: TangentPlane,
    *,
    excess_s: float = 0.0,
) -> Float64:
    """Fisher information about a position in the arrival times of one session: F of `cramer_rao_m2`.

    Args:
        truth_m: As of `cramer_rao_m2`.
        information_s2: The same.
        timing_sigma_s: The same.
        receiver_m: The same.
        plane: The same.
        excess_s: Standard deviation of a Gaussian error that each time has beside noise and clock, as by
            multipath, seconds.

    Returns:
        In 1/m^2, shape (2, 2), float64; of rank one if two receivers have a time, 0 if fewer have.
    """
    timed = _timed(information_s2, timing_sigma_s)
    if np.count_nonzero(timed) < LEAST_TIMED:
        return np.zeros((2, 2))
    weight = 1 / (1 / information_s2[timed] + timing_sigma_s[timed] ** 2 + excess_s**2)
    slope = gradients(truth_m, receiver_m[timed], plane)[1] / SPEED_OF_LIGHT_M_S
    centred = slope - (weight[:, None] * slope).sum(axis=0) / weight.sum()
    east, north = centred[:, 0], centred[:, 1]
    f_ee, f_nn = float((weight * east * east).sum()), float((weight * north * north).sum())
    f_en = float((weight * east * north).sum())
    return np.array([[f_ee, f_en], [f_en, f_nn]])


def _timed(information_s2: Float64, timing_sigma_s: Float64) -> npt.NDArray[np.bool_]:
    return np.asarray((np.asarray(information_s2) > 0) & np.isfinite(timing_sigma_s))
