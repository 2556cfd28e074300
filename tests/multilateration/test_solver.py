"""Where a transmitter is, by its arrival times alone, and what the answer does not claim."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from heimdall.geometry.propagation import SPEED_OF_LIGHT_M_S
from heimdall.multilateration import rays
from heimdall.multilateration.event import Event
from heimdall.multilateration.fix import Fix, Place
from heimdall.multilateration.solver import Assumptions, locate
from tests.localize import bounds, known_networks
from tests.multilateration.networks import CENTRE_DEG, Transmission, error_m, square_of

SEEDS = range(24)


def _holds(fix: Fix, truth_deg: tuple[float, float], number: int) -> bool:
    """Whether a region holds a place: an odd number of its rings is crossed by a line to the west."""
    latitude, longitude = truth_deg
    crossed = 0
    for ring in fix.regions[number].rings:
        for (x0, y0), (x1, y1) in itertools.pairwise(ring):
            if (y0 > latitude) != (y1 > latitude):
                crossed += x0 + (latitude - y0) / (y1 - y0) * (x1 - x0) < longitude
    return crossed % 2 == 1


def _distance_m(place: Place, truth_deg: tuple[float, float]) -> float:
    return float(np.hypot(*rays.offset_m(place.latitude_deg, place.longitude_deg, *truth_deg)))


# tests/localize/test_bound.py has networks of 12 and of 30 receivers, too.
@pytest.mark.parametrize(
    ("receivers", "size_m"),
    [(5, 1e5), *(pytest.param(*one, marks=pytest.mark.series) for one in ((12, 5e3), (30, 3e5)))],
)
def test_claims_of_any_network_are_those_of_the_scatter(receivers: int, size_m: float) -> None:
    sent = Transmission(receivers, size_m, 2e-8, place_m=(0.1 * size_m, -0.05 * size_m))
    squares = [square_of(locate(sent.event(seed)), sent.truth_deg()) for seed in SEEDS]
    assert np.mean(squares) == pytest.approx(2.0, abs=1.2)  # of 24: 2 +- 3 sqrt(4 / 24)


# tests/localize/test_bound.py has the others, of five times.
@pytest.mark.parametrize(
    "error_s", [10e-6, *(pytest.param(one, marks=pytest.mark.series) for one in (3e-3, 1.0))]
)
def test_one_wrong_time_of_six_is_left_out_and_said(error_s: float) -> None:
    sent = Transmission(6)
    right, wrong = [], []
    for seed in SEEDS[:15]:
        right.append(error_m(locate(sent.event(seed)), sent.truth_deg()))
        fix = locate(replace(sent, wrong_s={seed % 6: error_s}).event(seed))
        wrong.append(error_m(fix, sent.truth_deg()))
        assert [one.receiver for one in fix.residuals if not one.used] == [f"rx{seed % 6:02d}"]
        assert any("left out" in remark for remark in fix.remarks)
        assert "late" in next(one.reason for one in fix.residuals if not one.used)
    assert np.median(wrong) < 1.3 * np.median(right)


def test_regions_hold_what_they_claim_for_two_receivers_too() -> None:
    inside = []
    generator = np.random.default_rng(5)
    for seed in range(20):
        # Places as the density before anything is received has them: half within the network's size.
        radius = 1e5 * np.sqrt(1 / (1 - generator.uniform()) - 1)
        angle = generator.uniform(0, 2 * np.pi)
        sent = Transmission(2, 1e5, place_m=(radius * np.cos(angle), radius * np.sin(angle)))
        fix = locate(replace(sent.event(seed), frequency_hz=77e3))
        assert fix.kind == "region"
        assert fix.regions[1].area_km2 > 1_000
        inside.append(_holds(fix, sent.truth_deg(), 1))
    assert 0.8 <= np.mean(inside) <= 1.0


def test_regions_of_distant_transmitters_hold_them_and_are_thin() -> None:
    inside = []
    for seed in range(8):
        angle = 2 * np.pi * seed / 8
        place = 2e5 * np.cos(angle), 2e5 * np.sin(angle)
        sent = Transmission(5, 4e4, 5e-8, place_m=place, propagation="ground-wave")
        fix = locate(sent.event(seed), Assumptions(propagation="ground-wave"))
        assert fix.kind == "region"
        assert fix.regions[1].area_km2 < 100
        assert error_m(fix, sent.truth_deg()) < 60_000
        inside.append([_holds(fix, sent.truth_deg(), number) for number in (0, 1)])
    assert np.mean(inside, axis=0) == pytest.approx([0.68, 0.95], abs=0.25)


def test_short_waves_along_the_ground_reach_the_bound_of_plain_geodesics() -> None:
    ratio = []
    for seed in SEEDS:
        network = known_networks.short_wave_of_known_rays(seed)
        arrival = network.delays_s + np.random.default_rng(seed).normal(0, 1e-6, 3)
        event = Event.of_times(
            "7 MHz", network.names, network.receiver, arrival.tolist(), 1e-6, frequency_hz=7e6
        )
        if seed < 8:
            either = locate(event)
            assert any("along the ground or by the ionosphere" in remark for remark in either.remarks)
            where = network.transmitter.latitude_deg, network.transmitter.longitude_deg
            near = [_distance_m(one, where) for one in either.places]
            assert min(near) < 2_000 < near[0]
        place = locate(event, Assumptions(propagation="ground-wave")).places[0]
        error = network.error_m(place.latitude_deg, place.longitude_deg)
        bound = bounds.position_covariance_m2(network.delays_from, np.zeros(2), np.full(3, 1e-6))
        ratio.append(error @ error / np.trace(bound))
    assert np.sqrt(np.mean(ratio)) < 1.3


def test_a_ground_wave_of_short_waves_is_told_from_hops_by_five_times() -> None:
    sent = Transmission(5, 6e4, frequency_hz=7e6, propagation="ground-wave")
    fixes = [locate(sent.event(seed)) for seed in SEEDS]
    assert all(fix.kind == "position" for fix in fixes)
    assert np.mean([square_of(fix, sent.truth_deg()) < 5.99 for fix in fixes]) > 0.8


def test_three_times_are_not_checked_and_that_is_said() -> None:
    fix = locate(Transmission(3).event(1))
    assert fix.kind == "position"
    assert fix.places[0].probability < 0.96
    assert any("no fourth time" in remark for remark in fix.remarks)


def test_times_at_random_give_no_small_ellipse() -> None:
    for receivers in (4, 7, 30):
        for seed in range(4 if receivers < 30 else 2):
            event = Transmission(receivers).event(seed)
            at_random = np.random.default_rng(seed).uniform(0, 3e-4, receivers)
            fix = locate(replace(event, arrival_s=at_random))
            assert fix.flagged
            assert fix.regions[1].area_km2 > 100


def test_two_transmitters_at_once_are_said() -> None:
    one, other = Transmission(7), Transmission(7, place_m=(-30_000.0, 20_000.0))
    for seed in range(6):
        mixed = np.where(np.arange(7) % 2, one.event(seed).arrival_s, other.event(seed).arrival_s)
        fix = locate(replace(one.event(seed), arrival_s=mixed))
        assert fix.flagged
        assert any("two transmitters" in remark for remark in fix.remarks)


def test_some_times_of_two_transmitters_that_agree_by_chance_are_no_position() -> None:
    generator = np.random.default_rng(1)
    for seed in range(32):
        places = generator.uniform(-15_000, 15_000, (2, 2)).tolist()
        one, other = (Transmission(6, 4e4, 5e-8, place_m=(east, north)) for east, north in places)
        half = generator.permutation(6) < 3
        mixed = np.where(half, one.event(seed).arrival_s, other.event(seed).arrival_s)
        fix = locate(replace(one.event(seed), arrival_s=mixed))
        assert fix.flagged
        assert fix.regions[1].area_km2 > 100


def test_nothing_is_claimed_where_nothing_is_known() -> None:
    event = Transmission(5).event(0)
    silent = np.full(5, np.nan)
    nobody = locate(replace(event, arrival_s=silent, heard=np.zeros(5, np.bool_)))
    alone = locate(replace(event, arrival_s=silent, heard=np.arange(5) == 2))
    same = np.full(5, 45.0)
    together = locate(replace(event, latitude_deg=same, longitude_deg=same))
    for fix, word in ((nobody, "no receiver"), (alone, "one receiver"), (together, "apart")):
        assert fix.kind == "nothing"
        assert fix.places == ()
        assert word in fix.remarks[0]


def test_levels_alone_leave_a_wide_region_that_holds_the_transmitter() -> None:
    sent = Transmission(6)
    event = sent.event(0)
    latitude, longitude = (np.array(value) for value in sent.truth_deg())
    ways = rays.paths(latitude, longitude, np.array(200.0), sent.sites(), "line-of-sight")
    level = -35 * np.log10(ways.length_m) + np.random.default_rng(0).normal(0, 6, 6)
    fix = locate(replace(event, arrival_s=np.full(6, np.nan), level_db=level))
    assert fix.kind == "region"
    assert "levels alone" in fix.remarks[0]
    assert _holds(fix, sent.truth_deg(), 1)
    assert fix.regions[1].area_km2 > 100


def test_times_that_tell_nothing_take_nothing_from_levels_and_other_times() -> None:
    sent = Transmission(5, 6e3, 1e-5, place_m=(700.0, -400.0))
    event = sent.event(0)
    ways = rays.paths(*map(np.array, sent.truth_deg()), np.array(200.0), sent.sites(), "line-of-sight")
    heard = replace(event, level_db=-35 * np.log10(ways.length_m))
    levels = locate(heard)
    assert levels.kind == "region"
    assert "levels alone" in levels.remarks[0]
    assert _holds(levels, sent.truth_deg(), 1)
    alone = locate(replace(heard, arrival_s=np.full(5, np.nan)))
    assert levels.regions[1].area_km2 == alone.regions[1].area_km2
    two = replace(sent, sigma_s=5e-8).event(0)
    line = locate(replace(two, sigma_s=np.array([5e-8, 5e-8, 1.0, 1.0, 1.0])))
    assert line.kind == "region"
    assert line.remarks[0] == "two arrival times leave a hyperbola"
    assert [one.used for one in line.residuals] == [True, True, False, False, False]


def test_an_unknown_altitude_is_found_and_its_uncertainty_is_in_the_position() -> None:
    sent = Transmission(9, 2e5)
    event = replace(sent.event(3), altitude_known_m=None, frequency_hz=1090e6)
    fix = locate(event, Assumptions(altitude="unknown"))
    known = locate(event, Assumptions(altitude=200.0))
    assert fix.places[0].altitude_sigma_m > 50
    assert square_of(fix, sent.truth_deg()) < 12
    assert known.places[0].altitude_sigma_m < 1e-9
    assert np.linalg.det(fix.places[0].covariance_m2) > np.linalg.det(known.places[0].covariance_m2)


def test_an_unknown_altitude_leaves_no_right_time_out() -> None:
    sent = Transmission(5, 1.2e5, 5e-8)
    flying = Assumptions(altitude="unknown")
    fixes = [locate(replace(sent.event(seed), altitude_known_m=None), flying) for seed in range(40)]
    assert sum(not one.used for fix in fixes for one in fix.residuals) <= 1
    assert np.mean([square_of(fix, sent.truth_deg()) < 5.99 for fix in fixes]) > 0.85


def test_a_moving_transmitter_has_its_velocity_from_the_carriers() -> None:
    sent = Transmission(6, speed_m_s=(20.0, -10.0), offset_sigma_hz=2e-3)
    still = replace(sent, offset_sigma_hz=0.0)
    fixes = [locate(sent.event(seed)) for seed in SEEDS[:20]]
    alone = [error_m(locate(still.event(seed)), sent.truth_deg()) for seed in SEEDS[:20]]
    velocity = fixes[0].velocity
    assert velocity is not None
    assert (velocity.east_m_s, velocity.north_m_s) == pytest.approx((20, -10), abs=0.3)
    assert np.mean([square_of(fix, sent.truth_deg()) for fix in fixes]) == pytest.approx(2.0, abs=1.2)
    assert np.median([error_m(fix, sent.truth_deg()) for fix in fixes]) < 0.8 * np.median(alone)


def test_offsets_of_a_transmitter_at_rest_leave_an_unknown_altitude_unknown() -> None:
    sent = Transmission(7, 1.2e5, offset_sigma_hz=0.05)
    flying = Assumptions(altitude="unknown")
    events = [replace(sent.event(seed), altitude_known_m=None) for seed in SEEDS]
    fixes = [locate(event, flying) for event in events]
    assert np.mean([square_of(fix, sent.truth_deg()) < 5.99 for fix in fixes]) > 0.8


def test_a_small_network_far_north_is_looked_at_where_it_is() -> None:
    east, north = np.array([0.0, 700.0, -400.0, 100.0]), np.array([600.0, -300.0, -500.0, 50.0])
    latitude, longitude = rays.destination(68.0, -150.0, east, north)
    sites = rays.Sites.at(latitude, longitude, np.zeros(4))
    ways = rays.paths(np.array(68.001), np.array(-150.002), np.array(0.0), sites, "line-of-sight")
    event = replace(
        Transmission(4).event(0),
        latitude_deg=latitude,
        longitude_deg=longitude,
        altitude_m=np.zeros(4),
        altitude_known_m=0.0,
        arrival_s=ways.length_m / SPEED_OF_LIGHT_M_S,
        sigma_s=np.full(4, 2e-8),
    )
    fix = locate(event)
    assert fix.kind == "position"
    assert error_m(fix, (68.001, -150.002)) < 5


def test_an_event_of_nobody_says_so() -> None:
    nobody = Event.of_times("empty", [], [], [])
    assert locate(nobody).kind == "nothing"


def test_answers_are_plain_values_that_any_format_can_write() -> None:
    sent = Transmission(4, wrong_s={1: 1e-2})
    for event in (sent.event(0), replace(sent.event(0), altitude_known_m=None)):
        fix = locate(event)
        values = [fix.consistent, *(region.area_km2 for region in fix.regions)]
        values += [value for one in fix.residuals for value in (one.used, one.residual_s, one.sigma_s)]
        assert {type(value) for value in values} <= {bool, float}


def test_both_crossings_are_found_however_near_they_are() -> None:
    east, north = np.array([-18_000.0, 30_000.0, 4_000.0]), np.array([9_000.0, 14_000.0, -33_000.0])
    latitude, longitude = rays.destination(47.3, 8.4, east, north)
    sites = rays.Sites.at(latitude, longitude, np.full(3, 450.0))
    missing = 0
    for seed in range(60):
        away = np.random.default_rng(seed).uniform(-45_000, 45_000, 2)
        truth = rays.destination(47.3, 8.4, away[0], away[1])
        ways = rays.paths(*truth, np.array(450.0), sites, "line-of-sight")
        event = replace(
            Transmission(3).event(0),
            latitude_deg=latitude,
            longitude_deg=longitude,
            altitude_m=np.full(3, 450.0),
            altitude_known_m=450.0,
            arrival_s=ways.length_m / SPEED_OF_LIGHT_M_S,
            sigma_s=np.full(3, 2e-8),
        )
        fix = locate(event)
        if fix.kind in {"position", "ambiguous"}:
            offsets = [rays.offset_m(one.latitude_deg, one.longitude_deg, *truth) for one in fix.places]
            missing += min(float(np.hypot(*one)) for one in offsets) > 300
    assert missing == 0


def test_receivers_on_a_line_leave_both_sides_of_it() -> None:
    for seed in range(12):
        generator = np.random.default_rng(seed)
        along, away = np.sort(generator.uniform(-20_000, 20_000, 6)), generator.uniform(500, 6_000)
        latitude, longitude = rays.destination(*CENTRE_DEG, along, np.zeros(6))
        truth = rays.destination(*CENTRE_DEG, np.array(generator.uniform(-12_000, 12_000)), np.array(away))
        sites = rays.Sites.at(latitude, longitude, np.full(6, 200.0))
        ways = rays.paths(*truth, np.array(200.0), sites, "line-of-sight")
        event = replace(
            Transmission(6, sigma_s=5e-8).event(0),
            latitude_deg=latitude,
            longitude_deg=longitude,
            arrival_s=ways.length_m / SPEED_OF_LIGHT_M_S + generator.normal(0, 5e-8, 6),
        )
        fix = locate(event)
        assert fix.kind != "position" or error_m(fix, (float(truth[0]), float(truth[1]))) < away


def test_the_crossing_far_outside_of_a_network_is_a_place_too() -> None:
    for seed in range(10, 22):
        generator = np.random.default_rng(seed)
        latitude, longitude = rays.destination(*CENTRE_DEG, *generator.uniform(-14_000, 14_000, (2, 3)))
        angle, away = generator.uniform(0, 2 * np.pi), generator.uniform(20_000, 60_000)
        place = np.array(away * np.cos(angle)), np.array(away * np.sin(angle))
        truth = tuple(map(float, rays.destination(*CENTRE_DEG, *place)))
        sites = rays.Sites.at(latitude, longitude, np.full(3, 200.0))
        ways = rays.paths(*map(np.array, truth), np.array(10_000.0), sites, "line-of-sight")
        event = replace(
            Transmission(3, sigma_s=5e-8).event(0),
            latitude_deg=latitude,
            longitude_deg=longitude,
            altitude_known_m=10_000.0,
            arrival_s=ways.length_m / SPEED_OF_LIGHT_M_S + generator.normal(0, 5e-8, 3),
        )
        fix = locate(event)
        if fix.kind != "region":
            distances = [_distance_m(one, truth) for one in fix.places]
            sizes = [float(np.sqrt(np.trace(one.covariance_m2))) for one in fix.places]
            assert min(a / b for a, b in zip(distances, sizes, strict=True)) < 5
