"""The received-power model: it recovers what made the levels, and silence is information."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
from scipy import integrate, stats

from heimdall.core.randomness import generator
from heimdall.geometry.area import Area, Receivers
from heimdall.geometry.geo import TangentPlane
from heimdall.geometry.propagation import distances_m
from heimdall.position import received_power
from heimdall.position.received_power import Levels, PowerModel
from heimdall.signal.arrival import Arrivals, Observation
from heimdall.signal.sessions import SessionFeatures

PLANE = TangentPlane(45.0, 8.0, 260.0)
RECEIVERS = Receivers(
    np.array([11, 12, 13, 14, 15], np.int32),
    np.array([[-60e3, 0, 400], [0, 45e3, 200], [50e3, 30e3, 200], [40e3, -40e3, 300], [0, -10e3, 100.0]]),
)
MODEL = PowerModel(
    websdr_id=(11, 12, 13, 14, 15),
    gain_db=(30.0, 20.0, 15.0, 25.0, 10.0),
    slope=3.5,
    loss_db_per_km=0.2,
    uhf_offset_db=-6.0,
    shadow_sigma_db=8.0,
    power_sigma_db=5.0,
    squelch_db=-3.0,
)
FIX_M = np.array([10e3, 5e3])


def observation(snr_db: np.ndarray, frequency_hz: float = 145e6) -> Observation:
    """A session in which the receivers with a level detect it; the last of the others recorded noise."""
    heard = np.flatnonzero(np.isfinite(snr_db))
    noise = np.flatnonzero(np.isnan(snr_db))[-1:]
    rows = np.concatenate([heard, noise])
    count = len(rows)
    zeros = np.zeros(count)
    session = SessionFeatures(
        mel=np.zeros((count, 3, 1, 1), np.float16),
        websdr_id=RECEIVERS.websdr_id[rows],
        energy_db=zeros.astype(np.float32),
        snr_db=np.where(np.isfinite(snr_db[rows]), snr_db[rows], -9.0).astype(np.float32),
        gate=zeros.astype(np.float32),
        cfo_hz=zeros,
        timing_sigma_s=np.full(count, math.inf),
        delay_s=np.full(count, np.nan),
        delay_sigma_s=np.full(count, np.nan),
        rms_bandwidth_hz=np.zeros(count),
        position_enu_m=RECEIVERS.position_m[rows],
        detected=np.isfinite(snr_db[rows]).astype(np.uint8),
        pair=np.zeros((0, 2), np.int32),
        xcorr=np.zeros((0, 65), np.complex64),
    )
    times = Arrivals.without_echoes(zeros, zeros, 0.0, np.zeros((count, 18)))
    return Observation(session, times, frequency_hz)


def world(sessions: int, seed: int = 1) -> tuple[list[Observation], np.ndarray]:
    """Sessions whose levels the model makes, and where their transmitters are."""
    random = generator(seed, "test power")
    truth_m = random.uniform(-45e3, 45e3, (sessions, 2))
    distance_m = distances_m(truth_m, RECEIVERS.position_m, PLANE)
    uhf = random.random(sessions) < 0.5
    level_db = (
        np.array(MODEL.gain_db)
        - 10 * MODEL.slope * np.log10(distance_m / 30e3)
        - MODEL.loss_db_per_km * (distance_m / 1e3 - 30)
        + MODEL.uhf_offset_db * uhf[:, None]
        + MODEL.power_sigma_db * random.normal(size=(sessions, 1))
        + MODEL.shadow_sigma_db * random.normal(size=distance_m.shape)
    )
    heard = np.where(level_db > MODEL.squelch_db, level_db, np.nan)
    pairs = zip(heard, np.where(uhf, 435e6, 145e6).tolist(), strict=True)
    return [observation(row, frequency_hz) for row, frequency_hz in pairs], truth_m


def levels(*snr_db: float) -> Levels:
    return Levels.of(observation(np.array(snr_db)), RECEIVERS)


def test_fit_recovers_the_model_that_made_the_levels() -> None:
    found = received_power.fit(*world(600), RECEIVERS, PLANE)
    assert found.gain_db == pytest.approx(MODEL.gain_db, abs=1.5)
    # Slope and loss per kilometre trade against each other; their sum over the area does not.
    for distance_m in (10e3, 60e3, 90e3):
        loss_db = [
            10 * one.slope * math.log10(distance_m / 30e3) + one.loss_db_per_km * (distance_m / 1e3 - 30)
            for one in (found, MODEL)
        ]
        assert loss_db[0] == pytest.approx(loss_db[1], abs=1.5)
    assert found.uhf_offset_db == pytest.approx(-6.0, abs=1.0)
    assert found.shadow_sigma_db == pytest.approx(8.0, abs=0.5)
    assert found.power_sigma_db == pytest.approx(5.0, abs=0.7)
    assert found.squelch_db == pytest.approx(-3.0, abs=0.5)


def test_twenty_sessions_already_explain_others_nearly_as_well_as_the_truth_does() -> None:
    few = received_power.fit(*world(20, seed=2), RECEIVERS, PLANE)
    observations, truth_m = world(200, seed=3)
    scores = [
        np.mean(
            [
                received_power.log_likelihood(model, Levels.of(one, RECEIVERS), at, PLANE)
                for one, at in zip(observations, truth_m, strict=True)
            ]
        )
        for model in (few, MODEL)
    ]
    assert scores[0] > scores[1] - 0.8


def test_sessions_without_any_level_give_the_priors_and_no_session_an_error() -> None:
    silent = observation(np.full(5, np.nan))
    found = received_power.fit([silent], np.zeros((1, 2)), RECEIVERS, PLANE)
    assert np.isfinite([*found.gain_db, found.slope, found.shadow_sigma_db, found.squelch_db]).all()
    with pytest.raises(ValueError, match="no session"):
        received_power.fit([], np.zeros((0, 2)), RECEIVERS, PLANE)


def test_likelihood_is_the_integral_over_the_power() -> None:
    session = levels(25.0, math.nan, 12.0, math.nan, 1.0)
    distance_m = distances_m(FIX_M, RECEIVERS.position_m, PLANE)
    mean_db = (
        np.array(MODEL.gain_db)
        - 10 * MODEL.slope * np.log10(distance_m / 30e3)
        - MODEL.loss_db_per_km * (distance_m / 1e3 - 30)
    )

    def density(power_db: float) -> float:
        heard = np.isfinite(session.snr_db)
        level = stats.norm.pdf(session.snr_db[heard], mean_db[heard] + power_db, MODEL.shadow_sigma_db)
        below = stats.norm.cdf(MODEL.squelch_db, mean_db[~heard] + power_db, MODEL.shadow_sigma_db)
        return float(level.prod() * below.prod() * stats.norm.pdf(power_db, 0, MODEL.power_sigma_db))

    expected = math.log(integrate.quad(density, -60, 60, points=[0])[0])
    assert received_power.log_likelihood(MODEL, session, FIX_M, PLANE) == pytest.approx(expected, abs=1e-5)


def test_a_silent_receiver_pushes_the_transmitter_away() -> None:
    grid_m = Area.around(RECEIVERS).grid_m(4_000.0)
    west_heard = received_power.log_likelihood(MODEL, levels(0.0, 5.0, 5.0, 5.0, 5.0), grid_m, PLANE)
    west_silent = received_power.log_likelihood(MODEL, levels(math.nan, 5.0, 5.0, 5.0, 5.0), grid_m, PLANE)
    heard_m, _ = received_power.moments(west_heard, grid_m, 4_000.0)
    silent_m, _ = received_power.moments(west_silent, grid_m, 4_000.0)
    assert silent_m[0] > heard_m[0] + 1_000
    everywhere = received_power.log_likelihood(MODEL, levels(*[math.nan] * 5), grid_m, PLANE)
    assert np.isfinite(everywhere).all()


def test_positions_of_any_shape_and_unknown_receivers_have_a_likelihood() -> None:
    session = levels(25.0, math.nan, 12.0, math.nan, 1.0)
    points_m = generator(1, "points").uniform(-50e3, 50e3, (3, 4, 2))
    values = received_power.log_likelihood(MODEL, session, points_m, PLANE)
    assert values.shape == (3, 4)
    assert values[1, 2] == received_power.log_likelihood(MODEL, session, points_m[1, 2], PLANE)
    assert MODEL.gains_db(np.array([12, 99], np.int32)).tolist() == [20.0, 20.0]  # 20 is also the mean
    at_receiver = received_power.log_likelihood(MODEL, session, RECEIVERS.position_m[4, :2], PLANE)
    assert np.isfinite(at_receiver)


def test_model_survives_json() -> None:
    assert PowerModel.from_dict(json.loads(json.dumps(dataclasses.asdict(MODEL)))) == MODEL


def test_moments_of_a_gaussian_on_the_grid_are_its_own_and_a_cells() -> None:
    grid_m = Area.around(RECEIVERS).grid_m(4_000.0)
    covariance_m2 = np.array([[64e6, 20e6], [20e6, 49e6]])
    offset = grid_m - FIX_M
    log_density = -0.5 * (offset @ np.linalg.inv(covariance_m2) * offset).sum(axis=1)
    mean_m, found_m2 = received_power.moments(log_density + 1e4, grid_m, 4_000.0)
    assert mean_m == pytest.approx(FIX_M, abs=50)
    cell_m2 = np.eye(2) * 4_000.0**2 / 12
    assert found_m2 == pytest.approx(covariance_m2 + cell_m2, rel=0.02)


def test_area_is_the_hull_and_its_margin() -> None:
    area = Area.around(RECEIVERS)
    assert area.outside_m(RECEIVERS.position_m[:, :2]) == pytest.approx([0, 0, 0, 0, -12_999], abs=1)
    assert area.outside_m(np.array([[-60e3 - 1e3, 0.0], [50e3 + 7e3, 30e3]]))[1] > 5e3
    grid_m = area.grid_m(4_000.0)
    outside_m = area.outside_m(grid_m)
    assert 18e3 < outside_m.max() <= 20e3
    assert (grid_m % 4_000 == 0).all()
    in_line = Area.around(Receivers(RECEIVERS.websdr_id[:2], RECEIVERS.position_m[:2] * [1, 0, 1]))
    assert in_line.outside_m(np.array([-30e3, 5e3])) == 5e3
