"""The single-receiver model beside the mean position, on val and test, for all and by slice.

What is evaluated is one recording; the `_session` predictors answer once a session. Every answer
becomes a row of one table, the cases, from which the metrics, slices and plots are made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from heimdall.dataset import DatasetConfig, HeimdallDataset, members, read_index, read_network
from heimdall.geo import LocalFrame
from heimdall.metrics import TARGETS, Errors, Estimates, cluster_weights, errors, mae_difference, summary
from heimdall.model import LocalizationNet
from heimdall.params import EvaluateParams
from heimdall.provenance import provenance

Array = npt.NDArray[np.float64]
Split = Literal["val", "test"]

LOCALIZER = "localizer"
LOCALIZER_SESSION = "localizer_session"
MEAN_POSITION = "mean_position"
MEAN_POSITION_SESSION = "mean_position_session"
PREDICTORS = (LOCALIZER, LOCALIZER_SESSION, MEAN_POSITION, MEAN_POSITION_SESSION)
BASELINE_OF = {LOCALIZER: MEAN_POSITION, LOCALIZER_SESSION: MEAN_POSITION_SESSION}
SPLITS: tuple[Split, ...] = ("val", "test")

_BATCH_SIZE = 64  # fixed: kernels are chosen by shape, so it is part of the result
_SNR_EDGES_DB = (10.0, 30.0)
_ERROR_COLUMNS = ("east_m", "north_m", "sigma_east_m", "sigma_north_m")


@dataclass(frozen=True)
class Evaluation:
    """What one evaluation found.

    Attributes:
        metrics: The content of metrics/eval.json.
        slices: One row for each split, predictor, slice and value, with the figures of `metrics.summary`.
        cases: One row for each split, predictor and target: `split`, `predictor`, `session_id`, `cluster`,
            true and `estimated_` position in degrees, `error_m`, `east_m`, `north_m`, `sigma_east_m`,
            `sigma_north_m`, and the slices `receivers_heard`, `snr`, `modulation`, `region`.
    """

    metrics: dict[str, Any]
    slices: pd.DataFrame
    cases: pd.DataFrame


def evaluate(
    model: LocalizationNet,
    data: DatasetConfig,
    validation_split: float,
    params: EvaluateParams,
) -> Evaluation:
    """Evaluate a model and the mean position of its training split.

    Args:
        model: The trained network; it is put into evaluation mode.
        data: Where the features are.
        validation_split: Share of the development rows that was held out when the model was trained.
        params: How the intervals are made.

    Returns:
        The evaluation.

    Raises:
        HeimdallError: The features are missing, or a split has no members.
    """
    network = read_network(data)
    index = read_index(data)
    training = index[members(index, "train", validation_split)]
    parts = []
    for split in SPLITS:
        dataset = HeimdallDataset(data, split, None, validation_split)
        parts.append(_cases(split, dataset.index, estimate(model, dataset), training, network.frame))
    cases = pd.concat(parts, ignore_index=True)
    metrics: dict[str, Any] = {
        "data": provenance(index["simulated"]),
        "split_by": network.split["by"],
        "targets": TARGETS,
    }
    for split in SPLITS:
        chosen = cases[cases["split"] == split]
        metrics[split] = {name: _figures(chosen, name, params) for name in PREDICTORS}
    return Evaluation(metrics, slice_figures(cases, params), cases)


def estimate(model: LocalizationNet, dataset: HeimdallDataset) -> Estimates:
    """The network's answer to every recording of a split, in the order of `dataset.index`.

    Args:
        model: Put into evaluation mode; computes where it is.
        dataset: n recordings.

    Returns:
        n estimates.
    """
    model.eval()
    batches = DataLoader(dataset, batch_size=_BATCH_SIZE)
    with torch.inference_mode():
        answers = [
            model(features) for features, _ in tqdm(batches, desc="evaluate", unit="batch", disable=None)
        ]
    latitude, longitude, sigma_east, sigma_north = (
        torch.cat(answers).numpy().astype(np.float64).T
    )  # each (n,)
    return Estimates(latitude, longitude, sigma_east, sigma_north)


def mean_position(training: pd.DataFrame, frame: LocalFrame, n: int) -> Estimates:
    """The constant answer: mean and standard deviation of the training recordings' true positions.

    Args:
        training: Index rows of the training split.
        frame: The chart in which they are averaged.
        n: How often the answer is given.

    Returns:
        n equal estimates.
    """
    east_m, north_m = frame.to_local(training["latitude_deg"], training["longitude_deg"])
    latitude_deg, longitude_deg = frame.to_degrees(east_m.mean(), north_m.mean())
    # One known transmitter has no spread; a metre stands for "very sure" and keeps the density finite.
    sigma_m = np.maximum([east_m.std(), north_m.std()], 1.0)
    columns = (float(latitude_deg), float(longitude_deg), float(sigma_m[0]), float(sigma_m[1]))
    return Estimates(*(np.full(n, value) for value in columns))


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
    """The figures of merit of every slice of the cases.

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
            for column in ("receivers_heard", "snr", "modulation", "region"):
                for value, part in sorted(chosen.groupby(column), key=lambda group: _reading_order(group[0])):
                    key = {"split": split, "predictor": predictor, "slice": column, "value": value}
                    rows.append(key | summary(errors_of(part), _weights(part, params)))
    return pd.DataFrame(rows)


