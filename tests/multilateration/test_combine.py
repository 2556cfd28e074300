"""Several seconds of one transmitter together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from heimdall.geometry.propagation import SPEED_OF_LIGHT_M_S
from heimdall.multilateration.combine import together
from heimdall.multilateration.event import Doubt, Event
from heimdall.multilateration.fix import Fix
from heimdall.multilateration.solver import locate
from tests.multilateration.networks import Transmission, error_m, square_of


def _seconds(sent: Transmission, count: int, seed: int = 0) -> list[Event]:
    return [sent.event(100 * seed + second, float(second)) for second in range(count)]


def test_many_seconds_are_as_much_better_as_they_claim() -> None:
    sent = Transmission(6)
    squares, ratios = [], []
    for seed in range(20):
        events = _seconds(sent, 25, seed)
        fix = together(events)
        assert fix is not None
        assert (fix.kind, fix.consistent, fix.events) == ("position", True, 25)
        squares.append(square_of(fix, sent.truth_deg()))
        area = np.linalg.det(locate(events[0]).places[0].covariance_m2)
        ratios.append((np.linalg.det(fix.places[0].covariance_m2) / area) ** 0.25)
    assert np.mean(squares) == pytest.approx(2.0, abs=1.2)
    assert np.median(ratios) == pytest.approx(1 / 5, rel=0.25)


def test_what_all_seconds_have_alike_does_not_average() -> None:
    sent = Transmission(6)
    standing = np.random.default_rng(1).normal(0, 3e-7, 6)
    events = [
        replace(one, arrival_s=one.arrival_s + standing, sigma_s=np.full(6, np.hypot(3e-7, 1e-7)))
        for one in _seconds(sent, 25)
    ]
    fix = together(events)
    assert fix is not None
    assert square_of(fix, sent.truth_deg()) < 9
    alone = np.linalg.det(locate(events[0]).places[0].covariance_m2)
    assert np.linalg.det(fix.places[0].covariance_m2) > 0.3 * alone


@pytest.mark.parametrize("count", [2, pytest.param(4, marks=pytest.mark.series), 10])
def test_few_seconds_do_not_average_clocks_that_are_off_alike(count: int) -> None:
    """The stated sigma is right, and hardly anything of it changes from second to second."""
    sent = Transmission(6, sigma_s=1e-8)
    squares = []
    for seed in range(30):
        off = np.random.default_rng(seed).normal(0, 1e-7, 6)
        events = _seconds(sent, count, seed)
        fix = together(
            [replace(one, arrival_s=one.arrival_s + off, sigma_s=np.full(6, 1e-7)) for one in events]
        )
        assert fix is not None
        squares.append(square_of(fix, sent.truth_deg()))
    assert np.mean(squares) == pytest.approx(2.0, abs=1.1)  # of 30: 2 +- 3 sqrt(4 / 30)


def test_clocks_that_are_said_to_have_no_error_are_no_surer_than_their_scatter() -> None:
    sent = Transmission(6)
    fix = together([replace(one, sigma_s=np.zeros(6)) for one in _seconds(sent, 20)])
    assert fix is not None
    assert square_of(fix, sent.truth_deg()) < 12


def test_what_scatters_from_second_to_second_gets_better_with_each() -> None:
    sent = Transmission(6)
    claimed = {
        count: np.median(
            [np.linalg.det(_together(sent, count, seed).places[0].covariance_m2) ** 0.25 for seed in range(9)]
        )
        for count in (2, 5, 10, 40)
    }
    assert claimed[2] > 1.3 * claimed[5] > 1.3**2 * claimed[10] > 1.3**2 * 1.6 * claimed[40]


def _together(sent: Transmission, count: int, seed: int) -> Fix:
    fix = together(_seconds(sent, count, seed))
    assert fix is not None
    return fix


def test_a_transmitter_that_moves_is_said_to_move() -> None:
    sent = Transmission(6, speed_m_s=(30.0, 0.0))
    fix = together(_seconds(sent, 28))
    assert fix is not None
    assert fix.velocity is not None
    assert fix.velocity.east_m_s == pytest.approx(30, abs=5)
    assert "moves" in fix.remarks[0]
    assert error_m(fix, sent.truth_deg(13.5)) < 60


def test_a_course_past_the_receivers_is_as_right_as_it_claims() -> None:
    sent = Transmission(6, 15_000.0, place_m=(-2_000.0, 1_500.0), speed_m_s=(250.0, 0.0))
    squares = []
    for seed in range(10):
        fix = together(_seconds(sent, 20, seed))
        assert fix is not None
        assert fix.consistent
        assert fix.velocity is not None
        squares.append(square_of(fix, sent.truth_deg(9.5)))
    assert np.mean(squares) == pytest.approx(2.0, abs=1.8)  # of 10: 2 +- 3 sqrt(4 / 10)


def _course(sent: Transmission, count: int, every_s: float, seed: int) -> Fix:
    """The answer of so many events, the transmitter's place of which is that of their mean time."""
    times_s = every_s * (np.arange(count) - (count - 1) / 2)
    fix = together([sent.event(100 * seed + row, float(time)) for row, time in enumerate(times_s)])
    assert fix is not None
    return fix


