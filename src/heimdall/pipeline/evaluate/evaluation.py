"""The trained model beside every baseline and the physical bound, by session, on val and test.

What is evaluated is one session: each method answers it with a posterior, from its receivers' observations
alone. Every answer becomes a row of one table, the cases, from which metrics, slices and plots are made.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from tqdm import tqdm

from heimdall.baselines import baselines, tuned_file
from heimdall.baselines.fitted import Baselines
from heimdall.baselines.methods import METHODS, Method
from heimdall.core.params import EvaluateParams, FeatureParams
from heimdall.core.provenance import provenance
from heimdall.geometry.geo import TangentPlane
from heimdall.metrics.metrics import TARGETS
from heimdall.network.dataset import DatasetConfig, Sessions, observations, read_network, read_receivers
from heimdall.pipeline.evaluate.cases import WITHOUT_GPS, case_table, described
from heimdall.pipeline.evaluate.figures import SPLITS, figures, slice_figures
from heimdall.pipeline.evaluate.localizers import Localizer
from heimdall.pipeline.evaluate.predictors import LOCALIZER, RECEIVED_POWER, UNCALIBRATED
from heimdall.position.posterior import Posterior
from heimdall.signal.arrival import Observation, without_gps


@dataclass(frozen=True)
class Evaluation:
    """What one evaluation found.

    Attributes:
        metrics: The content of metrics/eval_full.json.
        tuned: The content of data/baselines.json.
        slices: One row for each split, predictor, slice and value, with the figures of `metrics.summary`.
        cases: One row for each split, predictor and session: `split` ("val", "test", "test_without_gps"),
            `predictor` (of `predictors.PREDICTORS`, or "localizer_uncalibrated"), `session_id`, `cluster`,
            true and `estimated_` position in degrees, `sigma_east_m`, `sigma_north_m` of its medoid and
            their `correlation`, the fields of `metrics.Errors` (`distance_m` as `error_m`), `bound_m` (root
            of the trace of the Cramer-Rao bound, inf where there is none), and the slices of `cases.SLICES`.
    """

    metrics: dict[str, Any]
    tuned: dict[str, Any]
    slices: pd.DataFrame
    cases: pd.DataFrame


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
        found = {
            LOCALIZER: localize(sessions.observations),
            UNCALIBRATED: uncalibrated(sessions.observations),
        }
        for method in METHODS:
            found[method] = _located(method, sessions.observations, fitted, split)
        parts += _tables(split, sessions, found, network.plane)
        if split == "test":
            timeless = [without_gps(item, features) for item in sessions.observations]
            found = {
                LOCALIZER: localize(timeless),
                RECEIVED_POWER: _located(RECEIVED_POWER, timeless, fitted, WITHOUT_GPS),
            }
            sessions = dataclasses.replace(sessions, observations=timeless)
            parts += _tables(WITHOUT_GPS, sessions, found, network.plane)
    cases = pd.concat(parts, ignore_index=True)
    return Evaluation(
        {"data": provenance(simulated), "split_by": network.split["by"], "targets": TARGETS}
        | figures(cases, params),
        tuned_file.content(fitted.tuned, tuned_file.made_of(data.data_dir, validation_split)),
        slice_figures(cases, params),
        cases,
    )


def _tables(
    split: str, sessions: Sessions, found: dict[str, Posterior], plane: TangentPlane
) -> list[pd.DataFrame]:
    """The cases of every predictor, given their answers to the same sessions."""
    rows = described(sessions, plane)
    return [case_table(split, name, rows, answer, plane) for name, answer in found.items()]


def _located(method: Method, sessions: Sequence[Observation], fitted: Baselines, split: str) -> Posterior:
    progress = tqdm(sessions, desc=f"{split}: {method}", unit="session", disable=None)
    return Posterior.concatenate([baselines.locate(method, item, fitted) for item in progress])
