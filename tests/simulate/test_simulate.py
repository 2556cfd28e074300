"""The simulated world: the same bytes from a seed, and physics that a measurement finds again."""

from __future__ import annotations

import hashlib
import math
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from scipy import fft

from heimdall import simulate
from heimdall.core.determinism import recipe
from heimdall.core.randomness import generator
from heimdall.geometry import geo
from heimdall.simulate import budget, channel, signals
from heimdall.simulate.signals import MODULATIONS, Modulation
from heimdall.simulate.world import RECEIVERS, Multipath

HASH_OF_SESSIONS = """
import hashlib
from heimdall import simulate
world = simulate.make_world(11, 6)
digest = hashlib.sha256()
for plan in simulate.sessions(world, 2):
    digest.update(repr(plan).encode())
    for recording in simulate.render(world, plan):
        digest.update(recording.iq.tobytes())
print(digest.hexdigest())
"""


@pytest.fixture(scope="module")
def world() -> simulate.World:
    return simulate.make_world(11, 200)


@pytest.fixture(scope="module")
def plans(world: simulate.World) -> list[simulate.SessionPlan]:
    return simulate.sessions(world, 400)


def digest(recordings: list[simulate.RenderedRecording]) -> str:
    return hashlib.sha256(b"".join(r.iq.tobytes() for r in recordings)).hexdigest()


def test_same_seed_same_bytes_another_seed_others() -> None:
    first, again, other = (simulate.make_world(seed, 3) for seed in (11, 11, 12))
    plan = simulate.sessions(first, 2)[1]
    assert simulate.sessions(again, 2)[1] == plan
    assert digest(simulate.render(again, plan)) == digest(simulate.render(first, plan))
    assert simulate.sessions(other, 2)[1].session_id != plan.session_id
    assert digest(simulate.render(other, simulate.sessions(other, 2)[1])) != digest(
        simulate.render(first, plan)
    )


def test_bytes_do_not_depend_on_threads_or_hash_seed() -> None:
    printed = set()
    for threads, hash_seed in ((1, "1"), (4, "2")):
        environment = os.environ | recipe(threads) | {"PYTHONHASHSEED": hash_seed}
        command = [sys.executable, "-c", HASH_OF_SESSIONS]
        printed.add(
            subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
        )
    assert len(printed) == 1


def test_a_larger_world_begins_with_the_smaller_one() -> None:
    small, large = simulate.make_world(5, 4), simulate.make_world(5, 9)
    assert large.links[:4] == small.links
    assert [t.latitude_deg for t in large.transmitters[:4]] == [t.latitude_deg for t in small.transmitters]
    assert simulate.sessions(large, 12)[:7] == simulate.sessions(large, 7)


def test_transmitters_have_two_to_five_sessions(world: simulate.World) -> None:
    small = simulate.make_world(5, 12)
    counts = Counter(plan.transmitter for plan in simulate.sessions(small, 12 * 3))
    assert set(counts) == set(range(12))
    assert min(counts.values()) >= 2
    assert max(counts.values()) <= 5
    assert {t.modulation for t in world.transmitters[:6]} == set(MODULATIONS)


def test_receivers_heard_and_snr_are_those_of_the_network(plans: list[simulate.SessionPlan]) -> None:
    """Facts: in-band SNR 5 / 24 / 50 dB at 10 / 50 / 90 % of heard links; mostly 3 to 5 receivers."""
    heard = [r.snr_db for plan in plans for r in plan.receptions if r.has_signal]
    low, median, high = np.percentile(heard, [10, 50, 90])
    assert min(heard) >= -3.0
    assert 0 < low < 8
    assert 20 < median < 28
    assert 44 < high < 55
    counts = Counter(sum(r.has_signal for r in plan.receptions) for plan in plans)
    assert min(counts) >= 2
    assert counts[2] < 0.1 * len(plans)
    assert sum(counts[n] for n in (3, 4, 5)) > 0.7 * len(plans)
    false_openings = sum(not r.has_signal for plan in plans for r in plan.receptions)
    assert 0 < false_openings < 0.05 * len(heard)


