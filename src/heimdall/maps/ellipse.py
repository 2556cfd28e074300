"""The outline of a covariance on the ground: an error ellipse as positions."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from heimdall.maps.projection import Projection, wrapped

_CORNERS = 72


def ring(
    latitude_deg: float, longitude_deg: float, covariance_m2: npt.NDArray[np.float64], radius: float
) -> tuple[tuple[float, float], ...]:
    """The ellipse around a position as a closed ring of (longitude, latitude), degrees, counterclockwise.

    Args:
        latitude_deg: Of its middle, degrees.
        longitude_deg: Of its middle, degrees.
        covariance_m2: (2, 2), east before north, square metres.
        radius: In standard deviations: 2.448 holds 95 % of a Gaussian, 1.510 holds 68 %.
    """
    values, vectors = np.linalg.eigh(covariance_m2)
    axes_m = radius * np.sqrt(np.maximum(values, 0))
    turn = np.linspace(0, 2 * np.pi, _CORNERS, endpoint=False)
    # Counterclockwise, whichever hand the eigenvectors have.
    turn = turn if np.linalg.det(vectors) > 0 else -turn
    east_m, north_m = vectors @ (axes_m[:, np.newaxis] * np.stack([np.cos(turn), np.sin(turn)]))
    latitude, longitude = Projection(latitude_deg, longitude_deg).to_degrees(east_m, north_m)
    corners = [(wrapped(x), y) for x, y in zip(longitude.tolist(), latitude.tolist(), strict=True)]
    return (*corners, corners[0])
