"""Receivers without a squelch record the same sessions, and what they add is the signal below the noise."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import fft

from heimdall import simulate
from heimdall.core import params
from heimdall.pipeline.simulate import simulated
from heimdall.pipeline.simulate.simulated import WorldTask
from heimdall.signal import session_files
from heimdall.simulate.world import RECEIVERS, SQUELCH_DB
from tests import REPOSITORY

PAIR = [simulate.make_world(11, 12, squelched=squelched) for squelched in (True, False)]
PLANS = [simulate.sessions(world, 24) for world in PAIR]


def test_a_world_is_squelched_by_default() -> None:
    assert simulate.make_world(11, 1).squelched
    assert PAIR[0].squelched
    assert not PAIR[1].squelched


def test_the_sessions_are_the_same_and_everyone_records() -> None:
    weaker = 0
    for with_squelch, without in zip(*PLANS, strict=True):
        assert replace(without, receptions=()) == replace(with_squelch, receptions=())
        assert len(without.receptions) == len(RECEIVERS)
        assert all(r.has_signal and math.isfinite(r.snr_db) for r in without.receptions)
        heard = tuple(r for r in with_squelch.receptions if r.has_signal)
        assert tuple(r for r in without.receptions if r.snr_db >= SQUELCH_DB) == heard
        weak = [r for r in without.receptions if r.snr_db < SQUELCH_DB]
        assert all(abs(r.reported_snr_db - SQUELCH_DB) < 5 for r in weak)
        weaker += len(weak)
    assert weaker > 24


def test_recordings_above_the_squelch_are_the_same_bit_for_bit() -> None:
    squelched, unsquelched = (
        {r.reception.receiver: r for r in simulate.render(world, plans[0])}
        for world, plans in zip(PAIR, PLANS, strict=True)
    )
    for receiver, recording in squelched.items():
        if recording.reception.has_signal:
            np.testing.assert_array_equal(recording.iq, unsquelched[receiver].iq)


def test_a_signal_far_below_the_squelch_is_found_by_correlation() -> None:
    """At -15 dB a second of 12.5 kHz has an E / N0 of 26 dB: the peak is at the difference of the ways."""
    world = simulate.make_world(2, 5, "none", squelched=False)
    plan = next(
        p for p in simulate.sessions(world, 10) if world.transmitters[p.transmitter].modulation == "dmr"
    )
    loud, weak = (replace(plan.receptions[i], snr_db=snr) for i, snr in ((0, 40.0), (1, -15.0)))
    spectra = []
    for recording in simulate.render(world, replace(plan, receptions=(loud, weak))):
        turns = recording.reception.carrier_offset_hz * np.arange(192_000) / 192_000
        spectra.append(fft.fft(recording.iq * np.exp(-2j * np.pi * turns), 2 * 192_000))
    correlation = np.abs(fft.ifft(spectra[1] * spectra[0].conj()))
    lag = int(correlation.argmax())
    lag_s = (lag if lag < 192_000 else lag - 2 * 192_000) / 192_000
    expected_s = (weak.delay_s - weak.start_offset_s) - (loud.delay_s - loud.start_offset_s)
    assert lag_s == pytest.approx(expected_s, abs=20e-6)  # 5 us for a step of 5 us and a sigma of 3 us
    assert correlation.max() > 8 * np.median(correlation)


def test_features_have_every_receiver(tmp_path: Path) -> None:
    features = params.load(REPOSITORY / "params.yaml").features
    task = WorldTask(seed=1, sessions=1, multipath="light", params=features, squelched=False)
    shard = tmp_path / "shard"
    shard.write_bytes(simulated.simulate_shard(task))
    file = session_files.SessionFile(shard)
    assert len(file) == 1
    found = file.session(0)
    everyone = [site.websdr_id for site in RECEIVERS]
    assert found.websdr_id.tolist() == simulated.measurements(task, 0.0)["websdr_id"].tolist() == everyone
