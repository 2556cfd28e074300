"""Receivers' own errors are found from events alone, within the uncertainty that is claimed for them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pytest

from heimdall.geometry.propagation import SPEED_OF_LIGHT_M_S
from heimdall.multilateration import rays, receiver_errors, solver
from heimdall.multilateration.event import Doubt, Event, Position
from heimdall.multilateration.rays import Sites
from heimdall.multilateration.receiver_errors import ReceiverError, Table

Float64 = npt.NDArray[np.float64]
CHI_SQUARE_68, CHI_SQUARE_95 = 2.28, 5.99  # of two freedoms


@dataclass(frozen=True)
class Network:
    """A simulated one: what its receivers say they are, and what they are.

    Attributes:
        stated: Latitude, longitude, altitude, shape (K, 3).
        shift_m: How far to the east, north and up of it they are, shape (K, 3).
        offset_s: Of their clocks, shape (K,).
        sigma_s: Scatter of their times, shape (K,).
        events: What they received.
    """

    stated: Float64
    shift_m: Float64
    offset_s: Float64
    sigma_s: Float64
    events: list[Event]


def network(
    seed: int,
    *,
    longitude_deg: float = 9.0,
    receivers: int = 8,
    events: int = 300,
    heard: int = 6,
    wrong_share: float = 1 / 30,
    wander_s: float = 0.0,
) -> Network:
    """Aircraft over a network of 200 km: altitudes known, places not."""
    rng = np.random.default_rng(seed)
    stated = np.stack(
        [
            48 + rng.uniform(-0.9, 0.9, receivers),
            (longitude_deg + rng.uniform(-1.3, 1.3, receivers) + 180) % 360 - 180,
            rng.uniform(100, 900, receivers),
        ],
        axis=1,
    )
    shift = rng.normal(0, 12, (receivers, 3))
    offset = rng.normal(0, 150e-9, receivers)
    sigma = rng.uniform(20e-9, 60e-9, receivers)
    latitude, longitude = rays.moved(stated[:, 0], stated[:, 1], stated[:, 2], shift[:, 0], shift[:, 1])
    sites = Sites.at(latitude, longitude, stated[:, 2] + shift[:, 2])
    phase, found = rng.uniform(0, 2 * math.pi, receivers), []
    for k in range(events):
        place = Position(
            48 + rng.uniform(-1, 1), longitude_deg + rng.uniform(-1.5, 1.5), rng.uniform(5e3, 12e3)
        )
        row = np.sort(rng.permutation(receivers)[:heard])
        length = rays.paths(
            np.array(place.latitude_deg),
            np.array(place.longitude_deg),
            np.array(place.altitude_m),
            sites,
            "line-of-sight",
        ).length_m[row]
        arrival = length / SPEED_OF_LIGHT_M_S + offset[row] + rng.normal(0, sigma[row])
        arrival += wander_s * math.sqrt(2) * np.sin(2 * math.pi * k / events + phase[row])
        if rng.random() < wrong_share * heard:
            arrival[rng.integers(heard)] += rng.choice([-1, 1]) * 10 ** rng.uniform(-6, -3)
        event = Event.of_times(
            str(k),
            [f"R{r}" for r in row],
            [Position(*stated[r]) for r in row],
            arrival.tolist(),
            frequency_hz=1090e6,
            altitude_known_m=place.altitude_m,
        )
        found.append(replace(event, truth=place))
    return Network(stated, shift, offset, np.hypot(sigma, wander_s), found)


def centred(world: Network, errors: tuple[ReceiverError, ...]) -> Float64:
    """True offsets from the mean of the receivers, counted as the module's docstring says."""
    row = [int(error.receiver[1:]) for error in errors]
    usual = np.abs(world.offset_s[row] - np.median(world.offset_s)) < 2e-6
    weight = [(error.events - error.wrong) / error.sigma_s**2 for error in errors] * usual
    return world.offset_s[row] - np.average(world.offset_s[row], weights=weight)


def scores(world: Network, errors: tuple[ReceiverError, ...]) -> dict[str, list[float]]:
    """How many of the claimed standard deviations each estimate is off by."""
    true = centred(world, errors)
    found: dict[str, list[float]] = {"offset": [], "sigma": [], "place": []}
    for error, offset in zip(errors, true, strict=True):
        k = int(error.receiver[1:])
        found["offset"].append((error.offset_s - offset) / error.offset_uncertainty_s)
        found["sigma"].append((error.sigma_s - world.sigma_s[k]) / error.sigma_uncertainty_s)
        found["place"] += [
            (error.east_m - world.shift_m[k, 0]) / error.east_uncertainty_m,
            (error.north_m - world.shift_m[k, 1]) / error.north_uncertainty_m,
            (error.up_m - world.shift_m[k, 2]) / error.up_uncertainty_m,
        ]
    return found


def within(score: list[float], bound: float) -> float:
    return float(np.mean(np.abs(score) < bound))


