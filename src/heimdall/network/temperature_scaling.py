"""How sure a trained FusionNet may be: a temperature and a floor of its Gaussians, from validation sessions.

The temperature (Guo et al. 2017, "On calibration of modern neural networks") divides the exponent of each
Gaussian: it is a factor of the covariances.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import nn

from heimdall.network.fusion_net import FusionNet
from heimdall.network.measured_times import Batch
from heimdall.network.mixture import Mixture
from heimdall.position.solver import KM

# From one world to another (docs/physics.md): of the logarithm of the temperature, and of the floor. The
# prior is Cauchy's: sessions that are unlike those before may move it by any amount.
TEMPERATURE_SPREAD, FLOOR_SPREAD_M = 0.1, 10.0
_TEMPERATURES = tuple(2 ** (k / 8) for k in range(-8, 33))  # 0.5 to 16
_FLOORS_M = (
    0.0, 5.0, 10.0, 15.0, 20.0, 30.0, 45.0, 65.0, 100.0, 150.0, 225.0, 350.0, 500.0, 750.0, 1100.0, 1600.0,
    2400.0,
)  # fmt: skip


def calibrate(network: FusionNet, batches: Iterable[Batch]) -> None:
    """Set temperature and floor to the most probable ones, given validation sessions.

    On a grid, because the likelihood of a few dozen sessions is rough; and starting from what the network
    has, because so few leave it open by more than many simulated ones do.

    Args:
        network: Put into evaluation mode; its buffers are set.
        batches: The validation sessions, with `truth_m`.
    """
    network.eval()
    former, former_m = math.log(float(network.temperature)), float(network.floor_m)
    with torch.inference_mode():
        answers, truth_m = zip(
            *((network.uncalibrated(batch), batch["truth_m"]) for batch in batches), strict=True
        )
        mixture = _together(answers)
        truth_km = torch.cat(truth_m) / KM
        best = (math.inf, 1.0, 0.0)
        for temperature in _TEMPERATURES:
            for floor_m in _FLOORS_M:
                network.temperature.fill_(temperature)
                network.floor_m.fill_(floor_m)
                nll = network.calibrated(mixture).nll(truth_km)
                moved = (math.log(temperature) - former) / TEMPERATURE_SPREAD
                raised = (floor_m - former_m) / FLOOR_SPREAD_M
                prior = math.log1p(moved**2) + math.log1p(raised**2)
                best = min(best, (float(nll.sum()) + prior, temperature, floor_m))
        network.temperature.fill_(best[1])
        network.floor_m.fill_(best[2])


def _together(parts: Sequence[Mixture]) -> Mixture:
    """The answers of all batches; those with fewer receivers are filled up by some without arrival times."""
    receivers = max(one.weight.shape[1] for one in parts)

    def filled(one: torch.Tensor) -> torch.Tensor:
        return nn.functional.pad(one, (0, receivers - one.shape[1]))

    return Mixture(
        torch.cat([one.mean_km for one in parts]),
        torch.cat([one.covariance_km2 for one in parts]),
        torch.cat([one.log_weight for one in parts]),
        torch.cat([filled(one.weight) for one in parts]),
        torch.cat([filled(one.bias_us) for one in parts]),
    )
