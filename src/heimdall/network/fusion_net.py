"""FusionNet: all receivers of a session to a mixture of Gaussians over the transmitter's position.

Each receiver becomes a token: the single-receiver network's embedding of its log-mel, what is measured of its
signal, and its geometry at a first estimate. Attention among the tokens, as a set, says how far each arrival
time is to be trusted: an extra standard deviation and a bias. A solver (`heimdall.position.solver`) then fits
position and emission time, once from each tile of a Gaussian-sum prior (`heimdall.network.tokens`), and each
solution is one Gaussian of the answer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from tqdm import tqdm

from heimdall.geometry.area import Area, Receivers
from heimdall.geometry.geo import TangentPlane
from heimdall.network import localization_net
from heimdall.network.localization_net import LocalizationNet
from heimdall.network.tokens import BEND_SHARE, PHYSICAL, SHAPE, TILES, TILT_SHARE, Tokenizer, Tokens, collate
from heimdall.position import solver
from heimdall.position.arrival import Observation
from heimdall.position.posterior import Posterior
from heimdall.position.radio_map import RadioMap
from heimdall.position.received_power import PowerModel
from heimdall.position.solver import KM, US, US_PER_KM, exp, log, root

Batch = Mapping[str, torch.Tensor]

WIDTH, LAYERS, HEADS = 48, 2, 4
EMBEDDING = 16
FIRST_SIGMA_US = 0.2  # of an arrival time before anything is learned: light multipath
FIRST_ESTIMATE_SIGMA_US = 0.3
# How evidence is weighed before anything is learned: arrival times and levels are less independent than the
# formulas assume.
FIRST_WEIGHTS = (0.7, 0.7, 0.5)
# Every Gaussian has a wider one behind it, for errors have heavier tails than normal ones: so many times the
# standard deviation, and less likely by so many nats before anything is learned.
TAIL_SIGMAS, FIRST_TAIL = 3.0, 2.0
LEAST_TIMED = 2  # arrival times, of which one says when the signal was sent
# By how much, in nats, arrival times speak against an answer that leaves them out.
DISTRUST = 14.0
_NEVER = 1e3  # nats
HULL_MARGIN_KM, HULL_SLOPE_KM = 10.0, 5.0
SURPRISE = 8.0  # nats: beyond it a session's loss grows as a logarithm only
RESIDUAL_SHARE = 0.1  # of the residuals' likelihood at the true position in the training loss
LOCALIZABLE_M = 1000.0
PRETRAINED_HASH = "pretrained_weights_sha256"  # in the record of a model that started from other weights
# From one world to another (docs/physics.md): of the logarithm of the temperature, and of the floor.
TEMPERATURE_SPREAD, FLOOR_SPREAD_M = 0.1, 10.0
_LEVEL, _HEARD, _TILT, _BEND = (PHYSICAL.index(name) for name in ("level_db", "heard", "log_tilt", "bend_us"))
_GEOMETRY = 6  # columns of a token that depend on the first estimate
_EVIDENCE = 8  # columns that describe a tile to the network
_RINGS, _ANGLES = 16, 16
_LEAST_STD = 1e-3  # what varies less between receivers says nothing
_BATCH_SIZE = 64  # fixed: kernels are chosen by shape, so it is part of the result
# What calibration tries, on the validation split.
_TEMPERATURES = tuple(2 ** (k / 8) for k in range(-8, 17))  # 0.5 to 4
_FLOORS_M = (0.0, 5.0, 10.0, 15.0, 20.0, 30.0, 45.0, 65.0, 100.0, 150.0, 225.0, 350.0)
# Degrees by a polynomial of east and north, good to a millimetre within this distance: ONNX Runtime has no
# arc tangent in float64.
_REACH_KM = 200.0
_DEGREE = 6
_POWERS = [(i, j) for i in range(_DEGREE + 1) for j in range(_DEGREE + 1 - i)]


@dataclass(frozen=True)
class Mixture:
    """What the network says of B sessions, K Gaussians each, and how it weighed R receivers.

    Attributes:
        mean_km: East and north in the tangent plane, (B, K, 2) float64.
        covariance_km2: The entries east-east, east-north, north-north, (B, K, 3) float64.
        log_weight: Logarithms of weights that add up to 1, (B, K) float64.
        weight: Of each arrival time, 1 / us^2, 0 where there is none, (B, R) float64.
        bias_us: Of each arrival time, (B, R) float64.
    """

    mean_km: torch.Tensor
    covariance_km2: torch.Tensor
    log_weight: torch.Tensor
    weight: torch.Tensor
    bias_us: torch.Tensor


def bounded(surprise: torch.Tensor) -> torch.Tensor:
    """A loss (B,) that grows as a logarithm beyond `SURPRISE`: no session may undo what others teach."""
    beyond = SURPRISE + torch.log1p((surprise - SURPRISE).clamp(min=0))
    return torch.where(surprise > SURPRISE, beyond, surprise)


class _Attention(nn.Module):
    """A pre-norm transformer layer over a set with a mask."""

    def __init__(self, dropout_rate: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.project = nn.Linear(WIDTH, 3 * WIDTH)
        self.join = nn.Linear(WIDTH, WIDTH)
        self.dropout = nn.Dropout(dropout_rate)
        self.mix = nn.Sequential(
            nn.LayerNorm(WIDTH),
            nn.Linear(WIDTH, 2 * WIDTH),
            nn.ReLU(),
            nn.Dropout(dropout_rate),
            nn.Linear(2 * WIDTH, WIDTH),
            nn.Dropout(dropout_rate),
        )

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Tokens (B, R, WIDTH) and which of them are there, (B, R) bool, to tokens."""
        count = tokens.shape[1]
        projected = self.project(self.norm(tokens)).reshape(-1, count, 3, HEADS, WIDTH // HEADS)
        query, key, value = projected.permute(2, 0, 3, 1, 4).unbind(0)  # each (B, H, R, D)
        score = query @ key.transpose(-1, -2) * (WIDTH // HEADS) ** -0.5  # (B, H, R, R)
        score = score.masked_fill(~mask[:, None, None], -1e4)  # float16 holds it, too
        seen = (torch.softmax(score, -1) @ value).transpose(1, 2).reshape(-1, count, WIDTH)
        tokens = tokens + self.dropout(self.join(seen))
        mixed: torch.Tensor = tokens + self.mix(tokens)
        return mixed


def _silent(layer: nn.Linear) -> nn.Linear:
    """A head that starts by saying nothing."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class FusionNet(nn.Module):
    """A session's receivers to a mixture of Gaussians.

    Args:
        encoder: The trained single-receiver network; it is not trained further.
        plane: Tangent plane of all positions, and the assumed altitude of transmitters.
        area: Where transmitters are.
        power: How strong receivers hear transmitters at a distance.
        radio: How strong they hear each place.
        physical_mean: Mean of each of `tokens.PHYSICAL` over the training receivers.
        physical_std: Their standard deviations, above 0.
        dropout_rate: In [0, 1).
    """

    physical_mean: torch.Tensor
    physical_std: torch.Tensor
    edges: torch.Tensor
    degrees: torch.Tensor
    by_time: torch.Tensor
    temperature: torch.Tensor
    floor_m: torch.Tensor

    def __init__(
        self,
        encoder: LocalizationNet,
        *,
        plane: TangentPlane,
        area: Area,
        power: PowerModel,
        radio: RadioMap,
        physical_mean: Sequence[float],
        physical_std: Sequence[float],
        dropout_rate: float,
    ) -> None:
        super().__init__()
        self.plane, self.area, self.power, self.radio = plane, area, power, radio
        self.config: dict[str, Any] = {
            "encoder": encoder.config,
            "plane": asdict(plane),
            "area": asdict(area),
            "power": asdict(power),
            "radio": asdict(radio),
            "physical_mean": [float(value) for value in physical_mean],
            "physical_std": [float(value) for value in physical_std],
            "dropout_rate": dropout_rate,
        }
        self.encoder = encoder.requires_grad_(False)
        dim: int = encoder.backbone.num_features
        self.embedding = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, EMBEDDING), nn.Dropout(dropout_rate))
        self.token = nn.Linear(EMBEDDING + len(PHYSICAL) + SHAPE + _GEOMETRY, WIDTH)
        self.layers = nn.ModuleList(_Attention(dropout_rate) for _ in range(LAYERS))
        self.norm = nn.LayerNorm(WIDTH)
        self.receiver_head = _silent(nn.Linear(WIDTH, 3))
        self.session_head = _silent(nn.Linear(WIDTH, 3))
        # A constant would be the same for every tile: no bias.
        last = nn.Linear(32, 1, bias=False)
        nn.init.zeros_(last.weight)
        self.tile_head = nn.Sequential(nn.Linear(WIDTH + _EVIDENCE, 32), nn.ReLU(), last)
        self.evidence = nn.Parameter(torch.tensor(FIRST_WEIGHTS))
        self.tilt_share = nn.Parameter(torch.tensor(TILT_SHARE))
        self.bend_share = nn.Parameter(torch.tensor(BEND_SHARE))
        float64 = torch.float64
        self.register_buffer("physical_mean", torch.tensor(self.config["physical_mean"]))
        self.register_buffer("physical_std", torch.tensor(self.config["physical_std"]))
        self.register_buffer("edges", torch.tensor(area.half_planes, dtype=float64))  # (E, 3), metres
        self.register_buffer("degrees", torch.tensor(_degree_polynomial(plane), dtype=float64))  # (2, T)
        by_time = torch.tensor([1.0] * TILES + [0.0], dtype=float64)
        self.register_buffer("by_time", by_time)  # (K,)
        self.register_buffer("temperature", torch.ones((), dtype=float64))
        self.register_buffer("floor_m", torch.zeros((), dtype=float64))

    def tokenizer(self, receivers: Receivers) -> Tokenizer:
        """What makes this network's inputs, of all receivers there are."""
        return Tokenizer(self.plane, self.area, self.power, self.radio, receivers)

    def train(self, mode: bool = True) -> FusionNet:
        """As in torch, but for the encoder, which stays as it was trained."""
        super().train(mode)
        self.encoder.eval()
        return self

    def embed(self, mel: torch.Tensor) -> torch.Tensor:
        """The encoder's picture of recordings.

        Args:
            mel: (N, 3, n_mels, frames) float32, dB, not normalised.

        Returns:
            (N, dim) float32.
        """
        normalised = (mel - self.encoder.feature_mean) / self.encoder.feature_std
        found: torch.Tensor = self.encoder.backbone(normalised)
        return found

    def mixture(self, batch: Batch) -> Mixture:
        """The answer after calibration.

        Args:
            batch: As of `tokens.collate`; `picture` is the log-mel or its embedding.

        Returns:
            The mixture.
        """
        return self.calibrated(self.uncalibrated(batch))

    def uncalibrated(self, batch: Batch) -> Mixture:
        """The answer before calibration; as `mixture`."""
        noise_us2 = 1 / (batch["information_s2"] * US**2).clamp(min=1e-9)  # (B, R)
        variance_us2 = noise_us2 + (batch["timing_sigma_s"] / US) ** 2
        usable = (batch["mask"] & (batch["information_s2"] > 0)).double()  # (B, R)
        prior, prior_determinant = solver.inverse(solver.entries(batch["prior_m2"]) / KM**2)
        problem = solver.Problem(
            delay_us=batch["delay_s"] / US,
            receiver_km=batch["receiver_m"] / KM,
            centre_km=batch["centre_m"] / KM,
            prior=prior,
            plane=self.plane,
        )

        # A first estimate, with every arrival time trusted by its tilt alone.
        tilt_us2 = (exp(math.log(10) * batch["physical"][..., _TILT].double()) / US) ** 2
        tilt_us2 = (tilt_us2 - noise_us2).clamp(min=0)  # what noise makes of a tilt
        weight = usable / (variance_us2 + FIRST_ESTIMATE_SIGMA_US**2 + TILT_SHARE**2 * tilt_us2)
        bend_us = batch["physical"][..., _BEND].double()
        straight = replace(problem, delay_us=problem.delay_us - BEND_SHARE * bend_us)
        first = solver.solve(straight, self._by_tile(weight), problem.centre_km)
        tokens = self._tokens(batch, straight, first, prior_determinant, weight)
        for layer in self.layers:
            tokens = layer(tokens, batch["mask"])
        tokens = self.norm(tokens)
        there = batch["mask"][..., None].float()
        pooled = (tokens * there).sum(1) / there.sum(1)  # (B, WIDTH)

        trust = self.receiver_head(tokens).double()  # (B, R, 3)
        sigma_us = FIRST_SIGMA_US * exp(trust[..., 0].clamp(-5, 6))
        bend_share = self.bend_share.double() + 0.3 * trust[..., 2]
        bias_us = (0.3 * trust[..., 1] + bend_share * bend_us) * usable
        weight = usable / (variance_us2 + sigma_us**2 + self.tilt_share.double() ** 2 * tilt_us2)
        unbiased = replace(problem, delay_us=problem.delay_us - bias_us)
        found = solver.solve(unbiased, self._by_tile(weight), first.position_km.detach())

        log_weight = self._log_weight(batch, found, prior_determinant, usable.sum(1, keepdim=True), pooled)
        scale, floor, tail = self.session_head(pooled).double().unbind(-1)  # (B,) each
        covariance = found.covariance_km2 * exp(scale.clamp(-5, 5))[:, None, None]
        isotropic = exp(2 * (floor - 4).clamp(-8, 3))[:, None]  # from e^-4 km = 18 m
        covariance = _widened(covariance, isotropic)
        # Levels alone have had their say: what they leave open stays as it is.
        timed = usable.sum(1) >= LEAST_TIMED  # (B,)
        covariance = torch.where(timed[:, None, None], covariance, found.covariance_km2)
        against = torch.where(timed, tail + FIRST_TAIL, _NEVER)
        share = torch.log_softmax(torch.stack([-against, torch.zeros_like(against)], -1), -1)
        return Mixture(
            torch.cat([found.position_km, found.position_km], 1),
            torch.cat([covariance, covariance * TAIL_SIGMAS**2], 1),
            torch.cat([log_weight + share[:, 1:], log_weight + share[:, :1]], 1),
            weight,
            bias_us,
        )

    def calibrated(self, mixture: Mixture) -> Mixture:
        """The density to the power of 1 / temperature, and no Gaussian narrower than the floor.

        What levels alone say is as wide as they make it, and stays so.
        """
        timed = ((mixture.weight > 0).sum(1) >= LEAST_TIMED)[:, None]  # (B, 1)
        temperature = torch.where(timed, self.temperature, 1.0)
        floor_km = torch.where(timed, self.floor_m / KM, 0.0)
        return Mixture(
            mixture.mean_km,
            _widened(mixture.covariance_km2 * temperature[..., None], floor_km**2),
            torch.log_softmax(mixture.log_weight / temperature, -1),
            mixture.weight,
            mixture.bias_us,
        )

    def nll(self, mixture: Mixture, truth_m: torch.Tensor) -> torch.Tensor:
        """Negative log density at the true positions.

        Args:
            mixture: Of B sessions.
            truth_m: East and north, metres, (B, 2) float64.

        Returns:
            (B,) float64, nats for densities per square kilometre.
        """
        off = truth_m[:, None] / KM - mixture.mean_km  # (B, K, 2)
        information, determinant = solver.inverse(mixture.covariance_km2)
        distance2 = (off * solver.apply(information, off)).sum(-1)
        terms = mixture.log_weight - 0.5 * distance2 - 0.5 * log(determinant) - math.log(2 * math.pi)
        return -solver.log_sum_exp(terms)

    def loss(self, batch: Batch) -> torch.Tensor:
        """What training makes small: the likelihood of the position and, a little, that of the residuals.

        The second part is the restricted likelihood of the arrival times at the true position (the emission
        time integrated out): it teaches which receiver to trust where the geometry hides it.

        Args:
            batch: As of `tokens.collate`, with `truth_m` (B, 2) float64, east and north.

        Returns:
            (B,) float64.
        """
        mixture = self.uncalibrated(batch)
        truth_km = batch["truth_m"][:, None] / KM  # (B, 1, 2)
        distance_km, _ = solver.geometry(truth_km, batch["receiver_m"] / KM, self.plane)
        residual = batch["delay_s"] / US - mixture.bias_us - US_PER_KM * distance_km[:, 0]  # (B, R)
        weight = mixture.weight
        usable = (weight > 0).double()
        total = weight.sum(1).clamp(min=1e-9)
        off = residual - ((weight * residual).sum(1) / total)[:, None]
        likelihood = (weight * off**2).sum(1) - (log(weight.clamp(min=1e-9)) * usable).sum(1) + log(total)
        timed = usable.sum(1) >= LEAST_TIMED
        return bounded(self.nll(mixture, batch["truth_m"]) + RESIDUAL_SHARE * 0.5 * likelihood * timed)

    def forward(  # noqa: PLR0917 - the inputs of the exported graph
        self,
        mel: torch.Tensor,
        mask: torch.Tensor,
        delay_s: torch.Tensor,
        information_s2: torch.Tensor,
        timing_sigma_s: torch.Tensor,
        receiver_m: torch.Tensor,
        physical: torch.Tensor,
        shape: torch.Tensor,
        centre_m: torch.Tensor,
        prior_m2: torch.Tensor,
        log_power: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        """Localize sessions, for export. All arguments are entries of `tokens.collate`; `mel` is `picture`.

        Args:
            mel: (B, R, 3, n_mels, frames) float32, dB; anything finite where the mask is False.
            mask: (B, R) bool, at least one receiver a session.
            delay_s: (B, R) float64.
            information_s2: (B, R) float64.
            timing_sigma_s: (B, R) float64.
            receiver_m: (B, R, 3) float64.
            physical: (B, R, len(PHYSICAL)) float32.
            shape: (B, R, SHAPE) float32.
            centre_m: (B, K, 2) float64.
            prior_m2: (B, K, 2, 2) float64.
            log_power: (B, K) float64.

        Returns:
            positions (B, 2) float64, degrees; uncertainties (B, 2) float32, metres east and north;
            covariance (B, 2, 2) float64, m^2; localizable (B,) float64, probability of lying within
            `LOCALIZABLE_M` of the position; then of all Gaussians weights (B, K), means_deg (B, K, 2) and
            covariances (B, K, 2, 2) float64. The first three are those of the dominant Gaussian
            (`posterior.Posterior.dominant`).
        """
        mixture = self.mixture({
            "picture": mel,
            "mask": mask,
            "delay_s": delay_s,
            "information_s2": information_s2,
            "timing_sigma_s": timing_sigma_s,
            "receiver_m": receiver_m,
            "physical": physical,
            "shape": shape,
            "centre_m": centre_m,
            "prior_m2": prior_m2,
            "log_power": log_power,
        })  # fmt: skip
        dominant = _dominant(mixture)[:, None, None]  # (B, 1, 1)
        degrees = self.to_degrees(mixture.mean_km)
        entries_m2 = mixture.covariance_km2 * KM**2
        chosen = entries_m2.gather(1, dominant.expand(-1, 1, 3))[:, 0]  # (B, 3)
        return (
            degrees.gather(1, dominant.expand(-1, 1, 2))[:, 0],
            root(torch.stack([chosen[:, 0], chosen[:, 2]], -1)).float(),
            solver.matrices(chosen),
            self._localizable(mixture, dominant),
            torch.softmax(mixture.log_weight, -1),
            degrees,
            solver.matrices(entries_m2),
        )

    def position_deg(self, mixture: Mixture) -> torch.Tensor:
        """Latitude and longitude of the dominant Gaussian, degrees, (B, 2) float64."""
        dominant = _dominant(mixture)[:, None, None].expand(-1, 1, 2)
        return self.to_degrees(mixture.mean_km.gather(1, dominant)[:, 0])

    def to_degrees(self, position_km: torch.Tensor) -> torch.Tensor:
        """Leave the tangent plane.

        Args:
            position_km: East and north, (..., 2) float64.

        Returns:
            Latitude and longitude in degrees, (..., 2) float64.
        """
        east, north = (position_km / _REACH_KM).unbind(-1)
        terms = torch.stack([east**i * north**j for i, j in _POWERS], -1)  # (..., T)
        return (terms[..., None, :] * self.degrees).sum(-1)

    def _by_tile(self, weight: torch.Tensor) -> torch.Tensor:
        """Weights (B, R) of arrival times for each tile, (B, K, R): the wide one goes by levels alone."""
        return weight[:, None] * self.by_time[:, None]

    def _tokens(
        self,
        batch: Batch,
        problem: solver.Problem,
        first: solver.Solution,
        prior_determinant: torch.Tensor,
        weight: torch.Tensor,
    ) -> torch.Tensor:
        """Tokens (B, R, WIDTH): embedding, measurements, and geometry at the most likely first solution."""
        score = (
            batch["log_power"]
            - 0.5 * (first.chi2 + first.penalty)
            + 0.5 * (log(prior_determinant) - log(first.determinant))
        )
        best = score.argmax(1)[:, None, None].expand(-1, 1, 2)
        estimate_km = first.position_km.gather(1, best)  # (B, 1, 2)
        distance_km, gradient = solver.geometry(estimate_km, problem.receiver_km, self.plane)
        distance_km, gradient = distance_km[:, 0], gradient[:, 0]  # (B, R), (B, R, 2)
        usable = (weight > 0).double()
        residual = problem.delay_us - US_PER_KM * distance_km
        mean = (weight * residual).sum(1) / weight.sum(1).clamp(min=1e-9)
        residual = (residual - mean[:, None]) * usable
        log_distance = log(distance_km.clamp(min=0.1) / 30)
        heard = batch["physical"][..., _HEARD].double() * batch["mask"]
        level_db = batch["physical"][..., _LEVEL] + 10 / math.log(10) * self.power.slope * log_distance
        mean_db = (level_db * heard).sum(1) / heard.sum(1).clamp(min=1)
        at_estimate = [
            torch.log1p(3 * residual.abs()) * residual.sign(),
            log_distance,
            *gradient.unbind(-1),
            (level_db - mean_db[:, None]) * heard / 10,
            usable.sum(1, keepdim=True).expand_as(residual) / 5,
        ]
        picture = batch["picture"]
        if picture.ndim == 5:  # log-mel
            rows = picture.shape[1]
            picture = self.embed(picture.flatten(0, 1).float())
            picture = picture.reshape(-1, rows, picture.shape[-1])
        columns = [
            self.embedding(picture),
            (batch["physical"] - self.physical_mean) / self.physical_std,
            batch["shape"],
            torch.stack(at_estimate, -1).float(),
        ]
        token: torch.Tensor = self.token(torch.cat(columns, -1))
        return token

    def _log_weight(
        self,
        batch: Batch,
        found: solver.Solution,
        prior_determinant: torch.Tensor,
        timed: torch.Tensor,
        pooled: torch.Tensor,
    ) -> torch.Tensor:
        """Logarithms of the tiles' weights, (B, K) float64.

        Evidence of the arrival times (Laplace's approximation) and of the levels, each to a learned power,
        less what lies outside the hull, and what a small network adds. The wide tile, which leaves the
        arrival times out, keeps every answer from being sure of a wrong place, and is all of it without them.
        """
        occam = 0.5 * (log(prior_determinant) - log(found.determinant))
        east, north = found.position_km.unbind(-1)
        across, along, offset_m = self.edges.unbind(-1)  # (E,) each
        beyond_km = east[..., None] * across + north[..., None] * along + offset_m / KM  # (B, K, E)
        outside = (beyond_km.amax(-1) - HULL_MARGIN_KM).clamp(min=0) / HULL_SLOPE_KM
        log_power = batch["log_power"]
        described = [
            torch.log1p(found.chi2),
            torch.log1p(found.chi2 - found.chi2.amin(1, keepdim=True)),
            torch.log1p(found.penalty),
            (log_power - log_power.amax(1, keepdim=True)) / 3,
            occam / 5,
            outside,
            log(prior_determinant) / 5,
            timed.expand_as(occam) / 5,
        ]
        context = pooled[:, None].expand(-1, log_power.shape[1], -1)
        learned = self.tile_head(torch.cat([torch.stack(described, -1).float(), context], -1))[..., 0]
        timing, level, volume = self.evidence.double().unbind()
        total = (
            -0.5 * timing * (found.chi2 + found.penalty)
            + level * log_power
            + volume * occam
            - 0.5 * outside**2
            - torch.where(timed >= LEAST_TIMED, DISTRUST * (1 - self.by_time), _NEVER * self.by_time)
            + learned.double()
        )
        return torch.log_softmax(total, -1)

    def _localizable(self, mixture: Mixture, dominant: torch.Tensor) -> torch.Tensor:
        """Share of the mixture within `LOCALIZABLE_M` of the dominant Gaussian's mean, (B,).

        Each Gaussian stands for equally probable points: rings at the quantiles of its radius, at equal
        angles, brought to its covariance by the Cholesky factor.
        """
        variance, cross, other = mixture.covariance_km2[..., None].unbind(-2)  # (B, K, 1) each
        sigma = root(variance)
        slant = cross / sigma
        rest = root(other - slant * slant)
        centre = mixture.mean_km.gather(1, dominant.expand(-1, 1, 2))
        off = (mixture.mean_km - centre)[..., None].unbind(-2)  # (B, K, 1) each
        x, y = torch.tensor(_POINTS, dtype=torch.float64, device=sigma.device).unbind(-1)  # (P,) each
        east, north = off[0] + sigma * x, off[1] + slant * x + rest * y  # (B, K, P)
        inside = (east**2 + north**2 <= (LOCALIZABLE_M / KM) ** 2).double().mean(-1)
        return (torch.softmax(mixture.log_weight, -1) * inside).sum(-1)


_POINTS = [
    (radius * math.cos(angle), radius * math.sin(angle))
    for radius in (math.sqrt(-2 * math.log1p(-(k + 0.5) / _RINGS)) for k in range(_RINGS))
    for angle in (2 * math.pi * (k + 0.5) / _ANGLES for k in range(_ANGLES))
]


def _dominant(mixture: Mixture) -> torch.Tensor:
    """Number of the Gaussian from whose mean the mixture lies least far, (B,); as `Posterior.dominant`."""
    spread = mixture.covariance_km2[..., 0] + mixture.covariance_km2[..., 2]  # (B, K)
    off = mixture.mean_km[:, :, None] - mixture.mean_km[:, None]  # (B, K, K, 2)
    far = root((off**2).sum(-1) + spread[:, None])
    return (torch.softmax(mixture.log_weight, -1)[:, None] * far).sum(-1).argmin(1)


def _widened(covariance: torch.Tensor, variance: torch.Tensor) -> torch.Tensor:
    """Covariances (..., 3) plus an isotropic variance (...)."""
    return covariance + variance[..., None] * covariance.new_tensor([1.0, 0.0, 1.0])


def _degree_polynomial(plane: TangentPlane) -> npt.NDArray[np.float64]:
    """Coefficients (2, T) of latitude and longitude: least squares on Chebyshev nodes within `_REACH_KM`."""
    node = np.array([math.cos(math.pi * (k + 0.5) / 16) for k in range(16)])
    east, north = (value.reshape(-1) for value in np.meshgrid(node, node, indexing="ij"))
    degrees = np.stack(plane.to_degrees(east * _REACH_KM * KM, north * _REACH_KM * KM), -1)
    terms = np.stack([east**i * north**j for i, j in _POWERS], -1)
    return np.ascontiguousarray(np.linalg.lstsq(terms, degrees, rcond=None)[0].T)


def create(
    encoder: LocalizationNet, tokenizer: Tokenizer, training: Sequence[Tokens], dropout_rate: float
) -> FusionNet:
    """A new network, normalised by the training sessions.

    Args:
        encoder: The trained single-receiver network.
        tokenizer: What made the tokens.
        training: Sessions of the training split.
        dropout_rate: In [0, 1).
    """
    rows = np.concatenate([item.physical for item in training]).astype(np.float64)  # (N, F)
    std = rows.std(0)
    return FusionNet(
        encoder,
        plane=tokenizer.plane,
        area=tokenizer.area,
        power=tokenizer.power,
        radio=tokenizer.radio,
        physical_mean=rows.mean(0).tolist(),
        physical_std=np.where(std > _LEAST_STD, std, 1.0).tolist(),
        dropout_rate=dropout_rate,
    )


def from_config(config: Mapping[str, Any]) -> FusionNet:
    """Build the network that `FusionNet.config` describes, its weights still to be loaded."""
    area = config["area"]
    return FusionNet(
        localization_net.from_config(config["encoder"]),
        plane=TangentPlane(**config["plane"]),
        area=Area(tuple(tuple(edge) for edge in area["half_planes"]), tuple(area["box_m"]), area["margin_m"]),
        power=PowerModel.from_dict(config["power"]),
        radio=RadioMap.from_dict(config["radio"]),
        physical_mean=config["physical_mean"],
        physical_std=config["physical_std"],
        dropout_rate=config["dropout_rate"],
    )


def load(weights: Path, config: Path) -> tuple[FusionNet | LocalizationNet, dict[str, Any]]:
    """Read what `model.save` wrote of either network.

    Args:
        weights: The safetensors file.
        config: The JSON file beside it.

    Returns:
        The network in evaluation mode on the CPU, and the record.

    Raises:
        HeimdallError: As of `model.load`.
    """

    def build(stored: dict[str, Any]) -> FusionNet | LocalizationNet:
        return from_config(stored) if "encoder" in stored else localization_net.from_config(stored)

    return localization_net.load(weights, config, build)


def localize(
    network: FusionNet,
    observations: Sequence[Observation],
    receivers: Receivers,
    *,
    calibrated: bool = True,
) -> Posterior:
    """Where the transmitters of n sessions are.

    Args:
        network: Put into evaluation mode.
        observations: n sessions, n > 0.
        receivers: All receivers of the network.
        calibrated: False for the answer before calibration.

    Returns:
        n mixtures.
    """
    network.eval()
    tokenizer = network.tokenizer(receivers)
    answer = network.mixture if calibrated else network.uncalibrated
    parts = []
    with torch.inference_mode():
        starts = range(0, len(observations), _BATCH_SIZE)
        for start in tqdm(starts, desc="localize", unit="batch", disable=None):
            part = [tokenizer.tokens(item) for item in observations[start : start + _BATCH_SIZE]]
            parts.append(answer(collate(part)))
    return Posterior(
        mean_m=torch.cat([part.mean_km for part in parts]).numpy() * KM,
        covariance_m2=solver.matrices(torch.cat([part.covariance_km2 for part in parts])).numpy() * KM**2,
        weight=torch.softmax(torch.cat([part.log_weight for part in parts]), -1).numpy(),
    )


def calibrate(network: FusionNet, batch: Batch) -> None:
    """Set temperature and floor to the most probable ones, given validation sessions.

    On a grid, because the likelihood of a few dozen sessions is rough; and starting from what the network
    has, because so few leave it open by more than many simulated ones do.

    Args:
        network: Put into evaluation mode; its buffers are set.
        batch: The validation sessions, with `truth_m`.
    """
    network.eval()
    former, former_m = math.log(float(network.temperature)), float(network.floor_m)
    with torch.inference_mode():
        mixture = network.uncalibrated(batch)
        best = (math.inf, 1.0, 0.0)
        for temperature in _TEMPERATURES:
            for floor_m in _FLOORS_M:
                network.temperature.fill_(temperature)
                network.floor_m.fill_(floor_m)
                surprise = network.nll(network.calibrated(mixture), batch["truth_m"])
                moved = (math.log(temperature) - former) / TEMPERATURE_SPREAD
                raised = (floor_m - former_m) / FLOOR_SPREAD_M
                prior = 0.5 * (moved**2 + raised**2)
                best = min(best, (float(surprise.sum()) + prior, temperature, floor_m))
        network.temperature.fill_(best[1])
        network.floor_m.fill_(best[2])
