"""From one event to the answer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import bdtrc, chdtrc

from heimdall.geometry.propagation import SPEED_OF_LIGHT_M_S
from heimdall.multilateration import density, doppler, levels, minima, rays, regions
from heimdall.multilateration.event import Event
from heimdall.multilateration.fix import Fix, Place, Residual
from heimdall.multilateration.minima import Candidate, Problem, Terrain
from heimdall.multilateration.rays import Propagation, Sites

Float64 = npt.NDArray[np.float64]

# Sensors of open networks on GPS time scatter by 20 to 190 ns at known positions, and have offsets of up to
# 250 ns (cable, decoder, place): of 16 in a part of LocaRDS (docs/real.md).
USUAL_SIGMA_S = 150e-9
CONTRADICTION = 1e-3  # probability of residuals as large as those; below it the times do not fit together
# Of events without a common place, so many may have times that agree as well, for each event in which as many
# times are wrong: one in five events may be of two transmitters, and one in twenty a mistake.
_BY_CHANCE = 0.25
SURE = 0.9  # probability of the first place from which on it is the answer
SUREST = 0.999  # of any place: models are wrong more often than Gaussians say
_LEAST_SIGMA_S = 1e-10  # 3 cm: nobody's clock is better, whatever is written
_RESOLVED = 3.0  # standard deviations of most times: receivers no farther apart have no use for them
_OVERLAP = 9.0  # squared standard deviations: places nearer than this are one, if of a similar size,
_SIMILAR = 2 * math.log(9.0)  # which is an area of a ninth to nine times the other's
_WIDE = 0.25  # of the network's size: a 95 % ellipse as long is no ellipse any more
_HOPELESS = 25.0  # variances: beyond it the times are of something else
_LEAST_LEVELS = 3  # without times: two say only which of them is nearer
_LEAST_APART_M = 100.0  # of receivers whose levels tell a direction
_AERONAUTICAL_HZ = ((108e6, 137e6), (960e6, 1215e6))
_AIRBORNE_M = (9_000.0, 4_000.0)  # airliners
_HIGH_M = (5_000.0, 5_000.0)  # of whatever flies
_RELIEF_M = 300.0  # of the ground about the receivers
_ANTENNA_M = (10.0, 20.0)  # over a terrain file
# Of short waves: the share of ground waves where receivers stand together, and far beyond their reach.
_GROUND_SHARES, _GROUND_REACH_M = (0.5, 0.02), 100_000.0
_TOO_UNCERTAIN = "its time is too uncertain for how near the receivers are"
_EITHER_WAY = "nothing tells whether the signal came along the ground or by the ionosphere"


@dataclass(frozen=True, eq=False)
class Assumptions:
    """What is assumed of events beyond what they say.

    Attributes:
        altitude: Of the transmitter above the ellipsoid in metres; "unknown" if it may fly anywhere; a
            terrain on which it stands; None for what the event says, or else the ground about the receivers
            (in aeronautical bands: that of airliners).
        propagation: How the signal travels; None for what is usual at the event's frequency (of short waves
            both sky and ground wave are tried).
        sigma_s: Standard deviation of arrival times that say none, seconds.
    """

    altitude: float | Literal["unknown"] | Terrain | None = None
    propagation: Propagation | None = None
    sigma_s: float = USUAL_SIGMA_S


def locate(event: Event, assumptions: Assumptions | None = None) -> Fix:
    """Where the transmitter of one event is.

    Three times or more give places as Gaussians; two times, levels alone, and times that contradict each
    other give the posterior over a grid.

    Args:
        event: What was received.
        assumptions: What is assumed beyond that.

    Returns:
        The answer, also where nothing can be said: its `kind` and `remarks` say so.
    """
    if not event.receiver:
        return _nothing(event, "no receiver has anything of it")
    problem = _resolving(event, assumptions or Assumptions())
    usable = event.heard & np.isfinite(event.level_db)
    heard = Sites.at(event.latitude_deg[usable], event.longitude_deg[usable], event.altitude_m[usable])
    level_db = event.level_db[usable]
    count = len(problem.row)
    if count < 2 and (len(level_db) < _LEAST_LEVELS or heard.diameter_m() < _LEAST_APART_M):
        return _nothing(event, _too_few(event, count))
    ways = _ways(problem, assumptions or Assumptions())
    found = [
        _with_levels(one, heard, level_db, way).weighed(math.log(share))
        for way, share in ways
        for one in minima.candidates(way)
    ]
    offsets = doppler.Offsets.of(event) if problem.propagation == "line-of-sight" else None
    velocity = None
    if found and offsets is not None:
        both = [doppler.refined(problem, one, offsets) for one in found]
        velocity = max(both, key=lambda one: one[0].log_evidence)[1]
        found = [one for one, _ in both]
    found = minima.weighty(found)
    places = _places(found)
    if not places or _is_wide(places[0], problem) or _excess(found[0]) > _HOPELESS:
        return _over_grid(event, problem, heard, level_db, found)
    best = found[0]
    residuals = _residuals(event, problem, best)
    credible = _is_credible(best, problem)
    excess = _excess(best)
    if excess > 1:
        places = tuple(replace(place, covariance_m2=excess * place.covariance_m2) for place in places)
    elsewhere: tuple[Place, ...] = ()
    if not credible:
        share = float(best.right.mean())
        places = tuple(replace(place, probability=share * place.probability) for place in places)
        elsewhere = (_everywhere(problem, 1 - share),)
    sure = places[0].probability >= SURE
    return Fix(
        event.name,
        "position" if sure else "ambiguous",
        places,
        regions.of_places((*places, *elsewhere)),
        residuals,
        credible and excess == 1,
        (
            *_remarks(best, residuals, sure=sure, credible=credible),
            *([_EITHER_WAY] if len(ways) > 1 and best.freedom == 0 else []),
            *event.remarks,
        ),
        velocity=velocity,
    )


def _resolving(event: Event, assumptions: Assumptions) -> Problem:
    """The problem without times that say less than how far the receivers are apart, where most do."""
    problem = problem_of(event, assumptions)
    while len(problem.row) > 1:
        apart_m = problem.sites.diameter_m()
        if apart_m >= _RESOLVED * float(np.median(problem.sigma_m)):
            break
        arrival_s = event.arrival_s.copy()
        arrival_s[problem.row[_RESOLVED * problem.sigma_m > apart_m]] = np.nan
        event = replace(event, arrival_s=arrival_s)
        problem = problem_of(event, assumptions)
    return problem


def problem_of(event: Event, assumptions: Assumptions) -> Problem:
    """The receivers of an event that have a time, and what is assumed of their ways and of the altitude."""
    row = np.flatnonzero(np.isfinite(event.arrival_s))
    sigma_s = np.where(np.isfinite(event.sigma_s), event.sigma_s, assumptions.sigma_s)
    everywhere = Sites.at(event.latitude_deg, event.longitude_deg, event.altitude_m)
    altitude = _altitude(event, assumptions)
    return Problem(
        row=row,
        sites=Sites.at(
            event.latitude_deg[row],
            event.longitude_deg[row],
            event.altitude_m[row],
            event.doubt.of([event.receiver[k] for k in row]) if event.doubt else None,
        ),
        range_m=SPEED_OF_LIGHT_M_S
        * (event.arrival_s[row] - (event.arrival_s[row].min() if len(row) else 0.0)),
        sigma_m=SPEED_OF_LIGHT_M_S * np.maximum(sigma_s[row], _LEAST_SIGMA_S),
        propagation=assumptions.propagation or rays.by_frequency(event.frequency_hz),
        altitude_m=altitude[0],
        altitude_sigma_m=altitude[1],
        terrain=None if isinstance(assumptions.altitude, float | int | str | None) else assumptions.altitude,
        centre_deg=rays.geodetic(everywhere.ecef_m.mean(axis=0)),
        scale_m=max(everywhere.diameter_m(), 1.0),
    )


def _ways(problem: Problem, assumptions: Assumptions) -> list[tuple[Problem, float]]:
    """The ways on which the signal may have come, and how likely each is before anything is received."""
    if assumptions.propagation is not None or problem.propagation != "sky-wave":
        return [(problem, 1.0)]
    near, far = _GROUND_SHARES
    ground = far + (near - far) * math.exp(-((problem.scale_m / _GROUND_REACH_M) ** 2))
    return [(problem, 1 - ground), (replace(problem, propagation="ground-wave"), ground)]


def _altitude(event: Event, assumptions: Assumptions) -> tuple[float, float]:
    """Expected altitude, over the terrain if there is one, and its standard deviation, metres."""
    given = assumptions.altitude
    aeronautical = any(low <= event.frequency_hz <= high for low, high in _AERONAUTICAL_HZ)
    if given == "unknown":
        return _AIRBORNE_M if aeronautical else _HIGH_M
    if isinstance(given, float | int):
        return float(given), 0.0
    if given is not None:
        return _ANTENNA_M
    if event.altitude_known_m is not None:
        return event.altitude_known_m, 0.0
    return _AIRBORNE_M if aeronautical else (float(np.median(event.altitude_m)), _RELIEF_M)


def _with_levels(one: Candidate, heard: Sites, level_db: Float64, problem: Problem) -> Candidate:
    """A candidate with what the levels say of its place."""
    place = (np.array(one.latitude_deg), np.array(one.longitude_deg), np.array(one.altitude_m))
    more = float(levels.log_likelihood(*place, heard, level_db=level_db, propagation=problem.propagation))
    return one.weighed(more)


def _places(found: Sequence[Candidate]) -> tuple[Place, ...]:
    """Gaussians of the candidates, best first; those that overlap are one, with the moments of both."""
    if not found:
        return ()
    weight = np.exp([one.log_evidence - found[0].log_evidence for one in found])
    share = weight / weight.sum() * min(_unseen(found[0]), SUREST)
    groups: list[list[int]] = []
    for number, one in enumerate(found):
        for group in groups:
            if _overlap(found[group[0]], one):
                group.append(number)
                break
        else:
            groups.append([number])
    places = [_merged([found[number] for number in group], share[group]) for group in groups]
    return tuple(sorted(places, key=lambda place: -place.probability))


def _unseen(best: Candidate) -> float:
    """Probability that no time is wrong that nothing checks."""
    return 1.0 if best.freedom > 0 else (1 - minima.WRONG_SHARE) ** int(np.count_nonzero(best.right))


def _overlap(one: Candidate, other: Candidate) -> bool:
    """Whether two candidates are alike: near in the terms of the first, and of a similar size."""
    offset = _offset(other, one)
    covariance = one.covariance_m2[:2, :2]
    ratio = np.linalg.slogdet(other.covariance_m2[:2, :2])[1] - np.linalg.slogdet(covariance)[1]
    return abs(float(ratio)) < _SIMILAR and float(offset @ np.linalg.solve(covariance, offset)) < _OVERLAP


def _offset(one: Candidate, other: Candidate) -> Float64:
    """East and north of one candidate from another, metres, shape (2,)."""
    place = np.array(one.latitude_deg), np.array(one.longitude_deg)
    return np.array(rays.offset_m(*place, other.latitude_deg, other.longitude_deg))


def _merged(group: Sequence[Candidate], share: Float64) -> Place:
    weight = share / share.sum()
    away = np.array([_offset(one, group[0]) for one in group])
    mean = weight @ away
    rise = np.array([one.altitude_m for one in group])
    altitude = float(weight @ rise)
    spread = [
        one.covariance_m2[:2, :2] + np.outer(shift - mean, shift - mean)
        for one, shift in zip(group, away, strict=True)
    ]
    variance = [one.covariance_m2[2, 2] + (one.altitude_m - altitude) ** 2 for one in group]
    first = group[0]
    latitude, longitude = rays.moved(
        np.array(first.latitude_deg), np.array(first.longitude_deg), np.array(0.0), mean[0], mean[1]
    )
    return Place(
        float(latitude),
        float(longitude),
        altitude,
        math.sqrt(float(weight @ np.array(variance))),
        np.einsum("k,kij->ij", weight, np.array(spread)),
        float(share.sum()),
    )


def _is_wide(place: Place, problem: Problem) -> bool:
    """Whether the place is so uncertain that hyperbolas are no straight lines over it."""
    longest = math.sqrt(5.99 * float(np.linalg.eigvalsh(place.covariance_m2)[-1]))
    return not longest < _WIDE * problem.scale_m


def _excess(best: Candidate) -> float:
    """Variance of the best candidate's times over that which they state; 1 where chance explains more."""
    freedom = max(best.freedom, 1)
    return best.square / freedom if float(chdtrc(freedom, best.square)) < CONTRADICTION else 1.0