@pytest.fixture(scope="module")
def many() -> dict[str, list[float]]:
    """Scores over networks, with one time in thirty wrong, clocks that wander, and no transmitter known."""
    found: dict[str, list[float]] = {"offset": [], "sigma": [], "place": []}
    for seed in range(6):
        world = network(seed, events=150, wander_s=10e-9)
        for name, score in scores(world, receiver_errors.measure(world.events).errors).items():
            found[name] += score
    return found


@pytest.mark.parametrize("what", ["offset", "sigma", "place"])
def test_errors_are_within_the_claimed_uncertainty(many: dict[str, list[float]], what: str) -> None:
    assert 0.55 < within(many[what], 1.0) < 0.85
    assert within(many[what], 2.0) > 0.87


def test_the_true_positions_are_not_read_unless_the_user_says_so() -> None:
    world = network(1, events=40)
    lies = [replace(event, truth=Position(10.0, 10.0, 0.0)) for event in world.events]
    assert receiver_errors.measure(lies).errors == receiver_errors.measure(world.events).errors


def test_known_transmitters_tell_what_three_receivers_cannot() -> None:
    world = network(2, receivers=3, heard=3, events=60, wrong_share=0.0)
    blind = receiver_errors.measure(world.events)
    assert all(math.isinf(error.offset_uncertainty_s) and math.isnan(error.sigma_s) for error in blind.errors)
    seen = receiver_errors.measure(world.events, known=True)
    assert max(error.offset_uncertainty_s for error in seen.errors) < 60e-9
    assert within(scores(world, seen.errors)["offset"], 3.0) == 1.0


def test_a_receiver_that_stands_elsewhere_spoils_no_other() -> None:
    world = network(3, events=150)
    lost = [
        replace(
            event,
            latitude_deg=np.where(np.array(event.receiver) == "R0", 0.0, event.latitude_deg),
            longitude_deg=np.where(np.array(event.receiver) == "R0", 0.0, event.longitude_deg),
        )
        for event in world.events
    ]
    errors = {error.receiver: error for error in receiver_errors.measure(lost).errors}
    assert errors["R0"].wrong == errors["R0"].events or errors["R0"].sigma_s > 1e-5
    others = tuple(error for name, error in errors.items() if name != "R0")
    assert max(error.offset_uncertainty_s for error in others) < 60e-9
    assert within(scores(world, others)["offset"], 3.0) == 1.0


def test_an_offset_far_beyond_all_others_is_found() -> None:
    world = network(4, events=150)
    late = [
        replace(event, arrival_s=event.arrival_s + np.where(np.array(event.receiver) == "R1", 45e-6, 0.0))
        for event in world.events
    ]
    world.offset_s[1] += 45e-6
    errors = receiver_errors.measure(late).errors
    assert within(scores(world, errors)["offset"], 3.0) == 1.0
    assert errors[1].wrong < errors[1].events / 5


def test_networks_without_events_in_common_have_offsets_of_their_own() -> None:
    one, other = network(5, events=60), network(6, events=60)
    renamed = [
        replace(
            event,
            receiver=tuple(f"S{name}" for name in event.receiver),
            longitude_deg=event.longitude_deg - 20,
            arrival_s=event.arrival_s + 1e-3,
        )
        for event in other.events
    ]
    errors = receiver_errors.measure([*one.events, *renamed]).errors
    first = tuple(error for error in errors if error.receiver.startswith("R"))
    second = tuple(replace(error, receiver=error.receiver[1:]) for error in errors[len(first) :])
    assert within(scores(one, first)["offset"], 3.0) == 1.0
    assert within(scores(other, second)["offset"], 3.0) == 1.0


def test_corrected_events_carry_the_whole_uncertainty() -> None:
    world = network(7, events=40)
    error = ReceiverError("R2", 1e-7, 2e-8, 3e-8, 1e-9, 10.0, 5.0, -20.0, 5.0, 7.0, 9.0, 4e-8, 12, 0)
    unknown = replace(error, receiver="R3", remaining_s=math.inf)
    event = next(event for event in world.events if {"R1", "R2", "R3"} < set(event.receiver))
    fixed = receiver_errors.apply([event], Table((error, unknown), None))[0]
    row = event.receiver.index("R2")
    assert fixed.arrival_s[row] == pytest.approx(event.arrival_s[row] - 1e-7, abs=1e-15)
    assert fixed.sigma_s[row] == pytest.approx(math.hypot(30e-9, 1e-9))
    assert fixed.altitude_m[row] == event.altitude_m[row] + 7
    north = (fixed.latitude_deg[row] - event.latitude_deg[row]) * 111.2e3
    assert north == pytest.approx(-20, abs=0.1)
    used = solver.locate(fixed).residuals[row]
    assert used.sigma_s == pytest.approx(math.hypot(30e-9, 1e-9, 40e-9))
    for name in ("R1", "R3"):
        row = event.receiver.index(name)
        assert fixed.arrival_s[row] == event.arrival_s[row]
        assert np.isnan(fixed.sigma_s[row])


