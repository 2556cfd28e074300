"""From the tangent plane to degrees by a polynomial: ONNX Runtime has no arc tangent in float64."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch

from heimdall.geometry.geo import TangentPlane
from heimdall.position.solver import KM

_REACH_KM = 200.0  # within which it is good to a millimetre
_DEGREE = 6
_POWERS = [(i, j) for i in range(_DEGREE + 1) for j in range(_DEGREE + 1 - i)]


def coefficients(plane: TangentPlane) -> npt.NDArray[np.float64]:
    """Coefficients (2, T) of latitude and longitude: least squares on Chebyshev nodes within `_REACH_KM`."""
    node = np.array([math.cos(math.pi * (k + 0.5) / 16) for k in range(16)])
    east, north = (value.reshape(-1) for value in np.meshgrid(node, node, indexing="ij"))
    degrees = np.stack(plane.to_degrees(east * _REACH_KM * KM, north * _REACH_KM * KM), -1)
    terms = np.stack([east**i * north**j for i, j in _POWERS], -1)
    return np.ascontiguousarray(np.linalg.lstsq(terms, degrees, rcond=None)[0].T)


def evaluate(coefficients: torch.Tensor, position_km: torch.Tensor) -> torch.Tensor:
    """Leave the tangent plane.

    Args:
        coefficients: As of `coefficients`, (2, T) float64.
        position_km: East and north, (..., 2) float64.

    Returns:
        Latitude and longitude in degrees, (..., 2) float64.
    """
    east, north = (position_km / _REACH_KM).unbind(-1)
    terms = torch.stack([east**i * north**j for i, j in _POWERS], -1)  # (..., T)
    return (terms[..., None, :] * coefficients).sum(-1)
