"""How much of a signal arrives: path loss, noise, delay spread. Decibels, by published formulas."""

from __future__ import annotations

import math
from typing import Literal

Environment = Literal["rural", "urban", "mountain"]

BANDWIDTH_HZ = 12_500.0  # the channel in which SNR is told
RECEIVER_GAIN_DBI = 2.0
NOISE_FIGURE_DB = 6.0
MAST_M = 15.0
PLAIN_M = 200.0  # height of the Po plain, above which a site's altitude counts as antenna height
_SPREAD_1KM_S: dict[Environment, float] = {"rural": 0.1e-6, "urban": 0.4e-6, "mountain": 0.5e-6}


def effective_height_m(altitude_m: float) -> float:
    """Height of a receiver's antenna above the surrounding plain, metres."""
    return MAST_M + max(0.0, altitude_m - PLAIN_M)


def path_loss_db(
    frequency_hz: float, distance_m: float, receiver_height_m: float, transmitter_height_m: float
) -> float:
    """Median loss between isotropic antennas, dB.

    The larger of free space and Egli's plane-earth formula (J. J. Egli, "Radio propagation above 40 MC
    over irregular terrain", Proc. IRE 45, 1957), plus 0.4 dB/km beyond the radio horizon
    4.12 km (sqrt h1 + sqrt h2) of the 4/3 earth, at most 25 dB.

    Args:
        frequency_hz: Carrier, Hz.
        distance_m: Distance, metres.
        receiver_height_m: The receiving antenna above the plain, metres.
        transmitter_height_m: The transmitting antenna above ground, metres.

    Returns:
        The loss, dB.
    """
    frequency_mhz, distance_km = frequency_hz / 1e6, max(distance_m, 100.0) / 1e3
    free_db = 32.45 + 20 * math.log10(frequency_mhz) + 20 * math.log10(distance_km)
    egli_db = (
        20 * math.log10(frequency_mhz) + 40 * math.log10(distance_km) - 20 * math.log10(receiver_height_m)
    )
    if transmitter_height_m <= 10.0:
        egli_db += 76.3 - 10 * math.log10(transmitter_height_m)
    else:
        egli_db += 85.9 - 20 * math.log10(transmitter_height_m)
    horizon_km = 4.12 * (math.sqrt(receiver_height_m) + math.sqrt(transmitter_height_m))
    beyond_db = min(25.0, 0.4 * max(0.0, distance_km - horizon_km))
    return max(free_db, egli_db) + beyond_db


def noise_dbm(frequency_hz: float) -> float:
    """Noise in the channel, dBm: man-made noise of a residential area and the receiver's own.

    ITU-R P.372: Fa = 72.5 - 27.7 log10(f / MHz) dB over kT at 290 K, -174 dBm/Hz.
    """
    man_made = 10 ** ((72.5 - 27.7 * math.log10(frequency_hz / 1e6)) / 10)
    own = 10 ** (NOISE_FIGURE_DB / 10) - 1
    return -174.0 + 10 * math.log10(BANDWIDTH_HZ) + 10 * math.log10(man_made + own)


def delay_spread_s(distance_m: float, environment: Environment, deviate: float) -> float:
    """RMS delay spread, seconds: T1 sqrt(d / km), 4 dB log-normal, d at most 30 km.

    L. J. Greenstein et al., "A new path-gain/delay-spread propagation model for digital cellular
    channels", IEEE Trans. Veh. Technol. 46, 1997.

    Args:
        distance_m: Distance, metres.
        environment: What surrounds the transmitter.
        deviate: A standard normal number, the link's deviation from the median.

    Returns:
        The delay spread, seconds.
    """
    distance_km = min(distance_m, 30_000.0) / 1e3
    return _SPREAD_1KM_S[environment] * math.sqrt(distance_km) * 10 ** (4.0 * deviate / 10)
