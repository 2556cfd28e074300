"""What received levels say of a place: little, but where times are missing or ambiguous it decides.

A level falls by 10 n dB for each power of ten of the distance, about which it scatters; the transmitter's
power is unknown, and taken from their median. The scatter is Student's: an antenna behind a hill, or a column
of levels that are no decibels, must not outweigh arrival times.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from heimdall.multilateration import rays
from heimdall.multilateration.rays import Propagation, Sites

Float64 = npt.NDArray[np.float64]

SIGMA_DB = 10.0  # shadowing of 8 dB (ITU-R P.1546 for 100 MHz to 600 MHz), antennas and receivers' gains
_EXPONENT = {
    "line-of-sight": 3.5,
    "ground-wave": 2.0,
    "ground-and-sky-wave": 2.0,
}  # over ground; free space has 2
_AIRBORNE_M = 1_000.0
_TAIL = 4.0  # degrees of freedom
_NEAREST_M = 100.0


def log_likelihood(
    latitude_deg: Float64,
    longitude_deg: Float64,
    altitude_m: Float64,
    sites: Sites,
    *,
    level_db: Float64,
    propagation: Propagation,
) -> Float64:
    """Log-likelihood of places, up to a constant.

    Args:
        latitude_deg: Degrees, shape (...).
        longitude_deg: Degrees, shape (...).
        altitude_m: Metres, shape (...).
        sites: L receivers with a level.
        level_db: Levels, shape (L,).
        propagation: How the signal travels. The level of a sky wave says nothing of the distance.

    Returns:
        Shape (...).
    """
    if len(level_db) < 2 or propagation == "sky-wave":
        return np.zeros(np.shape(latitude_deg))
    line = rays.ecef(latitude_deg, longitude_deg, altitude_m)[..., None, :] - sites.ecef_m
    distance = np.maximum(np.sqrt((line * line).sum(axis=-1)), _NEAREST_M)
    exponent = np.where(np.asarray(altitude_m) > _AIRBORNE_M, 2.0, _EXPONENT[propagation])
    sent = level_db + 10 * exponent[..., None] * np.log10(distance)
    off = sent - np.median(sent, axis=-1, keepdims=True)
    square = (off / SIGMA_DB) ** 2
    return np.asarray(-0.5 * (_TAIL + 1) * np.log1p(square / _TAIL).sum(axis=-1), np.float64)
