"""Where the transmitters of sessions are, by a trained FusionNet."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from tqdm import tqdm

from heimdall.geometry.area import Receivers
from heimdall.network.fusion_net import FusionNet
from heimdall.network.localization_net import INFERENCE_BATCH
from heimdall.network.mixture import Mixture
from heimdall.network.tokens import collate
from heimdall.position import solver
from heimdall.position.posterior import Posterior
from heimdall.position.solver import KM
from heimdall.signal.arrival import Observation


def localize(network: FusionNet, observations: Sequence[Observation], receivers: Receivers) -> Posterior:
    """Where the transmitters of n sessions are.

    Args:
        network: Put into evaluation mode.
        observations: n sessions, n > 0.
        receivers: All receivers of the network.

    Returns:
        n mixtures.
    """
    return after_and_before_calibration(network, observations, receivers)[0]


def after_and_before_calibration(
    network: FusionNet, observations: Sequence[Observation], receivers: Receivers
) -> tuple[Posterior, Posterior]:
    """The answer of `localize`, whose arguments these are, and what it was before calibration."""
    network.eval()
    tokenizer = network.tokenizer(receivers)
    after, before = [], []
    with torch.inference_mode():
        starts = range(0, len(observations), INFERENCE_BATCH)
        for start in tqdm(starts, desc="localize", unit="batch", disable=None, delay=1):
            part = [tokenizer.tokens(item) for item in observations[start : start + INFERENCE_BATCH]]
            before.append(network.uncalibrated(collate(part)))
            after.append(network.calibrated(before[-1]))
    return _posterior(after), _posterior(before)


def _posterior(parts: Sequence[Mixture]) -> Posterior:
    return Posterior(
        mean_m=torch.cat([part.mean_km for part in parts]).numpy() * KM,
        covariance_m2=solver.matrices(torch.cat([part.covariance_km2 for part in parts])).numpy() * KM**2,
        weight=torch.softmax(torch.cat([part.log_weight for part in parts]), -1).numpy(),
    )
