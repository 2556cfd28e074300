"""The bound of Cramer and Rao, and that an estimator reaches it (simulated)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from heimdall import simulate
from heimdall.baselines.cramer_rao import cramer_rao_m2
from heimdall.core.params import FeatureParams
from heimdall.core.randomness import generator
from heimdall.geometry import geo
from heimdall.geometry.propagation import GROUND_ALTITUDE_M, SPEED_OF_LIGHT_M_S, distances_m, gradients
from heimdall.pipeline.simulate import simulated
from heimdall.signal import arrival_times
from heimdall.signal.arrival import arrivals
from heimdall.signal.correlation import correlate
from heimdall.signal.sessions import SessionFeatures
from heimdall.simulate.world import RECEIVERS

Float64 = npt.NDArray[np.float64]

LATITUDE_DEG = float(np.mean([site.latitude_deg for site in RECEIVERS]))
LONGITUDE_DEG = float(np.mean([site.longitude_deg for site in RECEIVERS]))
PLANE = geo.TangentPlane(LATITUDE_DEG, LONGITUDE_DEG, GROUND_ALTITUDE_M)
RECEIVER_M = np.array(
    [
        geo.enu_m(site.latitude_deg, site.longitude_deg, site.altitude_m, LATITUDE_DEG, LONGITUDE_DEG)
        for site in RECEIVERS
    ]
)
TRUTH_M = np.array([12e3, -7e3])
PARAMS = FeatureParams(
    n_mels=128,
    n_fft=4096,
    hop_length=512,
    f_min=0.0,
    f_max=None,
    frames=32,
    correlation_band_hz=8000.0,
    correlation_rate_hz=32000.0,
    correlation_max_lag_s=1e-3,
)


def weighted_least_squares(start_m: Float64, delay_s: Float64, weight: Float64, sites_m: Float64) -> Float64:
    """Position of which the delays, less a common one, are nearest to those measured (Gauss-Newton)."""
    position = start_m.copy()
    for _ in range(6):
        distance, slope = gradients(position, sites_m, PLANE)
        rest = delay_s - distance / SPEED_OF_LIGHT_M_S
        rest = rest - (weight * rest).sum() / weight.sum()
        slope = slope / SPEED_OF_LIGHT_M_S
        centred = slope - (weight[:, None] * slope).sum(axis=0) / weight.sum()
        root = np.sqrt(weight)
        position = position + np.linalg.lstsq(root[:, None] * centred, root * rest, rcond=None)[0]
    return position


def test_bound_is_the_inverse_of_the_information_with_an_unknown_time_of_emission() -> None:
    """The same from the full Fisher matrix of east, north and time of emission."""
    information = np.array([1e14, 3e13, 5e12, 2e13])
    sigma_s = np.array([50e-9, 50e-9, 200e-9, 0.0])
    sites = RECEIVER_M[:4] + np.array([[0, 0, 0], [0, 0, 0], [0, 0, 0], [60e3, 0, 0]])
    weight = 1 / (1 / information + sigma_s**2)
    slope = gradients(TRUTH_M, sites, PLANE)[1] / SPEED_OF_LIGHT_M_S
    jacobian = np.concatenate([slope, np.ones((4, 1))], axis=1) * np.array([1, 1, 1e-9])
    full = np.linalg.inv(jacobian.T @ (weight[:, None] * jacobian))
    bound = cramer_rao_m2(TRUTH_M, information, sigma_s, sites, PLANE)
    np.testing.assert_allclose(bound, full[:2, :2], rtol=1e-6)


def test_receivers_without_a_time_change_nothing() -> None:
    information = np.full(7, 1e14)
    sigma_s = np.full(7, 50e-9)
    six = cramer_rao_m2(TRUTH_M, information[:6], sigma_s[:6], RECEIVER_M[:6], PLANE)
    silent, free = information.copy(), sigma_s.copy()
    silent[6], free[6] = 0.0, np.inf
    np.testing.assert_allclose(cramer_rao_m2(TRUTH_M, silent, sigma_s, RECEIVER_M, PLANE), six, rtol=1e-12)
    np.testing.assert_allclose(cramer_rao_m2(TRUTH_M, information, free, RECEIVER_M, PLANE), six, rtol=1e-12)
    seven = cramer_rao_m2(TRUTH_M, information, sigma_s, RECEIVER_M, PLANE)
    assert np.trace(seven) < np.trace(six)


def test_two_receivers_bound_nothing() -> None:
    sigma_s = np.full(2, 50e-9)
    bound = cramer_rao_m2(TRUTH_M, np.full(2, 1e14), sigma_s, RECEIVER_M[:2], PLANE)
    assert np.isinf(np.diag(bound)).all()
    assert bound[0, 1] == bound[1, 0] == 0


def test_receivers_in_one_direction_bound_nothing() -> None:
    sites = np.array([[20e3, 0.0, 0.0], [40e3, 0.0, 0.0], [60e3, 0.0, 0.0]])
    bound = cramer_rao_m2(np.zeros(2), np.full(3, 1e14), np.full(3, 50e-9), sites, PLANE)
    assert np.isinf(np.diag(bound)).all()


def test_least_squares_of_noisy_delays_has_the_covariance_of_the_bound() -> None:
    random = generator(1, "test.bounds")
    information = 1 / (1e-9 * np.array([20.0, 40.0, 10.0, 80.0, 30.0, 30.0, 60.0])) ** 2
    sigma_s = np.full(7, 50e-9)
    weight = 1 / (1 / information + sigma_s**2)
    truth_s = distances_m(TRUTH_M, RECEIVER_M, PLANE) / SPEED_OF_LIGHT_M_S
    error = []
    for _ in range(400):
        delay_s = truth_s + random.standard_normal(7) / np.sqrt(weight)
        error.append(weighted_least_squares(TRUTH_M, delay_s, weight, RECEIVER_M) - TRUTH_M)
    bound = cramer_rao_m2(TRUTH_M, information, sigma_s, RECEIVER_M, PLANE)
    whitened = np.linalg.solve(np.linalg.cholesky(bound), np.array(error).T)
    np.testing.assert_allclose(whitened @ whitened.T / len(error), np.eye(2), atol=0.2)


def features(recordings: list[simulate.RenderedRecording]) -> SessionFeatures:
    """The session without its mel, which no arrival time needs."""
    heard = simulated.as_received(recordings)
    found = correlate(
        heard, PARAMS.correlation_band_hz, PARAMS.correlation_rate_hz, PARAMS.correlation_max_lag_s
    )
    rows = [item.reception.receiver for item in recordings]
    times = arrival_times.measure(heard, RECEIVER_M[rows])
    return SessionFeatures(
        mel=np.zeros((len(heard), 3, 1, 1), np.float16),
        websdr_id=np.array([item.websdr_id for item in heard], np.int32),
        energy_db=found.energy_db.astype(np.float32),
        snr_db=found.snr_db.astype(np.float32),
        gate=found.gate.astype(np.float32),
        cfo_hz=found.cfo_hz,
        timing_sigma_s=np.array(
            [np.inf if item.timing_sigma_ns is None else item.timing_sigma_ns * 1e-9 for item in heard]
        ),
        delay_s=times.delay_s,
        delay_sigma_s=times.sigma_s,
        rms_bandwidth_hz=np.full(len(heard), times.rms_bandwidth_hz),
        position_enu_m=RECEIVER_M[rows],
        detected=found.detected.astype(np.uint8),
        pair=found.pair,
        xcorr=found.xcorr.astype(np.complex64),
    )


def loud(plan: simulate.SessionPlan) -> bool:
    """At least four receivers with GPS time hear the transmission, all of them above 15 dB."""
    snr_db = [item.snr_db for item in plan.receptions if item.timing_sigma_ns is not None]
    return len(snr_db) >= 4 and min(snr_db) > 15


def test_arrival_times_reach_the_bound_at_high_snr_without_multipath() -> None:
    """From simulated IQ to a position: the root of the mean squared error in units of the bound."""
    world = simulate.make_world(5, 60, "none", clock_sigma_ns=50.0)
    first_of = {
        plan.transmitter: plan
        for plan in reversed(simulate.sessions(world, 240))
        if loud(plan) and world.transmitters[plan.transmitter].modulation != "cw"
    }
    plans = [first_of[transmitter] for transmitter in sorted(first_of)[:10]]
    squared = []
    for plan in plans:
        session = features(simulate.render(world, plan))
        found = arrivals(session, PARAMS)
        timed = found.information_s2 > 0
        weight = 1 / (1 / found.information_s2[timed] + session.timing_sigma_s[timed] ** 2)
        truth_m = world.transmitters[plan.transmitter].position_m[:2]
        sites_m = session.position_enu_m[timed]
        position_m = weighted_least_squares(truth_m, found.delay_s[timed], weight, sites_m)
        bound_m2 = cramer_rao_m2(
            truth_m, found.information_s2, session.timing_sigma_s, session.position_enu_m, PLANE
        )
        error_m = position_m - truth_m
        squared.append(error_m @ np.linalg.solve(bound_m2, error_m) / 2)
    ratio = np.sqrt(np.mean(squared))
    assert len(plans) == 10
    assert 0.6 < ratio < 1.3  # of 20 squared deviates: one standard deviation is 0.16
