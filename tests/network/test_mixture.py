"""Mixtures as tensors: the same component stands for them as in NumPy."""

from __future__ import annotations

import numpy as np
import torch

from heimdall.network.mixture import Mixture
from heimdall.position.posterior import Posterior


def test_torch_and_numpy_choose_the_same_gaussian() -> None:
    """Of Gaussians at random, of equal ones, and of ones without weight."""
    random, count = np.random.default_rng(4), 30
    mean_m = random.normal(0, 3e3, (40, count, 2))
    mean_m[10:15, 1] = mean_m[10:15, 0]
    sigma_m = np.exp(random.uniform(np.log(50), np.log(5e3), (40, count, 2)))
    covariance_m2 = sigma_m[..., None] ** 2 * np.eye(2)
    covariance_m2[..., 0, 1] = covariance_m2[..., 1, 0] = 0.4 * sigma_m.prod(-1)
    weight = random.dirichlet(np.full(count, 0.3), 40)
    weight[20:25, 3:] = 0
    weight /= weight.sum(1, keepdims=True)
    posterior = Posterior(mean_m, covariance_m2, weight)
    entries = np.stack([covariance_m2[..., 0, 0], covariance_m2[..., 0, 1], covariance_m2[..., 1, 1]], -1)
    log_weight = np.log(np.maximum(weight, 1e-300))
    empty = torch.zeros(40, 1, dtype=torch.float64)
    mixture = Mixture(
        torch.tensor(mean_m / 1e3), torch.tensor(entries / 1e6), torch.tensor(log_weight), empty, empty
    )
    chosen = mixture.medoid().numpy()
    np.testing.assert_array_equal(chosen, posterior.medoid)
    assert len(set(chosen.tolist())) > 5
