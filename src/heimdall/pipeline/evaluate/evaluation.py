"""The trained model beside every baseline and the physical bound, by session, on val and test.

What is evaluated is one session: each method answers it with a posterior, from its receivers' observations
alone. Every answer becomes a row of one table, the cases, from which metrics, slices and plots are made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from tqdm import tqdm

from heimdall.baselines import baselines, tuned_file
from heimdall.baselines.methods import METHODS
from heimdall.core import workers
from heimdall.core.params import EvaluateParams, FeatureParams
from heimdall.core.provenance import provenance
from heimdall.geometry import transmitters
from heimdall.metrics.metrics import TARGETS
from heimdall.network.dataset import DatasetConfig, observations, read_index, read_network, read_receivers
from heimdall.pipeline.evaluate import pieces
from heimdall.pipeline.evaluate.cases import WITHOUT_GPS
from heimdall.pipeline.evaluate.figures import SPLITS, figures, slice_figures
from heimdall.pipeline.evaluate.localizers import Localizer
from heimdall.pipeline.evaluate.pieces import Piece
from heimdall.pipeline.evaluate.predictors import LOCALIZER, UNCALIBRATED

_LEAST = 4  # pieces for a process


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
    localize: Localizer, data: DatasetConfig, validation_split: float, params: EvaluateParams
) -> Evaluation:
    """Evaluate a model, and the baselines that its training split gives.

    Sessions are answered some at a time, on all cores.

    Args:
        localize: The trained model.
        data: Where the features are.
        validation_split: Share of the development rows that was held out when the model was trained.
        params: How the intervals are made.

    Returns:
        The evaluation.

    Raises:
        HeimdallError: The features are missing, or a split has no members.
    """
    network, receivers = read_network(data), read_receivers(data)
    training = observations(data, "train", validation_split)
    fitted = baselines.fit(
        training.observations,
        training.truth_m(network.plane),
        receivers,
        network.plane,
        FeatureParams(**network.features).correlation_rate_hz,
        transmitter=list(transmitters.by_place(training.table)),
    )
    tasks = [
        piece for split in SPLITS for piece in pieces.pieces(data, split, validation_split, localize, fitted)
    ]
    cases = _cases(tasks)
    simulated = read_index(data, ("simulated",))["simulated"]
    return Evaluation(
        {"data": provenance(simulated), "split_by": network.split["by"], "targets": TARGETS}
        | figures(cases, params),
        tuned_file.content(fitted.tuned, tuned_file.made_of(data.data_dir, validation_split)),
        slice_figures(cases, params),
        cases,
    )


def _cases(tasks: Sequence[Piece]) -> pd.DataFrame:
    """The answers to all pieces as one table, by split, predictor and session."""
    parts: dict[tuple[str, str], list[pd.DataFrame]] = {
        (split, name): [] for split in (*SPLITS, WITHOUT_GPS) for name in (LOCALIZER, UNCALIBRATED, *METHODS)
    }
    total = sum(len(piece.clusters) for piece in tasks)
    with tqdm(total=total, desc="evaluate", unit="answer", disable=None) as progress:
        made = workers.mapped(pieces.answered, tasks, files=lambda piece: piece.files, least=_LEAST)
        for piece, found in zip(tasks, made, strict=True):
            for key, cases in found.items():
                parts[key].append(cases)
            progress.update(len(piece.clusters))
    return pd.concat([cases for several in parts.values() for cases in several], ignore_index=True)
