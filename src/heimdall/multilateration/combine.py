"""Several events of one transmitter together: one place, unless it moves or the answers change.

Each event has a moment of emission of its own; what the receivers' times have in common beyond that is the
place. A time's error has two parts. What scatters from event to event averages; what is the same in all of
them (a clock, a cable, the way of the signal) does not, however many events there are.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.special import chdtrc, expit, fdtrc, logsumexp, softmax

from heimdall.geometry.propagation import SPEED_OF_LIGHT_M_S
from heimdall.multilateration import rays, solver
from heimdall.multilateration.event import Event
from heimdall.multilateration.fix import Fix, Place, Velocity
from heimdall.multilateration.rays import Sites
from heimdall.multilateration.solver import CONTRADICTION, Assumptions

Float64 = npt.NDArray[np.float64]

_TURNS = 10  # of the robust fit
_FITS = 5.0  # standard deviations of most residuals, beyond which a time is left out
_TINY = 1e-300
_LEAST_SIGMA_S = 1e-10  # as in `solver`: a clock of no error is none
_STATED_EVENTS = 2.0  # the stated sigma counts as much as so many events
_OFTEN = 0.2  # so many events with residuals that chance does not explain are no chance
# Logarithms of the part of a variance that scatters; 0, which is all of it, is among them.
_LOG_SHARE = np.arange(-90, 91) / 10
_MOST_SCATTER = 30.0  # standard deviations
_ALL_SCATTERS = 0.3  # probability of that, before anything is known
_ALIKE = 0.9  # probability that all receivers have one share
_TO_SIGMA = 1.4826  # from the median of magnitudes
_LEAST_FOR_MOTION = 4
_MOST_TURNS = 16  # of straightening by the last place and velocity
_SETTLED = 0.1  # standard deviations of the place, by which the last turn may move it
_DRIFT_SIGMA = 1e-6  # before anything is received: a transmitter of 300 m/s, a clock off by 1 ppm
_MOST_DOUBT = 1e6  # variances of one time, which a mean may have after all


def together(events: Sequence[Event], assumptions: Assumptions | None = None) -> Fix | None:
    """One answer for all events of a transmitter.

    Args:
        events: Any order.
        assumptions: As of `solver.locate`.

    Returns:
        The answer, of the name "all"; None where there are fewer than two events with arrival times, or the
        events are of several transmitters by their names or frequencies.
    """
    timed = [one for one in events if np.isfinite(one.arrival_s).sum() > 1]
    timed, apart = _linked(timed)
    names = {one.transmitter for one in timed}
    if len(timed) < 2 or len(names) > 1 or len({str(one.frequency_hz) for one in timed}) > 1:
        return None
    assumed = assumptions or Assumptions()
    turn, settled = _settled(timed, assumed)
    merged, found = turn.merged, turn.found
    remarks = list(found.remarks)
    if apart:
        listed = ", ".join(apart)
        remarks.append(
            f"{listed}: no event ties their times to those of the others, and they are not in this answer"
        )
    if merged.unstated_s > 0:
        remarks.append(
            "nothing states how accurate some arrival times are; from event to event they scatter by "
            f"{1e9 * merged.unstated_s:.0f} ns"
        )
    velocity = found.velocity
    agree = merged.odd <= _OFTEN * len(timed)
    if not agree:
        remarks.insert(0, merged.disagreement(len(timed)))
    elif found.places and merged.drifts:
        agree = turn.velocity is not None and turn.fits and settled
        if agree:
            velocity = turn.velocity
            remarks.insert(0, "the transmitter moves; the position is that of the mean time")
        elif settled or not turn.fits:
            remarks.insert(0, "the arrival times drift as those of no moving transmitter do: a clock drifts")
        else:
            remarks.insert(0, "the transmitter moves, on a course that its arrival times do not settle")
    return replace(
        found,
        name="all",
        events=len(timed),
        consistent=found.consistent and agree,
        remarks=tuple(remarks),
        velocity=velocity,
    )


@dataclass(frozen=True, eq=False)
class _Table:
    """K events of the R receivers that any of them names; NaN where an event says nothing.

    Attributes:
        receiver: Names, sorted.
        site: Latitude, longitude and altitude, shape (3, R).
        arrival_s: Arrival times, shape (K, R).
        sigma_s: Their standard deviations, shape (K, R).
        stated: Whether the events say any standard deviation of the receiver, shape (R,).
        level_db: Levels, shape (K, R).
        heard: Shape (K, R).
        offset_hz: Carrier offsets, shape (K, R).
        offset_sigma_hz: Their standard deviations, shape (K, R).
    """

    receiver: tuple[str, ...]
    site: Float64
    arrival_s: Float64
    sigma_s: Float64
    stated: npt.NDArray[np.bool_]
    level_db: Float64
    heard: npt.NDArray[np.bool_]
    offset_hz: Float64
    offset_sigma_hz: Float64

    @classmethod
    def of(cls, events: Sequence[Event], unknown_sigma_s: float) -> _Table:
        """All events side by side."""
        names = tuple(sorted({name for one in events for name in one.receiver}))
        place = {name: row for row, name in enumerate(names)}
        arrival, sigma, level, offset, offset_sigma = np.full((5, len(events), len(names)), np.nan)
        heard, says = np.zeros(arrival.shape, np.bool_), np.zeros(len(names), np.bool_)
        site = np.zeros((3, len(names)))
        for number, one in enumerate(events):
            rows = [place[name] for name in one.receiver]
            arrival[number, rows], level[number, rows] = one.arrival_s, one.level_db
            stated = np.where(np.isfinite(one.sigma_s), one.sigma_s, unknown_sigma_s)
            stated = np.maximum(stated, _LEAST_SIGMA_S)
            sigma[number, rows] = np.where(np.isfinite(one.arrival_s), stated, np.nan)
            heard[number, rows] = one.heard
            says[rows] |= np.isfinite(one.sigma_s)
            offset[number, rows], offset_sigma[number, rows] = one.offset_hz, one.offset_sigma_hz
            site[:, rows] = one.latitude_deg, one.longitude_deg, one.altitude_m
        return cls(names, site, arrival, sigma, says, level, heard, offset, offset_sigma)


@dataclass(frozen=True, eq=False)
class _Merged:
    """All events as one.

    Attributes:
        event: Arrival times at the mean time of the events.
        drift_s_s: How much later the signal comes to each receiver in each second, shape (R,).
        drift_information: Inverse covariance of that, up to what is common, shape (R, R).
        drifts: Whether the receivers' times drift against each other beyond chance.
        odd: How many events have residuals that chance does not explain.
        excess: How many times as much as is stated the times of the receivers scatter that state it.
        unstated_s: How much the times of the others scatter where it is far more than is assumed; else 0.
    """

    event: Event
    drift_s_s: Float64
    drift_information: Float64
    drifts: bool
    odd: int
    excess: float
    unstated_s: float

    @classmethod
    def of(cls, events: Sequence[Event], unknown_sigma_s: float) -> _Merged:
        """Robust least squares of arrival = moment of the event + receiver + drift * time.

        The drift is taken for zero unless chance does not explain it.
        """
        table = _Table.of(events, unknown_sigma_s)
        time_s = np.array([one.time_s for one in events])
        moving = None
        if len(events) >= _LEAST_FOR_MOTION and np.isfinite(time_s).all() and np.ptp(time_s) > 0:
            moving = _fitted(table, unknown_sigma_s, time_s - time_s.mean())
            square = float(moving.drift_s_s @ moving.drift_information @ moving.drift_s_s)
            # The scatter is drawn from the same few events: Fisher's F, not a chi-square.
            spare = len(table.receiver) - 1
            of_scatter = spare * (len(events) - 2 + _STATED_EVENTS)
            if float(fdtrc(spare, of_scatter, square / spare)) >= CONTRADICTION:
                moving = None
        fit = moving or _fitted(table, unknown_sigma_s, None)
        event = _event(events, table, fit.mean_s, fit.sigma_s)
        drifts = moving is not None
        return cls(event, fit.drift_s_s, fit.drift_information, drifts, fit.odd, fit.excess, fit.unstated_s)

    def disagreement(self, events: int) -> str:
        """What is said of so many events where too many are odd."""
        if self.excess > _FITS:
            who = f"the events scatter {self.excess:.0f} times as much as is stated, and do not agree"
        elif self.odd == events:
            who = "the events do not agree"
        else:
            who = f"{self.odd} of {events} events do not agree with the others"
        return f"{who} on one place: the transmitter changes, or an arrival time jumps"

    def velocity(self, found: Fix, assumed: Assumptions) -> tuple[Velocity | None, bool]:
        """The velocity that explains the drifts best, if there are any, and whether it explains them."""
        if not self.drifts or not found.places:
            return None, False
        place, event = found.places[0], self.event
        sites = Sites.at(event.latitude_deg, event.longitude_deg, event.altitude_m)
        slope = rays.paths(
            np.array(place.latitude_deg),
            np.array(place.longitude_deg),
            np.array(place.altitude_m),
            sites,
            assumed.propagation or rays.by_frequency(event.frequency_hz),
        ).slope[:, :2]
        seconds_a_metre = slope / SPEED_OF_LIGHT_M_S
        matrix = seconds_a_metre.T @ self.drift_information @ seconds_a_metre
        if np.linalg.cond(matrix) > 1e9:
            return None, False
        covariance = np.linalg.inv(matrix)
        speed = covariance @ seconds_a_metre.T @ self.drift_information @ self.drift_s_s
        rest = self.drift_s_s - seconds_a_metre @ speed
        square = float(rest @ self.drift_information @ rest)
        freedom = len(self.drift_s_s) - 3
        fits = freedom <= 0 or float(chdtrc(freedom, square)) >= CONTRADICTION
        return Velocity(float(speed[0]), float(speed[1]), np.asarray(covariance, np.float64)), fits


@dataclass(frozen=True, eq=False)
class _Turn:
    """What the events say as one: the answer, the velocity if they drift, and whether it explains that."""

    merged: _Merged
    found: Fix
    velocity: Velocity | None
    fits: bool

    @classmethod
    def of(cls, events: Sequence[Event], assumed: Assumptions) -> _Turn:
        """As of `together`."""
        merged = _Merged.of(events, assumed.sigma_s)
        found = solver.locate(merged.event, assumed)
        return cls(merged, found, *merged.velocity(found, assumed))


def _settled(events: Sequence[Event], assumed: Assumptions) -> tuple[_Turn, bool]:
    """The turn whose place and velocity straighten the events to themselves, and whether there is one.

    Each turn straightens the events by the place and the velocity of the last one. Without an end, it is the
    turn of the events as they are.
    """
    first = _Turn.of(events, assumed)
    if first.velocity is None:
        return first, True
    turn, velocity = first, first.velocity
    for _ in range(_MOST_TURNS):
        place = turn.found.places[0]
        turn = _Turn.of(_straightened(events, place, velocity, assumed), assumed)
        if turn.velocity is None:
            break
        velocity, there = turn.velocity, turn.found.places[0]
        step_m = np.array(
            rays.offset_m(there.latitude_deg, there.longitude_deg, place.latitude_deg, place.longitude_deg)
        )
        if step_m @ np.linalg.solve(there.covariance_m2, step_m) < _SETTLED**2:
            return turn, True
    return first, False


def _straightened(
    events: Sequence[Event], place: Place, velocity: Velocity, assumed: Assumptions
) -> list[Event]:
    """The events with times that drift evenly: a way past a receiver first shortens and then lengthens."""
    mean_s = float(np.mean([one.time_s for one in events]))
    middle = (np.array(place.latitude_deg), np.array(place.longitude_deg), np.array(place.altitude_m))
    begin_m, along = rays.ecef(*middle[:2], 0 * middle[2]), rays.axes(*middle[:2])[:2]
    straight = []
    for one in events:
        sites = Sites.at(one.latitude_deg, one.longitude_deg, one.altitude_m)
        east, north = np.array([velocity.east_m_s, velocity.north_m_s]) * (one.time_s - mean_s)
        # Along a great circle: at 50 degrees a parallel leaves it by 9 m within 10 km.
        latitude, longitude = rays.geodetic(begin_m + np.array([east, north]) @ along)
        there = (np.array(latitude), np.array(longitude), middle[2])
        propagation = assumed.propagation or rays.by_frequency(one.frequency_hz)
        begin = rays.paths(*middle, sites, propagation)
        even_m = begin.length_m + begin.slope[:, :2] @ np.array([east, north])
        bend_m = rays.paths(*there, sites, propagation).length_m - even_m
        straight.append(replace(one, arrival_s=one.arrival_s - bend_m / SPEED_OF_LIGHT_M_S))
    return straight


def _event(events: Sequence[Event], table: _Table, mean_s: Float64, sigma_s: Float64) -> Event:
    """The event of the mean arrival times."""
    seen = np.isfinite(table.arrival_s).any(axis=0)
    weight = np.where(np.isfinite(table.offset_hz), 1 / table.offset_sigma_hz**2, 0.0)
    total = weight.sum(axis=0)
    locked = total > 0
    divisor = np.where(locked, total, 1.0)
    altitudes = {one.altitude_known_m for one in events}
    said = Counter(remark for one in events for remark in one.remarks)
    return replace(
        events[0],
        name="all",
        receiver=table.receiver,
        latitude_deg=table.site[0],
        longitude_deg=table.site[1],
        altitude_m=table.site[2],
        arrival_s=np.where(seen, mean_s, np.nan),
        sigma_s=np.where(seen, sigma_s, np.nan),
        level_db=_mean(table.level_db),
        heard=np.asarray(table.heard.any(axis=0)),
        offset_hz=np.where(locked, np.nansum(table.offset_hz * weight, axis=0) / divisor, np.nan),
        offset_sigma_hz=np.where(locked, 1 / np.sqrt(divisor), np.nan),
        altitude_known_m=altitudes.pop() if len(altitudes) == 1 else None,
        time_s=float(np.mean([one.time_s for one in events])),
        remarks=tuple(remark for remark, count in said.items() if 2 * count > len(events)),
    )


def _usual(rest_s: Float64, known: npt.NDArray[np.bool_]) -> Float64:
    """Standard deviation of most residuals (K, R) of each receiver, shape (R,); 0 where there is none."""
    magnitude = np.where(known, np.abs(rest_s), np.nan)
    magnitude[:, ~known.any(axis=0)] = 0.0
    return np.asarray(_TO_SIGMA * np.nanmedian(magnitude, axis=0), np.float64)


@dataclass(frozen=True, eq=False)
class _Fit:
    """As of `_Merged`: means of R receivers, their standard deviations, drifts."""

    mean_s: Float64
    sigma_s: Float64
    drift_s_s: Float64
    drift_information: Float64
    odd: int
    excess: float
    unstated_s: float


def _fitted(table: _Table, unknown_sigma_s: float, since_s: Float64 | None) -> _Fit:
    """Robust least squares over a table; `since_s` (K,) are the events' times, None for no drift."""
    known = np.isfinite(table.arrival_s)
    arrival = np.where(known, table.arrival_s, 0.0)
    count = len(table.receiver)
    stated = np.nan_to_num(np.sqrt(_mean(table.sigma_s**2)), nan=unknown_sigma_s)
    rest = np.where(known, _about_medians(table.arrival_s), 0.0)
    scatter = stated
    since = np.zeros(len(arrival)) if since_s is None else since_s
    for _ in range(_TURNS):
        usual = np.hypot(stated, _usual(rest, known))
        kept = known & (np.abs(rest) < _FITS * usual)
        weight = np.where(kept, 1 / scatter**2, 0.0)
        mean, drift, normal = _least_squares(arrival, weight, since)
        rest = arrival - mean - drift * since[:, None]
        total = np.maximum(weight.sum(axis=1, keepdims=True), _TINY)
        rest = np.where(known, rest - (weight * rest).sum(axis=1, keepdims=True) / total, 0.0)
        unknowns = 1 if since_s is None else 2
        freedom = np.maximum(kept.sum(axis=0) - unknowns, 0) * (1 - 1 / count)
        square = np.where(kept, rest * rest, 0.0).sum(axis=0) + _STATED_EVENTS * stated**2
        scatter = np.sqrt(square / (freedom + _STATED_EVENTS))
    # Within reach of the shares that are tried, whatever is stated.
    variance = np.maximum(stated, scatter / _MOST_SCATTER) ** 2
    standing, scattering = _shares(np.where(kept, rest * rest, 0.0).sum(axis=0) / variance, freedom)
    # Where nobody says one, what is assumed is for the most part an offset.
    standing = np.where(table.stated, variance * standing, stated**2)
    # A mean and its drift are correlated where a receiver has only a part of the events.
    sums = [(np.where(kept, since[:, None] ** power, 0.0) / scatter**2).sum(axis=0) for power in range(3)]
    bend = sums[1] ** 2 / (sums[2] + 1 / _DRIFT_SIGMA**2)
    of_one = 1 / np.maximum(scatter**2 * (sums[0] - bend), 1 / _MOST_DOUBT)
    sigma = np.sqrt(standing + variance * scattering * of_one)
    # The scatter of most events: that of all would explain any.
    usual = _usual(rest, known)
    of_events = ((rest / np.maximum(stated, usual)) ** 2).sum(axis=1)
    odd = chdtrc(np.maximum(known.sum(axis=1) - 1, 1), of_events) < CONTRADICTION
    # Of a single receiver it is the clock's; of most it is that of the places, which does not average. What
    # nobody states cannot be contradicted.
    seen = known.any(axis=0)
    excess = _middle((usual / stated)[seen & table.stated])
    unstated_s = _middle(usual[seen & ~table.stated])
    unstated_s = unstated_s if unstated_s > _FITS * unknown_sigma_s else 0.0
    if excess > _FITS:
        odd[:] = True
        sigma = np.hypot(sigma, usual)
    elif unstated_s > 0:
        sigma = np.where(table.stated, sigma, np.hypot(sigma, usual))
    of_mean, cross, of_drift = normal[:count, :count], normal[:count, count:], normal[count:, count:]
    information = of_drift - cross.T @ np.linalg.pinv(of_mean, rcond=1e-10) @ cross
    return _Fit(mean, sigma, drift, information, int(odd.sum()), excess, unstated_s)