def test_positions_are_within_the_network(world: simulate.World) -> None:
    latitude = [t.latitude_deg for t in world.transmitters]
    longitude = [t.longitude_deg for t in world.transmitters]
    for site in RECEIVERS:
        nearest = geo.distance_m(latitude, longitude, site.latitude_deg, site.longitude_deg).min()
        assert nearest < 40_000
    assert min(latitude) > 44.395 - 0.1
    assert max(latitude) < 45.478 + 0.1
    assert min(longitude) > 7.27 - 0.14
    assert max(longitude) < 9.123 + 0.14


@pytest.mark.parametrize(
    ("multipath", "low_ns", "high_ns"), [("none", 0, 1e-3), ("light", 62, 94), ("strong", 320, 450)]
)
def test_median_delay_bias(multipath: Multipath, low_ns: float, high_ns: float) -> None:
    world = simulate.make_world(3, 200, multipath)
    bias_ns = [
        abs(channel.paths(world, plan.transmitter, r.receiver, plan.frequency_hz).bias_s) * 1e9
        for plan in simulate.sessions(world, 400)
        for r in plan.receptions
        if r.has_signal
    ]
    assert low_ns <= np.median(bias_ns) <= high_ns


def test_path_phase_turns_with_the_carrier(world: simulate.World) -> None:
    first_hz, step_hz = 145.0125e6, 12_500.0
    one = channel.paths(world, 0, 0, first_hz)
    two = channel.paths(world, 0, 0, first_hz + step_hz)
    assert one.delay_s.size > 5
    np.testing.assert_array_equal(one.delay_s, two.delay_s)
    turned = np.angle(two.gain / one.gain * np.exp(2j * math.pi * step_hz * one.delay_s))
    assert np.abs(turned).max() < 1e-6
    np.testing.assert_allclose(
        one.gain, np.abs(one.gain) * np.exp(-2j * np.pi * first_hz * one.delay_s), atol=1e-6
    )
    assert math.fsum((np.abs(one.gain) ** 2).tolist()) == pytest.approx(1.0, abs=0.01)


def test_scatterers_of_a_receiver_serve_every_transmitter(world: simulate.World) -> None:
    """Each echo is as long as the way by one of the fixed places, the receiver's being common to all."""
    used: list[set[int]] = []
    for transmitter in (0, 1):
        site = world.receiver_position_m[0]
        start = world.transmitters[transmitter].position_m

        def way_m(
            east: float, north: float, up: float, a: npt.ArrayLike = start, b: npt.ArrayLike = site
        ) -> float:
            corner = np.array([east, north, up])
            return float(np.linalg.norm(corner - np.asarray(a)) + np.linalg.norm(corner - np.asarray(b)))

        around, own = world.receiver_scatterers[0], world.transmitters[transmitter].scatterers
        by_site = [way_m(e, n, site[2]) for e, n in zip(around.east_m, around.north_m, strict=True)]
        by_own = [way_m(e, n, start[2]) for e, n in zip(own.east_m, own.north_m, strict=True)]
        lengths = channel.paths(world, transmitter, 0, 145e6).delay_s[1:] * channel.SPEED_OF_LIGHT_M_S
        gap = np.abs(lengths[:, None] - np.array(by_site + by_own)[None, :])
        assert gap.min(axis=1).max() < 1e-3
        used.append({int(i) for i in gap.argmin(axis=1) if i < len(by_site)})
    assert used[0] & used[1]


def test_response_is_the_sum_of_the_paths() -> None:
    delay_s, gain = np.array([2e-4, -3.1e-4]), np.array([1.0 + 0j, 0.3j])
    bins = np.array([0, 1, 5_000, 10_240, 20_479])
    frequency_hz = (bins - signals.HALF_BAND_BINS) / signals.PERIOD_S
    expected = sum(g * np.exp(-2j * np.pi * frequency_hz * t) for t, g in zip(delay_s, gain, strict=True))
    np.testing.assert_allclose(channel.response(delay_s, gain)[bins], expected, atol=1e-11)


