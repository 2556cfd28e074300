"""How far `heimdall locate` is off on real data, beside what it claims and beside a yardstick.

    python benchmarks/real.py ../shared/real
    python benchmarks/real.py ../shared/real --set mlat --json > real.json

Every folder of DIR with a `set.yaml` is a set (docs/real.md says what that file holds). Each set is located
by `heimdall.locate`, as anybody would call it: nothing is tuned for a set, and no truth is given. Of
recordings it is given the files and the receivers' places. Of tables of arrival times it is given a copy
without the columns of the truth; in one run the transmitter's altitude is among them, in another it is not.
The last lines are without the receivers' own errors, which were found on the other half of the messages (the
earlier one in time for the later one, and the later one for the earlier one), once with the truth of that
half and once without any.

Columns: `median` and `p90` are errors along the ground. In brackets stands the 95 % interval of the median,
by a bootstrap over transmitters. `yardstick` is the median error of the method that `set.yaml` speaks of, if
it was measured on the same. `claimed` is the median of the distances that answers expect to be off (the root
of the sum of both variances). `in 68 %` and `in 95 %` is how often the truth lies inside of the region that
the answer gives for that probability. `flagged` says how many answers say themselves that they may be wrong:
ambiguous, inconsistent, or no position. `or flagged` is the share that is within 300 m or flagged, and `far,
flagged` how many of those beyond 300 m are flagged. A message without an answer counts as infinitely far and
as flagged, and no region of it holds the truth.

The second table is of transmitters that move, by their course. `along` is how far answers within 300 m are
ahead of the truth, and `across` how far to the right of it: the median and the quartiles. `in 68 %` and
`in 95 %` is how often the error across is within what its claimed variance has; `straight` is the same of
those whose course is the same before and after. `far, straight ahead` is how many of the answers beyond 300 m
are ahead of the truth to 10 degrees. `residuals` asks no truth: how often the squared residuals of a
position's times, of which there are more than unknowns, are within what their claimed sigmas have.

The third table is of transmitters whose reports of their places are late. Of each, the lateness is the median
of `along` over its speed, of every second of its messages; the truth of the others is moved on by that, and
the other way round. What is judged is never what the lateness was taken from. `lateness` is the median and
the quartiles over transmitters, `scatter` what the reports of one transmitter differ by beside what is
claimed. `as given` is the median error of the same answers before. `in 68 %` and `in 95 %` is how often the
moved truth lies in the ellipse of the claimed covariance, to which along the course the uncertainty of the
lateness is added.

The exit code is 1 if something could not be judged.
"""

from __future__ import annotations

import argparse
import itertools
import math
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from statistics import NormalDist
from typing import Any, TypeVar

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import numpy as np
import numpy.typing as npt
import real_sets
from pyproj import Geod
from real_sets import Course, RealSet, Row
from scipy.special import chdtr

import heimdall
from heimdall.core import artifacts, table
from heimdall.core.errors import HeimdallError
from heimdall.formats import receivers_file
from heimdall.localize import arrival_table, receiver_errors_file
from heimdall.metrics import metrics
from heimdall.multilateration import receiver_errors
from heimdall.multilateration.event import Event, Position
from heimdall.multilateration.fix import Fix
from heimdall.multilateration.minima import UNKNOWNS

Float64 = npt.NDArray[np.float64]
Found = TypeVar("Found")

GEOD = Geod(ellps="WGS84")
FAR_M = 300.0
AHEAD_DEG = 10.0  # on both sides of the course
LEAST_TOLD = 2  # messages that tell a transmitter's lateness
SEED = 42
RESAMPLES = 1000
PROBABILITIES = (0.68, 0.95)
LEARNED_WITH_TRUTH = "errors off, by the truth"
LEARNED_WITHOUT = "errors off, without it"