def _shares(square: Float64, freedom: Float64) -> tuple[Float64, Float64]:
    """Of each receiver's variance the part that stands, and the part that scatters and averages.

    Only their sum is known, and what few events do not show to scatter may stand. Beforehand, the share
    that scatters is all with some probability, or else any factor less or more, one twice as far from 1 half
    as likely. It is the same for all receivers, or each has its own: both count by how well they explain the
    residuals, as a few events of one receiver tell little.

    Args:
        square: Sums of squared residuals over the variance, shape (R,).
        freedom: How many of these are free, shape (R,).

    Returns:
        What is expected of each part, over the variance, shape (R,) each. The second is above 1 where the
        times scatter more than is stated.
    """
    share = np.exp(_LOG_SHARE)
    prior = np.exp(-np.abs(_LOG_SHARE))
    prior *= (1 - _ALL_SCATTERS) / prior.sum()
    prior[_LOG_SHARE == 0] += _ALL_SCATTERS
    log_each = -0.5 * (freedom[:, None] * _LOG_SHARE + square[:, None] / share)
    log_all = log_each.sum(axis=0)
    apart = float(logsumexp(log_each, b=prior, axis=-1).sum() - logsumexp(log_all, b=prior))
    alike = float(expit(math.log(_ALIKE / (1 - _ALIKE)) - apart))
    own, common = softmax(log_each + np.log(prior), axis=-1), softmax(log_all + np.log(prior))
    belief = (1 - alike) * own + alike * common
    return belief @ np.maximum(1 - share, 0.0), belief @ share


