"""The trained model beside every baseline and the physical bound, by session, on val and test.

What is evaluated is one session: each method answers it with a posterior, from its receivers' observations
alone. Every answer becomes a row of one table, the cases, from which metrics, slices and plots are made.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from heimdall.baselines import baselines
from heimdall.baselines.cramer_rao import cramer_rao_m2
from heimdall.baselines.fitted import Baselines
from heimdall.baselines.methods import METHODS, Method
from heimdall.core.params import EvaluateParams, FeatureParams
from heimdall.core.provenance import provenance
from heimdall.geometry.geo import LocalFrame, TangentPlane
from heimdall.metrics.metrics import (
    TARGETS,
    Errors,
    Estimates,
    calibration,
    cluster_weights,
    clusters,
    errors,
    mae_difference,
    summary,
)
from heimdall.network import fusion_net
from heimdall.network.dataset import (
    DatasetConfig,
    HeimdallDataset,
    Sessions,
    observations,
    read_network,
    read_receivers,
)
from heimdall.network.fusion_net import FusionNet
from heimdall.network.localization_net import LocalizationNet
from heimdall.pipeline.evaluate.predictors import LOCALIZER, PREDICTORS, RECEIVED_POWER, UNCALIBRATED
from heimdall.position.arrival import Observation, without_gps
from heimdall.position.posterior import Posterior

Array = npt.NDArray[np.float64]
Split = Literal["val", "test"]
Localizer = Callable[[Sequence[Observation]], Posterior]

SPLITS: tuple[Split, ...] = ("val", "test")
WITHOUT_GPS = "test_without_gps"
SLICES = ("receivers_heard", "clock", "snr", "modulation", "region")

_BATCH_SIZE = 64  # fixed: kernels are chosen by shape, so it is part of the result
_SNR_EDGES_DB = (10.0, 30.0)
_FEW_METRES = 30.0  # the specification's accuracy, asked of the bound too
# A case's column for each field of `metrics.Errors`.
_ERROR_COLUMNS = {field.name: field.name for field in dataclasses.fields(Errors)} | {"distance_m": "error_m"}


@dataclass(frozen=True)
class Evaluation:
    """What one evaluation found.

    Attributes:
        metrics: The content of metrics/eval.json.
        slices: One row for each split, predictor, slice and value, with the figures of `metrics.summary`.
        cases: One row for each split, predictor and session: `split` ("val", "test", "test_without_gps"),
            `predictor` (of `PREDICTORS`, or "localizer_uncalibrated"), `session_id`, `cluster`, true and
            `estimated_` position in degrees, `sigma_east_m`, `sigma_north_m` of the dominant Gaussian, the
            fields of `metrics.Errors` (`distance_m` as `error_m`), `bound_m` (root of the trace of the
            Cramer-Rao bound, inf where there is none), and the slices of `SLICES`.
    """

    metrics: dict[str, Any]
    slices: pd.DataFrame
    cases: pd.DataFrame


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

    def localize(sessions: Sequence[Observation]) -> Posterior:
        if isinstance(network, FusionNet):
            return fusion_net.localize(network, sessions, receivers, calibrated=calibrated)
        return _product(network, sessions, plane)

    return localize


def evaluate(
    localize: Localizer,
    uncalibrated: Localizer,
    data: DatasetConfig,
    validation_split: float,
    params: EvaluateParams,
) -> Evaluation:
    """Evaluate a model, and the baselines that its training split gives.

    Args:
        localize: The trained model.
        uncalibrated: The same before calibration.
        data: Where the features are.
        validation_split: Share of the development rows that was held out when the model was trained.
        params: How the intervals are made.

    Returns:
        The evaluation.

    Raises:
        HeimdallError: The features are missing, or a split has no members.
    """
    network, receivers = read_network(data), read_receivers(data)
    features = FeatureParams(**network.features)
    training = observations(data, "train", validation_split)
    fitted = baselines.fit(
        training.observations,
        training.truth_m(network.plane),
        receivers,
        network.plane,
        features.correlation_rate_hz,
    )
    parts, simulated = [], list(training.table["simulated"])
    for split in SPLITS:
        sessions = observations(data, split, validation_split)
        simulated += list(sessions.table["simulated"])
        rows = described(sessions, network.plane)
        found = {
            LOCALIZER: localize(sessions.observations),
            UNCALIBRATED: uncalibrated(sessions.observations),
        }
        for method in METHODS:
            found[method] = _located(method, sessions.observations, fitted, split)
        parts += [_case_table(split, name, rows, answer, network.plane) for name, answer in found.items()]
        if split == "test":
            timeless = [without_gps(item, features) for item in sessions.observations]
            rows = described(dataclasses.replace(sessions, observations=timeless), network.plane)
            found = {
                LOCALIZER: localize(timeless),
                RECEIVED_POWER: _located(RECEIVED_POWER, timeless, fitted, WITHOUT_GPS),
            }
            parts += [
                _case_table(WITHOUT_GPS, name, rows, answer, network.plane) for name, answer in found.items()
            ]
    cases = pd.concat(parts, ignore_index=True)
    return Evaluation(
        {"data": provenance(simulated), "split_by": network.split["by"], "targets": TARGETS}
        | figures(cases, params),
        slice_figures(cases, params),
        cases,
    )


def figures(cases: pd.DataFrame, params: EvaluateParams) -> dict[str, Any]:
    """The figures of merit of a table of cases.

    Args:
        cases: As in `Evaluation`.
        params: How the intervals are made.

    Returns:
        For each of "val", "test" and "test_without_gps" that has cases a dictionary by predictor: `clusters`,
        the figures of `metrics.summary`, and for the localizer `mae_minus_..._m` for each other predictor
        there, and `before_calibration`. And `cramer_rao` of the test sessions: how many there are (`n`) and
        how many have a bound (`bounded`), its `median_m` and `p90_m` over the latter, null if there are none,
        and `share_30m`, the share of all that have one of at most 30 m.
    """
    answer: dict[str, Any] = {}
    for split in (*SPLITS, WITHOUT_GPS):
        by_predictor = {
            str(name): part for name, part in cases[cases["split"] == split].groupby("predictor", sort=False)
        }
        if not by_predictor:
            continue
        before = by_predictor.pop(UNCALIBRATED, None)
        answer[split] = {name: _summary(part, params) for name, part in by_predictor.items()}
        own = by_predictor[LOCALIZER]
        for name, part in by_predictor.items():
            if name != LOCALIZER:
                key = f"mae_minus_{name}_m"
                difference = mae_difference(
                    errors_of(own), errors_of(part), transmitter_weights(own, params), key
                )
                answer[split][LOCALIZER] |= difference
        if before is not None:
            answer[split][LOCALIZER]["before_calibration"] = calibration(errors_of(before))
    test = cases[(cases["split"] == "test") & (cases["predictor"] == LOCALIZER)]
    answer["cramer_rao"] = _bound_figures(test["bound_m"].to_numpy(np.float64))
    return answer


def estimate(model: LocalizationNet, dataset: HeimdallDataset) -> Estimates:
    """The network's answer to every recording of a split, in the order of `dataset.index`.

    Args:
        model: Put into evaluation mode; computes where it is.
        dataset: n recordings.

    Returns:
        n estimates.
    """
    return _estimates(model, (features for features, _ in DataLoader(dataset, batch_size=_BATCH_SIZE)))


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


def slice_figures(cases: pd.DataFrame, params: EvaluateParams) -> pd.DataFrame:
    """The figures of merit of every slice of the cases of val and test.

    Args:
        cases: As in `Evaluation`.
        params: How the intervals are made.

    Returns:
        One row for each split, predictor, slice and value that has members, in a fixed order.
    """
    rows = []
    for split in SPLITS:
        for predictor in PREDICTORS:
            chosen = cases[(cases["split"] == split) & (cases["predictor"] == predictor)]
            for column in SLICES:
                for value, part in sorted(chosen.groupby(column), key=lambda group: reading_order(group[0])):
                    key = {"split": split, "predictor": predictor, "slice": column, "value": value}
                    rows.append(key | summary(errors_of(part), transmitter_weights(part, params)))
    return pd.DataFrame(rows)


def errors_of(cases: pd.DataFrame) -> Errors:
    """The errors in a table of cases, row by row."""
    return Errors(**{name: cases[column].to_numpy(np.float64) for name, column in _ERROR_COLUMNS.items()})


def _product(model: LocalizationNet, sessions: Sequence[Observation], plane: TangentPlane) -> Posterior:
    """The product of the Gaussians of each session's recordings, in the tangent plane.

    The sigmas stay as they are: a metre of the frame and one of the plane differ by 1 % at 60 km.
    """
    mel = np.concatenate([item.session.mel for item in sessions])
    member = np.repeat(np.arange(len(sessions)), [len(item.session.mel) for item in sessions])
    batches = (
        torch.from_numpy(mel[first : first + _BATCH_SIZE].astype(np.float32))
        for first in range(0, len(mel), _BATCH_SIZE)
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


def _located(method: Method, sessions: Sequence[Observation], fitted: Baselines, split: str) -> Posterior:
    progress = tqdm(sessions, desc=f"{split}: {method}", unit="session", disable=None)
    return Posterior.concatenate([baselines.locate(method, item, fitted) for item in progress])


def described(sessions: Sessions, plane: TangentPlane) -> pd.DataFrame:
    """What the cases tell of each session, whatever a predictor answers."""
    table = sessions.table
    timed = [int(np.count_nonzero(item.arrivals.information_s2)) for item in sessions.observations]
    return pd.DataFrame(
        {
            "session_id": table["session_id"],
            "cluster": clusters(table),
            "latitude_deg": table["latitude_deg"],
            "longitude_deg": table["longitude_deg"],
            "receivers_heard": table["receivers_heard"].map(_receivers_label),
            "clock": [_clock_label(count) for count in timed],
            "snr": table["snr_db"].map(_snr_label),
            "modulation": table["modulation"],
            "region": table["region"],
            "bound_m": [
                _bound_m(item, truth_m, plane)
                for item, truth_m in zip(sessions.observations, sessions.truth_m(plane), strict=True)
            ],
        }
    )


def _bound_m(observation: Observation, truth_m: Array, plane: TangentPlane) -> float:
    session = observation.session
    bound_m2 = cramer_rao_m2(
        truth_m,
        observation.arrivals.information_s2,
        session.timing_sigma_s,
        session.position_enu_m,
        plane,
    )
    return float(np.sqrt(bound_m2[0, 0] + bound_m2[1, 1]))


def _case_table(
    split: str, predictor: str, rows: pd.DataFrame, posterior: Posterior, plane: TangentPlane
) -> pd.DataFrame:
    """The cases of one predictor."""
    error = errors(posterior, rows["latitude_deg"].to_numpy(), rows["longitude_deg"].to_numpy(), plane)
    table = rows.copy()
    table.insert(0, "predictor", predictor)
    table.insert(0, "split", split)
    position_m = posterior.position_m
    latitude_deg, longitude_deg = plane.to_degrees(position_m[:, 0], position_m[:, 1])
    table["estimated_latitude_deg"] = latitude_deg
    table["estimated_longitude_deg"] = longitude_deg
    table["sigma_east_m"], table["sigma_north_m"] = posterior.sigma_m.T
    for name, column in _ERROR_COLUMNS.items():
        table[column] = getattr(error, name)
    return table


def _summary(cases: pd.DataFrame, params: EvaluateParams) -> dict[str, Any]:
    return {"clusters": cases["cluster"].nunique()} | summary(
        errors_of(cases), transmitter_weights(cases, params)
    )


def _bound_figures(bound_m: Array) -> dict[str, Any]:
    finite = bound_m[np.isfinite(bound_m)]
    return {
        "n": len(bound_m),
        "bounded": len(finite),
        "median_m": float(np.median(finite)) if len(finite) else None,
        "p90_m": float(np.quantile(finite, 0.9)) if len(finite) else None,
        "share_30m": float(np.mean(bound_m <= _FEW_METRES)),
    }


def transmitter_weights(cases: pd.DataFrame, params: EvaluateParams) -> npt.NDArray[np.int64] | None:
    """Bootstrap weights of the cases; None for a single cluster, which says nothing of its own spread."""
    if cases["cluster"].nunique() < 2:
        return None
    return cluster_weights(cases["cluster"].tolist(), params.bootstrap_resamples, params.seed)


def reading_order(label: object) -> tuple[int, str]:
    """What is below the first edge comes first, what is above the last one last."""
    text = str(label)
    return {"<": 0, ">": 2}.get(text[:1], 1), text


def _receivers_label(count: int) -> str:
    if count < 3:
        return "<3"
    return str(count) if count < 7 else "7+"


def _clock_label(timed: int) -> str:
    """How many arrival times there are; fewer than three fix no position."""
    if timed < 3:
        return "0-2"
    return str(timed) if timed < 5 else "5+"


def _snr_label(snr_db: float) -> str:
    low_db, high_db = _SNR_EDGES_DB
    if np.isnan(snr_db):
        return "unknown"
    if snr_db < low_db:
        return f"<{low_db:g} dB"
    return f"{low_db:g}-{high_db:g} dB" if snr_db <= high_db else f">{high_db:g} dB"
