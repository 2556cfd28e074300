"""Faults of receivers and transmitters, each measured on the recordings as the physics has it."""

from __future__ import annotations

import math
from dataclasses import fields, replace

import numpy as np
import numpy.typing as npt
import pytest
from scipy import fft

from heimdall import simulate
from heimdall.core import params
from heimdall.geometry import geo
from heimdall.pipeline.simulate.simulated import WorldTask
from heimdall.simulate import Faults, Reception, RenderedRecording, SessionPlan, World
from heimdall.simulate.world import RECEIVERS, Multipath
from tests import REPOSITORY

Complex = npt.NDArray[np.complex128]
C_M_S = 299_792_458.0
TIME_S = np.arange(192_000) / 192_000
SIGMA_S = 1e-9  # of a delay measured on a second of DMR at 60 dB: 1 / (2 pi 1.8 kHz sqrt(2 E / N0)) is 0.6 ns
DMR = 1  # the transmitter of a world with a constant envelope and a continuous spectrum


NAMES = [field.name for field in fields(Faults)]


def disturbed(faults: Faults, multipath: Multipath = "none", session: int = 0) -> tuple[World, SessionPlan]:
    """One of two sessions of such a world, which is heard equally well by all who hear it, at 60 dB."""
    world = simulate.make_world(2, 5, multipath, faults=faults)
    plan = [p for p in simulate.sessions(world, 10) if p.transmitter == DMR][session]
    return world, replace(plan, receptions=tuple(replace(r, snr_db=60.0) for r in plan.receptions))


def rendered(world: World, plan: SessionPlan) -> dict[int, RenderedRecording]:
    return {recording.reception.receiver: recording for recording in simulate.render(world, plan)}


def pairs(faults: Faults, session: int = 0) -> list[tuple[Reception, Complex, Complex]]:
    """The same session without the faults and with them, by receiver."""
    plain, with_faults = (rendered(*disturbed(f, session=session)) for f in (Faults(), faults))
    common = sorted(plain.keys() & with_faults.keys())
    assert len(common) >= 4
    return [(with_faults[i].reception, level(plain[i]), level(with_faults[i])) for i in common]


def level(recording: RenderedRecording) -> Complex:
    """Samples before the gain control."""
    return recording.iq.astype(np.complex128) / 10 ** (recording.gain_db / 20)


def phase_polynomial(plain: Complex, other: Complex) -> tuple[float, float]:
    """Frequency in Hz at the first sample by which the other one differs, and its drift in Hz/s."""
    blocks = (other * plain.conj()).reshape(1_000, 192).mean(axis=1)
    turns = np.unwrap(np.angle(blocks)) / (2 * math.pi)
    square, slope, _ = np.polyfit(TIME_S.reshape(1_000, 192).mean(axis=1), turns, 2)
    return float(slope), float(2 * square)


def delay_s(plain: Complex, other: Complex, hz: float = 0.0, hz_s: float = 0.0) -> float:
    """By how much the other one is late: slope of the cross-spectrum's phase, after taking off a carrier."""
    time_s = TIME_S[: plain.size]
    turned = other * np.exp(-2j * math.pi * (hz * time_s + hz_s / 2 * time_s**2))
    window = np.hanning(plain.size)
    cross = fft.fft(turned * window) * fft.fft(plain * window).conj()
    frequency_hz = fft.fftfreq(plain.size, 1 / 192_000)
    band = np.abs(frequency_hz) < 4_000
    weight, along = np.abs(cross[band]), frequency_hz[band]
    angle = np.angle(cross[band] * np.exp(-1j * np.angle(cross[band].sum())))
    along = along - np.average(along, weights=weight)
    return float(-np.sum(weight * along * angle) / np.sum(weight * along**2) / (2 * math.pi))


def test_without_faults_nothing_changes() -> None:
    world, plan = disturbed(Faults())
    assert simulate.make_world(2, 5, "none").faults == world.faults == Faults()
    assert plan.velocity_m_s == (0.0, 0.0, 0.0)
    assert all(r.doppler_hz == r.chirp_hz_s == r.clock_drift == 0.0 for r in plan.receptions)


