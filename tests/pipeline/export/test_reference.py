"""The test set and PyTorch's answers to it are those of the evaluation."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from heimdall.geometry.geo import distance_m
from heimdall.network.dataset import DatasetConfig, observations, read_receivers
from heimdall.network.localize import localize
from heimdall.pipeline.export import graphs
from heimdall.pipeline.export.reference import held_out
from tests import known_sessions, session_world
from tests.feature_world import RECORD


def test_sessions_of_the_test_split_are_the_reference_and_its_answers_those_of_the_evaluation(
    tmp_path: Path,
) -> None:
    session_world.write(tmp_path)
    config = DatasetConfig(tmp_path)
    network = known_sessions.network()
    record = RECORD | {"params": {"features": RECORD["params"]["features"] | {"n_mels": 32}}}
    graph = graphs.of_network(network, record, config)
    assert graph.metadata["preprocessing"]["receivers"]["websdr_id"] == [1, 2, 3, 4, 5]
    reference = held_out(network, graph, config, session_world.VALIDATION_SPLIT)
    found = observations(config, "test", session_world.VALIDATION_SPLIT)
    posterior = localize(network, found.observations, read_receivers(config))
    places_deg = np.stack(session_world.PLANE.to_degrees(*posterior.position_m.T), -1)
    assert len(reference.truth_deg) == 4
    assert distance_m(*reference.answers["positions"].T, *places_deg.T).max() < 0.01
    np.testing.assert_allclose(reference.answers["localizable"], posterior.within(1000.0), atol=0.01)
