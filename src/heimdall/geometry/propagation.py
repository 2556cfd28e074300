"""How far a transmitter is from each receiver along a straight line, and how that changes with its place.

A transmitter is a point of a `geo.TangentPlane`: its altitude is assumed, east and north are unknown. 300 m
of altitude change the delay over 30 km by 5 ns. Rays are straight and travel at the speed of light in
vacuum, as in the simulator; air at the ground slows them by some 300 parts in a million (ITU-R P.453),
which is 1 ns in a kilometre of path difference.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from heimdall.geometry.geo import TangentPlane

Float64 = npt.NDArray[np.float64]

SPEED_OF_LIGHT_M_S = 299_792_458.0
GROUND_ALTITUDE_M = 260.0  # assumed of transmitters: the plain of the Po at Torino, and an antenna's height


def distances_m(position_m: Float64, receiver_m: Float64, plane: TangentPlane) -> Float64:
    """Length of the rays from points of the plane to receivers.

    Args:
        position_m: East and north, metres, shape (..., 2).
        receiver_m: East, north and up of R receivers, metres, shape (R, 3).
        plane: Gives the height of the points.

    Returns:
        Distances in metres, shape (..., R), float64.
    """
    return _rays(position_m, receiver_m, plane)[3]


def gradients(position_m: Float64, receiver_m: Float64, plane: TangentPlane) -> tuple[Float64, Float64]:
    """Length of the rays, and its derivative by east and north of the transmitter.

    A point that moves in the plane keeps its altitude, so it falls with the curvature of the Earth: the
    derivative of `TangentPlane.up_m` is part of it.

    Args:
        position_m: East and north, metres, shape (..., 2).
        receiver_m: East, north and up of R receivers, metres, shape (R, 3).
        plane: Gives the height of the points.

    Returns:
        Distances in metres, shape (..., R), and derivatives in metres a metre, shape (..., R, 2), float64.
        At a receiver itself, where there is no derivative, it is 0.
    """
    east, north, up, distance = _rays(position_m, receiver_m, plane)
    slope_east = -position_m[..., 0, None] / plane.east_radius_m
    slope_north = -position_m[..., 1, None] / plane.north_radius_m
    length = np.where(distance > 0, distance, 1.0)
    by_east = (east + up * slope_east) / length
    by_north = (north + up * slope_north) / length
    return distance, np.stack([by_east, by_north], axis=-1)


def _rays(
    position_m: Float64, receiver_m: Float64, plane: TangentPlane
) -> tuple[Float64, Float64, Float64, Float64]:
    """Components of the line from each receiver to each point and its length, each of shape (..., R)."""
    position = np.asarray(position_m, np.float64)
    east = position[..., 0, None] - receiver_m[:, 0]
    north = position[..., 1, None] - receiver_m[:, 1]
    up = plane.up_m(position[..., 0], position[..., 1])[..., None] - receiver_m[:, 2]
    return east, north, up, np.sqrt(east * east + north * north + up * up)