def test_a_drifting_oscillator_moves_carrier_and_samples() -> None:
    """Drift d: the carrier falls by d f a second, and after t seconds the samples are d t^2 / 2 early."""
    drifts = []
    for reception, plain, other in pairs(Faults(clock_drift=1e-6)):
        plan = disturbed(Faults(clock_drift=1e-6))[1]
        hz, hz_s = phase_polynomial(plain, other)
        assert hz == pytest.approx(0.0, abs=0.02)
        assert hz_s == pytest.approx(-reception.clock_drift * plan.frequency_hz, abs=0.05)
        last = slice(172_800, 192_000)  # 0.9 to 1.0 s
        turned = other * np.exp(-1j * math.pi * hz_s * TIME_S**2)
        early_s = -delay_s(plain[last], turned[last])
        assert early_s == pytest.approx(-reception.clock_drift * 0.95**2 / 2, abs=4 * SIGMA_S * 10**0.5)
        drifts.append(reception.clock_drift)
    assert max(map(abs, drifts)) <= 1e-6
    assert np.ptp(drifts) > 2e-7  # each receiver's own


def test_a_chirp_moves_the_carrier_alone() -> None:
    found = []
    for reception, plain, other in pairs(Faults(chirp_hz_s=5.0)):
        hz, hz_s = phase_polynomial(plain, other)
        assert hz == pytest.approx(0.0, abs=0.01)
        assert hz_s == pytest.approx(reception.chirp_hz_s, abs=0.02)
        assert delay_s(plain, other, hz, hz_s) == pytest.approx(0.0, abs=4 * SIGMA_S)
        found.append(hz_s)
    assert max(map(abs, found)) <= 5.0
    assert np.ptp(found) > 1.0


def test_doppler_is_that_of_one_velocity() -> None:
    """Measured shifts of all receivers give back the velocity: 15 Hz times the wavelength, level."""
    world, plan = disturbed(Faults(doppler_hz=15.0))
    place = world.transmitters[plan.transmitter].position_m
    towards, shifts = [], []
    for reception, plain, other in pairs(Faults(doppler_hz=15.0)):
        way = world.receiver_position_m[reception.receiver] - place
        towards.append(way / np.linalg.norm(way))
        hz, hz_s = phase_polynomial(plain, other)
        assert hz_s == pytest.approx(0.0, abs=0.01)
        assert hz == pytest.approx(reception.doppler_hz, abs=0.01)
        shifts.append(hz)
        # The way becomes shorter: on time in the middle, early at the end.
        assert delay_s(plain, other, hz) == pytest.approx(0.0, abs=4 * SIGMA_S)
        turned = other * np.exp(-2j * math.pi * hz * TIME_S)
        first, last = (
            delay_s(plain[part], turned[part]) for part in (slice(0, 48_000), slice(-48_000, None))
        )
        assert first - last == pytest.approx(0.75 * hz / plan.frequency_hz, abs=4 * SIGMA_S * 8**0.5)
    speeds = np.array(shifts) * C_M_S / plan.frequency_hz
    velocity_m_s, *_ = np.linalg.lstsq(np.array(towards)[:, :2], speeds, rcond=None)
    assert np.hypot(*velocity_m_s) * plan.frequency_hz / C_M_S == pytest.approx(15.0, rel=0.01)
    np.testing.assert_allclose(velocity_m_s, plan.velocity_m_s[:2], atol=0.1)
    assert np.ptp(shifts) > 3.0


@pytest.mark.parametrize("multipath", ["strong", "cost207_tu"])
def test_echoes_of_a_moving_transmitter_fade_within_the_second(multipath: Multipath) -> None:
    """Level in steps of 20 ms, dB: DMR has a constant envelope, so it stays where nothing moves."""

    def spread_db(faults: Faults) -> float:
        world, plan = disturbed(faults, multipath)
        few = replace(plan, receptions=plan.receptions[:2])
        power = [np.abs(level(r)).reshape(50, 3_840) ** 2 for r in simulate.render(world, few)]
        return float(np.mean([np.std(10 * np.log10(p.mean(axis=1))) for p in power]))

    assert spread_db(Faults()) < 0.2
    assert spread_db(Faults(doppler_hz=15.0)) > 1.0


def test_filters_ripple_unlike_each_other() -> None:
    """Signal and noise alike: the ratio of the spectra is the filter, up to 0.5 dB from peak to peak."""
    shapes = []
    for _, plain, other in pairs(Faults(ripple_db=0.5)):
        frequency_hz = fft.fftfreq(192_000, 1 / 192_000)
        kept = np.abs(frequency_hz) < 12_000
        cross = (fft.fft(other) * fft.fft(plain).conj())[kept]
        own = np.abs(fft.fft(plain)[kept]) ** 2
        cell = np.argsort(frequency_hz[kept])[:23_500].reshape(47, 500)  # of 500 Hz
        shape = cross[cell].sum(axis=1) / own[cell].sum(axis=1)
        shapes.append(20 * np.log10(np.abs(shape)))
        assert np.ptp(shapes[-1]) == pytest.approx(0.5, abs=0.08)
        assert delay_s(plain, other) == pytest.approx(0.0, abs=4 * SIGMA_S)  # linear phase
    assert np.abs(shapes[0] - shapes[1]).max() > 0.2


