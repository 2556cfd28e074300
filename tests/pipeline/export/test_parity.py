"""Parity counts every tolerance, and every Gaussian that is shown."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from heimdall.pipeline.export.parity import SHOWN_WEIGHT, Parity, compare
from heimdall.pipeline.export.reference import Reference
from tests.pipeline.export.conftest import PARAMS, moved


def test_parity_counts_both_tolerances(reference: Reference) -> None:
    own = reference.answers
    assert compare(own, own, PARAMS.export) == Parity(8, 0.0, 0.0, 0.0, 1.0)
    shifted = compare(own, moved(own, north_deg=1e-6), PARAMS.export)  # 0.11 m
    assert shifted.max_distance_m == pytest.approx(0.111, abs=0.001)
    assert shifted.share == 0
    assert compare(own, moved(own, north_deg=8e-7), PARAMS.export).share == 1
    assert compare(own, moved(own, sigma_factor=1.011), PARAMS.export).share == 0
    assert compare(own, moved(own, sigma_factor=0.991), PARAMS.export).share == 1


def test_parity_of_sessions_counts_every_gaussian_that_is_shown(sessions: Reference) -> None:
    own = sessions.answers
    shown = own["weights"] >= SHOWN_WEIGHT

    def share(**changed: np.ndarray[Any, Any]) -> float:
        return compare(own, own | changed, PARAMS.export).share

    assert share() == 1
    off_deg = np.array([1e-5, 0])
    assert share(means_deg=own["means_deg"] + off_deg * ~shown[..., None]) == 1
    assert share(means_deg=own["means_deg"] + off_deg * shown[..., None]) == 0
    assert share(covariances=own["covariances"] * 1.03) == 0
    assert share(weights=own["weights"] + 0.02) == 0
    assert share(localizable=own["localizable"] + 0.02) == 0