def test_errors_of_one_half_improve_the_other_which_claims_what_it_reaches() -> None:
    """Ten fixes of each of 12 networks: those of one network have errors in common, so 120 count as fewer."""
    before, after, square = [], [], []
    for seed in range(12):
        world = network(100 + seed, events=90, heard=5, wrong_share=0.0)
        before += [miss_m(event)[0] for event in world.events[80:83]]
        measured = receiver_errors.measure(world.events[:80])
        for event in receiver_errors.apply(world.events[80:], measured):
            away_m, squared = miss_m(event)
            after.append(away_m)
            square.append(squared)
    assert np.median(after) < 0.7 * np.median(before)
    assert 0.58 < np.mean(np.array(square) < CHI_SQUARE_68) < 0.78
    assert np.mean(np.array(square) < CHI_SQUARE_95) > 0.91


def test_doubts_that_receivers_share_move_the_position_and_doubts_that_cancel_do_not() -> None:
    """Of an offset that all clocks share no position depends; of one place that all share, all of it does."""
    world = network(11, events=1, receivers=6, heard=6, wrong_share=0.0)
    event, east = world.events[0], (0, 100.0, 0, 0)
    sure = replace(event, sigma_s=np.full(6, 30e-9))
    alone = solver.locate(sure).places[0].covariance_m2

    def located(doubt: tuple[float, ...], *, shared: bool) -> Float64:
        block = np.diag(np.square(doubt))
        between = np.ones((6, 6)) if shared else np.eye(6)
        covariance = np.einsum("rs,ij->risj", between, block)
        known = replace(sure, doubt=Doubt(event.receiver, covariance))
        return solver.locate(known).places[0].covariance_m2

    together = located((30.0, 0, 0, 0), shared=True)
    assert np.trace(together) < 1.3 * np.trace(alone)
    assert np.trace(located((30.0, 0, 0, 0), shared=False)) > 5 * np.trace(alone)
    moved = located(east, shared=True)
    assert moved[0, 0] == pytest.approx(100.0**2, rel=0.3)
    assert moved[1, 1] < 0.1 * moved[0, 0]


def miss_m(event: Event) -> tuple[float, float]:
    """How far from the truth the answer is, and the square of that in its own standard deviations."""
    assert event.truth is not None
    place = solver.locate(event).places[0]
    east, north = rays.offset_m(
        event.truth.latitude_deg, event.truth.longitude_deg, place.latitude_deg, place.longitude_deg
    )
    away = np.array([float(east), float(north)])
    return float(np.hypot(*away)), float(away @ np.linalg.solve(place.covariance_m2, away))


def test_the_date_line_is_a_meridian_as_any_other() -> None:
    here, there = (
        receiver_errors.measure(network(1, events=40, wrong_share=0.0, longitude_deg=east).events).errors
        for east in (9.0, 179.9)
    )
    for one, other in zip(here, there, strict=True):
        assert other.offset_s == pytest.approx(one.offset_s, abs=5e-9)
        assert other.remaining_s == pytest.approx(one.remaining_s, rel=0.1)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_few_events_tell_nothing(count: int) -> None:
    measured = receiver_errors.measure(network(9, events=count).events)
    assert measured.events == count
    assert all(math.isinf(error.remaining_s) for error in measured.errors)
    events = network(10, events=1).events
    assert receiver_errors.apply(events, measured) == events


def test_receivers_that_are_seldom_heard_hide_nothing_of_the_others() -> None:
    """Each of 45 has one event; the others have all."""
    world = network(12, events=60)
    seldom = [
        replace(event, receiver=tuple("S" + str(k) if name == "R7" else name for name in event.receiver))
        for k, event in enumerate(world.events)
    ]
    errors = receiver_errors.measure(seldom).errors
    assert len(errors) > 30
    often = [error for error in errors if error.receiver.startswith("R")]
    assert all(error.remaining_s < 60e-9 for error in often)
    assert max(abs(error.offset_s) for error in often) < 400e-9
    assert max(abs(error.offset_s) for error in errors) > 10e-6  # one wrong time is all that one of them has


def test_times_too_noisy_to_tell_anything_leave_the_receivers_as_they_are() -> None:
    noisy = [replace(event, sigma_s=np.full(6, 1e-3)) for event in network(9, events=40).events]
    errors = receiver_errors.measure(noisy).errors
    assert all(math.isinf(error.remaining_s) and abs(error.offset_s) < 1e-9 for error in errors)


@pytest.mark.parametrize(
    "events", [[], [Event.of_times("1", ["A", "B"], [Position(48, 9), Position(49, 9)], [0, 1e-4])]]
)
def test_nothing_is_said_of_events_without_three_times(events: list[Event]) -> None:
    assert receiver_errors.measure(events).errors == ()
