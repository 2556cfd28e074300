"""What an answer knows of itself: which to read first, where the truth was, how far it is, and when."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from heimdall.localize.answer import Answer
from heimdall.multilateration.event import Position
from tests.localize import answers


def two(first: Position | None, second: Position | None) -> Answer:
    events = (answers.event("a", truth=first), answers.event("b", truth=second))
    fixes = tuple(answers.fix(one, [answers.place(50.0, 9.0)]) for one in events)
    return Answer("two", events, fixes, answers.fix(events[0], [answers.place(50.0, 9.0)]))


def test_the_answer_of_all_events_is_read_first_and_of_separate_ones_none_is() -> None:
    answer = answers.seconds()
    assert answer.main is answer.together
    assert Answer("", answer.events, answer.fixes).main is None
    alone = answers.normal()
    assert alone.main is alone.fixes[0]


def test_a_transmitter_that_moved_has_no_one_truth() -> None:
    here, there = Position(50.0, 9.0), Position(50.1, 9.0)
    moved = two(here, there)
    assert moved.truth is None
    assert moved.together is not None
    assert moved.error_m(moved.together) is None
    assert [moved.error_m(fix) for fix in moved.fixes] == pytest.approx([0.0, 11_124], abs=2)
    assert two(here, None).truth is None
    assert two(here, here).truth == here
    assert two(None, None).truth is None


def test_an_answer_without_a_place_has_no_error() -> None:
    one = answers.event(truth=Position(50.0, 9.0))
    answer = Answer("", (one,), (answers.fix(one, [], kind="nothing"),))
    assert answer.error_m(answer.fixes[0]) is None


def test_a_time_is_said_in_utc_to_the_microsecond() -> None:
    one = answers.event(time_s=1.25)
    origin = datetime(2017, 11, 27, 12, 41, 59, tzinfo=timezone(timedelta(hours=2)))
    assert Answer("", (one,), (), origin_utc=origin).utc(one) == "2017-11-27T10:42:00.250000Z"
    assert Answer("", (one,), ()).utc(one) is None
    assert Answer("", (one,), (), origin_utc=datetime(2017, 1, 1, tzinfo=UTC)).utc(answers.event()) is None


def test_a_receiver_of_many_events_is_there_once() -> None:
    assert list(answers.seconds().receivers()) == ["DF0KL", "F1JEK", "HB9RYZ"]
