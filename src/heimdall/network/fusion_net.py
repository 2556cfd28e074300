"""FusionNet: all receivers of a session to a mixture of Gaussians over the transmitter's position.

Each receiver becomes a token: what is measured of its signal, and its geometry at a first estimate. Attention
among the tokens, as a set, says how far each arrival time is to be trusted: an extra standard deviation and a
bias. A solver (`heimdall.position.solver`) then fits position and emission time, once for each tile of a
Gaussian-sum prior (`heimdall.network.tokens`), and each solution is one Gaussian of the answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from heimdall.geometry.area import RARER, Area, Receivers
from heimdall.geometry.geo import TangentPlane
from heimdall.network import degree_polynomial, left_out, measured_times, tile_evidence
from heimdall.network.attention import WIDTH, Attention
from heimdall.network.filters import NO_FILTERS, Filters
from heimdall.network.loss import residual_deviance, robust
from heimdall.network.measured_times import GEOMETRY, Batch, MeasuredTimes, geometry_columns
from heimdall.network.mixture import Mixture, widened
from heimdall.network.tokens import (
    LEAST_TIMED,
    PHYSICAL,
    SHAPE,
    SPREAD_SHARE,
    TILES,
    TILT_SHARE,
    Tokenizer,
    Tokens,
    range_us,
)
from heimdall.position import solver
from heimdall.position.radio_map import RadioMap
from heimdall.position.received_power import PowerModel
from heimdall.position.solver import KM, exp, log, root

LAYERS = 2
# What is learned of all receivers alike: logarithms of the sizes of errors and of covariances over what they
# are before anything is learned, and what is added to the shares of tilt and bend. An optimizer such as AdamW
# moves every number by the same at each step, and these few, which many sessions determine, shall move as far
# as the network's thousands do together.
LAW = ("sigma", "tilt_share", "bend_share", "scale")
LAW_SPEED = 30.0
FIRST_SIGMA_US = 0.2  # of an arrival time before anything is learned: light multipath
# Every Gaussian of arrival times has wider ones behind it, for errors have heavier tails than normal ones: so
# many times the standard deviation, with these shares of the weight.
TAIL_SIGMAS, TAIL_SHARES = (3.0, 10.0), (0.12, 0.01)
_NO_SHARE = 1e-9
_NEVER = 1e3  # nats
RESIDUAL_SHARE = 0.1  # of the residuals' likelihood at the true position in the training loss
LOCALIZABLE_M = 1000.0
_LEAST_STD = 1e-3  # what varies less between receivers says nothing


def _silent(layer: nn.Linear) -> nn.Linear:
    """A head that starts by saying nothing."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class FusionNet(nn.Module):
    """A session's receivers to a mixture of Gaussians.

    Args:
        plane: Tangent plane of all positions, and the assumed altitude of transmitters.
        area: Where transmitters are.
        power: How strong receivers hear transmitters at a distance.
        radio: How strong they hear each place.
        physical_mean: Mean of each of `tokens.PHYSICAL` over the training receivers.
        physical_std: Their standard deviations, above 0.
        dropout_rate: In [0, 1).
        filters: What is taken off arrival times and the shapes of channels.
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
        *,
        plane: TangentPlane,
        area: Area,
        power: PowerModel,
        radio: RadioMap,
        physical_mean: Sequence[float],
        physical_std: Sequence[float],
        dropout_rate: float,
        filters: Filters = NO_FILTERS,
    ) -> None:
        super().__init__()
        self.plane, self.area, self.power, self.radio = plane, area, power, radio
        self.filters = filters
        self.range_us = range_us(area)
        self.config: dict[str, Any] = {
            "plane": asdict(plane),
            "area": asdict(area),
            "power": asdict(power),
            "radio": asdict(radio),
            "filters": asdict(filters),
            "physical_mean": [float(value) for value in physical_mean],
            "physical_std": [float(value) for value in physical_std],
            "dropout_rate": dropout_rate,
        }
        self.token = nn.Linear(len(PHYSICAL) + SHAPE + GEOMETRY, WIDTH)
        self.layers = nn.ModuleList(Attention(dropout_rate) for _ in range(LAYERS))
        self.norm = nn.LayerNorm(WIDTH)
        self.receiver_head = _silent(nn.Linear(WIDTH, 2))
        self.session_head = _silent(nn.Linear(WIDTH, 1))
        self.law = nn.Parameter(torch.zeros(len(LAW)))
        float64 = torch.float64
        self.register_buffer("physical_mean", torch.tensor(self.config["physical_mean"]))
        self.register_buffer("physical_std", torch.tensor(self.config["physical_std"]))
        self.register_buffer("edges", torch.tensor(area.half_planes, dtype=float64))  # (E, 3), metres
        degrees = torch.tensor(degree_polynomial.coefficients(plane), dtype=float64)
        self.register_buffer("degrees", degrees)  # (2, T)
        by_time = torch.tensor([1.0] * TILES + [0.0], dtype=float64)
        self.register_buffer("by_time", by_time, persistent=False)  # (K,)
        self.register_buffer("temperature", torch.ones((), dtype=float64))
        self.register_buffer("floor_m", torch.zeros((), dtype=float64))

    def tokenizer(self, receivers: Receivers) -> Tokenizer:
        """What makes this network's inputs, of all receivers there are."""
        return Tokenizer(self.plane, self.area, self.power, self.radio, receivers, self.filters)

    def mixture(self, batch: Batch) -> Mixture:
        """The answer after calibration.

        Args:
            batch: As of `tokens.collate`.

        Returns:
            The mixture.
        """
        return self.calibrated(self.uncalibrated(batch))

    def uncalibrated(self, batch: Batch) -> Mixture:
        """The answer before calibration; as `mixture`."""
        times = measured_times.of_batch(batch, self.plane, self.range_us)
        straight = times.corrected(SPREAD_SHARE * times.spread_excess_us)
        first = solver.refine(straight, self._by_tile(times.first_weight), batch["start_m"] / KM)
        tokens = self._tokens(batch, straight, first, times)
        for layer in self.layers:
            tokens = layer(tokens, batch["mask"])
        tokens = self.norm(tokens)
        there = batch["mask"][..., None].float()
        pooled = (tokens * there).sum(1) / there.sum(1)  # (B, WIDTH)

        weight, bias_us = self._trust(tokens, times)
        corrected = times.corrected(bias_us)
        found = solver.refine(corrected, self._by_tile(weight), first.position_km.detach())
        evidence = tile_evidence.log_evidence(
            batch["log_power"], found, times, weight, self._log_prior(found.position_km)
        )
        wrong = left_out.solve(
            corrected, found, times, weight=weight, log_power=batch["log_power"], evidence=evidence
        )
        by_area = self._log_prior(wrong.position_km)
        wrong = replace(wrong, log_evidence=wrong.log_evidence + by_area).likeliest()
        log_weight = torch.log_softmax(torch.cat([evidence, wrong.log_evidence], 1), -1)  # (B, K + M)
        log_weight, of_wrong = log_weight[:, : TILES + 1], log_weight[:, TILES + 1 :]
        scale = self._scale(times, pooled)
        covariance = found.covariance_km2 * exp(scale * self.by_time)[..., None]
        timed = (times.count >= LEAST_TIMED).double()  # (B, 1)
        tails = [share * timed + _NO_SHARE for share in TAIL_SHARES]
        return Mixture(
            torch.cat([found.position_km.repeat(1, 1 + len(tails), 1), wrong.position_km], 1),
            torch.cat(
                [
                    covariance,
                    *(covariance * sigmas**2 for sigmas in TAIL_SIGMAS),
                    wrong.covariance_km2 * exp(scale)[..., None],
                ],
                1,
            ),
            torch.cat(
                [
                    log_weight + torch.log1p(-torch.stack(tails).sum(0)),
                    *(log_weight + log(one) for one in tails),
                    of_wrong,
                ],
                1,
            ),
            weight,
            bias_us,
        )

    def calibrated(self, mixture: Mixture) -> Mixture:
        """Covariances times the temperature, and no Gaussian narrower than the floor.

        It is not a density to a power, whose weights would go to the wide Gaussians: what is to be mended is
        how far from a solution the truth is, and not which one it is.

        What levels alone say is as wide as they make it, and stays so.
        """
        timed = ((mixture.weight > 0).sum(1) >= LEAST_TIMED)[:, None]  # (B, 1)
        temperature = torch.where(timed, self.temperature, 1.0)
        floor_km = torch.where(timed, self.floor_m / KM, 0.0)
        covariance = widened(mixture.covariance_km2 * temperature[..., None], floor_km**2)
        return replace(mixture, covariance_km2=covariance)

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
        truth_km = batch["truth_m"] / KM
        deviance = residual_deviance(mixture, batch, truth_km, self.plane, self.range_us)
        timed = (mixture.weight > 0).double().sum(1) >= LEAST_TIMED
        return robust(mixture.nll(truth_km) + RESIDUAL_SHARE * 0.5 * deviance * timed)

    def forward(  # noqa: PLR0917 - the inputs of the exported graph
        self,
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
        start_m: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        """Localize sessions, for export. Arguments are entries of `tokens.collate`.

        Args:
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
            start_m: (B, K, 2) float64.

        Returns:
            positions (B, 2) float64, degrees; uncertainties (B, 2) float32, metres east and north;
            covariance (B, 2, 2) float64, m^2; localizable (B,) float64, probability of lying within
            `LOCALIZABLE_M` of the position; then of all Gaussians weights (B, K), means_deg (B, K, 2) and
            covariances (B, K, 2, 2) float64. The first three are those of the medoid
            (`posterior.Posterior.medoid`).
        """
        batch = {
            "mask": mask, "delay_s": delay_s, "information_s2": information_s2,
            "timing_sigma_s": timing_sigma_s, "receiver_m": receiver_m, "physical": physical, "shape": shape,
            "centre_m": centre_m, "prior_m2": prior_m2, "log_power": log_power,
            "start_m": start_m,
        }  # fmt: skip
        mixture = self.mixture(batch)
        medoid = mixture.medoid()[:, None, None]  # (B, 1, 1)
        degrees = self.to_degrees(mixture.mean_km)
        entries_m2 = mixture.covariance_km2 * KM**2
        chosen = entries_m2.gather(1, medoid.expand(-1, 1, 3))[:, 0]  # (B, 3)
        return (
            degrees.gather(1, medoid.expand(-1, 1, 2))[:, 0],
            root(torch.stack([chosen[:, 0], chosen[:, 2]], -1)).float(),
            solver.matrices(chosen),
            mixture.probability_within(LOCALIZABLE_M / KM, medoid),
            torch.softmax(mixture.log_weight, -1),
            degrees,
            solver.matrices(entries_m2),
        )

    def position_deg(self, mixture: Mixture) -> torch.Tensor:
        """Latitude and longitude of the medoid, degrees, (B, 2) float64."""
        medoid = mixture.medoid()[:, None, None].expand(-1, 1, 2)
        return self.to_degrees(mixture.mean_km.gather(1, medoid)[:, 0])

    def to_degrees(self, position_km: torch.Tensor) -> torch.Tensor:
        """Leave the tangent plane.

        Args:
            position_km: East and north, (..., 2) float64.

        Returns:
            Latitude and longitude in degrees, (..., 2) float64.
        """
        return degree_polynomial.evaluate(self.degrees, position_km)

    def _log_prior(self, position_km: torch.Tensor) -> torch.Tensor:
        """As of `Area.log_prior` at positions (B, K, 2), (B, K)."""
        east, north = position_km.unbind(-1)
        across, along, offset_m = self.edges.unbind(-1)  # (E,) each
        beyond_km = east[..., None] * across + north[..., None] * along + offset_m / KM  # (B, K, E)
        return -RARER * torch.log1p(beyond_km.amax(-1).clamp(min=0) * KM / self.area.reach_m)

    @property
    def _law(self) -> torch.Tensor:
        """Values of `LAW`, float64: `LAW_SPEED` times the parameters, with the gradient of themselves.

        A gradient so many times as long would fill the norm to which all gradients together are cut.
        """
        law = self.law.double()
        return law + (LAW_SPEED - 1) * law.detach()

    def _by_tile(self, weight: torch.Tensor) -> torch.Tensor:
        """Weights (B, R) of arrival times for each tile, (B, K, R): the wide one goes by levels alone."""
        return weight[:, None] * self.by_time[:, None]

    def _tokens(
        self, batch: Batch, problem: solver.Problem, first: solver.Solution, times: MeasuredTimes
    ) -> torch.Tensor:
        """Tokens (B, R, WIDTH): measurements, and geometry at the most likely first solution."""
        evidence = tile_evidence.log_evidence(
            batch["log_power"], first, times, times.first_weight, self._log_prior(first.position_km)
        )
        # An answer of the levels alone says nothing of the arrival times, which the tokens are about.
        against = torch.where(times.count >= LEAST_TIMED, _NEVER * (1 - self.by_time), 0.0)
        best = (evidence - against).argmax(1)[:, None, None].expand(-1, 1, 2)
        estimate_km = first.position_km.gather(1, best)
        trusted = first.trusted.gather(1, best[..., :1].expand(-1, 1, times.usable.shape[1]))[:, 0]  # (B, R)
        geometry = geometry_columns(batch, problem, estimate_km, trusted, self.power.slope)
        columns = [
            (batch["physical"] - self.physical_mean) / self.physical_std,
            batch["shape"],
            torch.stack(geometry, -1).float(),
        ]
        token: torch.Tensor = self.token(torch.cat(columns, -1))
        return token

    def _trust(self, tokens: torch.Tensor, times: MeasuredTimes) -> tuple[torch.Tensor, torch.Tensor]:
        """Weights, 1 / us^2, and biases, us, of the arrival times, (B, R) each, of tokens (B, R, WIDTH)."""
        trust = self.receiver_head(tokens).double()  # (B, R, 2)
        log_sigma, tilt, bend, _ = self._law
        sigma_us = FIRST_SIGMA_US * exp((log_sigma + trust[..., 0]).clamp(-5, 6))
        bend_share = SPREAD_SHARE + bend + 0.3 * trust[..., 1]
        bias_us = bend_share * times.spread_excess_us * times.usable
        variance_us2 = times.variance_us2 + sigma_us**2 + (TILT_SHARE + tilt) ** 2 * times.tilt_us2
        return times.usable / variance_us2, bias_us

    def _scale(self, times: MeasuredTimes, pooled: torch.Tensor) -> torch.Tensor:
        """Logarithm of the factor of the covariances by arrival times, (B, 1)."""
        scale: torch.Tensor = self.session_head(pooled).double() + self._law[-1]
        # Levels alone have had their say: what they leave open stays as it is.
        return scale.clamp(-5, 5) * (times.count >= LEAST_TIMED)


def create(tokenizer: Tokenizer, training: Sequence[Tokens], dropout_rate: float) -> FusionNet:
    """A new network, normalised by the training sessions.

    Args:
        tokenizer: What made the tokens.
        training: Sessions of the training split, which are read several times.
        dropout_rate: In [0, 1).
    """
    count = sum(len(item.physical) for item in training)
    mean = _total(item.physical.astype(np.float64) for item in training) / count
    std = np.sqrt(_total((item.physical.astype(np.float64) - mean) ** 2 for item in training) / count)
    return FusionNet(
        plane=tokenizer.plane,
        area=tokenizer.area,
        power=tokenizer.power,
        radio=tokenizer.radio,
        filters=tokenizer.filters,
        physical_mean=mean.tolist(),
        physical_std=np.where(std > _LEAST_STD, std, 1.0).tolist(),
        dropout_rate=dropout_rate,
    )


def _total(parts: Iterable[npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
    """Sum of rows (N, F) that are there in parts, (F,): the bits do not depend on where they are cut."""
    total = np.zeros(len(PHYSICAL))
    for part in parts:
        total = np.add.reduce(np.concatenate([total[None], part]), axis=0)
    return total


def from_config(config: Mapping[str, Any]) -> FusionNet:
    """Build the network that `FusionNet.config` describes, its weights still to be loaded."""
    return FusionNet(
        plane=TangentPlane(**config["plane"]),
        area=Area.from_dict(config["area"]),
        power=PowerModel.from_dict(config["power"]),
        radio=RadioMap.from_dict(config["radio"]),
        physical_mean=config["physical_mean"],
        physical_std=config["physical_std"],
        dropout_rate=config["dropout_rate"],
        filters=Filters.from_dict(config["filters"]),
    )
