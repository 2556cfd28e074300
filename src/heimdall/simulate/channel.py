"""How a signal travels: the direct path and its echoes, each with its true phase at the carrier.

A path of delay tau turns the carrier by exp(-2j pi f_c tau). At 145 MHz that is a whole turn in 2 m: the
sum of the paths changes from channel to channel and from place to place, as in nature.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from heimdall.simulate.signals import HALF_BAND_BINS, PERIOD_S, Spectrum, rotation
from heimdall.simulate.world import Scatterers, World, distance_m

Array = npt.NDArray[np.float64]

SPEED_OF_LIGHT_M_S = 299_792_458.0  # in vacuum: air (3e-4 slower) is left out here and in the localizer
_FAINTEST = 1e-4  # a path 40 dB below the direct one is left out
_FINE = 128  # a phase ramp is the product of a coarse and a fine one: 288 exponentials instead of 20,480


@dataclass(frozen=True)
class Paths:
    """The paths of one link at one carrier, the earliest first.

    Attributes:
        delay_s: From antenna to antenna, seconds; the first is that of the straight line, shape (paths,).
        gain: Complex amplitude, the carrier's phase included, shape (paths,). Powers of the direct path and
            of all scatterers add up to 1; a standard's taps fade about a sum of 1.
        departure: East, north, up of unit length, where each leaves the transmitter, shape (paths, 3).
    """

    delay_s: Array
    gain: npt.NDArray[np.complex128]
    departure: Array

    @property
    def carrier_gain(self) -> complex:
        """What is left of a carrier: the sum of the paths."""
        return complex(math.fsum(self.gain.real.tolist()), math.fsum(self.gain.imag.tolist()))

    @property
    def bias_s(self) -> float:
        """Group delay at the carrier beyond the direct path, seconds: what a narrowband receiver measures."""
        excess = self.delay_s - self.delay_s[0]
        weighted = complex(
            math.fsum((self.gain.real * excess).tolist()), math.fsum((self.gain.imag * excess).tolist())
        )
        return (weighted / self.carrier_gain).real

    def doppler_hz(self, velocity_m_s: tuple[float, float, float], frequency_hz: float) -> Array:
        """Shift of each path if the transmitter moves, Hz, shape (paths,).

        Args:
            velocity_m_s: East, north, up, m/s.
            frequency_hz: Carrier, Hz.
        """
        east, north, up = velocity_m_s
        towards = self.departure[:, 0] * east + self.departure[:, 1] * north + self.departure[:, 2] * up
        return towards * (frequency_hz / SPEED_OF_LIGHT_M_S)


def paths(world: World, transmitter: int, receiver: int, frequency_hz: float) -> Paths:
    """The paths between a transmitter and a receiver.

    Args:
        world: The world.
        transmitter: Position in `world.transmitters`.
        receiver: Position in `world.receivers`.
        frequency_hz: Carrier, Hz.

    Returns:
        The direct path with K / (K + 1) of the power, and the scatterers' with the rest, each in
        proportion to its strength and to exp(-excess delay / delay spread) (Rice's model with an
        exponential power-delay profile), where both ends lie in its sector. Where the link has a standard's
        taps: the direct path, if there is one, and their rays.
    """
    start, end = world.transmitters[transmitter].position_m, world.receiver_position_m[receiver]
    link = world.links[transmitter][receiver]
    length_m = distance_m(start, end)
    direct_s = length_m / SPEED_OF_LIGHT_M_S
    departure = [(end - start)[None, :] / length_m]
    if link.taps is not None:
        delay_s = direct_s + np.array([0.0, *link.taps.excess_s])
        amplitude = np.array([link.taps.direct, *link.taps.gain])
        azimuth = np.array(link.taps.azimuth_rad)
        departure.append(np.stack([np.sin(azimuth), np.cos(azimuth), np.zeros(azimuth.size)], axis=1))
    elif link.delay_spread_s == 0.0:
        delay_s, amplitude = np.array([direct_s]), np.array([1.0])
    else:
        near_start = _reflected(world.transmitters[transmitter].scatterers, start, end)
        near_end = _reflected(world.receiver_scatterers[receiver], end, start)
        delays = np.concatenate([near_start.length_m, near_end.length_m]) / SPEED_OF_LIGHT_M_S
        strength = np.concatenate([near_start.strength, near_end.strength])
        strength = strength * np.exp(-(delays - direct_s) / link.delay_spread_s)
        diffuse = strength / (math.fsum(strength.tolist()) * (1 + link.rice_k))
        direct = link.rice_k / (1 + link.rice_k)
        kept = diffuse >= _FAINTEST * direct
        delay_s = np.concatenate([[direct_s], delays[kept]])
        amplitude = np.sqrt(np.concatenate([[direct], diffuse[kept]]))
        departure.append(np.concatenate([near_start.towards_near, near_end.towards_far])[kept])
    turns = frequency_hz * delay_s
    return Paths(delay_s, amplitude * rotation(np.floor(turns) - turns), np.concatenate(departure))


def response(delay_s: Array, gain: npt.NDArray[np.complex128]) -> Spectrum:
    """Sum of gain * exp(-2j pi f delay) over the paths, at the frequencies of `signals.spectrum`.

    Args:
        delay_s: Delays, seconds, shape (paths,).
        gain: Amplitudes, shape (paths,).

    Returns:
        The frequency response, shape (2 * HALF_BAND_BINS,).
    """
    coarse_hz = (np.arange(0, 2 * HALF_BAND_BINS, _FINE) - HALF_BAND_BINS) / PERIOD_S
    fine_hz = np.arange(_FINE) / PERIOD_S
    total = np.zeros((coarse_hz.size, _FINE), np.complex128)
    for tau, amplitude in zip(delay_s.tolist(), gain.tolist(), strict=True):
        total += (amplitude * rotation(-coarse_hz * tau))[:, None] * rotation(-fine_hz * tau)[None, :]
    return total.reshape(-1)


class _Reflected(NamedTuple):
    """Paths by n scatterers: lengths in metres and strengths (n,), and where the ends see them, (n, 3)."""

    length_m: Array
    strength: Array
    towards_near: Array
    towards_far: Array


def _reflected(scatterers: Scatterers, near: Array, far: Array) -> _Reflected:
    """Paths by scatterers around `near`; their strength is 0 outside a sector.

    The scatterers are as high as `near`, and those that face one way reflect what lies there.
    """
    to_far_east, to_far_north = float(far[0]) - scatterers.east_m, float(far[1]) - scatterers.north_m
    rise = float(far[2] - near[2])
    from_near_east, from_near_north = scatterers.east_m - near[0], scatterers.north_m - near[1]
    to_near = np.sqrt(from_near_east**2 + from_near_north**2)
    to_far = np.sqrt(to_far_east**2 + to_far_north**2 + rise**2)
    azimuth = np.arctan2(to_far_east, to_far_north) - scatterers.sector_rad
    off = np.abs(azimuth - 2 * math.pi * np.rint(azimuth / (2 * math.pi)))
    level = np.zeros(to_near.size)
    return _Reflected(
        length_m=to_near + to_far,
        strength=np.where(off <= scatterers.half_width_rad, scatterers.power, 0.0),
        towards_near=np.stack([from_near_east, from_near_north, level], axis=1) / to_near[:, None],
        towards_far=np.stack([-to_far_east, -to_far_north, level - rise], axis=1) / to_far[:, None],
    )