def _least_squares(values: Float64, weight: Float64, since_s: Float64) -> tuple[Float64, Float64, Float64]:
    """Means and drifts of R receivers, each of mean 0: values = moment of the event + mean + drift * time.

    Args:
        values: Of K events, shape (K, R).
        weight: Of each, 0 where there is none, shape (K, R).
        since_s: Times of the events, shape (K,); zeros for no drift.

    Returns:
        Means and drifts, shape (R,) each, and their information without the prior of drifts, (2 R, 2 R).
    """
    count = values.shape[1]
    total = np.maximum(weight.sum(axis=1), _TINY)
    centred = weight * (values - ((weight * values).sum(axis=1) / total)[:, None])
    normal = np.zeros((2 * count, 2 * count))
    right = np.concatenate([centred.sum(axis=0), (centred * since_s[:, None]).sum(axis=0)])
    for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
        factor = since_s ** (row + column)
        block = np.diag((weight * factor[:, None]).sum(axis=0))
        block -= np.einsum("k,kr,ks->rs", factor / total, weight, weight)
        normal[row * count : (row + 1) * count, column * count : (column + 1) * count] = block
    # Seconds and seconds a second differ by a million: equal scales keep the smallest eigenvalues apart.
    prior = np.concatenate([np.zeros(count), np.full(count, 1 / _DRIFT_SIGMA**2)])
    diagonal = np.diag(normal) + prior
    scale = np.where(
        diagonal > 0, 1 / np.sqrt(np.maximum(diagonal, _TINY)), 0.0
    )  # who has no time stays at 0
    scaled = (normal + np.diag(prior)) * scale[:, None] * scale
    found = scale * np.linalg.lstsq(scaled, scale * right, rcond=1e-10)[0]
    mean, drift = found[:count], found[count:]
    return np.asarray(mean - mean.mean(), np.float64), np.asarray(drift - drift.mean(), np.float64), normal