@dataclass(frozen=True)
class Judged:
    """What one answer was wrong by, and what it claimed.

    Attributes:
        name: Of the event.
        transmitter: Name of the transmitter, or of the event if that has no name.
        error_m: Distance of its first place from the truth along the ground, metres; infinite without one.
        claimed_m: Root of the sum of both variances of its first place, metres; infinite without one.
        inside: Whether the truth lies inside of its regions for 68 and for 95 %.
        flagged: Whether the answer says that it may be wrong.
        kind: What it says that it is.
        along_m: How far the first place is ahead of the truth on the transmitter's way; None if it has none.
        across_m: How far it is to the right of that way.
        covariance_m2: Of both, by the covariance of the first place, shape (2, 2) as rows.
        speed_m_s: Of the transmitter.
        is_straight: Whether it flies straight.
        residual_level: Probability of smaller residuals of its times than they are, by their sigmas; None
            where none is to spare, or the altitude is an unknown, too.
    """

    name: str
    transmitter: str
    error_m: float
    claimed_m: float
    inside: tuple[bool, bool]
    flagged: bool
    kind: str
    along_m: float | None = None
    across_m: float | None = None
    covariance_m2: tuple[tuple[float, float], tuple[float, float]] | None = None
    speed_m_s: float | None = None
    is_straight: bool = False
    residual_level: float | None = None


@dataclass(frozen=True)
class Line:
    """One line of the table.

    Attributes:
        set: Name of the set.
        what: Which answers.
        kind: Of the set.
        answers: The answers, judged.
        yardstick_m: The yardstick's error on the same, metres; None if there is none.
        cpu_s: CPU time of the calls that gave the answers, seconds; None if it is another line's.
    """

    set: str
    what: str
    kind: str
    answers: tuple[Judged, ...]
    yardstick_m: float | None
    cpu_s: float | None

    def figures(self) -> dict[str, Any]:
        """What the table is made of; lengths in metres, shares in [0, 1], None where there is none."""
        error = np.array([one.error_m for one in self.answers])
        flagged = np.array([one.flagged for one in self.answers])
        far = error > FAR_M
        arrivals = self.kind == "arrivals"
        return {
            "events": len(error),
            "median_m": float(np.median(error)),
            "median_interval_m": self._interval(error),
            "p90_m": _quantile(error, 0.9),
            "within_300m": float((~far).mean()) if arrivals else None,
            "within_300m_or_flagged": float((~far | flagged).mean()) if arrivals else None,
            "claimed_m": float(np.median([one.claimed_m for one in self.answers])),
            "inside_68": float(np.mean([one.inside[0] for one in self.answers])),
            "inside_95": float(np.mean([one.inside[1] for one in self.answers])),
            "flagged": float(flagged.mean()),
            "far": int(far.sum()) if arrivals else None,
            "far_flagged": int((far & flagged).sum()) if arrivals else None,
            "yardstick_m": self.yardstick_m,
            "cpu_s": self.cpu_s,
            **{key: self._quartiles(key) for key in ("along_m", "across_m")},
            **self._far_ahead(),
            "across_68": self._across_within(0.68, self.answers),
            "across_95": self._across_within(0.95, self.answers),
            "residuals_68": self._residuals_within(0.68),
            "residuals_95": self._residuals_within(0.95),
            "straight": sum(one.is_straight for one in self.answers),
            "straight_across_68": self._across_within(0.68, [one for one in self.answers if one.is_straight]),
            "straight_across_95": self._across_within(0.95, [one for one in self.answers if one.is_straight]),
        }

    def _far_ahead(self) -> dict[str, int]:
        """Of the answers that are far off, and whose course is known: how many are straight ahead."""
        far = [one for one in self.answers if one.error_m > FAR_M and one.along_m is not None]
        ahead = [one.along_m > math.cos(math.radians(AHEAD_DEG)) * one.error_m for one in far if one.along_m]
        return {"far_on_course": len(far), "far_ahead": sum(ahead)}

    def _across_within(self, probability: float, answers: Sequence[Judged]) -> float | None:
        """How often the error across the way is within what a Gaussian of its variance has."""
        told = [
            abs(one.across_m)
            <= NormalDist().inv_cdf((1 + probability) / 2) * math.sqrt(one.covariance_m2[1][1])
            for one in answers
            if one.across_m is not None and one.covariance_m2 is not None
        ]
        return float(np.mean(told)) if told else None

    def _residuals_within(self, probability: float) -> float | None:
        told = [one.residual_level for one in self.answers if one.residual_level is not None]
        return float(np.mean(np.array(told) <= probability)) if told else None

    def _quartiles(self, key: str) -> tuple[float, float, float] | None:
        """Of a part of the errors, of those answers that are not far off."""
        near = [getattr(one, key) for one in self.answers if one.error_m <= FAR_M]
        parts = np.array([part for part in near if part is not None])
        if not len(parts):
            return None
        low, middle, high = (float(np.quantile(parts, share)) for share in (0.25, 0.5, 0.75))
        return low, middle, high

    def _interval(self, error: Float64) -> tuple[float, float] | None:
        """Of the median: whole transmitters are drawn, for the errors of one are alike."""
        transmitters = [one.transmitter for one in self.answers]
        if len(set(transmitters)) < 2:
            return None
        medians = metrics.weighted_median(error, metrics.cluster_weights(transmitters, RESAMPLES, SEED))
        return _quantile(medians, 0.025), _quantile(medians, 0.975)