def _is_credible(best: Candidate, problem: Problem) -> bool:
    """Whether as many wrong times are credible, and the others check each other and do not agree by chance.

    A few of many random times always fit to some place: then too many others are wrong. So do some times of
    two transmitters: those that are left out and may be of another one, which is no farther than the network
    is large, must be no more than there are to spare, and the agreement of the others none that any choice
    out of such times may have by chance.
    """
    wrong = int(np.count_nonzero(~best.right))
    if wrong == 0:
        return True
    as_many = float(bdtrc(wrong - 1, len(best.right), minima.WRONG_SHARE))
    if best.freedom == 0 or as_many < CONTRADICTION:
        return False
    near = int(np.count_nonzero(np.abs(best.residual_m[~best.right]) < problem.scale_m))
    choices = math.comb(len(best.right) - wrong + near, near)
    by_chance = math.log(choices) - best.log_common
    return near == 0 or (near <= best.freedom and by_chance < math.log(_BY_CHANCE * as_many))


def _everywhere(problem: Problem, probability: float) -> Place:
    """Anywhere about the network."""
    covariance = np.eye(2) * (problem.scale_m / 2) ** 2
    return Place(*problem.centre_deg, problem.altitude_m, problem.altitude_sigma_m, covariance, probability)


def _residuals(event: Event, problem: Problem, best: Candidate) -> tuple[Residual, ...]:
    found = _unused(event)
    for place, row in enumerate(problem.row.tolist()):
        residual_s = float(best.residual_m[place]) / SPEED_OF_LIGHT_M_S
        sigma_s = float(best.deviation_m[place]) / SPEED_OF_LIGHT_M_S
        used = bool(best.right[place])
        when = "late" if residual_s > 0 else "early"
        reason = "" if used else f"its time is {_duration(abs(residual_s))} {when}"
        found[row] = Residual(event.receiver[row], residual_s, sigma_s, used, reason)
    return tuple(found)