def test_filters_delay_each_recording_of_a_receiver_alike() -> None:
    faults = Faults(filter_delay_s=200e-9)
    measured = {r.receiver: delay_s(plain, other) for r, plain, other in pairs(faults)}
    assert max(map(abs, measured.values())) <= 200e-9
    assert np.ptp(list(measured.values())) > 50e-9
    again = {r.receiver: delay_s(plain, other) for r, plain, other in pairs(faults, session=1)}
    both = sorted(measured.keys() & again.keys())
    assert len(both) >= 3
    for receiver in both:
        assert again[receiver] == pytest.approx(measured[receiver], abs=4 * SIGMA_S * 2**0.5)


def test_a_transmitter_at_altitude_is_heard_over_the_longer_way() -> None:
    """The recordings are late by the difference of the straight ways, from ellipsoidal coordinates."""
    world, plan = disturbed(Faults(altitude_m=1_500.0))
    transmitter = world.transmitters[plan.transmitter]
    low_m = 250.0 + simulate.make_world(2, 5, "none").transmitters[plan.transmitter].height_m
    here = [
        geo.ecef_m(transmitter.latitude_deg, transmitter.longitude_deg, up_m) for up_m in (low_m, 1_500.0)
    ]
    longer = []
    for reception, plain, other in pairs(Faults(altitude_m=1_500.0)):
        site = RECEIVERS[reception.receiver]
        there = geo.ecef_m(site.latitude_deg, site.longitude_deg, site.altitude_m)
        low_way, high_way = (float(np.linalg.norm(there - place)) for place in here)
        longer.append((high_way - low_way) / C_M_S)
        assert delay_s(plain, other) == pytest.approx(longer[-1], abs=4 * SIGMA_S)
    assert max(map(abs, longer)) > 20e-9


def test_one_stamp_of_a_session_is_late_and_its_recording_is_not() -> None:
    plain, late = (
        simulate.sessions(simulate.make_world(2, 5, "none", faults=f), 10)
        for f in (Faults(), Faults(late_stamp_s=10e-6))
    )
    receivers: set[int] = set()
    for before, after in zip(plain, late, strict=True):
        moved = {
            b.receiver: b.start_gps_ns - a.start_gps_ns
            for a, b in zip(before.receptions, after.receptions, strict=True)
            if a.start_gps_ns is not None and b.start_gps_ns is not None and a.start_gps_ns != b.start_gps_ns
        }
        assert list(moved.values()) == [10_000]
        receivers |= moved.keys()
    assert len(receivers) > 1
    world, plan = disturbed(Faults(late_stamp_s=10e-6))
    for one, two in zip(simulate.render(*disturbed(Faults())), simulate.render(world, plan), strict=True):
        np.testing.assert_array_equal(one.iq, two.iq)


@pytest.mark.parametrize("wrong", [{"doppler_hz": -1.0}, {"chirp_hz_s": math.nan}, {"ripple_db": math.inf}])
def test_a_size_that_is_none_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Faults(**wrong)


def test_a_task_makes_its_world_with_its_faults() -> None:
    features = params.load(REPOSITORY / "params.yaml").features
    task = WorldTask(seed=1, sessions=1, multipath="light", params=features, faults=Faults(chirp_hz_s=5.0))
    assert task.world().faults == Faults(chirp_hz_s=5.0)


def test_drawn_faults_are_of_every_kind_but_a_late_stamp_and_of_any_size() -> None:
    drawn = [Faults.drawn(seed) for seed in range(200)]
    assert Faults.drawn(7) == Faults.drawn(7)
    plain = Faults()
    number = [sum(getattr(one, name) != getattr(plain, name) for name in NAMES) for one in drawn]
    assert set(number) == {1, 2, 3}
    for name in NAMES:
        sizes = [getattr(one, name) for one in drawn if getattr(one, name) != getattr(plain, name)]
        if name == "late_stamp_s":
            assert sizes == []
            continue
        assert 30 < len(sizes) < 100  # two of six on average
        assert len(set(sizes)) == len(sizes)
        assert min(sizes) < 0.35 * max(sizes)