def _quantile(values: Float64, share: float) -> float:
    """The smallest value that at least this share does not exceed; it may be infinite."""
    return float(np.quantile(values, share, method="inverted_cdf"))


def judged(
    fix: Fix | None, name: str, transmitter: str, truth: Position, course: Course | None = None
) -> Judged:
    """An answer beside the truth; None if there is no answer."""
    if fix is None or not fix.places:
        return Judged(name, transmitter, math.inf, math.inf, (False, False), True, "nothing")
    place = fix.places[0]
    azimuth_deg, _, error_m = GEOD.inv(
        truth.longitude_deg, truth.latitude_deg, place.longitude_deg, place.latitude_deg
    )
    regions = {region.probability: region for region in fix.regions}
    inside = [
        probability in regions and regions[probability].holds(truth.latitude_deg, truth.longitude_deg)
        for probability in PROBABILITIES
    ]
    claimed_m = math.sqrt(float(np.trace(place.covariance_m2)))
    level = _residual_level(fix)
    one = Judged(
        name,
        transmitter,
        error_m,
        claimed_m,
        (inside[0], inside[1]),
        fix.flagged,
        fix.kind,
        residual_level=level,
    )
    if course is None:
        return one
    turn, azimuth = math.radians(azimuth_deg - course.azimuth_deg), math.radians(course.azimuth_deg)
    ways = np.array([[math.sin(azimuth), math.cos(azimuth)], [math.cos(azimuth), -math.sin(azimuth)]])
    (a, b), (c, d) = (ways @ place.covariance_m2 @ ways.T).tolist()
    return replace(
        one,
        along_m=error_m * math.cos(turn),
        across_m=error_m * math.sin(turn),
        covariance_m2=((a, b), (c, d)),
        speed_m_s=course.speed_m_s,
        is_straight=course.is_straight,
    )


def _residual_level(fix: Fix) -> float | None:
    used = [(one.residual_s / one.sigma_s) ** 2 for one in fix.residuals if one.used]
    if fix.kind != "position" or len(used) <= UNKNOWNS or fix.places[0].altitude_sigma_m > 0:
        return None
    return float(chdtr(len(used) - UNKNOWNS, sum(used)))


@dataclass(frozen=True)
class Moved:
    """Answers beside the truth that is moved on by its lateness.

    Attributes:
        late_s: Lateness of each transmitter by each part of its messages.
        scatter_s: Standard deviation of the lateness of one transmitter.
        given_m: Error of each judged answer, the truth as it is given.
        error_m: The truth being moved.
        inside: Whether the moved truth lies in its ellipses for 68 and for 95 %.
    """

    late_s: tuple[float, ...]
    scatter_s: float
    given_m: tuple[float, ...]
    error_m: tuple[float, ...]
    inside: tuple[tuple[bool, bool], ...]

    def figures(self) -> dict[str, Any]:
        """What the table is made of; only the number of answers if there is none."""
        if not self.error_m:
            return {"events": 0}
        share = np.mean(self.inside, axis=0)
        return {
            "events": len(self.error_m),
            "late_s": np.quantile(self.late_s, (0.25, 0.5, 0.75)).tolist(),
            "scatter_s": self.scatter_s,
            "given_m": statistics.median(self.given_m),
            "median_m": statistics.median(self.error_m),
            "inside_68": float(share[0]),
            "inside_95": float(share[1]),
        }