@pytest.mark.parametrize("modulation", MODULATIONS)
def test_signal_fills_its_declared_bandwidth(modulation: Modulation) -> None:
    power = sum(
        np.abs(signals.spectrum(modulation, generator(1, "test", i))) ** 2 for i in range(3)
    )  # summed over three transmissions
    frequency_hz = np.abs(np.arange(power.size) - signals.HALF_BAND_BINS) / signals.PERIOD_S
    order = np.argsort(frequency_hz)
    share = np.cumsum(power[order]) / power.sum()
    occupied_hz = 2 * frequency_hz[order][np.searchsorted(share, 0.99)]
    assert 0.1 * signals.BANDWIDTH_HZ[modulation] < occupied_hz < signals.BANDWIDTH_HZ[modulation]
    expected = (0.25, 0.85) if modulation == "cw" else (0.995, 1.001)
    assert expected[0] < power.sum() / 3 < expected[1]


def loud_plan(world: simulate.World, modulation: Modulation, snr_db: float) -> simulate.SessionPlan:
    """The first session of that kind of signal, heard equally well by everybody who hears it."""
    plan = next(
        p for p in simulate.sessions(world, 40) if world.transmitters[p.transmitter].modulation == modulation
    )
    heard = tuple(replace(r, snr_db=snr_db) for r in plan.receptions if r.has_signal)
    return replace(plan, receptions=heard)


@pytest.mark.parametrize("modulation", ["nfm", "dmr", "gmsk9600"])
def test_measured_delay_is_the_geometry(modulation: Modulation) -> None:
    """Two recordings, carrier offsets removed, correlate best at the difference of arrival times."""
    world = simulate.make_world(2, 10, "none")
    plan = loud_plan(world, modulation, 60.0)
    transmitter = world.transmitters[plan.transmitter]
    start = geo.ecef_m(transmitter.latitude_deg, transmitter.longitude_deg, 250.0 + transmitter.height_m)
    signal, arrival_s = [], []
    timed = [r for r in simulate.render(world, plan) if r.reception.start_gps_ns is not None]
    for recording in timed[:2]:
        reception, site = recording.reception, RECEIVERS[recording.reception.receiver]
        way_m = np.linalg.norm(geo.ecef_m(site.latitude_deg, site.longitude_deg, site.altitude_m) - start)
        arrival_s.append(float(way_m) / 299_792_458.0 - reception.start_offset_s)
        time_s = np.arange(recording.iq.size) / 192_000
        signal.append(recording.iq * np.exp(-2j * np.pi * reception.carrier_offset_hz * time_s))
    expected_s = arrival_s[1] - arrival_s[0]
    assert abs(expected_s) > 5e-6
    # On the samples that both have: what only one has is noise, worth 30 ns.
    shift = round(expected_s * 192_000)
    ahead, behind = signal if shift >= 0 else signal[::-1]
    common = 192_000 - abs(shift)
    cross = fft.fft(behind[abs(shift) :]) * fft.fft(ahead[:common]).conj()
    frequency_hz = fft.fftfreq(common, 1 / 192_000)
    band = np.abs(frequency_hz) < 6_000

    def height(lag_s: float) -> float:
        return float(np.abs((cross[band] * np.exp(2j * np.pi * frequency_hz[band] * lag_s)).sum()))

    step_s = 0.5e-6
    nearest_s = max((step * step_s for step in range(-60, 61)), key=height)
    left, middle, right = (height(nearest_s + step) for step in (-step_s, 0.0, step_s))
    residual_s = nearest_s + step_s / 2 * (left - right) / (left - 2 * middle + right)
    assert abs(shift) / 192_000 + residual_s == pytest.approx(abs(expected_s), abs=5e-9)


