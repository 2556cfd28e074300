"""What a trained network of either kind answers to sessions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from heimdall.core import artifacts
from heimdall.core.errors import HeimdallError
from heimdall.geometry.geo import LocalFrame, TangentPlane
from heimdall.metrics.metrics import Estimates
from heimdall.network import model_file
from heimdall.network.dataset import DatasetConfig, HeimdallDataset, read_network, read_receivers
from heimdall.network.fusion_net import FusionNet
from heimdall.network.localization_net import INFERENCE_BATCH, LocalizationNet
from heimdall.network.localize import after_and_before_calibration
from heimdall.position.posterior import Posterior
from heimdall.signal.arrival import Observation

# From n observations to the answer after calibration and the one before. It travels to other processes.
Localizer = Callable[[Sequence[Observation]], tuple[Posterior, Posterior]]


@dataclass(frozen=True)
class StoredLocalizer:
    """What a trained network of either kind answers to sessions; it is read where it is asked.

    The Gaussians that a single-receiver network gives to a session's recordings are multiplied; it has no
    calibration of its own.

    Attributes:
        weights: Its weights, with the configuration beside them.
        data: Where the network's receivers are described.
        sha256: Of the weights.
    """

    weights: Path
    data: DatasetConfig
    sha256: str

    @classmethod
    def of(cls, weights: Path, data: DatasetConfig) -> StoredLocalizer:
        """The localizer of these weights.

        Raises:
            HeimdallError: A file is missing or damaged.
        """
        artifacts.require(weights)
        made = cls(weights, data, artifacts.sha256_file(weights))
        _read(weights, made.sha256)
        return made

    def __call__(self, sessions: Sequence[Observation]) -> tuple[Posterior, Posterior]:
        """The answers to n sessions.

        Raises:
            HeimdallError: A file is missing or damaged.
        """
        network, _ = _read(self.weights, self.sha256)
        if isinstance(network, FusionNet):
            return after_and_before_calibration(network, sessions, read_receivers(self.data))
        answer = product(network, sessions, read_network(self.data).plane)
        return answer, answer

    @property
    def validation_split(self) -> float:
        """Share of the development rows that was held out when it was trained."""
        _, record = _read(self.weights, self.sha256)
        return float(record["validation_split"])

    @property
    def files(self) -> tuple[Path, Path]:
        """What it is read from, beside the description of the receivers."""
        return self.weights, self.weights.with_suffix(".json")


@lru_cache(maxsize=1)
def _read(weights: Path, sha256: str) -> tuple[FusionNet | LocalizationNet, dict[str, Any]]:
    """Network and record; the hash tells weights from later ones at their place."""
    return model_file.load(weights, weights.with_suffix(".json"))


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


def product(model: LocalizationNet, sessions: Sequence[Observation], plane: TangentPlane) -> Posterior:
    """The product of the Gaussians of each session's recordings, in the tangent plane.

    The sigmas stay as they are: a metre of the frame and one of the plane differ by 1 % at 60 km.

    Args:
        model: Asked of each recording.
        sessions: n sessions.
        plane: Of the positions.

    Returns:
        n Gaussians.

    Raises:
        HeimdallError: The model has no local frame.
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
        answers = [
            model(features)
            for features in tqdm(batches, desc="localize", unit="batch", disable=None, delay=1)
        ]
    columns = torch.cat(answers).numpy().astype(np.float64).T  # (4, n)
    return Estimates(*columns)
