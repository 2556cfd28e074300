"""What is known of a position: for each session a mixture of Gaussians over east and north, in metres.

NumPy in float64, element by element, without BLAS: the same bits under the recipe on every CPU. Where an
integral over a mixture has no closed form it is a fixed quadrature, so nothing is drawn at random.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

NARROWEST = 1e-6  # of its standard deviation: by so little a component is preferred that is narrower
_LEVEL_NODES = 1024  # a level is resolved to a thousandth
_DISC_NODES = 64
_REACH_SIGMAS = 9.0  # beyond it a Gaussian holds less than 1e-18


@dataclass(frozen=True, eq=False)
class Posterior:
    """A mixture of K Gaussians for each of n sessions.

    Attributes:
        mean_m: East and north in the plane of the network's origin, metres, float64, shape (n, K, 2).
        covariance_m2: Positive definite, m^2, float64, shape (n, K, 2, 2).
        weight: At least 0, sums to 1 over K, float64, shape (n, K).

    Raises:
        ValueError: The shapes do not go together, or a value is none that it may be.
    """

    mean_m: Array
    covariance_m2: Array
    weight: Array

    def __post_init__(self) -> None:
        shape = self.weight.shape
        if len(shape) != 2 or shape[1] < 1:
            raise ValueError(f"weights of shape (n, K) expected, not {shape}")
        if self.mean_m.shape != (*shape, 2) or self.covariance_m2.shape != (*shape, 2, 2):
            shapes = (self.mean_m.shape, self.covariance_m2.shape, shape)
            raise ValueError(f"shapes (n, K, 2), (n, K, 2, 2) and (n, K) expected, not {shapes}")
        if not all(np.isfinite(array).all() for array in (self.mean_m, self.covariance_m2, self.weight)):
            raise ValueError("a mean, covariance or weight is not a finite number")
        if (self.weight < 0).any() or (abs(self.weight.sum(axis=1) - 1) > 1e-6).any():
            raise ValueError("weights must be at least 0 and sum to 1")
        east, cross, north = _elements(self.covariance_m2)
        if not ((east > 0) & (north > 0) & (east * north > cross**2)).all():
            raise ValueError("a covariance is not positive definite")

    @classmethod
    def gaussian(cls, position_m: Array, covariance_m2: Array) -> Posterior:
        """One Gaussian a session.

        Args:
            position_m: East and north, metres, shape (n, 2).
            covariance_m2: Positive definite, m^2, shape (n, 2, 2).

        Returns:
            n posteriors of one component.
        """
        position = np.asarray(position_m, np.float64)
        covariance = np.asarray(covariance_m2, np.float64)
        return cls(position[:, np.newaxis], covariance[:, np.newaxis], np.ones((len(position), 1)))

    @classmethod
    def concatenate(cls, parts: Sequence[Posterior]) -> Posterior:
        """Posteriors one after the other; those of fewer components are filled up with ones of weight 0."""
        most = max(part.weight.shape[1] for part in parts)
        filled = [part._filled(most) for part in parts]
        return cls(
            np.concatenate([part.mean_m for part in filled]),
            np.concatenate([part.covariance_m2 for part in filled]),
            np.concatenate([part.weight for part in filled]),
        )

    def __len__(self) -> int:
        return len(self.weight)

    def of_sessions(self, sessions: Indices) -> Posterior:
        """Those of some sessions, by their numbers."""
        return Posterior(self.mean_m[sessions], self.covariance_m2[sessions], self.weight[sessions])

    @cached_property
    def medoid(self) -> Indices:
        """Number of the component that stands for the mixture, shape (n,).

        It is the medoid (Kaufman and Rousseeuw 1987), from whose mean the mixture lies least far: of sum_j
        weight_j sqrt(|mean_j - mean|^2 + trace(covariance_j)) the smallest, an estimate of the expected
        distance. The heaviest component may be one of two that say the same as a third, or a narrow one in a
        wide field. Of several with one mean, the narrowest stands for it.
        """
        east, _, north = _elements(self.covariance_m2)
        offset = self.mean_m[:, :, np.newaxis] - self.mean_m[:, np.newaxis]  # (n, K, K, 2)
        far = np.sqrt((offset**2).sum(axis=-1) + (east + north)[:, np.newaxis])  # (n, from, to)
        expected = (self.weight[:, np.newaxis] * far).sum(axis=-1)
        return np.asarray((expected + NARROWEST * np.sqrt(east + north)).argmin(axis=1))

    @property
    def position_m(self) -> Array:
        """Mean of the medoid, east and north, metres, shape (n, 2)."""
        return np.asarray(self.mean_m[np.arange(len(self)), self.medoid])

    @property
    def medoid_covariance_m2(self) -> Array:
        """Covariance of the medoid, m^2, shape (n, 2, 2)."""
        return np.asarray(self.covariance_m2[np.arange(len(self)), self.medoid])

    @property
    def sigma_m(self) -> Array:
        """Standard deviations of the medoid to the east and north, metres, shape (n, 2)."""
        east, _, north = _elements(self.medoid_covariance_m2)
        return np.sqrt(np.stack([east, north], axis=-1))

    @property
    def rms_m(self) -> Array:
        """Root of the mean squared distance from `position_m` under the whole mixture, metres, shape (n,)."""
        east, _, north = _elements(self.covariance_m2)
        offset = self.mean_m - self.position_m[:, np.newaxis]
        squared = east + north + (offset**2).sum(axis=-1)  # (n, K)
        return np.asarray(np.sqrt((self.weight * squared).sum(axis=1)))

    def log_density(self, point_m: Array) -> Array:
        """Log density of one point a session.

        Args:
            point_m: East and north, metres, shape (n, 2).

        Returns:
            Natural logarithm of the density per m^2, shape (n,).
        """
        return _log_density(self.mean_m, self.covariance_m2, self.weight, point_m[:, np.newaxis])[:, 0]

    def log_density_of(self, session: int, point_m: Array) -> Array:
        """Log density of many points under one session.

        Args:
            session: Its number.
            point_m: East and north, metres, shape (P, 2).

        Returns:
            Natural logarithm of the density per m^2, shape (P,).
        """
        one = self.of_sessions(np.array([session]))
        found = _log_density(one.mean_m, one.covariance_m2, one.weight, point_m[np.newaxis])
        return np.asarray(found[0])

    def level(self, point_m: Array) -> Array:
        """Smallest probability of a region of highest density that contains the point.

        It is the probability that the density exceeds the one at the point; if the posteriors are true it
        is uniform, and the share of truths with a level up to p is the coverage at p. One Gaussian gives
        chi-square in closed form. Of a mixture every component is summed over 1024 equally probable nodes
        (a sunflower: radii at mid-quantiles, turned by the golden angle), which resolves a thousandth.

        Args:
            point_m: East and north, metres, shape (n, 2).

        Returns:
            Probabilities in [0, 1], shape (n,).
        """
        nodes = _sunflower(_LEVEL_NODES)
        at_point = self.log_density(point_m)
        levels = np.empty(len(self))
        for number, weight in enumerate(self.weight):
            used = np.flatnonzero(weight > 0)
            mean, covariance = self.mean_m[number, used], self.covariance_m2[number, used]
            if len(used) == 1:
                squared = _squared_deviation(point_m[number] - mean[0], covariance[0])
                levels[number] = -math.expm1(-float(squared) / 2)
                continue
            points = (mean[:, np.newaxis] + _spread(nodes, covariance)).reshape(1, -1, 2)
            log_density = _log_density(
                mean[np.newaxis], covariance[np.newaxis], weight[np.newaxis, used], points
            )
            denser = (log_density >= at_point[number]).reshape(len(used), -1)
            levels[number] = min(1.0, float((weight[used] * denser.mean(axis=1)).sum()))
        return levels

    def within(self, radius_m: float) -> Array:
        """Probability that the truth lies within a radius of `position_m`.

        Along each component's major axis the integral over the disc's chords is a Gauss-Legendre rule of 64
        nodes in the angle, across it the normal distribution function.

        Args:
            radius_m: Metres, above 0.

        Returns:
            Probabilities in [0, 1], shape (n,).
        """
        east, cross, north = _elements(self.covariance_m2)  # (n, K) each
        half_difference, half_sum = (east - north) / 2, (east + north) / 2
        root = np.sqrt(half_difference**2 + cross**2)
        major = half_sum + root
        minor = (east * north - cross**2) / major  # half_sum - root loses its digits for a narrow ellipse
        # Cosine and sine of the major axis's angle, from those of twice the angle.
        round_ = root == 0
        double = np.where(round_, 1.0, half_difference / np.where(round_, 1.0, root))
        cosine = np.sqrt((1 + double) / 2)
        sine = np.copysign(np.sqrt(np.maximum(1 - double, 0.0) / 2), cross)
        offset = self.mean_m - self.position_m[:, np.newaxis]
        along = (cosine * offset[..., 0] + sine * offset[..., 1]) / radius_m
        across = (cosine * offset[..., 1] - sine * offset[..., 0]) / radius_m
        sigma_along, sigma_across = np.sqrt(major) / radius_m, np.sqrt(minor) / radius_m
        low = np.arcsin(np.clip(along - _REACH_SIGMAS * sigma_along, -1, 1))
        high = np.arcsin(np.clip(along + _REACH_SIGMAS * sigma_along, -1, 1))
        nodes, factors = np.polynomial.legendre.leggauss(_DISC_NODES)
        angle = ((low + high) / 2)[..., np.newaxis] + ((high - low) / 2)[..., np.newaxis] * nodes
        half_chord = np.cos(angle)
        deviation = (np.sin(angle) - along[..., np.newaxis]) / sigma_along[..., np.newaxis]
        density = np.exp(-(deviation**2) / 2) / (math.sqrt(2 * math.pi) * sigma_along[..., np.newaxis])
        upper = ndtr((half_chord - across[..., np.newaxis]) / sigma_across[..., np.newaxis])
        lower = ndtr((-half_chord - across[..., np.newaxis]) / sigma_across[..., np.newaxis])
        inside = (factors * density * (upper - lower) * half_chord).sum(axis=-1) * (high - low) / 2
        return np.asarray(np.clip((self.weight * inside).sum(axis=1), 0.0, 1.0))

    def _filled(self, components: int) -> Posterior:
        missing = components - self.weight.shape[1]
        if not missing:
            return self
        return Posterior(
            np.concatenate([self.mean_m, np.repeat(self.mean_m[:, :1], missing, axis=1)], axis=1),
            np.concatenate(
                [self.covariance_m2, np.repeat(self.covariance_m2[:, :1], missing, axis=1)], axis=1
            ),
            np.concatenate([self.weight, np.zeros((len(self), missing))], axis=1),
        )


def _elements(covariance_m2: Array) -> tuple[Array, Array, Array]:
    """Variance to the east, covariance, variance to the north of matrices (..., 2, 2)."""
    return covariance_m2[..., 0, 0], covariance_m2[..., 0, 1], covariance_m2[..., 1, 1]


def _squared_deviation(offset_m: Array, covariance_m2: Array) -> Array:
    """Squared Mahalanobis length of offsets (..., 2), shape (...)."""
    variance, cross, other = _elements(covariance_m2)
    east, north = offset_m[..., 0], offset_m[..., 1]
    rest = other - cross**2 / variance  # the north's variance where the east is known
    return np.asarray(east**2 / variance + (north - cross / variance * east) ** 2 / rest)


def _log_density(mean_m: Array, covariance_m2: Array, weight: Array, point_m: Array) -> Array:
    """Log density per m^2 of mixtures (n, K) at points (n, P, 2), shape (n, P)."""
    variance, cross, other = _elements(covariance_m2)
    log_determinant = np.log(variance) + np.log(other - cross**2 / variance)
    used = weight > 0
    log_weight = np.where(used, np.log(np.where(used, weight, 1.0)), -np.inf)
    scale = log_weight - log_determinant / 2 - math.log(2 * math.pi)  # (n, K)
    offset = point_m[:, :, np.newaxis] - mean_m[:, np.newaxis]  # (n, P, K, 2)
    terms = scale[:, np.newaxis] - _squared_deviation(offset, covariance_m2[:, np.newaxis]) / 2
    largest = terms.max(axis=-1)
    return np.asarray(largest + np.log(np.exp(terms - largest[..., np.newaxis]).sum(axis=-1)))


def _sunflower(count: int) -> Array:
    """Equally probable nodes of the standard normal distribution in the plane, shape (count, 2)."""
    number = np.arange(count)
    radius = np.sqrt(-2 * np.log1p(-(number + 0.5) / count))
    angle = number * (math.pi * (3 - math.sqrt(5)))
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)


def _spread(nodes: Array, covariance_m2: Array) -> Array:
    """Nodes (S, 2) of the standard normal brought to covariances (K, 2, 2), shape (K, S, 2)."""
    variance, cross, other = (element[:, np.newaxis] for element in _elements(covariance_m2))
    sigma = np.sqrt(variance)
    east = sigma * nodes[:, 0]
    north = cross / sigma * nodes[:, 0] + np.sqrt(other - cross**2 / variance) * nodes[:, 1]
    return np.stack([east, north], axis=-1)
