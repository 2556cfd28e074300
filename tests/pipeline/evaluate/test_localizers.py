"""What a single-receiver network answers to a session: the product of its Gaussians."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from heimdall.metrics.metrics import Estimates
from heimdall.network import model_file
from heimdall.network.dataset import DatasetConfig, Sessions
from heimdall.pipeline.evaluate.localizers import StoredLocalizer, combine
from tests.feature_world import FRAME, untrained
from tests.session_world import PLANE


def test_single_receiver_network_answers_with_the_product_of_its_gaussians(
    data: DatasetConfig, held_out: Sessions, tmp_path: Path
) -> None:
    model, weights = untrained(), tmp_path / "localizer.safetensors"
    model_file.save(model, weights, weights.with_suffix(".json"), {"validation_split": 0.5})
    localize = StoredLocalizer.of(weights, data)
    assert localize.validation_split == 0.5
    answer, before_calibration = localize(held_out.observations)
    assert before_calibration is answer
    for number, item in enumerate(held_out.observations):
        with torch.inference_mode():
            given = model(torch.from_numpy(item.session.mel.astype(np.float32))).numpy().T
        one = combine(Estimates(*given), np.zeros(len(item.session.mel), np.intp), FRAME)
        east_m, north_m = PLANE.to_local(one.latitude_deg, one.longitude_deg)
        np.testing.assert_allclose(answer.position_m[number], [east_m[0], north_m[0]], rtol=1e-4)
        np.testing.assert_allclose(answer.sigma_m[number], [one.sigma_east_m[0], one.sigma_north_m[0]], 1e-4)


def test_product_of_gaussians_by_hand() -> None:
    latitude_deg, longitude_deg = FRAME.to_degrees([0.0, 3000.0, 500.0], [0.0, 1000.0, 600.0])
    estimates = Estimates(
        latitude_deg, longitude_deg, np.array([1000.0, 2000, 7]), np.array([1000.0, 1000, 8])
    )
    combined = combine(estimates, np.array([1, 1, 0]), FRAME)
    east_m, north_m = FRAME.to_local(combined.latitude_deg, combined.longitude_deg)
    np.testing.assert_allclose(east_m, [500, 600], atol=1e-6)  # weights 4 : 1
    np.testing.assert_allclose(north_m, [600, 500], atol=1e-6)
    np.testing.assert_allclose(combined.sigma_east_m, [7, 1000 * np.sqrt(0.8)])
    np.testing.assert_allclose(combined.sigma_north_m, [8, 1000 * np.sqrt(0.5)])
