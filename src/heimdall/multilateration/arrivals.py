"""The arrival times of many events of one network as one table, and the expected ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from heimdall.geometry.propagation import SPEED_OF_LIGHT_M_S
from heimdall.multilateration import rays
from heimdall.multilateration.event import Event
from heimdall.multilateration.minima import UNKNOWNS
from heimdall.multilateration.rays import Propagation, Sites
from heimdall.multilateration.solver import Assumptions, problem_of

Float64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]
Index = npt.NDArray[np.intp]

OF_RECEIVER = 4  # unknowns of a receiver: offset, east, north, up
OF_EVENT = 5  # unknowns of an event: east, north, up, moment, what its paths share
_GIVEN_M = 0.1  # standard deviation of an altitude that is given
# No event steps to where its equations say nothing: standard deviations about the last values,
_FAR_M = 1e5  # of a place, each way
_LATE_M = 1e8  # of the moment of emission


@dataclass(frozen=True, eq=False)
class Arrivals:
    """Times of M events in S columns, of K receivers; a cell without a time has number K, which none has.

    Attributes:
        receiver: Names, K of them.
        stated: Where they are said to be: latitude, longitude, altitude, shape (K, 3).
        cell: Receiver of each cell, shape (M, S).
        there: Whether the cell has a time, shape (M, S).
        range_m: Arrival times by the speed of light, from the median of the event, shape (M, S).
        noise_m: Standard deviations that the events state, 0 if none, shape (M, S).
        altitude_m: Expected altitude of the transmitter, shape (M,).
        altitude_sigma_m: Of that, shape (M,).
        known: Latitude, longitude of the transmitter where it may be used, or NaN, shape (M, 2).
        propagation: By event.
    """

    receiver: tuple[str, ...]
    stated: Float64
    cell: Index
    there: Bool
    range_m: Float64
    noise_m: Float64
    altitude_m: Float64
    altitude_sigma_m: Float64
    known: Float64
    propagation: tuple[Propagation, ...]

    def sites(self, shift_m: Float64) -> Sites:
        """Receivers at their stated places and a shift to the east, north and up, shape (K, 3)."""
        latitude, longitude = rays.moved(
            self.stated[:, 0], self.stated[:, 1], self.stated[:, 2], shift_m[:, 0], shift_m[:, 1]
        )
        return Sites.at(latitude, longitude, self.stated[:, 2] + shift_m[:, 2])

    def of_receiver(self, value: Float64) -> Float64:
        """Sums over the cells of each receiver, shape (K,)."""
        count = len(self.receiver) + 1
        total = np.bincount(self.cell.ravel(), (value * self.there).ravel(), count)[:-1]
        return np.asarray(total, np.float64)


@dataclass(frozen=True, eq=False)
class Ways:
    """Expected ranges at places (M, ...) of the transmitters, shape (M, ..., S), and their derivatives.

    Attributes:
        length_m: Metres.
        by_event: By the unknowns of the event, shape (M, ..., S, 5).
        by_receiver: By those of the receiver, shape (M, ..., S, 4).
        spread_m: What each path has of its own, standard deviation.
    """

    length_m: Float64
    by_event: Float64
    by_receiver: Float64
    spread_m: Float64


def arrivals_of(events: Sequence[Event], assumptions: Assumptions, *, known: bool) -> Arrivals:
    """Cells of the events that have three times or more."""
    flat = replace(assumptions, altitude=None) if hasattr(assumptions.altitude, "altitude_m") else assumptions
    found = [(event, problem_of(event, flat)) for event in events if event.receiver]
    found = [(event, problem) for event, problem in found if len(problem.row) >= UNKNOWNS]
    names = sorted({event.receiver[k] for event, problem in found for k in problem.row})
    number = {name: k for k, name in enumerate(names)}
    shape = (len(found), max((len(problem.row) for _, problem in found), default=0))
    stated = np.zeros((len(names), 3))
    cell = np.full(shape, len(names), np.intp)
    range_m, noise_m = np.zeros(shape), np.zeros(shape)
    truth = np.full((shape[0], 2), np.nan)
    for k, (event, problem) in enumerate(found):
        row, count = problem.row, len(problem.row)
        column = [number[event.receiver[r]] for r in row]
        site = problem.sites
        stated[column] = np.stack([site.latitude_deg, site.longitude_deg, site.altitude_m], axis=1)
        cell[k, :count] = column
        range_m[k, :count] = problem.range_m - np.median(problem.range_m)
        noise_m[k, :count] = np.nan_to_num(event.sigma_s[row], nan=0.0) * SPEED_OF_LIGHT_M_S
        if known and event.truth is not None:
            truth[k] = event.truth.latitude_deg, event.truth.longitude_deg
    return Arrivals(
        tuple(names),
        stated,
        cell,
        cell < len(names),
        range_m,
        noise_m,
        np.array([problem.altitude_m for _, problem in found]),
        np.array([max(problem.altitude_sigma_m, _GIVEN_M) for _, problem in found]),
        truth,
        tuple(problem.propagation for _, problem in found),
    )


def ways(table: Arrivals, place: Float64, sites: Sites) -> Ways:
    """From places (M, ..., 3) to the receivers of the cells."""
    shape = (*place.shape[:-1], table.cell.shape[1])
    length, common, spread = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    slope = np.zeros((*shape, 3))
    cell = np.minimum(table.cell, len(table.receiver) - 1)
    cell = cell.reshape(cell.shape[0], *(1,) * (place.ndim - 2), cell.shape[1])
    for kind in sorted(set(table.propagation)):
        rows = np.array([one == kind for one in table.propagation])
        paths = rays.paths(place[rows, ..., 0], place[rows, ..., 1], place[rows, ..., 2], sites, kind)
        at = np.broadcast_to(cell[rows], (*paths.length_m.shape[:-1], cell.shape[-1]))
        length[rows] = np.take_along_axis(paths.length_m, at, -1)
        common[rows] = np.take_along_axis(paths.common_m, at, -1)
        spread[rows] = np.take_along_axis(paths.spread_m, at, -1)
        slope[rows] = np.take_along_axis(paths.slope, at[..., None], -2)
    line = rays.ecef(place[..., 0], place[..., 1], place[..., 2])[..., None, :] - sites.ecef_m[cell]
    unit = line / np.maximum(np.sqrt((line * line).sum(axis=-1, keepdims=True)), 1.0)
    here = rays.axes(sites.latitude_deg, sites.longitude_deg)[cell]
    by_place = -(here @ unit[..., None])[..., 0]
    one = np.ones((*shape, 1))
    return Ways(
        length,
        np.concatenate([slope, one, common[..., None]], axis=-1),
        np.concatenate([one, by_place], axis=-1),
        spread,
    )


def belief(
    table: Arrivals, place: Float64, known_sigma_m: float, share: Float64 | None
) -> tuple[Float64, Float64]:
    """Precision and aim of the five unknowns of each event before its times count, shape (M, ..., 5)."""
    wide = (slice(None), *(None,) * (place.ndim - 2))
    precision, aim = np.zeros((*place.shape[:-1], OF_EVENT)), np.zeros((*place.shape[:-1], OF_EVENT))
    precision[..., :2] = _FAR_M**-2
    precision[..., 2] = 1 / table.altitude_sigma_m[wide] ** 2
    precision[..., 3] = _LATE_M**-2
    precision[..., 4] = 1.0
    aim[..., 2] = table.altitude_m[wide] - place[..., 2]
    if share is not None:
        told = np.isfinite(table.known[:, 0])
        known = table.known[told]
        east, north = rays.offset_m(known[:, 0], known[:, 1], place[told, 0], place[told, 1])
        aim[told, 0], aim[told, 1] = east, north
        precision[told, :2] = (share[told] / known_sigma_m**2)[:, None]
    return precision, aim


def stepped(place: Float64, step: Float64, longest_m: float) -> Float64:
    """Places after steps, none of them longer than a bound."""
    size = np.sqrt((step[..., :2] ** 2).sum(axis=-1))
    step = step * np.minimum(1.0, longest_m / np.maximum(size, 1e-9))[..., None]
    latitude, longitude = rays.moved(place[..., 0], place[..., 1], place[..., 2], step[..., 0], step[..., 1])
    return np.stack([latitude, longitude, place[..., 2] + step[..., 2]], axis=-1)


def of_cells(value: Float64, cell: Index) -> Float64:
    """Of each cell its receiver's values (K, ...); 0 where there is none."""
    return np.concatenate([value, np.zeros_like(value[:1])])[cell]
