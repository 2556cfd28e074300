"""What a trained network of either kind answers to sessions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from heimdall.core.errors import HeimdallError
from heimdall.geometry.geo import LocalFrame, TangentPlane
from heimdall.metrics.metrics import Estimates
from heimdall.network.dataset import DatasetConfig, HeimdallDataset, read_network, read_receivers
from heimdall.network.fusion_net import FusionNet
from heimdall.network.localization_net import INFERENCE_BATCH, LocalizationNet
from heimdall.network.localize import localize
from heimdall.position.posterior import Posterior
from heimdall.signal.arrival import Observation

Localizer = Callable[[Sequence[Observation]], Posterior]


def localizer(
    network: FusionNet | LocalizationNet, data: DatasetConfig, *, calibrated: bool = True
) -> Localizer:
    """What a trained network answers to sessions.

    Args:
        network: Of either kind. The Gaussians that a single-receiver network gives to a session's recordings
            are multiplied; it has no calibration of its own.
        data: Where the network's receivers are described.
        calibrated: False for the answer before calibration.

    Returns:
        A function of n observations.

    Raises:
        HeimdallError: The description is missing or damaged.
    """
    receivers, plane = read_receivers(data), read_network(data).plane

    def answer(sessions: Sequence[Observation]) -> Posterior:
        if isinstance(network, FusionNet):
            return localize(network, sessions, receivers, calibrated=calibrated)
        return _product(network, sessions, plane)

    return answer


def estimate(model: LocalizationNet, dataset: HeimdallDataset) -> Estimates:
    """The network's answer to every recording of a split, in the order of `dataset.index`.

    Args:
        model: Put into evaluation mode; computes where it is.
        dataset: n recordings.

    Returns:
        n estimates.
    """
    return _estimates(model, (features for features, _ in DataLoader(dataset, batch_size=INFERENCE_BATCH)))


def combine(estimates: Estimates, member: npt.NDArray[np.intp], frame: LocalFrame) -> Estimates:
    """One estimate for each group: the normalised product of its members' Gaussians.

    Weights are inverse variances, w = 1/sigma^2; the mean is sum(w x)/sum(w), the variance 1/sum(w). It
    is right for independent errors; members that share an error make it too sure, which coverage shows.

    Args:
        estimates: n estimates.
        member: Number of each one's group, 0 to m - 1, each used, shape (n,).
        frame: The chart of the Gaussians.

    Returns:
        m estimates.
    """
    means, sigmas_m = [], []
    east_m, north_m = frame.to_local(estimates.latitude_deg, estimates.longitude_deg)
    for position_m, sigma_m in ((east_m, estimates.sigma_east_m), (north_m, estimates.sigma_north_m)):
        weight = 1 / sigma_m**2
        total = np.bincount(member, weight)
        means.append(np.bincount(member, weight * position_m) / total)
        sigmas_m.append(1 / np.sqrt(total))
    return Estimates(*frame.to_degrees(means[0], means[1]), *sigmas_m)


def _product(model: LocalizationNet, sessions: Sequence[Observation], plane: TangentPlane) -> Posterior:
    """The product of the Gaussians of each session's recordings, in the tangent plane.

    The sigmas stay as they are: a metre of the frame and one of the plane differ by 1 % at 60 km.
    """
    mel = np.concatenate([item.session.mel for item in sessions])
    member = np.repeat(np.arange(len(sessions)), [len(item.session.mel) for item in sessions])
    batches = (
        torch.from_numpy(mel[first : first + INFERENCE_BATCH].astype(np.float32))
        for first in range(0, len(mel), INFERENCE_BATCH)
    )
    if model.frame is None:
        raise HeimdallError(
            "the model",
            "it has no local frame: its answers are no degrees",
            "Make it anew: `dvc repro --force train`",
        )
    combined = combine(_estimates(model, batches), member, model.frame)
    position_m = np.stack(plane.to_local(combined.latitude_deg, combined.longitude_deg), axis=-1)
    sigma_m = np.stack([combined.sigma_east_m, combined.sigma_north_m], axis=-1)
    return Posterior.gaussian(position_m, sigma_m[:, :, np.newaxis] ** 2 * np.eye(2))


def _estimates(model: LocalizationNet, batches: Iterable[torch.Tensor]) -> Estimates:
    model.eval()
    with torch.inference_mode():
        answers = [model(features) for features in tqdm(batches, desc="localize", unit="batch", disable=None)]
    columns = torch.cat(answers).numpy().astype(np.float64).T  # (4, n)
    return Estimates(*columns)
