"""Receivers' own errors, from the residuals of many events: offset in time, scatter, and place.

Each arrival time is the way by `rays` and the moment of emission, and of the receiver its offset, the effect
of an error of its place, and an error that is Gaussian with the receiver's own standard deviation, or, of one
time in sixty, anything (`receiver_fit`). Places and moments of the transmissions are unknown, too.

What no event can tell is fixed by priors, and the uncertainties say so. An offset that all receivers share
moves no transmitter: offsets count from the mean of the receivers that had events in common, weighted by
their right times over the variance of these, without those whose offsets are far beyond the others'. A
shift that all receivers share moves all transmitters: `receiver_fit.PLACE_SIGMA_M` alone limits it.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from heimdall.geometry.propagation import SPEED_OF_LIGHT_M_S
from heimdall.multilateration import rays, receiver_fit
from heimdall.multilateration.arrivals import OF_RECEIVER, Arrivals, arrivals_of, of_cells, ways
from heimdall.multilateration.event import Doubt, Event
from heimdall.multilateration.receiver_fit import LEAST_M2, PLACE_SIGMA_M, State
from heimdall.multilateration.solver import Assumptions

Float64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]

_ITERATIONS, _ROUGH = 60, 12
_CONVERGED_M = 0.01
_FAR_OUT = 3.0  # times the usual prior's standard deviation: an offset of five or more of them
TELLING = 0.5  # share of the prior's variance above which the events have told nothing


@dataclass(frozen=True)
class ReceiverError:
    """What one receiver's times are off by. Uncertainties are standard deviations.

    Attributes:
        receiver: Its name.
        offset_s: How much later it says a signal came than the others do.
        offset_uncertainty_s: Of that, its place being unknown, too.
        sigma_s: Scatter of its arrival times about that, beside the noise that the events state; NaN if the
            events have too few times to spare.
        sigma_uncertainty_s: Of that; NaN, too.
        east_m: How far to the east of its stated place it is.
        east_uncertainty_m: Of that.
        north_m: To the north.
        north_uncertainty_m: Of that.
        up_m: Above it.
        up_uncertainty_m: Of that.
        remaining_s: What offset and place, being uncertain, leave in its corrected times: less than either
            alone, because the events fix their sum. Infinite if they tell nothing of the receiver.
        events: Events in which it has a time.
        wrong: How many of these times do not fit its scatter.
    """

    receiver: str
    offset_s: float
    offset_uncertainty_s: float
    sigma_s: float
    sigma_uncertainty_s: float
    east_m: float
    east_uncertainty_m: float
    north_m: float
    north_uncertainty_m: float
    up_m: float
    up_uncertainty_m: float
    remaining_s: float
    events: int
    wrong: int


@dataclass(frozen=True, eq=False)
class Table:
    """Errors of a network.

    Attributes:
        errors: Of K receivers, each once.
        correlation: Of the errors of offset, east, north and up of the first receiver, of the second, and so
            on, shape (4 K, 4 K); None if it is not known: then only `remaining_s` of each counts.
    """

    errors: tuple[ReceiverError, ...]
    correlation: Float64 | None


@dataclass(frozen=True, eq=False)
class Measured(Table):
    """Errors that events say, of each receiver that had a time in one of use, in the order of their names.

    Attributes:
        known_sigma_m: Standard deviation, east or north, of the known places about those that the times
            say; NaN if none was used.
        events: How many events it rests on.
    """

    known_sigma_m: float
    events: int


def measure(
    events: Sequence[Event], assumptions: Assumptions | None = None, *, known: bool = False
) -> Measured:
    """Errors of the receivers of many events.

    Args:
        events: Of one network; those with fewer than three arrival times tell nothing.
        assumptions: As `solver.locate` takes them. Over a terrain the altitude is taken to be that of the
            receivers, with the relief as its uncertainty.
        known: Whether the events' true positions may be used. They count with the scatter that they
            themselves show about the places that the times say.

    Returns:
        What was found; nothing for no event of use.
    """
    table = arrivals_of(events, assumptions or Assumptions(), known=known)
    if not table.receiver:
        return Measured((), None, math.nan, 0)
    state = receiver_fit.first(table)
    covariance, scatter_sigma = np.zeros((0, 0)), np.zeros(0)
    for step in range(_ITERATIONS):
        before = state
        state, covariance, scatter_sigma = receiver_fit.improved(table, state, rough=step < _ROUGH)
        if step >= _ROUGH and np.abs(state.own - before.own).max() < _CONVERGED_M:
            break
    return _measured(table, state, covariance, scatter_sigma)


def centred(measured: Measured) -> Measured:
    """The same errors with offsets that count from where most receivers agree.

    An offset that all receivers share is in no time difference, so any zero is as true as another. From a
    mean of all, one receiver that is late makes each of the others early; so it is the median.
    """
    told_s = [error.offset_s for error in measured.errors if math.isfinite(error.remaining_s)]
    if not told_s:
        return measured
    zero_s = statistics.median(told_s)
    errors = (
        replace(error, offset_s=error.offset_s - zero_s)
        if math.isfinite(error.offset_uncertainty_s)
        else error
        for error in measured.errors
    )
    return replace(measured, errors=tuple(errors))


def apply(events: Sequence[Event], table: Table) -> list[Event]:
    """The events without their receivers' errors: times, sigmas and places are corrected.

    The sigma of a time is what the event states, the receiver's scatter, and how unsure that is: the expected
    square has all three. The doubt of the event is what offsets and places leave. A receiver that is not in
    the table, or of which it knows nothing, stays as it is.
    """
    by_name = {error.receiver: error for error in table.errors if math.isfinite(error.remaining_s)}
    if not by_name:
        return list(events)
    left = _left(table)
    return [_corrected(event, by_name, left) for event in events]


def _left(table: Table) -> Doubt:
    """What is left of the errors of those receivers of which a table knows any."""
    count = len(table.errors)
    known = np.array([math.isfinite(one.remaining_s) for one in table.errors])
    if table.correlation is None:
        correlation = np.eye(OF_RECEIVER * count)
        sigma = [(SPEED_OF_LIGHT_M_S * one.remaining_s, 0.0, 0.0, 0.0) for one in table.errors]
    else:
        correlation = table.correlation
        sigma = [
            (
                SPEED_OF_LIGHT_M_S * one.offset_uncertainty_s,
                one.east_uncertainty_m,
                one.north_uncertainty_m,
                one.up_uncertainty_m,
            )
            for one in table.errors
        ]
    deviation = np.where(known[:, None], np.array(sigma), 0.0).ravel()
    shape = (count, OF_RECEIVER, count, OF_RECEIVER)
    covariance = (deviation[:, None] * correlation * deviation).reshape(shape)[known][:, :, known]
    told = tuple(one.receiver for one, is_known in zip(table.errors, known, strict=True) if is_known)
    return Doubt(told, covariance)


def _corrected(event: Event, errors: Mapping[str, ReceiverError], left: Doubt) -> Event:
    nothing = (0.0,) * 4 + (math.nan,) * 2
    of = [
        (one.offset_s, one.east_m, one.north_m, one.up_m, one.sigma_s, one.sigma_uncertainty_s)
        if (one := errors.get(name))
        else nothing
        for name in event.receiver
    ]
    offset, east, north, up, scatter, doubt = np.array(of, np.float64).reshape(-1, 6).T
    stated = np.nan_to_num(event.sigma_s, nan=0.0)
    sigma = np.sqrt(stated**2 + scatter**2 + np.nan_to_num(doubt, nan=0.0) ** 2)
    latitude, longitude = rays.moved(event.latitude_deg, event.longitude_deg, event.altitude_m, east, north)
    return replace(
        event,
        arrival_s=event.arrival_s - offset,
        sigma_s=np.where(np.isfinite(sigma), sigma, event.sigma_s),
        latitude_deg=latitude,
        longitude_deg=longitude,
        altitude_m=event.altitude_m + up,
        doubt=left,
    )


def _measured(table: Arrivals, state: State, covariance: Float64, scatter_sigma_m: Float64) -> Measured:
    """The state in the form of the answer; offsets count from the mean of those that had events in common."""
    count = len(table.receiver)
    events = table.of_receiver(np.ones(table.cell.shape))
    wrong = table.of_receiver((state.right < 0.5).astype(np.float64))
    told = bool(np.isfinite(table.known[:, 0]).any())
    known_sigma = state.known_sigma_m if told else math.nan
    if np.isnan(scatter_sigma_m).any():
        pairs = zip(table.receiver, events, strict=True)
        unknown = tuple(_unknown(name, int(number)) for name, number in pairs)
        return Measured(unknown, None, known_sigma, len(table.cell))
    # The more a receiver tells, the more it counts, and one that is always wrong counts nothing.
    variance = of_cells(state.scatter_m, table.cell) ** 2 + table.noise_m**2 + LEAST_M2
    telling = np.maximum(table.of_receiver(state.right / variance), 1e-12)
    # One wrong time is the offset of a receiver that has no other: by it no other's should count.
    telling[state.offset_sigma_m > _FAR_OUT * state.offset_sigma_m.min()] *= 1e-12
    together = _together(table) * telling
    centre = np.eye(OF_RECEIVER * count)
    centre[::OF_RECEIVER, ::OF_RECEIVER] -= together / together.sum(axis=1, keepdims=True)
    own = (centre @ state.own.ravel()).reshape(count, OF_RECEIVER)
    covariance = centre @ covariance @ centre.T
    sigma = np.sqrt(np.diag(covariance)).reshape(count, OF_RECEIVER)
    blocks = covariance.reshape(count, OF_RECEIVER, count, OF_RECEIVER)[np.arange(count), :, np.arange(count)]
    expected = ways(table, state.place, table.sites(state.own[:, 1:]))
    padded = np.concatenate([blocks, np.zeros((1, OF_RECEIVER, OF_RECEIVER))])[table.cell]
    left = np.einsum("msi,msij,msj->ms", expected.by_receiver, padded, expected.by_receiver)
    remaining = np.sqrt(table.of_receiver(left) / events)
    # An offset far beyond the others' widens its own prior, by which one wrong time would seem to tell it.
    remaining[sigma[:, 0] ** 2 > TELLING * state.offset_sigma_m.min() ** 2] = np.inf
    second = SPEED_OF_LIGHT_M_S
    errors = tuple(
        ReceiverError(
            receiver=name,
            offset_s=float(own[k, 0] / second),
            offset_uncertainty_s=float(sigma[k, 0] / second),
            sigma_s=float(state.scatter_m[k] / second),
            sigma_uncertainty_s=float(scatter_sigma_m[k] / second),
            east_m=float(own[k, 1]),
            east_uncertainty_m=float(sigma[k, 1]),
            north_m=float(own[k, 2]),
            north_uncertainty_m=float(sigma[k, 2]),
            up_m=float(own[k, 3]),
            up_uncertainty_m=float(sigma[k, 3]),
            remaining_s=float(remaining[k] / second),
            events=int(events[k]),
            wrong=int(wrong[k]),
        )
        for k, name in enumerate(table.receiver)
    )
    correlation = covariance / (sigma.ravel()[:, None] * sigma.ravel())
    return Measured(errors, correlation, known_sigma, len(table.cell))


def _unknown(receiver: str, events: int) -> ReceiverError:
    """A receiver of which the events tell nothing."""
    nan, place = math.nan, PLACE_SIGMA_M
    return ReceiverError(
        receiver, 0.0, math.inf, nan, nan, 0.0, place, 0.0, place, 0.0, place, math.inf, events, 0
    )


def _together(table: Arrivals) -> Bool:
    """Which receivers are linked by events, directly or through others, shape (K, K)."""
    count = len(table.receiver)
    label = np.arange(count + 1)
    while True:
        lowest = np.where(table.there, label[table.cell], count).min(axis=1)
        fresh = label.copy()
        np.minimum.at(fresh, table.cell, np.broadcast_to(lowest[:, None], table.cell.shape))
        fresh[count] = count
        if (fresh == label).all():
            return np.asarray(label[:count, None] == label[:count], np.bool_)
        label = fresh