def _duration(seconds: float) -> str:
    """`3.02 ms`: three digits with a unit."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def _remarks(best: Candidate, residuals: Sequence[Residual], *, sure: bool, credible: bool) -> list[str]:
    said = []
    if not credible:
        said.append(
            "the arrival times contradict each other: clocks are wrong, or two transmitters are heard"
        )
    elif not sure:
        said.append("several places explain the times, and the most probable one is not sure")
    said += [
        f"{one.receiver} is left out: {one.reason}" for one in residuals if one.reason and one.sigma_s > 0
    ]
    if credible and _excess(best) > 1:
        more = math.sqrt(_excess(best))
        said.append(
            f"the times scatter {more:.1f} times as much as their sigmas say; the regions are that wider"
        )
    if best.freedom == 0:
        unchecked = (
            "no fourth time checks the three" if best.right.all() else "no further time checks the others"
        )
        said.append(
            f"{unchecked}: one that is wrong, as by a second transmitter, would move the position unseen"
        )
    return said


def _over_grid(
    event: Event, problem: Problem, heard: Sites, level_db: Float64, found: Sequence[Candidate]
) -> Fix:
    """The answer of the posterior over a grid."""
    contradicts = bool(found) and (_excess(found[0]) > 1 or not _is_credible(found[0], problem))
    if contradicts:
        over = density.posterior(problem.without_times(), heard, level_db)
    else:
        over = density.posterior(problem, heard, level_db, found)
    latitude, longitude, moment = over.medoid()
    altitude = float(problem.expected_altitude_m(np.array(latitude), np.array(longitude)))
    sigma = problem.altitude_sigma_m if problem.altitude_is_free else 0.0
    place = Place(latitude, longitude, altitude, sigma, moment, SURE)
    count = len(problem.row)
    if contradicts:
        remark = "the arrival times contradict each other, and nothing says which of them are right"
    elif count < 2:
        remark = f"{_no_two(event)}: the answer rests on the levels alone"
    elif count == 2:
        remark = "two arrival times leave a hyperbola"
    else:
        remark = "the geometry leaves the place open along a line"
    residuals = (
        _residuals(event, problem, found[0])
        if found
        else tuple(
            replace(one, used=True, reason="") if row in problem.row else one
            for row, one in enumerate(_unused(event))
        )
    )
    if contradicts:
        residuals = tuple(replace(one, used=False, reason=one.reason or remark) for one in residuals)
    return Fix(
        event.name,
        "region",
        (place,),
        regions.of_grid(over.latitude_deg, over.longitude_deg, over.log_density, over.area_m2),
        residuals,
        not contradicts,
        (remark, *event.remarks),
    )


def _no_two(event: Event) -> str:
    """Why no two times are of use."""
    timed = np.isfinite(event.arrival_s)
    if np.count_nonzero(timed) < 2:
        return "no two receivers have a time"
    sites = Sites.at(event.latitude_deg[timed], event.longitude_deg[timed], event.altitude_m[timed])
    apart_m = sites.diameter_m()
    return f"the receivers with a time are at most {apart_m:.0f} m apart, which their times do not resolve"


def _unused(event: Event) -> list[Residual]:
    """Of receivers whose times are of no use."""
    timed = np.isfinite(event.arrival_s)
    reason = _TOO_UNCERTAIN if np.count_nonzero(timed) > 1 else ""
    return [
        Residual(name, math.nan, math.nan, False, reason if there else "it has no arrival time")
        for name, there in zip(event.receiver, timed.tolist(), strict=True)
    ]


def _too_few(event: Event, count: int) -> str:
    if np.count_nonzero(np.isfinite(event.arrival_s)) > max(count, 1):
        return _no_two(event)
    hearing = int(event.heard.sum())
    if hearing == 0:
        return "no receiver hears a signal"
    if hearing == 1:
        return "one receiver alone hears the signal: its direction is not known"
    return f"{hearing} receivers hear the signal, of which {count} have a usable time: that gives no line"


def _nothing(event: Event, remark: str) -> Fix:
    return Fix(event.name, "nothing", (), (), tuple(_unused(event)), True, (remark, *event.remarks))
