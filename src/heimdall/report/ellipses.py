"""The error ellipse of an answer: that of its likeliest part, which a map can draw."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from heimdall.maps import ellipse
from heimdall.maps.projection import Projection
from heimdall.metrics.metrics import chi_square_2
from heimdall.report.run import Session


def ring(session: Session, probability: float) -> tuple[tuple[float, float], ...]:
    """The outline of the ellipse as (longitude, latitude) in degrees, closed.

    Args:
        session: With its answer; without a correlation the axes point to the east and to the north.
        probability: That the likeliest part puts into it.
    """
    return ellipse.ring(
        session.estimated_latitude_deg,
        session.estimated_longitude_deg,
        _covariance_m2(session),
        math.sqrt(chi_square_2(probability)),
    )


def holds(session: Session, probability: float) -> bool | None:
    """Whether the transmitter is inside the ellipse; None in revisions that do not tell its shape."""
    if session.correlation is None:
        return None
    around = Projection(session.estimated_latitude_deg, session.estimated_longitude_deg)
    away_m = np.concatenate(around.to_m(session.latitude_deg, session.longitude_deg))
    squared = away_m @ np.linalg.solve(_covariance_m2(session), away_m)
    return bool(squared <= chi_square_2(probability))


def _covariance_m2(session: Session) -> npt.NDArray[np.float64]:
    """East before north, shape (2, 2)."""
    across = (session.correlation or 0.0) * session.sigma_east_m * session.sigma_north_m
    return np.array([[session.sigma_east_m**2, across], [across, session.sigma_north_m**2]])
