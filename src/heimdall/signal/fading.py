"""Recordings of a moving transmitter without their fading, which would pass for a second transmission.

Where echoes come by other ways than the signal itself, each way has a Doppler shift of its own, and the gain
of a receiver changes within a recording. Means over all of it are then not those of one signal: each part of
it adds other coherences. But a narrow-band signal fades as a whole, and slowly: gains are as wide as the
Doppler spread, some 30 Hz, and the signal is kilohertz. So they can be told from it, and taken off. Of two
transmissions at once that leaves what they were, as their products change as fast as they do themselves.

Two that take turns within a second, such as two who speak, fade like one. But then delays change with them.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.fft
import scipy.linalg
import scipy.sparse
from scipy.interpolate import BSpline

from heimdall.signal.band import Band
from heimdall.signal.joint_delay import Interval, JointDelays
from heimdall.signal.transforms import delay_ramp, phase_ramp, squared_magnitude

Float64 = npt.NDArray[np.float64]
Complex128 = npt.NDArray[np.complex128]

KNOT_S = 10e-3  # cubic splines of such pieces follow 15 Hz within 1 %, and 30 Hz within a tenth
_ORDER = 3
_ROUNDS = 8
_LEAST_ENERGY = 1e-3  # of a piece's mean: a gain of which less tells is held back
_LEAST_GAIN = 0.05  # of its mean square: in a deeper fade noise is raised no further
PART_S = 30e-3  # half a syllable, or of a dot
_EVIDENT = 2.0  # standard deviations
_TINY = np.finfo(np.float64).tiny


def steady(band: Band, joint: JointDelays, interval: Interval) -> Band:
    """The band with gains that do not change over the interval, and without direct current.

    Signal and gains are those of the least squares of y_k(t) = g_k(t) s(t) and noise, in turn: the signal by
    the gains that there are, and the gains, which are splines, by that signal. So it is a power iteration for
    the one signal that explains most at each time. Splines are a basis expansion of channels that change
    (G. B. Giannakis and C. Tepedelenlioglu, "Basis expansion models and diversity techniques for blind
    identification and equalization of time-varying channels", Proc. IEEE 86 (1998), 1969-1986).

    Args:
        band: Spectra of R recordings.
        joint: Their delays, carriers and direct currents.
        interval: Where all of them have the signal.
    """
    size = band.spectrum.shape[1]
    ramps = _ramps(band, joint)
    spectrum = band.spectrum - joint.direct[:, None] * band.direct
    moved = np.array(
        [scipy.fft.ifft(one * early) * turn for one, (early, turn) in zip(spectrum, ramps, strict=True)]
    )
    basis = _splines(size, interval.part, KNOT_S * band.rate_hz)
    found = _coefficients(moved[:, interval.part], basis[:, interval.part])
    gain = np.asarray(basis.T @ found, np.complex128).T
    power = squared_magnitude(gain)
    level = np.maximum(power[:, interval.part].mean(axis=1, keepdims=True), _TINY)
    moved *= gain.conj() * np.sqrt(level) / (power + _LEAST_GAIN * level)
    still = [
        scipy.fft.fft(one * turn.conj()) * early.conj()
        for one, (early, turn) in zip(moved, ramps, strict=True)
    ]
    none = np.zeros_like(band.direct)
    return replace(band, spectrum=np.array(still), direct=none, direct_level=np.zeros(len(none)))


class Wander(NamedTuple):
    """By how much delays change within the interval.

    Attributes:
        rms_s: About their mean, by the energy of each part and beyond noise, seconds, shape (R,).
        evident_s: As much of it as noise hardly does, seconds, shape (R,).
    """

    rms_s: Float64
    evident_s: Float64


def wander(band: Band, joint: JointDelays, interval: Interval) -> Wander:
    """How much the delays of parts of the interval differ, each receiver's against the sum of the others.

    By least squares of y = a (m - e m') in each part, with m the sum of the others and m' its derivative, of
    which only that counts which is no gain and phase.

    Args:
        band: Spectra of R recordings without fading.
        joint: Their delays, carriers and ratios of signal to noise.
        interval: Where all of them have the signal.
    """
    y, slope = [], []
    by = 2j * np.pi * band.frequency_hz
    for one, (early, turn), offset in zip(band.spectrum, _ramps(band, joint), joint.offset_hz, strict=True):
        moved = one * early
        y.append((scipy.fft.ifft(moved) * turn)[interval.part])
        slope.append((scipy.fft.ifft(moved * (by - 2j * np.pi * offset)) * turn)[interval.part])
    count = len(interval.window)
    edges = np.linspace(0, count, max(round(count / (PART_S * band.rate_hz)), 1) + 1).astype(np.int64)
    ratio = 10 ** (joint.snr_db / 10)
    weight = [
        (1 + snr) / max(float(squared_magnitude(one).mean()), _TINY)
        for one, snr in zip(y, ratio, strict=True)
    ]
    found = []
    for k, own in enumerate(y):
        others = [row for row in range(len(y)) if row != k]
        model, direction = (sum(weight[row] * ones[row] for row in others) for ones in (y, slope))
        found.append(_differences(own, np.asarray(model), np.asarray(direction), edges))
    rms_s, evident_s = np.array(found).T
    return Wander(rms_s, evident_s)


def _differences(
    own: Complex128, model: Complex128, slope: Complex128, edges: npt.NDArray[np.int64]
) -> tuple[float, float]:
    """As `Wander` of one receiver, of parts with these edges."""

    def sums(values: npt.NDArray[np.generic]) -> Complex128:
        return np.asarray(np.add.reduceat(values, edges[:-1]), np.complex128)

    energy = np.maximum(sums(squared_magnitude(model)).real, _TINY)
    along = sums(model.conj() * slope) / energy
    across = sums(squared_magnitude(slope)).real - squared_magnitude(along) * energy
    gain = sums(model.conj() * own) / energy
    had = sums(slope.conj() * own) - along.conj() * gain * energy
    rest = np.maximum(sums(squared_magnitude(own)).real - squared_magnitude(gain) * energy, 0.0)
    information = np.maximum(squared_magnitude(gain) * np.maximum(across, 0.0), _TINY)
    late_s = -(had * gain.conj()).real / information
    share = information / information.sum()
    late_s = late_s - (share * late_s).sum()
    noise = share * rest / np.diff(edges) / 2 / information
    beyond = float((share * late_s * late_s).sum() - noise.sum())
    chance = math.sqrt(2 * float((noise * noise).sum()))
    return math.sqrt(max(beyond, 0.0)), math.sqrt(max(beyond - _EVIDENT * chance, 0.0))


def _ramps(band: Band, joint: JointDelays) -> list[tuple[Complex128, Complex128]]:
    """What takes the delay off each recording's spectrum, and then the carrier's offset off its series."""
    size = band.spectrum.shape[1]
    return [
        (delay_ramp(-delay * band.rate_hz, size), phase_ramp(-offset / band.rate_hz, size))
        for delay, offset in zip(joint.delay_s.tolist(), joint.offset_hz.tolist(), strict=True)
    ]


def _coefficients(y: Complex128, basis: scipy.sparse.csr_array) -> Complex128:
    """Of the splines of the gains, (K, R), by aligned series, (R, T), and the splines there, (K, T).

    All receivers count alike: ratios of signal to noise are not known before, as fading passes for noise, and
    where one counts for most, its own fading is taken for the signal's.
    """
    level = np.sqrt(np.maximum(squared_magnitude(y).mean(axis=1), _TINY))
    flat = y / level[:, None]
    alike = np.array([complex(np.vdot(flat[0], one)) for one in flat])
    alike /= np.sqrt(np.maximum(squared_magnitude(alike), _TINY))
    gain = np.repeat(alike[:, None], y.shape[1], axis=1)
    found = np.zeros((basis.shape[0], len(y)), np.complex128)
    for _ in range(_ROUNDS):
        sent = (gain.conj() * flat).sum(axis=0) / np.maximum(squared_magnitude(gain).sum(axis=0), _TINY)
        normal = basis.multiply(squared_magnitude(sent)) @ basis.T
        above = np.zeros((_ORDER + 1, len(found)))
        for away in range(min(_ORDER + 1, len(found))):
            above[_ORDER - away, away:] = normal.diagonal(away)
        above[-1] += _LEAST_ENERGY * above[-1].mean() + _TINY
        right = np.asarray(basis @ (sent.conj() * flat).T, np.complex128)
        found = np.asarray(scipy.linalg.solveh_banded(above, right), np.complex128)
        gain = np.asarray(basis.T @ found, np.complex128).T
    return np.asarray(found * level, np.complex128)


def _splines(size: int, part: slice, step: float) -> scipy.sparse.csr_array:
    """B-splines, (K, size), of pieces of about `step` in a part of a series; beyond it as at its ends.

    Each overlaps with three on either side.
    """
    count = part.stop - part.start
    pieces = max(round(count / step), 1)
    knots = part.start - 1 + (count + 1) / pieces * np.arange(-_ORDER, pieces + _ORDER + 1.0)
    at = np.clip(np.arange(float(size)), part.start, part.stop - 1)
    return scipy.sparse.csr_array(BSpline.design_matrix(at, knots, _ORDER).T)
