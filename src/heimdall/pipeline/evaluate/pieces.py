"""A piece of the evaluation: some sessions of a split, answered in a process of its own.

The localizer answers as many at a time as everywhere else, because that is part of its result; the methods
without learning, which are slow, answer a few.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from heimdall.baselines import baselines
from heimdall.baselines.fitted import Baselines
from heimdall.baselines.methods import METHODS
from heimdall.core import artifacts
from heimdall.core.params import FeatureParams
from heimdall.geometry import transmitters
from heimdall.network import dataset
from heimdall.network.dataset import DatasetConfig, Sessions
from heimdall.network.localization_net import INFERENCE_BATCH
from heimdall.pipeline.evaluate.cases import WITHOUT_GPS, case_table, described
from heimdall.pipeline.evaluate.figures import Split
from heimdall.pipeline.evaluate.localizers import Localizer, StoredLocalizer
from heimdall.pipeline.evaluate.predictors import LOCALIZER, RECEIVED_POWER, UNCALIBRATED
from heimdall.position.posterior import Posterior
from heimdall.signal.arrival import without_gps

RIVALS_SESSIONS = 8  # in a piece of the methods without learning


@dataclass(frozen=True)
class Piece:
    """Who answers which sessions.

    Attributes:
        data: Where the features are.
        index_sha256: Of their index.
        split: Of the sessions.
        validation_split: Share of the development rows that was held out when the model was trained.
        first: Number of the first session in the split.
        clusters: The transmitter of each session.
        shards: Where the sessions are stored.
        answerer: The localizer, or the methods without learning.
    """

    data: DatasetConfig
    index_sha256: str
    split: Split
    validation_split: float
    first: int
    clusters: tuple[str, ...]
    shards: tuple[Path, ...]
    answerer: Localizer | Baselines

    @property
    def files(self) -> tuple[Path, ...]:
        """All that is read for it."""
        model = self.answerer.files if isinstance(self.answerer, StoredLocalizer) else ()
        return (*self.data.tables, *self.shards, *model)


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
    index_sha256 = artifacts.sha256_file(data.index_file)
    sessions = _sessions(data, split, validation_split, index_sha256)
    clusters = list(transmitters.by_place(sessions.table))
    answerers: tuple[tuple[Localizer | Baselines, int], ...] = (
        (localize, INFERENCE_BATCH),
        (fitted, RIVALS_SESSIONS),
    )
    for answerer, count in answerers:
        for first in range(0, len(clusters), count):
            shards = dict.fromkeys(sessions.table["shard"].iloc[first : first + count])
            yield Piece(
                data,
                index_sha256,
                split,
                validation_split,
                first,
                tuple(clusters[first : first + count]),
                tuple(data.shard_path(name) for name in shards),
                answerer,
            )


def answered(piece: Piece) -> dict[tuple[str, str], pd.DataFrame]:
    """The cases of a piece, by the name of the split and the predictor; of a test split without GPS, too.

    Raises:
        HeimdallError: A file is missing or damaged.
    """
    every = _sessions(piece.data, piece.split, piece.validation_split, piece.index_sha256)
    sessions = every.rows(piece.first + np.arange(len(piece.clusters)))
    found = _cases(piece, piece.split, sessions, METHODS)
    if piece.split == "test":
        features = FeatureParams(**dataset.read_network(piece.data).features)
        timeless = [without_gps(item, features) for item in sessions.observations]
        sessions = dataclasses.replace(sessions, observations=timeless)
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


@lru_cache(maxsize=2)
def _sessions(data: DatasetConfig, split: Split, validation_split: float, index_sha256: str) -> Sessions:
    """The sessions of a split; the hash tells an index from a later one at its place."""
    return dataset.observations(data, split, validation_split)
