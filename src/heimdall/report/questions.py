"""Three questions of everybody who meets a model, answered from its figures: no more than these say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from heimdall.compare.sample_size import FEW_TRANSMITTERS
from heimdall.pipeline.evaluate.predictors import LOCALIZER
from heimdall.report import figures, words
from heimdall.report.figures import Coverage, Target
from heimdall.report.run import Run

_BAD = 1.5  # times the mean error of all: a slice that is named as bad
_NAMED = 3  # slices in a sentence
_FAIRLY_MANY = 10  # sessions below which a share says next to nothing
_LARGE = 0.25  # share of the sum of errors that three sessions should not have


@dataclass(frozen=True)
class Answer:
    """An answer to a question.

    Attributes:
        question: What a reader asks.
        short: The answer in a sentence or two.
        why: The figures behind it, a paragraph each.
    """

    question: str
    short: str
    why: tuple[str, ...]


def answers(run: Run) -> list[Answer]:
    """The three answers."""
    return [_how_good(run), _where_it_fails(run), _its_ellipses(run)]


def basis(run: Run) -> list[str]:
    """On what all figures rest, and how far that carries: sentences, the first one the most important."""
    own = figures.test(run)
    sessions, transmitters = int(own["n"]), int(own["clusters"])
    said = [
        f"All figures come from {words.counted(sessions, 'test session')} of "
        f"{words.counted(transmitters, 'transmitter')}."
    ]
    if run.figures["split_by"] == "transmitter":
        known = "Training heard none of these transmitters."
    else:
        known = (
            "Training heard other sessions of the same transmitters, so the figures are better than those of "
            "transmitters that nobody knows."
        )
    if transmitters < FEW_TRANSMITTERS:
        known += (
            f" They are few: with fewer than {FEW_TRANSMITTERS} the intervals are too narrow, and other "
            "transmitters may give other figures. Read them as orders of magnitude."
        )
    return [*said, known]


def _how_good(run: Run) -> Answer:
    own = figures.test(run)
    targets = figures.targets(run)
    met = sum(one.met for one in targets)
    short = (
        f"Half of the answers are within {words.length(own['median_m'])} of the transmitter; the mean error "
        f"is {words.length(own['mae_m'])}{_between(own, 'mae_m')}. "
    )
    short += f"It meets {words.number(met) if met else 'none'} of the {words.number(len(targets))} targets."
    return Answer("How good is it?", short, (_targets(targets), _bound(run), _rival(run)))


def _targets(found: list[Target]) -> str:
    asked = {
        "mae_m": ("a mean error below", words.length),
        "accuracy_30m": ("within 30 m more than", words.percent),
        "calibration_error_m": ("a calibration error below", words.length),
    }
    told = []
    for one in found:
        wanted, say = asked[one.key]
        value = words.share(one.value) if say is words.percent else say(one.value)
        told.append(f"{wanted} {say(one.limit)} ({value}, {'met' if one.met else 'missed'})")
    return f"The targets: {words.listed(told)}."


def _between(own: Mapping[str, Any], key: str) -> str:
    found = words.interval(own, key)
    return "" if found is None else f" (95 % interval {words.length(found[0])} to {words.length(found[1])})"


def _bound(run: Run) -> str:
    bound = run.figures["cramer_rao"]
    n, bounded = int(bound["n"]), int(bound["bounded"])
    if not bounded:
        return (
            f"Physics: in none of the {n} test sessions three receivers know the time, so only levels tell "
            "where the transmitter is, and there is no bound to compare with."
        )
    said = [
        "Physics: noise, clocks and the places of the receivers bound what arrival times can tell "
        f"(Cramer-Rao bound, without echoes). {bounded} of the {n} sessions have such a bound; half of these "
        f"bounds are above {words.length(bound['median_m'])}."
    ]
    limit = run.figures["targets"].get("accuracy_30m")
    reached = figures.share_by_the_bound(run, 30.0)
    if limit is not None and reached is not None and reached < limit:
        missed = f", the {n - bounded} without a bound counted as misses" if bounded < n else ""
        said.append(
            f"Normal errors as large as these bounds are within 30 m in {words.percent(reached)} of the "
            f"sessions at best{missed}: arrival times from these receivers alone cannot be expected to bring "
            f"more than {words.percent(limit)} within 30 m."
        )
    ratio = figures.error_over_bound(run, LOCALIZER)
    if ratio is not None:
        said.append(
            f"Where there is a bound, the localizer's errors are {ratio:.2g} times it (root mean square of "
            "the ratios)."
        )
    return " ".join(said)


def _rival(run: Run) -> str:
    rival = figures.rival(run)
    name, median_m = words.method(rival.name), run.figures["test"][rival.name]["median_m"]
    less = "smaller" if rival.difference_m < 0 else "larger"
    said = (
        f"Its strongest rival, the method “{name}” ({words.HOW.get(rival.name, 'without learning')}), has a "
        f"mean error of {words.length(rival.mae_m)} and a median of {words.length(median_m)}. The "
        f"localizer's mean is {words.length(abs(rival.difference_m))} {less}"
    )
    if rival.interval_m is None:
        return f"{said}; with one transmitter there is no interval of the difference."
    low, high = (words.difference(one) for one in rival.interval_m)
    if rival.told_apart:
        which = "better" if rival.difference_m < 0 else "worse"
        return (
            f"{said}. The 95 % interval of the difference, {low} to {high}, leaves zero out: on such "
            f"sessions the localizer is {which}."
        )
    return (
        f"{said}, but the 95 % interval of the difference, {low} to {high}, includes zero: these sessions do "
        "not tell which of the two is better."
    )


def _where_it_fails(run: Run) -> Answer:
    own = figures.test(run)
    found = figures.slices(run)
    bad = figures.worst(found, _BAD, own["mae_m"])[:_NAMED]
    if bad:
        named = [f"{one.name} ({words.length(one.mae_m)}, {words.counted(one.n, 'session')})" for one in bad]
        short = f"It is worst for sessions {words.listed(named)}; in brackets the mean error."
    elif found:
        short = f"No kind of session has a mean error of more than {_BAD:g} times that of all."
    else:
        short = "The table of the slices is missing, so this page cannot tell."
    why = []
    good = figures.best(found)
    if good is not None and good.mae_m < own["mae_m"]:
        why.append(
            f"It is best for sessions {good.name}: mean error {words.length(good.mae_m)} over "
            f"{words.counted(good.n, 'session')}. Slices have few sessions and overlap: what makes a "
            "session bad may show in several of them."
        )
    if len(run.sessions) >= _FAIRLY_MANY:
        part = figures.share_of_the_worst(run, 3)
        why.append(
            f"The three worst sessions make {words.percent(part)} of the sum of all errors. This is why the "
            f"mean error ({words.length(own['mae_m'])}) is so far from the median "
            f"({words.length(own['median_m'])})."
            if part > _LARGE
            else f"No few sessions decide the mean error: the three worst make {words.percent(part)} of it."
        )
    timeless = run.figures.get("test_without_gps", {}).get(LOCALIZER)
    if timeless is not None:
        why.append(
            "Without GPS time at the receivers it has only levels: the same sessions then have a mean error "
            f"of {words.length(timeless['mae_m'])}."
        )
    return Answer("Where does it fail?", short, tuple(why))


def _its_ellipses(run: Run) -> Answer:
    own = figures.test(run)
    narrow, wide = (figures.coverage(run, nominal) for nominal in (0.68, 0.95))
    single = figures.ellipse_coverage(run, 0.95)
    why = [
        f"{_covered(wide)} {_covered(narrow)} Sessions of one transmitter fail together, so "
        "transmitters count, not sessions."
        + (
            f" Regions that hold the transmitter in only {words.percent(wide.interval[0])} of all sessions "
            "would not be noticed here."
            if wide.verdict == "agrees"
            else ""
        ),
        _parts(single),
        f"The calibration error is {words.length(own['calibration_error_m'])}: so much the size of the "
        "errors differs from the size that the ellipses state, in the mean over five classes of stated size. "
        "Single large errors dominate it.",
    ]
    slices = figures.slices(run)
    odd = [
        f"{one.name} ({found.inside} of {found.n})"
        for one in slices
        if (found := figures.slice_coverage(run, one, 0.95)).verdict == "too few"
    ]
    if odd:
        why.append(
            f"The 95 % regions hold too few transmitters for sessions {words.listed(odd)} "
            f"({figures.how_of_slices(run)}). Of the {len(slices)} slices, one in forty may look so by "
            "chance."
        )
    return Answer("Can I trust its ellipses?", " ".join(_trust(narrow, wide, single)), tuple(why))


def _trust(narrow: Coverage, wide: Coverage, single: Coverage | None) -> list[str]:
    """The short answer: of the regions, and of the ellipse that stands for a region."""
    counted = (
        f"the 95 % regions hold the transmitter in {wide.inside} of {wide.n} sessions, the 68 % regions in "
        f"{narrow.inside}"
    )
    verdicts = {narrow.verdict, wide.verdict}
    if verdicts == {"agrees"}:
        said = [f"Nothing here speaks against its regions: {counted}."]
    elif "too few" in verdicts:
        said = [f"Its regions are too small, the answers are surer than they should be: {counted}."]
    else:
        said = [f"Its regions are rather too large, the answers are less sure than they could be: {counted}."]
    if single is not None and single.verdict == "too few":
        said.append(
            "But do not take a single ellipse for the whole region: the 95 % ellipse alone holds the "
            f"transmitter in {single.inside} of {single.n}."
        )
    return said


def _parts(single: Coverage | None) -> str:
    said = (
        "A region also has the tails of the answer, and several parts where several places explain the "
        "recordings. The ellipse on the map is that of the likeliest part alone, without its tails"
    )
    if single is None:
        return f"{said}; the counts are those of the whole regions."
    low, high = single.interval
    return (
        f"{said}: the 95 % ellipses hold the transmitter in {words.share(single.share)} of the sessions "
        f"(interval {100 * low:.0f} to {words.percent(high)}, {single.how})."
    )


def _covered(found: Coverage) -> str:
    low, high = found.interval
    told = {
        "agrees": "the nominal share lies in it",
        "too few": "the nominal share lies above it",
        "too many": "the nominal share lies below it",
    }[found.verdict]
    return (
        f"Of the {words.percent(found.nominal)} regions, {words.share(found.share)} hold the transmitter "
        f"(interval {100 * low:.0f} to {words.percent(high)}, {found.how}; {told})."
    )