def test_an_airliner_across_the_network_is_as_right_as_it_claims() -> None:
    """25 km in 100 s over a network of 40 km: its ways bend by a thousand sigmas."""
    sent = Transmission(6, 40_000.0, 5e-8, (2_000.0, 3_000.0), (250.0, 0.0))
    fixes = [_course(sent, 20, 5.0, seed) for seed in range(6)]
    for fix in fixes:
        assert not fix.flagged
        assert fix.remarks[0] == "the transmitter moves; the position is that of the mean time"
        assert fix.velocity is not None
        assert fix.velocity.east_m_s == pytest.approx(250, abs=2)
        assert fix.velocity.north_m_s == pytest.approx(0, abs=1)
        assert error_m(fix, sent.truth_deg()) < 30
    squares = [square_of(fix, sent.truth_deg()) for fix in fixes]
    assert np.mean(squares) < 2 + 3 * np.sqrt(4 / 6)


def test_a_course_high_above_the_receivers_is_straightened_there() -> None:
    sent = Transmission(6, 40_000.0, 2e-8, (2_000.0, 3_000.0), (250.0, 0.0), altitude_m=10_000.0)
    fixes = [_course(sent, 20, 5.0, seed) for seed in range(4)]
    assert not any(fix.flagged for fix in fixes)
    assert np.mean([square_of(fix, sent.truth_deg()) for fix in fixes]) < 2 + 3 * np.sqrt(4 / 4)


def test_a_fast_course_is_followed_until_its_place_stands_still() -> None:
    sent = Transmission(5, 40_000.0, 5e-8, (2_000.0, -4_000.0), (200.0, 0.0))
    fixes = [_course(sent, 10, 10.0, seed) for seed in range(5)]
    assert not any(fix.flagged for fix in fixes)
    assert np.mean([square_of(fix, sent.truth_deg()) for fix in fixes]) < 2 + 3 * np.sqrt(4 / 5)


def test_a_course_that_does_not_come_to_rest_is_flagged_and_has_no_velocity() -> None:
    fix = _course(Transmission(3, 40_000.0, 5e-8, (8_000.0, 12_000.0), (200.0, 200.0)), 10, 10.0, 0)
    assert fix.flagged
    assert fix.velocity is None
    assert "do not settle" in fix.remarks[0]


def test_times_without_a_stated_sigma_scatter_and_contradict_nothing() -> None:
    sent = Transmission(6, sigma_s=1.5e-6)
    events = [replace(one, sigma_s=np.full(6, np.nan)) for one in _seconds(sent, 10)]
    fix = together(events)
    assert fix is not None
    assert not fix.flagged
    said = [remark for remark in fix.remarks if "nothing states how accurate" in remark]
    assert len(said) == 1
    assert 1000 < float(said[0].split()[-2]) < 2000
    assert square_of(fix, sent.truth_deg()) < 9


def test_clocks_worse_than_stated_are_told_from_those_that_state_nothing() -> None:
    sent = Transmission(6, sigma_s=1.5e-6)
    events = [replace(one, sigma_s=np.where(np.arange(6) < 4, 1e-7, np.nan)) for one in _seconds(sent, 10)]
    fix = together(events)
    assert fix is not None
    assert fix.flagged
    assert "times as much as is stated" in fix.remarks[0]


def test_two_transmitters_in_turn_are_no_position() -> None:
    one, other = Transmission(6), Transmission(6, place_m=(-20_000.0, 15_000.0))
    mixed = [(other if second % 3 == 0 else one).event(second, float(second)) for second in range(24)]
    fix = together(mixed)
    assert fix is not None
    assert fix.flagged
    assert "do not agree" in fix.remarks[0]


