"""How far an exported network's answers are from the original's, over the same cases."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from heimdall.core.params import ExportParams
from heimdall.geometry.geo import distance_m
from heimdall.inference.onnx_model import Arrays

SHOWN_WEIGHT = 0.05  # Gaussians of less are no answer to anyone


@dataclass(frozen=True)
class Parity:
    """How far an exported network is from the original over the same cases.

    Attributes:
        n: Cases compared.
        max_distance_m: Largest distance between two positions, metres; of a session also between the means
            of Gaussians of at least `SHOWN_WEIGHT`.
        max_sigma_share: Largest difference of a sigma, as a share of it.
        max_probability_change: Largest difference of a session's probabilities: of each Gaussian's weight
            and of lying within 1 km. 0 where the network gives none.
        share: Share of cases within the tolerances; probabilities have that of sigma.
    """

    n: int
    max_distance_m: float
    max_sigma_share: float
    max_probability_change: float
    share: float


def compare(reference: Arrays, exported: Arrays, params: ExportParams) -> Parity:
    """Compare an exported network's answers with the original's, row by row.

    Args:
        reference: PyTorch's outputs by name, n > 0 rows.
        exported: The exported network's.
        params: The tolerances.

    Returns:
        The parity.
    """
    moved_m = shift_m(reference["positions"], exported["positions"])
    sigma_share = np.abs(exported["uncertainties"].astype(np.float64) / reference["uncertainties"] - 1)
    sigma_share = sigma_share.max(-1)
    probability = np.zeros_like(moved_m)
    if "weights" in reference:
        shown = reference["weights"] >= SHOWN_WEIGHT  # (n, K)
        off_m = shift_m(reference["means_deg"], exported["means_deg"])  # (n, K)
        moved_m = np.maximum(moved_m, np.where(shown, off_m, 0).max(-1))
        own, other = reference["covariances"], exported["covariances"]  # (n, K, 2, 2)
        variance = np.diagonal(own, axis1=-2, axis2=-1)
        scale = np.sqrt(variance[..., :, None] * variance[..., None, :])
        # A variance differs by twice the share that its sigma does.
        covariance_share = (np.abs(other - own) / scale).max((-2, -1)) / 2
        sigma_share = np.maximum(sigma_share, np.where(shown, covariance_share, 0).max(-1))
        probability = np.maximum(
            np.abs(exported["weights"] - reference["weights"]).max(-1),
            np.abs(exported["localizable"] - reference["localizable"]),
        )
    within = (
        (moved_m <= params.parity_tolerance_m)
        & (sigma_share <= params.parity_tolerance_sigma)
        & (probability <= params.parity_tolerance_sigma)
    )
    return Parity(
        n=len(moved_m),
        max_distance_m=float(moved_m.max()),
        max_sigma_share=float(sigma_share.max()),
        max_probability_change=float(probability.max()),
        share=float(within.mean()),
    )


def shift_m(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Distances between positions (..., 2) in degrees, metres, shape (...)."""
    flat = distance_m(*a.reshape(-1, 2).T, *b.reshape(-1, 2).T)
    return flat.reshape(a.shape[:-1])