def moved(answers: Sequence[Judged]) -> Moved:
    """The lateness of each transmitter by every second of its messages, for the others, and the other way.

    A transmitter has to have two messages in the part that tells its lateness.
    """
    of: dict[str, list[Judged]] = {}
    for one in answers:
        if one.along_m is not None:
            of.setdefault(one.transmitter, []).append(one)
    late: list[float] = []
    scatter: list[float] = []
    given: list[float] = []
    error: list[float] = []
    inside: list[tuple[bool, bool]] = []
    for part in (0, 1):
        told = {name: found[part::2] for name, found in of.items() if len(found[part::2]) >= LEAST_TOLD}
        scatter.append(_scatter_s(tuple(told.values())))
        for name, found in told.items():
            late.append(statistics.median(map(_late_s, found)))
            own = statistics.mean(_own_s2(one) for one in found)
            # The median of a few is less sure than their mean.
            doubt_s2 = scatter[-1] ** 2 + math.pi / 2 * (scatter[-1] ** 2 + own) / len(found)
            for one in of[name][1 - part :: 2]:
                speed_m_s = one.speed_m_s or 0.0
                away = np.array([(one.along_m or 0.0) - late[-1] * speed_m_s, one.across_m])
                covariance = np.array(one.covariance_m2) + np.diag([doubt_s2 * speed_m_s**2, 0.0])
                square = float(away @ np.linalg.solve(covariance, away))
                given.append(one.error_m)
                error.append(float(np.hypot(*away)))
                within = [square <= -2 * math.log(1 - probability) for probability in PROBABILITIES]
                inside.append((within[0], within[1]))
    scatter_s = math.sqrt(statistics.mean(one**2 for one in scatter))
    return Moved(tuple(late), scatter_s, tuple(given), tuple(error), tuple(inside))


def _late_s(one: Judged) -> float:
    return (one.along_m or 0.0) / (one.speed_m_s or math.nan)


def _own_s2(one: Judged) -> float:
    """What the answer's claim adds to the variance of a lateness."""
    return one.covariance_m2[0][0] / (one.speed_m_s or math.nan) ** 2 if one.covariance_m2 else math.nan


def _scatter_s(found: Sequence[Sequence[Judged]]) -> float:
    """Standard deviation of the lateness of one transmitter, less what answers claim to scatter by."""
    apart = [(_late_s(b) - _late_s(a)) / math.sqrt(2) for part in found for a, b in itertools.pairwise(part)]
    if not apart:
        return 0.0
    own_s2 = statistics.median(_own_s2(one) for part in found for one in part)
    usual_s = statistics.median(map(abs, apart)) / NormalDist().inv_cdf(0.75)
    return math.sqrt(max(usual_s**2 - own_s2, 0.0))


def of_recordings(one: RealSet) -> list[Line]:
    """The seconds of a set's recordings, and all of them together."""
    if one.truth is None:
        raise HeimdallError(one.name, "it has no truth", "Say it in set.yaml")
    truth = one.truth
    answer, cpu_s = _timed(lambda: heimdall.locate(one.files, one.receivers))
    if one.frequency_mhz is not None and any(math.isnan(event.frequency_hz) for event in answer.events):
        # The files do not say it, and whoever made them knows it.
        answer, cpu_s = _timed(
            lambda: heimdall.locate(one.files, one.receivers, frequency_mhz=one.frequency_mhz)
        )
    seconds = [
        judged(fix, event.name, event.name, truth)
        for event, fix in zip(answer.events, answer.fixes, strict=True)
    ]
    lines = [Line(one.name, "each second", one.kind, tuple(seconds), None, cpu_s)]
    if answer.main is not None:
        whole = (judged(answer.main, "all", "all", truth),)
        lines.append(Line(one.name, "all together", one.kind, whole, one.yardstick_m, None))
    return lines


def of_arrivals(one: RealSet) -> Iterator[Callable[[], list[Line]]]:
    """The messages of a set's tables: altitude known, altitude unknown, receivers' own errors taken off."""
    rows = [row for row in real_sets.rows(one) if row.truth is not None]
    if not rows:
        raise HeimdallError(one.name, "no row of it says where the transmitter was", "Say it in set.yaml")
    yield partial(_messages, one, rows, "altitude known", one.yardstick_m, altitude=True)
    yield partial(_messages, one, rows, "altitude unknown", None, altitude=False)
    if len(rows) > 1:
        yield partial(_corrected, one, rows, LEARNED_WITH_TRUTH, known=True)
        yield partial(_corrected, one, rows, LEARNED_WITHOUT, known=False)


