"""Carriers that drift against each other within a recording: what is measured of it and taken off."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import numpy.typing as npt
import pytest

from heimdall import simulate
from heimdall.core.randomness import generator
from heimdall.pipeline.simulate import simulated
from heimdall.signal import chirp
from heimdall.signal.arrival_times import ArrivalTimes, measure
from heimdall.signal.correlation import Recording, correlate
from heimdall.simulate import channel
from heimdall.simulate.receive import SessionPlan
from heimdall.simulate.world import World
from tests.signal.test_arrival_times import DELAY_S, POSITION_M, heard, noise_like

Float64 = npt.NDArray[np.float64]
Complex128 = npt.NDArray[np.complex128]
RATE_HZ = 12000.0
TIME_S = (np.arange(12000) - 11999 / 2) / RATE_HZ


def noise(random: np.random.Generator, size: int = 12000) -> Complex128:
    values = random.standard_normal((2, size)) / math.sqrt(2)
    return np.asarray(values[0] + 1j * values[1], np.complex128)


def turned(rate_hz_s: float, offset_hz: float) -> Complex128:
    """A carrier of some drift, and of some offset in the middle."""
    return np.asarray(np.exp(1j * np.pi * (rate_hz_s * TIME_S**2 + 2 * offset_hz * TIME_S)), np.complex128)


def relative(received: Complex128, sent: Complex128) -> chirp.Chirp:
    return chirp.relative(received * sent.conj(), np.abs(sent) ** 2, RATE_HZ)


@pytest.mark.parametrize("size", [1, 2, 100, 1234])
def test_a_ramp_is_the_exponential(size: int) -> None:
    time_s = (np.arange(size) - (size - 1) / 2) / 1000
    np.testing.assert_allclose(
        chirp.ramp(-3.7, 1000.0, size), np.exp(-3.7j * np.pi * time_s**2), rtol=0, atol=1e-12
    )


def test_the_drift_agrees_with_the_truth_within_its_error() -> None:
    """At any strength, of either sign, also in parts of what is keyed."""
    random = generator(1, "test.chirp")
    deviation = []
    for number in range(60):
        sent = noise(random)
        if number % 2:
            sent = np.where(np.sin(2 * np.pi * 7 * TIME_S) > 0.3, 1.0, 0.0) + 0.01 * sent
        rate_hz_s, offset_hz = random.uniform(-10, 10), random.uniform(-5, 5)
        amplitude = 10 ** random.uniform(-1.2, 0.5)
        found = relative(amplitude * sent * turned(rate_hz_s, offset_hz) + noise(random), sent)
        if amplitude > 0.3:
            assert found.evident or abs(rate_hz_s) < 1.0
        if found.evident:
            deviation.append((found.rate_hz_s - rate_hz_s) / found.sigma_hz_s)
            assert found.offset_hz == pytest.approx(offset_hz, abs=0.5)
    assert len(deviation) > 40
    assert 0.8 < np.sqrt(np.mean(np.square(deviation))) < 1.3
    assert np.abs(deviation).max() < 5


def test_noise_and_steady_carriers_have_no_evident_drift() -> None:
    """Of 400 each, t nats have a probability of about exp(-t)."""
    random = generator(2, "test.chirp")
    nats, by_chance = [], 0
    for _ in range(400):
        sent = noise(random)
        received = 10 ** random.uniform(-1.2, 0.5) * sent * turned(0.0, random.uniform(-5, 5)) + noise(random)
        nats.append(relative(received, sent).nats)
        by_chance += relative(noise(random), sent).evident
    assert by_chance <= 1  # of noise alone there is more to choose from
    assert max(nats) < chirp.EVIDENT_NATS
    assert np.count_nonzero(np.array(nats) > 2) < 2 * 400 * math.exp(-2)


def test_nothing_and_too_little_have_no_drift() -> None:
    nothing = np.zeros(12000, np.complex128)
    assert not relative(nothing, nothing).evident
    assert not relative(noise(generator(3, "test.chirp")), nothing).evident
    short = noise(generator(3, "test.chirp"), 100)
    assert not chirp.relative(short * turned(9.0, 0.0)[:100], np.abs(short) ** 2, RATE_HZ).evident


def drifting(recordings: list[Recording], chirp_hz_s: list[float], level: float = 0.0) -> list[Recording]:
    """Carriers that drift about the middle of the recordings, and direct current afterwards."""
    found = []
    for one, rate_hz_s in zip(recordings, chirp_hz_s, strict=True):
        iq = one.iq * turned(rate_hz_s, 0.0) + level
        found.append(
            Recording(one.websdr_id, iq.astype(np.complex64), RATE_HZ, one.start_gps_ns, one.timing_sigma_ns)
        )
    return found


SESSIONS = 8
DRIFT_HZ_S = [1.5, -2.5, 0.0, 6.0]


def against(reference: int) -> Float64:
    return np.array(DRIFT_HZ_S) - DRIFT_HZ_S[reference]


def test_arrival_times_of_carriers_that_drift() -> None:
    """They are those of carriers that do not, and the offsets are those of the middle."""
    random = generator(4, "test.chirp")
    sent = noise_like(random, RATE_HZ, 3000.0)
    recordings = heard(sent, RATE_HZ, DELAY_S, 0.3, random, offset_hz=37.0)
    steady, found = (measure(each, POSITION_M) for each in (recordings, drifting(recordings, DRIFT_HZ_S)))
    assert found.chirp_hz_s == pytest.approx(against(found.reference), abs=0.05)
    assert not steady.chirp_hz_s.any()
    assert found.sigma_s == pytest.approx(steady.sigma_s, rel=0.3)
    error_s = found.delay_s - DELAY_S
    assert np.abs(error_s - error_s.mean()).max() < 4 * found.sigma_s.max()
    assert np.diff(found.offset_hz) == pytest.approx([37.0] * 3, abs=0.05)


def test_a_carrier_that_drifts_past_zero_is_no_direct_current() -> None:
    """What is at 0 Hz may be the receiver's own and is taken off; the drift must not be measured without."""
    random = generator(5, "test.chirp")
    sent = np.exp(0.7j * noise_like(random, RATE_HZ, 1000.0).real)
    recordings = [
        Recording(
            number, (one.iq * turned(0.0, offset_hz)).astype(np.complex64), RATE_HZ, one.start_gps_ns, 50.0
        )
        for number, (one, offset_hz) in enumerate(
            zip(heard(sent, RATE_HZ, DELAY_S, 0.1, random), (50.0, 0.3, 20.0, -31.0), strict=True)
        )
    ]
    found = measure(drifting(recordings, [0.0, 0.96, 0.0, 0.0], 1e-3), POSITION_M)
    assert np.isfinite(found.delay_s).all()
    drift_hz_s = np.array([0.0, 0.96, 0.0, 0.0])
    assert found.chirp_hz_s == pytest.approx(drift_hz_s - drift_hz_s[found.reference], abs=0.1)


