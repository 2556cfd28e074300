"""By how much the carrier of one recording drifts against that of another within them, if that is evident.

Oscillators of receivers drift. Two recordings of one transmission, brought to one lag and one carrier, then
differ by a phase that is quadratic in time, and what compares them coherently takes it for noise. A drift
of the transmitter is alike in all recordings and does no harm: only differences are measured.

Where an oscillator makes the samples, too, its drift also stretches them: by 5 ns within a second for a drift
of 1e-8 a second. That is left as it is.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.fft

from heimdall.signal.transforms import blocks, squared_magnitude

Float64 = npt.NDArray[np.float64]
Complex128 = npt.NDArray[np.complex128]

MOST_HZ_S = 12.0  # two receivers at 435 MHz that drift by 1e-8 a second apart have 8.7 Hz/s
EVIDENT_NATS = 10.0
_BLOCK_HZ = 64.0  # a carrier that is 10 Hz off loses 0.4 dB in a block
_OFFSET_HZ = 12.0  # what a search without chirps finds of one may be its carrier anywhere in the recording
_STEP = 2.0  # over the square of the length: half a step off the carrier loses 0.2 dB
_MOST_STEPS = 64  # on either side: of recordings of many seconds, less is searched
_LEAST_BLOCKS = 16
_LEAST_ENERGY = 1e-4  # of a block's mean
_ROUNDS = 4


class Chirp(NamedTuple):
    """Of one recording against another.

    Attributes:
        rate_hz_s: Drift of its carrier less that of the other, Hz/s.
        sigma_hz_s: Standard deviation, Hz/s.
        offset_hz: What is left of its carrier offset in the middle of the series, Hz.
        nats: How much likelier this is than no drift, as a logarithm. If there is none, t and more have a
            probability of about exp(-t).
        unlike: Share of the power in the blocks that is not that of this carrier.
    """

    rate_hz_s: float
    sigma_hz_s: float
    offset_hz: float
    nats: float
    unlike: float

    @property
    def evident(self) -> bool:
        """Whether noise hardly does it."""
        return self.nats > EVIDENT_NATS


_NONE = Chirp(0.0, math.inf, 0.0, 0.0, 1.0)


class _Fit(NamedTuple):
    """A carrier of some drift in blocks of the product: both, its power, and information on the drift."""

    rate_hz_s: float
    offset_hz: float
    explained: float
    information: float


def relative(product: Complex128, energy: Float64, rate_hz: float) -> Chirp:
    """The drift of a recording's carrier against that of a reference.

    Sums r over blocks of 1/64 s of the recording times the conjugate reference are A E exp(i phase) and
    noise, E being the reference's energy in each, which tells them apart where a carrier is keyed. The
    variance of the noise is unknown, so the logarithm of the likelihood ratio is -B log of the ratio of what
    is left of sum |r|^2 / E of B blocks. It counts all as noise in which the recordings are not alike.

    Args:
        product: The recording, at the reference's lag and carrier, times the conjugate reference, (n,).
        energy: Squared magnitude of the reference, (n,).
        rate_hz: Rate of both, Hz.
    """
    length = max(math.floor(rate_hz / _BLOCK_HZ), 1)
    track = np.asarray(np.add.reduce(blocks(product, length), axis=0), np.complex128)
    weight = np.add.reduce(blocks(energy.astype(np.complex128), length), axis=0).real
    time_s = np.asarray(length * np.arange(len(track)) + (length - len(product)) / 2, np.float64) / rate_hz
    full = weight > _LEAST_ENERGY * weight.sum() / max(len(weight), 1)
    used = int(np.count_nonzero(full))
    if used < _LEAST_BLOCKS:
        return _NONE
    # A block of next to nothing, such as of zeros after the recordings' end, would count as evidence.
    track, weight = np.where(full, track, 0), np.where(full, weight, 0.0)
    total = float((squared_magnitude(track) / np.where(full, weight, 1.0)).sum())
    span_s = float(time_s[full][-1] - time_s[full][0]) + length / rate_hz
    step_hz_s = _STEP / span_s**2
    steps = min(math.ceil(MOST_HZ_S / step_hz_s), _MOST_STEPS)
    rates: Float64 = step_hz_s * np.arange(-steps, steps + 1.0)
    turned = track * np.exp(-1j * np.pi * rates[:, None] * (time_s * time_s))
    bins = scipy.fft.next_fast_len(2 * len(track))
    offset_hz = scipy.fft.fftfreq(bins, length / rate_hz)
    strength = squared_magnitude(scipy.fft.fft(turned, bins, axis=1))
    strength[:, np.abs(offset_hz) > _OFFSET_HZ] = 0.0
    row, column = divmod(int(np.argmax(strength)), bins)
    still = _fit(track, weight, time_s, 0.0, float(offset_hz[int(np.argmax(strength[steps]))]))
    drifting = _fit(track, weight, time_s, float(rates[row]), float(offset_hz[column]), quadratic=True)
    left = max(total - drifting.explained, np.finfo(np.float64).eps * total)
    if total <= 0 or drifting.information <= 0 or still.explained >= drifting.explained:
        return _NONE
    nats = used * math.log((total - still.explained) / left)
    sigma_hz_s = math.sqrt(left / max(used - 3, 1) / drifting.information)
    return Chirp(drifting.rate_hz_s, sigma_hz_s, drifting.offset_hz, nats, left / total)


def _fit(
    track: Complex128,
    weight: Float64,
    time_s: Float64,
    rate_hz_s: float,
    offset_hz: float,
    *,
    quadratic: bool = False,
) -> _Fit:
    """The likeliest carrier near one of some drift, by least squares of the blocks' phases, again and again.

    Args:
        track: Sums over blocks, shape (B,).
        weight: What their magnitudes are in proportion to, shape (B,).
        time_s: Their times, shape (B,).
        rate_hz_s: The drift.
        offset_hz: The carrier at time 0.
        quadratic: Whether to look for the drift, too.
    """
    share = weight / weight.sum()
    line = time_s - (share * time_s).sum()
    line_square = float((share * line * line).sum())
    square = time_s * time_s
    slope = float((share * square * line).sum()) / line_square
    curve = square - (share * square).sum() - slope * line
    curve_square = float((share * curve * curve).sum())
    explained = 0.0
    for number in range(_ROUNDS + 1):
        turned = track * np.exp(-1j * np.pi * (rate_hz_s * square + 2 * offset_hz * time_s))
        total = complex(turned.sum())
        explained = (total.real**2 + total.imag**2) / float(weight.sum())
        if number == _ROUNDS or explained == 0:
            break
        phase = (turned / total).imag
        more_hz_s = float((phase * curve).sum()) / curve_square / np.pi if quadratic else 0.0
        offset_hz += (float((phase * line).sum()) / line_square / np.pi - more_hz_s * slope) / 2
        rate_hz_s += more_hz_s
    return _Fit(rate_hz_s, offset_hz, explained, 2 * explained * math.pi**2 * curve_square)


def ramp(rate_hz_s: float, rate_hz: float, size: int) -> Complex128:
    """What gives a carrier a drift about the middle of a series, exp(i pi c t^2), shape (size,).

    As a product of tables, one of the phase's coarse steps, one of its fine ones, and of powers of a third:
    it costs a tenth of that of as many exponentials.

    Args:
        rate_hz_s: Drift c, Hz/s; the negative takes it off.
        rate_hz: Rate of the series, Hz.
        size: Its length.
    """
    turns = rate_hz_s / rate_hz / rate_hz
    width = math.isqrt(size) + 1
    fine = np.arange(width, dtype=np.float64)
    coarse = np.arange(0, size, width) - (size - 1) / 2
    powers = np.empty((len(coarse), width), np.complex128)
    powers[0] = np.exp(1j * np.pi * turns * (fine * fine + 2 * coarse[0] * fine))
    powers[1:] = np.exp(2j * np.pi * turns * width * fine)
    np.multiply.accumulate(powers, axis=0, out=powers)
    powers *= np.exp(1j * np.pi * turns * coarse * coarse)[:, None]
    return np.asarray(powers.reshape(-1)[:size], np.complex128)
