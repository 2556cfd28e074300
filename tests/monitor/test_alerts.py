"""The arithmetic of monitoring on made arrays: what must alarm does, and what must not does so rarely."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from scipy import stats

from heimdall.core.randomness import generator
from heimdall.monitor import alerts
from heimdall.monitor.alerts import Figures

Array = npt.NDArray[np.float64]
COVERED = {0.68: 0.7, 0.95: 0.9}


def named(count: int, per_transmitter: int, prefix: str = "t") -> list[str]:
    return [f"{prefix}{number // per_transmitter}" for number in range(count)]


def errors(name: str, count: int, index: int = 0, per_transmitter: int = 3) -> Array:
    """Skewed errors, alike within a transmitter."""
    random = generator(1, f"test.alerts.{name}", index)
    own = np.repeat(random.normal(size=-(-count // per_transmitter)), per_transmitter)[:count]
    return np.asarray(100 * np.exp(0.7 * own + 0.5 * random.normal(size=count)))


def features(name: str, count: int, index: int = 0, shift: float = 0.0) -> pd.DataFrame:
    """Four statistics, the first shifted; alike within a transmitter of three sessions."""
    random = generator(2, f"test.alerts.{name}", index)
    own = np.repeat(random.normal(size=(-(-count // 3), 4)), 3, axis=0)[:count]
    table = own + 0.5 * random.normal(size=(count, 4))
    table[:, 0] += shift
    table[:, 3] = np.round(table[:, 3])  # as a count of receivers
    return pd.DataFrame(table, columns=["snr_db", "mel_db", "cfo_hz", "receivers"])


def test_a_large_drop_alarms() -> None:
    found = alerts.accuracy(3 * errors("new", 60), named(60, 3), errors("claim", 60), named(60, 3, "c"))
    assert found.verdict == "alarm"
    assert found.drop.low > 0
    assert found.drop.value == pytest.approx(found.mae_m.value / found.claimed_mae_m.value - 1)
    assert found.mae_m.value == pytest.approx(np.mean(3 * errors("new", 60)))
    assert found.mae_m.low < found.mae_m.value < found.mae_m.high


def test_equal_errors_do_not_alarm() -> None:
    error_m = errors("claim", 60)
    found = alerts.accuracy(error_m, named(60, 3), error_m, named(60, 3))
    assert found.verdict == "ok"
    assert found.drop.value == 0
    # The claim is as uncertain as the new figure: the same draws for both would give an interval of nothing.
    assert found.drop.low < -0.1 < 0.1 < found.drop.high


def test_a_drop_that_may_be_chance_is_uncertain() -> None:
    claimed = errors("claim", 60)
    found = alerts.accuracy(1.2 * claimed[:12], named(12, 3), claimed, named(60, 3, "c"))
    wide = alerts.accuracy(np.append(claimed[:11], 2_000.0), named(12, 3), claimed, named(60, 3, "c"))
    assert wide.drop.value > alerts.MAX_ACCURACY_DROP
    assert wide.drop.low < 0
    assert wide.verdict == "uncertain"
    assert found.verdict != "alarm"


def test_a_better_model_does_not_alarm() -> None:
    found = alerts.accuracy(errors("new", 60) / 3, named(60, 3), errors("claim", 60), named(60, 3, "c"))
    assert found.verdict == "ok"
    assert found.drop.high < 0


def test_false_alarms_of_accuracy_are_rare() -> None:
    rounds = 60
    found = [
        alerts.accuracy(
            errors("new", 45, number), named(45, 3), errors("claim", 45, number), named(45, 3, "c")
        )
        for number in range(rounds)
    ]
    # One side of a 95 % interval: 2.5 % by design, about 5 % at 15 transmitters.
    assert sum(item.verdict == "alarm" for item in found) <= 0.12 * rounds
    assert any(item.verdict == "uncertain" for item in found)


def test_lost_coverage_alarms_and_the_interval_is_exact() -> None:
    level = np.linspace(0.5, 1.0, 40)
    narrow, wide = alerts.coverages(level, COVERED, 60)
    exact = stats.beta.ppf([0.025], 15, 26)  # of 15 covered of 40: Clopper and Pearson's lower bound
    assert narrow.covered.value == pytest.approx(15 / 40)
    assert narrow.covered.low == pytest.approx(float(exact[0]))
    assert narrow.verdict == "alarm"
    assert narrow.below_nominal
    assert wide.verdict == "ok"


def test_kept_coverage_does_not_alarm_however_far_from_nominal_the_claim_is() -> None:
    level = np.where(np.arange(60) < 30, 0.1, 0.9)
    narrow, wide = alerts.coverages(level, {0.68: 0.5, 0.95: 1.0}, 60)
    assert narrow.below_nominal
    assert [narrow.verdict, wide.verdict] == ["ok", "ok"]
    assert not wide.below_nominal


def test_a_shifted_feature_is_found_and_no_other() -> None:
    found = alerts.drifts(
        features("new", 60, shift=3.0), named(60, 3), features("trained", 150), named(150, 3)
    )
    assert {item.statistic: item.verdict for item in found} == {
        "snr_db": "alarm",
        "mel_db": "ok",
        "cfo_hz": "ok",
        "receivers": "ok",
    }
    assert found[0].distance == pytest.approx(
        stats.ks_2samp(features("new", 60, shift=3.0)["snr_db"], features("trained", 150)["snr_db"]).statistic
    )
    tied = stats.ks_2samp(features("new", 60)["receivers"], features("trained", 150)["receivers"]).statistic
    assert found[3].distance == pytest.approx(tied)


def test_infinite_values_are_compared_too() -> None:
    new, trained = features("new", 60), features("trained", 150)
    new["cfo_hz"] = np.inf
    found = alerts.drifts(new, named(60, 3), trained, named(150, 3))
    assert found[2].verdict == "alarm"
    assert found[2].median is None
    assert found[2].distance == 1


def test_false_alarms_of_drift_are_rare_though_sessions_hang_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(alerts, "PERMUTATIONS", 499)
    monkeypatch.setattr(alerts, "SIGNIFICANCE", 0.05)
    rounds, alarmed, naive = 80, 0, 0
    for number in range(rounds):
        new, trained = features("new", 60, number), features("trained", 150, number)
        found = alerts.drifts(new, named(60, 3), trained, named(150, 3))
        alarmed += any(item.verdict == "alarm" for item in found)
        p_values = alerts.holm([float(stats.ks_2samp(new[name], trained[name]).pvalue) for name in new])
        naive += min(p_values) < 0.05
    assert alarmed <= 0.12 * rounds  # 4 expected of 80; more than 9 in 1 % of such tests
    assert naive > 0.2 * rounds  # what the tables for independent sessions would do


def test_holm_corrects_in_the_order_given() -> None:
    assert alerts.holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert alerts.holm([0.9, 0.8]) == [1.0, 1.0]


@pytest.mark.parametrize(
    ("slow_ms", "target_met", "verdict"),
    [(499.0, True, "ok"), (999.0, False, "ok"), (1200.0, False, "alarm")],
)
def test_latency_is_judged_at_p95(slow_ms: float, target_met: bool, verdict: str) -> None:
    found = alerts.latency(np.append(np.full(90, 20.0), np.full(10, slow_ms)))
    assert (found.p50_ms, found.p95_ms) == (20.0, slow_ms)
    assert (found.target_met, found.verdict) == (target_met, verdict)


def test_few_sessions_or_transmitters_are_not_enough() -> None:
    assert alerts.enough(alerts.MIN_SESSIONS, alerts.MIN_TRANSMITTERS)
    assert not alerts.enough(alerts.MIN_SESSIONS - 1, alerts.MIN_TRANSMITTERS)
    assert not alerts.enough(100, alerts.MIN_TRANSMITTERS - 1)


def test_each_alarm_is_one_line() -> None:
    error_m = errors("claim", 60)
    trained = features("trained", 150)
    bad = Figures(
        alerts.accuracy(3 * error_m, named(60, 3), error_m, named(60, 3)),
        alerts.coverages(np.ones(60), COVERED, 60),
        alerts.drifts(features("new", 60, shift=3.0), named(60, 3), trained, named(150, 3)),
        alerts.latency(np.full(60, 2000.0)),
    )
    good = Figures(
        alerts.accuracy(error_m, named(60, 3), error_m, named(60, 3)),
        alerts.coverages(np.zeros(60), COVERED, 60),
        alerts.drifts(trained, named(150, 3), trained, named(150, 3)),
        alerts.latency(np.full(60, 20.0)),
    )
    said = alerts.alarms(bad)
    assert [sentence.split(":")[0] for sentence in said] == [
        "accuracy", "calibration", "calibration", "drift", "latency",
    ]  # fmt: skip
    assert not any("\n" in sentence for sentence in said)
    assert alerts.alarms(good) == []
    assert sum("alarm" in line for line in alerts.lines(bad)) == 5
    assert "target below 500, at most 1000  alarm, target missed" in alerts.lines(bad)[-1]
    assert alerts.lines(good)[-1].endswith("target below 500, at most 1000  ok")