def test_correlations_of_carriers_that_drift() -> None:
    random = generator(6, "test.chirp")
    sent = noise_like(random, RATE_HZ, 2500.0)
    recordings = heard(sent, RATE_HZ, DELAY_S, 0.3, random, offset_hz=37.0)
    steady, found = (
        correlate(each, 4000.0, RATE_HZ, 1e-3) for each in (recordings, drifting(recordings, DRIFT_HZ_S))
    )
    assert not steady.chirp_hz_s.any()
    assert found.chirp_hz_s == pytest.approx(against(found.reference), abs=0.05)
    assert np.diff(found.cfo_hz) == pytest.approx([37.0] * 3, abs=0.05)
    assert found.gate == pytest.approx(steady.gate, rel=0.05)
    largest = np.abs(found.xcorr).max(axis=1)
    assert largest == pytest.approx(np.abs(steady.xcorr).max(axis=1), rel=0.05)


@cache
def world(drift: float) -> World:
    return simulate.make_world(
        5003, 8, "light", clock_sigma_ns=0.0, faults=simulate.Faults(clock_drift=drift)
    )


def measured(made: World, plan: SessionPlan) -> tuple[ArrivalTimes, Float64, Float64]:
    """Arrival times of a session, their errors, and the drifts of the receivers' carriers."""
    recordings = simulated.as_received(simulate.render(made, plan))
    row_of = {site.websdr_id: row for row, site in enumerate(made.receivers)}
    position_m = made.receiver_position_m[[row_of[one.websdr_id] for one in recordings]]
    found = measure(recordings, position_m)
    by_receiver = {one.websdr_id: one for one in plan.receptions}
    true_s, drift_hz_s = np.zeros((2, len(recordings)))
    for row, one in enumerate(recordings):
        reception = by_receiver[one.websdr_id]
        paths = channel.paths(made, plan.transmitter, reception.receiver, plan.frequency_hz)
        true_s[row], drift_hz_s[row] = paths.delay_s[0] + paths.bias_s, reception.chirp_hz_s
    weight = np.where(np.isfinite(found.sigma_s), found.sigma_s**-2.0, 0.0)
    error_s = found.delay_s - true_s
    return found, error_s - np.nansum(weight * error_s) / weight.sum(), drift_hz_s


def test_simulated_clocks_that_drift_cost_next_to_nothing() -> None:
    """Without the correction a quarter of the times is lost, and the errors and sigmas are a multiple."""
    count, errors_s, sigmas_s = [], [], []
    for drift in (0.0, 1e-8):
        made = world(drift)
        times, error_s, sigma_s = 0, [], []
        for plan in list(simulate.sessions(made, 16))[:SESSIONS]:
            found, of_session_s, drift_hz_s = measured(made, plan)
            known = np.isfinite(found.delay_s)
            times += int(np.count_nonzero(known))
            error_s.extend(np.abs(of_session_s[known]).tolist())
            sigma_s.extend(found.sigma_s[known].tolist())
            taken = known & (found.chirp_hz_s != 0)
            assert not drift or taken.any()
            assert drift or not taken.any()
            true_hz_s = drift_hz_s - drift_hz_s[found.reference]
            assert found.chirp_hz_s[taken] == pytest.approx(true_hz_s[taken], abs=0.3)
        count.append(times)
        errors_s.append(np.median(error_s))
        sigmas_s.append(np.median(sigma_s))
    assert count[1] >= count[0] - 1
    assert errors_s[1] < 2 * errors_s[0] + 20e-9
    assert sigmas_s[1] < 1.3 * sigmas_s[0]


def test_without_drift_no_bit_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    made = world(0.0)
    plan = next(iter(simulate.sessions(made, 16)))
    found = measured(made, plan)[0]
    monkeypatch.setattr(chirp, "EVIDENT_NATS", math.inf)
    never = measured(made, plan)[0]
    for name in ("delay_s", "sigma_s", "offset_hz", "snr_db", "level_db"):
        np.testing.assert_array_equal(getattr(found, name), getattr(never, name))
