"""What receivers add of their own is found from transmitters whose place is known."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from heimdall.calibration import receiver_errors
from heimdall.calibration.receiver_errors import Hardware
from heimdall.calibration.receivers_text import advice
from heimdall.commands.receivers import receivers
from heimdall.core.params import UNCALIBRATED, CalibrationParams, FeatureParams
from heimdall.network.dataset import DatasetConfig, Sessions, observations
from heimdall.signal import sessions
from heimdall.signal.arrival import Observation, arrivals
from tests import REPOSITORY, session_world
from tests.session_world import FEATURES, PLANE, VALIDATION_SPLIT

LATE_S = {2: 3e-6}
EDGE_DB = {3: 0.3}
IDS = range(1, 6)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("features")
    session_world.write(folder)
    return folder


@pytest.fixture(autouse=True)
def at_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)  # where params.yaml is


def with_hardware(session: sessions.SessionFeatures) -> sessions.SessionFeatures:
    """The session, had its receivers the delays of `LATE_S` and the filters of `EDGE_DB`."""
    band_hz, lags = FEATURES["correlation_band_hz"], session.xcorr.shape[1]
    frequency_hz = np.linspace(-band_hz, band_hz, 321)
    lag_s = np.arange(lags) - lags // 2
    lag_s = lag_s / FEATURES["correlation_rate_hz"]
    turns = np.exp(-2j * np.pi * lag_s[:, np.newaxis] * frequency_hz)  # (lags, frequencies)
    response = []
    for name in session.websdr_id.tolist():
        gain = 10 ** (EDGE_DB.get(name, 0.0) / 20 * (frequency_hz / receiver_errors.EDGE_HZ) ** 2)
        response.append(gain * np.exp(-2j * np.pi * frequency_hz * LATE_S.get(name, 0.0)))
    found = []
    for (a, b), row in zip(session.pair, session.xcorr.astype(np.complex128), strict=True):
        spectrum = (turns * row[:, np.newaxis]).sum(axis=0) * response[a] * response[b].conj()
        found.append((turns.conj() * spectrum).sum(axis=1) / len(frequency_hz))
    late_s = np.array([LATE_S.get(name, 0.0) for name in session.websdr_id.tolist()])
    return replace(session, delay_s=session.delay_s + late_s, xcorr=np.array(found, np.complex64))


def measured(data_dir: Path, *, own: bool) -> list[Hardware]:
    known = observations(DatasetConfig(data_dir), "all", VALIDATION_SPLIT)
    if own:
        features = FeatureParams(**FEATURES)
        changed = [with_hardware(one.session) for one in known.observations]
        known = Sessions([Observation(one, arrivals(one, features), 145e6) for one in changed], known.table)
    return receiver_errors.measure(receiver_errors.differences(known, PLANE), IDS, 1)


def test_receivers_without_anything_of_their_own_are_not_named(data_dir: Path) -> None:
    for found in measured(data_dir, own=False):
        assert found.delay_s == pytest.approx(0, abs=20e-9)
        assert found.edge_db == pytest.approx(0, abs=0.01)
        assert not found.is_late and not found.is_bent
        assert advice(found, UNCALIBRATED) == []


def test_a_late_receiver_and_a_bent_one_are_measured(data_dir: Path) -> None:
    for found in measured(data_dir, own=True):
        assert found.delay_s == pytest.approx(LATE_S.get(found.websdr_id, 0), abs=50e-9)
        assert found.is_late == (found.websdr_id in LATE_S)
        assert found.is_bent == (found.websdr_id in EDGE_DB)
        if found.is_bent:
            assert found.edge_db == pytest.approx(EDGE_DB[found.websdr_id], rel=0.2)
            assert "+0.3" in advice(found, UNCALIBRATED)[0]
        if found.is_late:
            known = CalibrationParams({"websdr_2": 100})
            assert "is 3.00 us late, which is 899 m of path" in advice(found, known)[0]
            assert "calibration.delay_ns.websdr_2 to 3100 " in advice(found, known)[0]


def test_what_chance_or_echoes_may_make_does_not_stand_out() -> None:
    sure = Hardware(1, 90, 4e-7, 0.9e-7, math.nan, math.nan)
    assert sure.is_late and not sure.is_bent
    assert not replace(sure, delay_sigma_s=1.1e-7).is_late
    assert not replace(sure, delay_s=9e-8, delay_sigma_s=1e-9).is_late  # echoes make as much


def test_what_few_transmitters_say_is_not_told(data_dir: Path) -> None:
    pairs = receiver_errors.differences(observations(DatasetConfig(data_dir), "all", VALIDATION_SPLIT), PLANE)
    with_five = (pairs["first"] == 5) | (pairs["second"] == 5)
    few = pairs[with_five]["cluster"].unique()[: receiver_errors.LEAST_TRANSMITTERS - 1]
    found = receiver_errors.measure(pairs[~with_five | pairs["cluster"].isin(few)], IDS, 1)
    assert [math.isnan(one.delay_s) for one in found] == [False] * 4 + [True]
    assert found[4].sessions > 0 and not found[4].is_late
    assert all(math.isnan(one.delay_s) for one in receiver_errors.measure(pairs[:0], IDS, 1))


def test_the_command_has_a_line_for_every_receiver(data_dir: Path) -> None:
    lines = CliRunner().invoke(receivers, ["--data-dir", str(data_dir)], catch_exceptions=False).stdout
    rows = lines.splitlines()
    assert [row.split()[:2] for row in rows[1:6]] == [[str(n), "ABCDE"[n - 1]] for n in IDS]
    assert rows[-1] == "Measured in 16 sessions of 8 transmitters, simulated data."
    assert len(rows) == 7  # nothing stands out
    printed = CliRunner().invoke(receivers, ["--data-dir", str(data_dir), "--json"], catch_exceptions=False)
    found = json.loads(printed.stdout)
    assert (found["data"], found["sessions"], found["transmitters"]) == ("simulated", 16, 8)
    assert [(one["websdr_id"], one["name"], one["advice"]) for one in found["receivers"]] == [
        (number, "ABCDE"[number - 1], []) for number in IDS
    ]


def test_the_command_names_what_is_missing(tmp_path: Path) -> None:
    failed = CliRunner().invoke(receivers, ["--data-dir", str(tmp_path)])
    assert "network.json: the file is missing. Run `dvc repro`" in str(failed.exception)
