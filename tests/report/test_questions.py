"""Three questions answered: no more than the figures say."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from heimdall.report import figures, questions, run
from heimdall.report.run import Run
from tests.report import runs
from tests.report.runs import World


def written(folder: Path, world: World | None = None) -> Run:
    return run.read(runs.write(folder, world), None, lambda _: None)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return written(tmp_path_factory.mktemp("run"))


def said(found: Run, number: int) -> str:
    answer = questions.answers(found)[number]
    return " ".join([answer.short, *answer.why])


def otherwise(found: Run, **changes: Any) -> Run:  # noqa: ANN401 - figures of the localizer
    """The run with other figures of the localizer on the test sessions."""
    test = found.figures["test"]
    own = test["localizer"] | changes
    return dataclasses.replace(found, figures=found.figures | {"test": test | {"localizer": own}})


def test_each_answer_begins_with_the_figures_that_it_rests_on(found: Run) -> None:
    good, fails, trust = questions.answers(found)
    own = figures.test(found)
    assert [one.question for one in (good, fails, trust)] == [
        "How good is it?",
        "Where does it fail?",
        "Can I trust its ellipses?",
    ]
    assert f"within {own['median_m']:.0f} m" in good.short
    assert "none of the three targets" in good.short
    assert f"{round(own['coverage_95'] * 24)} of 24" in trust.short
    assert "heard by fewer than 3 receivers" in fails.short


def test_few_transmitters_are_said_to_tell_little_and_many_are_not(found: Run) -> None:
    assert "24 test sessions of 12 transmitters" in questions.basis(found)[0]
    assert "Read them as orders of magnitude" in " ".join(questions.basis(found))
    assert "orders of magnitude" not in " ".join(questions.basis(otherwise(found, clusters=30)))
    same = dataclasses.replace(found, figures=found.figures | {"split_by": "session"})
    assert "better than those of transmitters that nobody knows" in " ".join(questions.basis(same))


@pytest.mark.parametrize(
    ("low_m", "high_m", "words"),
    [
        (-900.0, 100.0, "do not tell which of the two is better"),
        (-900.0, -1.0, "the localizer is better"),
        (1.0, 900.0, "the localizer is worse"),
    ],
)
def test_the_rival_is_beaten_only_where_the_interval_leaves_zero_out(
    found: Run, low_m: float, high_m: float, words: str
) -> None:
    rival = figures.rival(found).name
    assert rival == found.figures["strongest_rival"]["test"] == "combined"
    key = f"mae_minus_{rival}_m"
    changes = {key: (low_m + high_m) / 2, f"{key}_low": low_m, f"{key}_high": high_m}
    assert words in said(otherwise(found, **changes), 0)
    assert "there is no interval" in said(otherwise(found, **{f"{key}_low": None}), 0)


def test_targets_are_met_or_missed_by_their_own_sense(found: Run) -> None:
    better = otherwise(found, mae_m=29.0, accuracy_30m=0.91, calibration_error_m=5.0)
    assert {one.key: one.met for one in figures.targets(better)} == {
        "mae_m": True,
        "accuracy_30m": True,
        "calibration_error_m": False,
    }
    assert "meets two of the three targets" in said(better, 0)
    assert "within 30 m more than 90 % (91.0 %, met)" in said(better, 0)
    assert "a calibration error below 5 m (5 m, missed)" in said(better, 0)


def test_the_bound_says_what_cannot_be_asked_for(found: Run) -> None:
    assert "no method can be expected to place more than 90 % of the sessions within 30 m" in said(found, 0)
    reachable = found.figures["cramer_rao"] | {"share_30m": 1.0}
    assert "no method" not in said(
        dataclasses.replace(found, figures=found.figures | {"cramer_rao": reachable}), 0
    )
    unbounded = found.figures["cramer_rao"] | {"bounded": 0, "median_m": None}
    without = dataclasses.replace(found, figures=found.figures | {"cramer_rao": unbounded}, tables={})
    assert "only levels tell" in said(without, 0)


@pytest.mark.parametrize(
    ("covered_68", "covered_95", "words"),
    [
        (16, 23, "Nothing here speaks against its regions"),
        (16, 18, "too small"),
        (5, 23, "too small"),
        (24, 24, "too large"),
    ],
)
def test_regions_are_judged_by_the_exact_interval(
    found: Run, covered_68: int, covered_95: int, words: str
) -> None:
    judged = otherwise(found, coverage_68=covered_68 / 24, coverage_95=covered_95 / 24)
    short = questions.answers(judged)[2].short
    assert words in short
    assert f"in {covered_95} of 24" in short


def test_an_ellipse_that_holds_less_than_its_region_is_told_apart_from_it(found: Run) -> None:
    held = figures.ellipse_coverage(found, 0.95)
    own = figures.coverage(figures.test(found), 0.95)
    assert held is not None
    assert (held.inside, held.n) == (own.inside, own.n)  # these answers have one part each
    assert "single ellipse" not in questions.answers(found)[2].short
    # The likeliest part of ten answers is far away from the transmitter, which another part holds.
    far = [
        dataclasses.replace(one, estimated_latitude_deg=47.0) if number < 10 else one
        for number, one in enumerate(found.sessions)
    ]
    parted = dataclasses.replace(found, sessions=tuple(far))
    short = questions.answers(parted)[2].short
    assert "do not take a single ellipse for the whole region" in short
    unknown = dataclasses.replace(
        found, sessions=tuple(dataclasses.replace(one, correlation=None) for one in found.sessions)
    )
    assert figures.ellipse_coverage(unknown, 0.95) is None


def test_answers_that_are_too_sure_are_found_out(tmp_path: Path) -> None:
    surer = written(tmp_path, World(sigma_factor=0.3))
    assert "Its regions are too small" in questions.answers(surer)[2].short