@pytest.mark.parametrize("snr_db", [0.0, 30.0])
def test_recorded_snr_is_the_planned_one(snr_db: float) -> None:
    """Signal alone is the difference to the same recording with the transmitter off."""
    world = simulate.make_world(2, 10)
    plan = loud_plan(world, "nfm", snr_db)
    off = replace(plan, receptions=tuple(replace(r, has_signal=False) for r in plan.receptions))
    frequency_hz = np.abs(fft.fftfreq(192_000, 1 / 192_000))
    for on_air, silent in zip(simulate.render(world, plan), simulate.render(world, off), strict=True):
        noise = fft.fft(silent.iq / 10 ** (silent.gain_db / 20))
        signal = fft.fft(on_air.iq / 10 ** (on_air.gain_db / 20)) - noise
        in_band = frequency_hz < 6_250
        measured = (np.abs(signal[in_band]) ** 2).sum() / (np.abs(noise[in_band]) ** 2).sum()
        assert 10 * math.log10(measured) == pytest.approx(snr_db, abs=0.6)
        # Noise fills the receiver's 32 kHz, and beyond them there is only the converter's rounding.
        inside, outside = (np.abs(noise[s]) ** 2 for s in (frequency_hz < 15_000, frequency_hz > 17_000))
        assert 10 * math.log10(inside.mean() / outside.mean()) > 25


def test_recordings_are_twelve_bits_and_keep_their_noise(
    world: simulate.World, plans: list[simulate.SessionPlan]
) -> None:
    for plan in plans[:4]:
        for recording in simulate.render(world, plan):
            assert recording.iq.shape == (192_000,)
            assert recording.iq.dtype == np.complex64
            steps = recording.iq.view(np.float32) * 2048
            np.testing.assert_array_equal(steps, np.rint(steps))
            assert np.abs(steps).max() <= 2047
            noise_steps = 32 / math.sqrt(2) * 10 ** (recording.gain_db / 20)
            assert noise_steps > 2 or recording.reception.snr_db > 50


def test_time_stamps_scatter_by_the_declared_sigma(
    world: simulate.World, plans: list[simulate.SessionPlan]
) -> None:
    errors_ns = []
    for plan in plans:
        second_ns = (plan.unix_s - 315_964_800 + 18) * 1_000_000_000
        for r in plan.receptions:
            if world.receivers[r.receiver].gps:
                assert r.start_gps_ns is not None
                assert r.timing_sigma_ns == 50.0
                assert abs(r.start_offset_s) <= 0.5e-3
                errors_ns.append(r.start_gps_ns - second_ns - r.start_offset_s * 1e9)
            else:
                assert r.start_gps_ns is None
                assert r.timing_sigma_ns is None
    assert np.std(errors_ns) == pytest.approx(50.0, rel=0.1)
    assert any(r.start_gps_ns is None for plan in plans for r in plan.receptions)
    assert any(abs(r.start_offset_s) > 2e-3 for plan in plans for r in plan.receptions)


def test_path_loss_and_noise_by_hand() -> None:
    """Egli at 145 MHz over 50 km, 100 m and 2.5 m high, 2.3 km beyond the horizon; free space at 1 km."""
    egli_db = 20 * math.log10(145) + 40 * math.log10(50) - 40 + 76.3 - 10 * math.log10(2.5)
    horizon_km = 4.12 * (10 + math.sqrt(2.5))
    expected_db = egli_db + 0.4 * (50 - horizon_km)
    assert budget.path_loss_db(145e6, 50e3, 100.0, 2.5) == pytest.approx(expected_db)
    assert budget.path_loss_db(145e6, 1e3, 500.0, 20.0) == pytest.approx(32.45 + 20 * math.log10(145))
    assert budget.noise_dbm(145e6) == pytest.approx(-119.6, abs=0.2)
    assert budget.noise_dbm(435e6) == pytest.approx(-127.2, abs=0.2)
    assert budget.delay_spread_s(90e3, "urban", 0.0) == pytest.approx(0.4e-6 * math.sqrt(30))


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="transmitters"):
        simulate.make_world(1, 0)
    with pytest.raises(ValueError, match="multipath"):
        simulate.make_world(1, 1, "medium")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="clock_sigma_ns"):
        simulate.make_world(1, 1, clock_sigma_ns=-1.0)
