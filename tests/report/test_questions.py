"""Three questions answered: no more than the figures say."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from heimdall.report import figures, questions, run
from heimdall.report.run import Run
from heimdall.report.words import exact_interval
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


def with_bounds(found: Run, bound_m: float) -> Run:
    """The run with this bound in each session that has one."""
    table = found.tables[run.ERROR_BOUND].assign(bound_m=bound_m)
    return dataclasses.replace(found, tables={**found.tables, run.ERROR_BOUND: table})


def test_the_bound_says_what_cannot_be_asked_for(found: Run) -> None:
    beyond = "cannot be expected to bring more than 90 % within 30 m"
    assert beyond in said(found, 0)
    unbounded = found.figures["cramer_rao"] | {"bounded": 0, "median_m": None}
    without = dataclasses.replace(found, figures=found.figures | {"cramer_rao": unbounded}, tables={})
    assert "only levels tell" in said(without, 0)
    # 20 of the 24 sessions have a bound: with however small a one, 83 % are the most.
    assert figures.share_by_the_bound(with_bounds(found, 1.0), 30.0) == pytest.approx(20 / 24)
    assert "the 4 without a bound counted as misses" in said(with_bounds(found, 1.0), 0)
    missing = {path: table for path, table in found.tables.items() if path != run.ERROR_BOUND}
    assert "within 30 m in" not in said(dataclasses.replace(found, tables=missing), 0)


@pytest.mark.parametrize("bound_m", [5.0, 25.0, 300.0])
def test_a_bound_is_a_root_mean_square_and_no_limit_of_single_errors(found: Run, bound_m: float) -> None:
    random = np.random.default_rng(1).normal(size=(200_000, 2))
    likely = []
    for share in (0.5, 0.7, 0.9, 1.0):  # of the variance, that is along the longer axis
        error_m = bound_m * random * np.sqrt([share, 1 - share])
        likely.append(float(np.mean(np.hypot(*error_m.T) <= 30)))
    best = figures.share_by_the_bound(with_bounds(found, bound_m), 30.0)
    assert best is not None
    assert best * 24 / 20 == pytest.approx(max(likely), abs=0.01)


def judged(found: Run, outside_68: set[int], outside_95: set[int]) -> str:
    """The short answer where the regions of these sessions do not hold the transmitter."""
    levels = [
        0.99 if number in outside_95 else 0.8 if number in outside_68 else 0.5
        for number in range(runs.SESSIONS)
    ]
    given = [dataclasses.replace(one, level=level) for one, level in zip(found.sessions, levels, strict=True)]
    return questions.answers(dataclasses.replace(found, sessions=tuple(given)))[2].short


@pytest.mark.parametrize(
    ("outside_68", "outside_95", "words"),
    [
        (set(range(8)), {0}, "Nothing here speaks against its regions"),
        (set(range(8)), set(range(6)), "too small"),
        (set(range(19)), {0}, "too small"),
        (set(), set(), "too large"),
    ],
)
def test_regions_are_judged_by_the_interval_of_their_coverage(
    found: Run, outside_68: set[int], outside_95: set[int], words: str
) -> None:
    short = judged(found, outside_68, outside_95)
    assert words in short
    assert f"in {24 - len(outside_95)} of 24" in short


def test_sessions_of_one_transmitter_are_one_failure_and_not_several(found: Run) -> None:
    # Sessions n and n + 12 are of one transmitter. As many regions miss it in both cases.
    assert found.sessions[0].transmitter == found.sessions[12].transmitter
    assert "too small" in judged(found, {0, 1, 2, 3, 4, 5}, {0, 1, 2, 3, 4, 5})
    together = {0, 1, 2, 12, 13, 14}
    assert "Nothing here speaks against its regions" in judged(found, together, together)


def test_where_all_sessions_agree_each_transmitter_is_one_case(found: Run) -> None:
    inside = [dataclasses.replace(one, level=0.5) for one in found.sessions]
    three = [dataclasses.replace(one, transmitter=str(n % 3)) for n, one in enumerate(inside)]
    many, few = (dataclasses.replace(found, sessions=tuple(one)) for one in (inside, three))
    assert figures.coverage(many, 0.68).interval == exact_interval(12, 12)
    assert figures.coverage(few, 0.68).interval == exact_interval(3, 3)
    assert (figures.coverage(many, 0.68).verdict, figures.coverage(few, 0.68).verdict) == (
        "too many",
        "agrees",
    )
    assert "exact binomial, each transmitter counted as one case" in said(few, 2)
    assert "exact binomial" not in questions.answers(found)[2].why[0]
    assert "whole transmitters resampled" in questions.answers(found)[2].why[0]
    # A former revision does not tell which sessions: of 20 in 24, then, 10 in 12.
    former = dataclasses.replace(otherwise(found, coverage_95=20 / 24), sessions=())
    assert figures.coverage(former, 0.95).inside == 20
    assert figures.coverage(former, 0.95).interval == exact_interval(10, 12)
    assert "exact binomial" in said(former, 2)


def test_an_ellipse_that_holds_less_than_its_region_is_told_apart_from_it(found: Run) -> None:
    held = figures.ellipse_coverage(found, 0.95)
    own = figures.coverage(found, 0.95)
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