def _linked(events: Sequence[Event]) -> tuple[list[Event], list[str]]:
    """The events whose receivers' times are tied to each other by others, and the receivers that are not.

    Of several groups of receivers that no event ties together the one with most times is taken.
    """
    groups: list[tuple[set[str], list[Event]]] = []
    for one in events:
        names = {
            name for name, arrival in zip(one.receiver, one.arrival_s, strict=True) if np.isfinite(arrival)
        }
        members = [one]
        rest = []
        for group in groups:
            if group[0] & names:
                names |= group[0]
                members += group[1]
            else:
                rest.append(group)
        groups = [*rest, (names, members)]
    if not groups:
        return [], []
    largest = max(groups, key=lambda group: sum(int(np.isfinite(one.arrival_s).sum()) for one in group[1]))
    kept = set(map(id, largest[1]))
    apart = sorted(set().union(*(names for names, _ in groups)) - largest[0])
    return [one for one in events if id(one) in kept], apart


def _about_medians(arrival_s: Float64) -> Float64:
    """Arrival times (K, R) less a moment for each event and a median for each receiver; NaN where unknown."""
    reference = int(np.argmax(np.isfinite(arrival_s).sum(axis=0)))
    later = arrival_s - arrival_s[:, reference : reference + 1]
    typical = _median(later, axis=0)
    rest = arrival_s - typical
    return np.asarray(np.nan_to_num(rest - _median(rest, axis=1)[:, None]), np.float64)


def _median(values: Float64, axis: int) -> Float64:
    """Median of those that are known along an axis; 0 where none is."""
    nobody = ~np.isfinite(values).any(axis=axis, keepdims=True)
    return np.asarray(np.nanmedian(np.where(nobody, 0.0, values), axis=axis), np.float64)


def _middle(values: Float64) -> float:
    """Median; 0 of none."""
    return float(np.median(values)) if len(values) else 0.0


def _mean(values: Float64) -> Float64:
    """Mean over events of those that are known, shape (R,); NaN where none is."""
    known = np.isfinite(values)
    count = known.sum(axis=0)
    total = np.where(known, values, 0.0).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
