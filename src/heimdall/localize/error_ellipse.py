"""The region in which a position lies with 95 % probability, if its error is Gaussian: an error ellipse."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from heimdall.maps import ellipse
from heimdall.metrics.metrics import chi_square_2
from heimdall.multilateration.fix import Place, Region

RADIUS_95 = math.sqrt(chi_square_2(0.95))  # in standard deviations


@dataclass(frozen=True)
class ErrorEllipse:
    """A 95 % ellipse.

    Attributes:
        major_m: Longer semi-axis, metres.
        minor_m: Shorter semi-axis, metres.
        azimuth_deg: Direction of the longer axis, clockwise from north, degrees in [0, 180).
    """

    major_m: float
    minor_m: float
    azimuth_deg: float


def ellipse_95(covariance_m2: npt.NDArray[np.float64]) -> ErrorEllipse:
    """The ellipse of a covariance.

    Args:
        covariance_m2: (2, 2), east before north, m^2.
    """
    (east, cross), (_, north) = covariance_m2.tolist()
    middle, half = (east + north) / 2, math.hypot((east - north) / 2, cross)
    major_m2 = middle + half
    # By the determinant, which keeps the digits of a narrow ellipse; 0 for a line and for a point.
    minor_m2 = max(east * north - cross**2, 0.0) / major_m2 if major_m2 > 0 else 0.0
    return ErrorEllipse(
        major_m=RADIUS_95 * math.sqrt(major_m2),
        minor_m=RADIUS_95 * math.sqrt(minor_m2),
        azimuth_deg=math.degrees(0.5 * math.atan2(2 * cross, north - east)) % 180,
    )


def region(place: Place) -> Region:
    """The 95 % ellipse of a place as a region."""
    ring = ellipse.ring(place.latitude_deg, place.longitude_deg, place.covariance_m2, RADIUS_95)
    axes = ellipse_95(place.covariance_m2)
    return Region(0.95, (ring,), math.pi * axes.major_m * axes.minor_m / 1e6)