@pytest.mark.parametrize("count", [2, 10])
def test_places_that_alternate_are_no_place_between_them(count: int) -> None:
    one, other = Transmission(5), Transmission(5, place_m=(9_000.0, -2_000.0))
    fix = together([(one, other)[second % 2].event(second, float(second)) for second in range(count)])
    assert fix is not None
    assert fix.flagged
    assert "times as much as is stated, and do not agree on one place" in fix.remarks[0]
    assert "others" not in fix.remarks[0]
    assert max(square_of(fix, one.truth_deg()), square_of(fix, other.truth_deg())) < 9


def test_a_receiver_whose_clock_jumps_about_does_not_make_a_transmitter_change() -> None:
    sent, generator = Transmission(6), np.random.default_rng(3)
    events = _seconds(sent, 20)
    for event in events:
        event.arrival_s[2] += generator.normal(0, 2e-6)
    fix = together(events)
    assert fix is not None
    assert not fix.flagged
    assert square_of(fix, sent.truth_deg()) < 9


def test_a_clock_that_drifts_is_told_from_a_transmitter_that_moves() -> None:
    events = _seconds(Transmission(6), 28)
    for event in events:
        event.arrival_s[2] += 5e-8 * event.time_s
    fix = together(events)
    assert fix is not None
    assert fix.flagged
    assert "clock drifts" in fix.remarks[0]


def test_a_wrong_second_does_not_move_the_rest() -> None:
    sent = Transmission(6)
    events = _seconds(sent, 20)
    events[7].arrival_s[1] += 1e-3
    fix, right = together(events), together(_seconds(sent, 20))
    assert fix is not None
    assert right is not None
    assert error_m(fix, sent.truth_deg()) < error_m(right, sent.truth_deg()) + 10


def test_events_of_different_transmitters_have_no_common_answer() -> None:
    events = _seconds(Transmission(6), 3)
    assert together([replace(one, transmitter=str(row)) for row, one in enumerate(events)]) is None
    assert together(events[:1]) is None


def test_receivers_that_no_event_ties_together_are_not_mixed() -> None:
    sent = Transmission(6)
    events = _seconds(sent, 12)
    for number, event in enumerate(events):
        event.arrival_s[number % 2 :: 2] = np.nan
    fix = together([*events, sent.event(99, 12.0)][:12])
    assert fix is not None
    assert error_m(fix, sent.truth_deg()) < 300
    assert any("no event ties" in remark for remark in fix.remarks)


def test_a_receiver_that_hears_a_part_of_the_way_does_not_bend_it() -> None:
    sent = Transmission(5, speed_m_s=(100.0, 0.0))
    squares = []
    for seed in range(20):
        events = _seconds(sent, 12, seed)
        for event in events[:9]:
            event.arrival_s[0] = np.nan
        fix = together(events)
        assert fix is not None
        assert fix.consistent
        squares.append(square_of(fix, sent.truth_deg(5.5)))
    assert np.median(squares) < 4


def test_times_of_unknown_clocks_do_not_get_better_by_their_number() -> None:
    sent = Transmission(6)
    events = [replace(one, sigma_s=np.full(6, np.nan)) for one in _seconds(sent, 20)]
    fix = together(events)
    assert fix is not None
    alone = np.linalg.det(locate(events[0]).places[0].covariance_m2)
    assert np.linalg.det(fix.places[0].covariance_m2) > 0.8 * alone


def test_a_receiver_that_never_has_a_time_changes_nothing() -> None:
    sent = Transmission(6)
    events = _seconds(sent, 3)
    for event in events:
        event.arrival_s[1] = np.nan
    fix = together(events)
    assert fix is not None
    assert fix.kind == "position"
    assert error_m(fix, sent.truth_deg()) < 60


def test_what_is_left_of_receivers_errors_does_not_average() -> None:
    """Of 50 seconds the noise is that of many, and the doubts about the receivers count once."""
    sent = Transmission(6)
    left = np.zeros((6, 4, 6, 4))
    left[range(6), 0, range(6), 0] = 90.0**2
    seconds = _seconds(sent, 50)
    doubted = [replace(one, doubt=Doubt(one.receiver, left)) for one in seconds]
    fix, sure = together(doubted), together(seconds)
    assert fix is not None
    assert sure is not None
    once = replace(seconds[0], sigma_s=np.full(6, 90.0 / SPEED_OF_LIGHT_M_S))
    expected = sure.places[0].covariance_m2 + locate(once).places[0].covariance_m2
    assert fix.places[0].covariance_m2 == pytest.approx(expected, rel=0.2, abs=0.1 * np.trace(expected))