def _messages(
    one: RealSet, rows: Sequence[Row], what: str, yardstick_m: float | None, *, altitude: bool
) -> list[Line]:
    """Messages, located by the public call and judged."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "times.csv"
        real_sets.write_table(rows, path, one.frequency_mhz, altitude=altitude)
        answer, cpu_s = _timed(lambda: heimdall.locate([path], one.receivers))
    return [_line(one, rows, what, answer.events, answer.fixes, cpu_s=cpu_s, yardstick_m=yardstick_m)]


def _corrected(one: RealSet, rows: Sequence[Row], what: str, *, known: bool) -> list[Line]:
    """Messages of each half without the receivers' own errors, which the other half says."""
    earlier, later = real_sets.halves(rows)
    events: list[Event] = []
    fixes: list[Fix] = []
    cpu_s = 0.0
    for learnt, located in ((earlier, later), (later, earlier)):
        with tempfile.TemporaryDirectory() as folder:
            learn, judge, errors = (Path(folder) / f"{name}.csv" for name in ("learnt", "located", "errors"))
            real_sets.write_table(learnt, learn, one.frequency_mhz, altitude=True, truth=known)
            real_sets.write_table(located, judge, one.frequency_mhz, altitude=True)
            told = arrival_table.read(learn, receivers_file.read(one.receivers)).events
            measured, learning_s = _timed(partial(receiver_errors.measure, told, known=known))
            receiver_errors_file.write(errors, measured)
            answer, locating_s = _timed(partial(heimdall.locate, [judge], one.receivers, errors=errors))
        events += answer.events
        fixes += answer.fixes
        cpu_s += learning_s + locating_s
    return [_line(one, rows, what, events, fixes, cpu_s=cpu_s)]


def _line(
    one: RealSet,
    rows: Sequence[Row],
    what: str,
    events: Sequence[Event],
    fixes: Sequence[Fix],
    *,
    cpu_s: float,
    yardstick_m: float | None = None,
) -> Line:
    """The answers of messages beside their truth; a row that has no answer is not left out."""
    by_name = {event.name: fix for event, fix in zip(events, fixes, strict=True)}
    courses = real_sets.courses(rows)
    answers = [
        judged(by_name.get(row.name), row.name, row.transmitter or row.name, row.truth, course)
        for row, course in zip(rows, courses, strict=True)
        if row.truth is not None
    ]
    return Line(one.name, what, one.kind, tuple(answers), yardstick_m, cpu_s)


def _timed(call: Callable[[], Found]) -> tuple[Found, float]:
    before = time.process_time()
    found = call()
    return found, time.process_time() - before


SHORT = ("set", "what", "events", "median, m", "yardstick, m", "claimed, m", "in 68 %", "in 95 %", "flagged")


def row(line: Line) -> dict[str, str]:
    """One line of the table as it is printed, by its columns."""
    found = line.figures()
    interval = found["median_interval_m"]
    return {
        "set": line.set,
        "what": line.what,
        "events": str(found["events"]),
        "median, m": _metres(found["median_m"])
        + (f" ({' to '.join(map(_metres, interval))})" if interval else ""),
        "yardstick, m": _metres(found["yardstick_m"]),
        "p90, m": _metres(found["p90_m"]),
        "claimed, m": _metres(found["claimed_m"]),
        "in 68 %": _percent(found["inside_68"]),
        "in 95 %": _percent(found["inside_95"]),
        "within 300 m": _percent(found["within_300m"]),
        "or flagged": _percent(found["within_300m_or_flagged"]),
        "flagged": _percent(found["flagged"]),
        "far, flagged": "-" if found["far"] is None else f"{found['far_flagged']} of {found['far']}",
        "CPU, s": "-" if found["cpu_s"] is None else f"{found['cpu_s']:.1f}",
    }


def row_of_ways(line: Line) -> dict[str, str]:
    """One line of the table of errors by the transmitters' ways."""
    found = line.figures()
    return {
        "set": line.set,
        "what": line.what,
        "along, m": _quartiles(found["along_m"]),
        "across, m": _quartiles(found["across_m"]),
        "in 68 %": _percent(found["across_68"]),
        "in 95 %": _percent(found["across_95"]),
        "straight": str(found["straight"]),
        "straight, 68 %": _percent(found["straight_across_68"]),
        "straight, 95 %": _percent(found["straight_across_95"]),
        "residuals, 68 %": _percent(found["residuals_68"]),
        "residuals, 95 %": _percent(found["residuals_95"]),
        "far, straight ahead": f"{found['far_ahead']} of {found['far_on_course']}",
    }


