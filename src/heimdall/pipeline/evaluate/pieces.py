"""A piece of the evaluation: some sessions of a split, answered in a process of its own.

The localizer answers as many at a time as everywhere else, because that is part of its result; the methods
without learning, which are slow, answer a few.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from heimdall.baselines import baselines
from heimdall.baselines.fitted import Baselines
from heimdall.baselines.methods import METHODS
from heimdall.core.params import FeatureParams
from heimdall.geometry import transmitters
from heimdall.network import dataset
from heimdall.network.dataset import DatasetConfig, Sessions, StoredObservations
from heimdall.network.localization_net import INFERENCE_BATCH
from heimdall.pipeline.evaluate.cases import WITHOUT_GPS, case_table, described
from heimdall.pipeline.evaluate.figures import Split
from heimdall.pipeline.evaluate.localizers import Localizer, StoredLocalizer
from heimdall.pipeline.evaluate.predictors import LOCALIZER, RECEIVED_POWER, UNCALIBRATED
from heimdall.position.posterior import Posterior
from heimdall.signal.arrival import without_gps

RIVALS_SESSIONS = 8  # in a piece of the methods without learning


@dataclass(frozen=True, eq=False)
class Piece:
    """Who answers which sessions.

    Attributes:
        data: Where the features are.
        split: Of the sessions.
        sessions: Some of the split.
        clusters: The transmitter of each.
        answerer: The localizer, or the methods without learning.
    """

    data: DatasetConfig
    split: Split
    sessions: Sessions
    clusters: tuple[str, ...]
    answerer: Localizer | Baselines

    @property
    def files(self) -> tuple[Path, ...]:
        """All that is read for it."""
        found = self.sessions.observations
        stored = found.files if isinstance(found, StoredObservations) else ()
        model = self.answerer.files if isinstance(self.answerer, StoredLocalizer) else ()
        return (*self.data.tables, *stored, *model)


def pieces(
    data: DatasetConfig, split: Split, validation_split: float, localize: Localizer, fitted: Baselines
) -> Iterator[Piece]:
    """The pieces of a split, those of the localizer first.

    Args:
        data: Where the features are.
        split: Of the sessions.
        validation_split: Share of the development rows that was held out when the model was trained.
        localize: The localizer.
        fitted: What the methods without learning know.

    Raises:
        HeimdallError: The features are missing, or the split has no members.
    """
    sessions = dataset.observations(data, split, validation_split)
    clusters = list(transmitters.by_place(sessions.table))
    answerers: tuple[tuple[Localizer | Baselines, int], ...] = (
        (localize, INFERENCE_BATCH),
        (fitted, RIVALS_SESSIONS),
    )
    for answerer, count in answerers:
        for first in range(0, len(clusters), count):
            some = np.arange(first, min(first + count, len(clusters)))
            yield Piece(data, split, sessions.rows(some), tuple(clusters[first : first + count]), answerer)


def answered(piece: Piece) -> dict[tuple[str, str], pd.DataFrame]:
    """The cases of a piece, by the name of the split and the predictor; of a test split without GPS, too.

    Raises:
        HeimdallError: A file is missing or damaged.
    """
    found = _cases(piece, piece.split, piece.sessions, METHODS)
    if piece.split == "test":
        features = FeatureParams(**dataset.read_network(piece.data).features)
        timeless = [without_gps(item, features) for item in piece.sessions.observations]
        sessions = dataclasses.replace(piece.sessions, observations=timeless)
        found |= _cases(piece, WITHOUT_GPS, sessions, (RECEIVED_POWER,))
    return found


def _cases(
    piece: Piece, split: str, sessions: Sessions, methods: Sequence[str]
) -> dict[tuple[str, str], pd.DataFrame]:
    plane = dataset.read_network(piece.data).plane
    rows = described(sessions, piece.clusters, plane)
    return {
        (split, name): case_table(split, name, rows, answer, plane)
        for name, answer in _answers(piece.answerer, split, sessions, methods).items()
    }


def _answers(
    answerer: Localizer | Baselines, split: str, sessions: Sessions, methods: Sequence[str]
) -> Mapping[str, Posterior]:
    """What each predictor says; without GPS time that before calibration is of no interest."""
    observations = sessions.observations
    if isinstance(answerer, Baselines):
        return {
            name: Posterior.concatenate([baselines.locate(name, one, answerer) for one in observations])
            for name in METHODS
            if name in methods
        }
    after, before = answerer(observations)
    return {LOCALIZER: after} | ({UNCALIBRATED: before} if split != WITHOUT_GPS else {})