def errors_of(cases: pd.DataFrame) -> Errors:
    """The errors in a table of cases, row by row."""
    columns = (cases[name].to_numpy(np.float64) for name in ("error_m", *_ERROR_COLUMNS))
    return Errors(*columns)


def _cases(
    split: Split, index: pd.DataFrame, estimates: Estimates, training: pd.DataFrame, frame: LocalFrame
) -> pd.DataFrame:
    """The cases of all predictors on one split, whose recordings are the rows of `index`."""
    described = pd.DataFrame(
        {
            "session_id": index["session_id"],
            # A recording of an unknown transmitter stands for its session alone.
            "cluster": index["source_id"].fillna(index["session_id"]),
            "latitude_deg": index["latitude_deg"],
            "longitude_deg": index["longitude_deg"],
            "receivers_heard": index["receivers_heard"].map(_receivers_label),
            "snr_db": index["snr_db"],
            "modulation": index["modulation"],
            "region": index["region"],
        }
    )
    member, names = pd.factorize(described["session_id"])
    sessions = described.drop_duplicates("session_id").reset_index(drop=True)
    sessions["snr_db"] = described.groupby("session_id", sort=False)["snr_db"].max().to_numpy()
    constant = mean_position(training, frame, len(described))
    constant_session = mean_position(training, frame, len(names))
    answers = {
        LOCALIZER: (described, estimates),
        LOCALIZER_SESSION: (sessions, combine(estimates, member, frame)),
        MEAN_POSITION: (described, constant),
        MEAN_POSITION_SESSION: (sessions, constant_session),
    }
    return pd.concat(
        [_case_table(split, name, rows, given, frame) for name, (rows, given) in answers.items()],
        ignore_index=True,
    )


def _case_table(
    split: Split, predictor: str, rows: pd.DataFrame, estimates: Estimates, frame: LocalFrame
) -> pd.DataFrame:
    """The cases of one predictor."""
    error = errors(estimates, rows["latitude_deg"].to_numpy(), rows["longitude_deg"].to_numpy(), frame)
    table = rows.drop(columns="snr_db")
    table.insert(0, "predictor", predictor)
    table.insert(0, "split", split)
    table["snr"] = rows["snr_db"].map(_snr_label)
    table["estimated_latitude_deg"] = estimates.latitude_deg
    table["estimated_longitude_deg"] = estimates.longitude_deg
    table["error_m"] = error.distance_m
    for name in _ERROR_COLUMNS:
        table[name] = getattr(error, name)
    return table


def _figures(cases: pd.DataFrame, predictor: str, params: EvaluateParams) -> dict[str, Any]:
    """All figures of one predictor on one split, with its difference from the mean position."""
    own = cases[cases["predictor"] == predictor]
    weights = _weights(own, params)
    figures = {"clusters": own["cluster"].nunique()} | summary(errors_of(own), weights)
    if predictor in BASELINE_OF:
        baseline = cases[cases["predictor"] == BASELINE_OF[predictor]]
        difference = mae_difference(errors_of(own), errors_of(baseline), weights, "mae_minus_mean_position_m")
        figures |= difference
    return figures


def _weights(cases: pd.DataFrame, params: EvaluateParams) -> npt.NDArray[np.int64] | None:
    """Bootstrap weights of the cases; None for a single cluster, which says nothing of its own spread."""
    if cases["cluster"].nunique() < 2:
        return None
    return cluster_weights(cases["cluster"].tolist(), params.bootstrap_resamples, params.seed)


def _reading_order(label: object) -> tuple[int, str]:
    """What is below the first edge comes first, what is above the last one last."""
    text = str(label)
    return {"<": 0, ">": 2}.get(text[:1], 1), text


def _receivers_label(count: int) -> str:
    if count < 3:
        return "<3"
    return str(count) if count < 7 else "7+"


def _snr_label(snr_db: float) -> str:
    low_db, high_db = _SNR_EDGES_DB
    if np.isnan(snr_db):
        return "unknown"
    if snr_db < low_db:
        return f"<{low_db:g} dB"
    return f"{low_db:g}-{high_db:g} dB" if snr_db <= high_db else f">{high_db:g} dB"