def row_of_moved(line: Line) -> dict[str, str]:
    """One line of the table of answers beside the moved truth."""
    found = moved(line.answers).figures()
    return {
        "set": line.set,
        "what": line.what,
        "messages": str(found["events"]),
        "lateness, s": "{1:.2f} ({0:.2f} to {2:.2f})".format(*found["late_s"]),
        "scatter, s": f"{found['scatter_s']:.2f}",
        "as given, m": _metres(found["given_m"]),
        "median, m": _metres(found["median_m"]),
        "in 68 %": _percent(found["inside_68"]),
        "in 95 %": _percent(found["inside_95"]),
    }


def printed(rows: Sequence[dict[str, str]], *, markdown: bool) -> list[str]:
    """A table as lines; the first two columns are words."""
    headings = list(rows[0]) if rows else []
    cells = [list(row.values()) for row in rows]
    align = "ll" + "r" * (len(headings) - 2)
    return (table.markdown if markdown else table.lines)(headings, cells, align) if rows else []


def _metres(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if math.isfinite(value) else "none"


def _quartiles(found: tuple[float, float, float] | None) -> str:
    return "-" if found is None else "{1:.0f} ({0:.0f} to {2:.0f})".format(*found)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def runs(one: RealSet) -> Iterator[Callable[[], list[Line]]]:
    """What gives the lines of a set, one call after another: where one fails, the others are still judged."""
    if one.kind == "iq":
        yield partial(of_recordings, one)
    else:
        yield from of_arrivals(one)


def judge(folders: Sequence[Path]) -> tuple[list[Line], list[str], bool]:
    """All lines of some sets, remarks about them, and whether all could be judged."""
    lines: list[Line] = []
    remarks: list[str] = []
    whole = True
    for folder in folders:
        try:
            one = real_sets.read(folder)
            remarks += [f"{one.name}: {remark}" for remark in one.remarks]
            calls = list(runs(one))
        except HeimdallError as error:
            whole = False
            print(error, file=sys.stderr)
            continue
        for call in calls:
            try:
                lines += call()
            except HeimdallError as error:
                whole = False
                print(f"{one.name}: {error}", file=sys.stderr)
            except Exception:  # a bug of ours: the other lines are still worth reading
                whole = False
                print(f"{one.name}: {traceback.format_exc(limit=-2)}", file=sys.stderr)
    return lines, remarks, whole


def as_json(lines: Sequence[Line], remarks: Sequence[str]) -> str:
    """Figures and each judged answer; null where a figure is infinite or there is none."""
    shown = [
        {
            "set": line.set,
            "what": line.what,
            **line.figures(),
            "moved": moved(line.answers).figures(),
            "answers": list(map(asdict, line.answers)),
        }
        for line in lines
    ]
    return artifacts.json_text({"lines": _finite(shown), "remarks": list(remarks)})


def _finite(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def main() -> int:
    """Print the table."""
    first, _, about = (__doc__ or "").partition("\n\nEvery folder")
    parser = argparse.ArgumentParser(
        description=first, epilog="Every folder" + about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("directory", type=Path, metavar="DIR", help="folder that holds the sets, or a set")
    parser.add_argument("--set", action="append", metavar="NAME", help="only this set; may be repeated")
    parser.add_argument("--json", action="store_true", help="figures and each judged answer as JSON")
    parser.add_argument("--markdown", action="store_true", help="the table as docs/real.md has it")
    parser.add_argument("--short", action="store_true", help="only the columns that the README has")
    asked = parser.parse_args()
    try:
        folders = real_sets.folders(asked.directory)
    except HeimdallError as error:
        print(error, file=sys.stderr)
        return 1
    by_name = {folder.resolve().name: folder for folder in folders}
    for name in set(asked.set or ()) - set(by_name):
        parser.error(f"there is no set {name}: there are {', '.join(by_name)}")
    lines, remarks, whole = judge([by_name[name] for name in asked.set or by_name])
    if asked.json:
        print(as_json(lines, remarks), end="")
        return 0 if whole and lines else 1
    rows = [row(line) for line in lines]
    if asked.short:
        rows = [{heading: found[heading] for heading in SHORT} for found in rows]
    parts = [printed(rows, markdown=asked.markdown)]
    moving = [row_of_ways(line) for line in lines if line.figures()["along_m"]]
    if not asked.short:
        parts.append(printed(moving, markdown=asked.markdown))
        late = [row_of_moved(line) for line in lines if moved(line.answers).error_m]
        parts.append(printed(late, markdown=asked.markdown))
    print("\n\n".join("\n".join(part) for part in (*parts, remarks) if part))
    return 0 if whole and lines else 1


if __name__ == "__main__":
    sys.exit(main())
