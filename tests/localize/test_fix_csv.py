"""The CSV that spreadsheets open: a row an event, numbers in full, and no name that calculates."""

from __future__ import annotations

import csv
import io

import pytest

from heimdall.localize import fix_csv
from heimdall.localize.answer import Answer
from tests.localize import answers
from tests.localize.answers import ALL, CONTROL, FORMULA


def rows(answer: Answer) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(fix_csv.text(answer), newline="")))


@pytest.mark.parametrize("name", ALL)
def test_every_answer_has_a_row_an_event_and_one_for_all(name: str) -> None:
    answer = ALL[name]()
    found = rows(answer)
    assert len(found) == len(answer.events) + (answer.together is not None)
    assert all(tuple(row) == fix_csv.COLUMNS for row in found)
    assert "nan" not in fix_csv.text(answer)


def test_numbers_are_there_in_full() -> None:
    (row,) = rows(answers.normal())
    assert float(row["latitude_deg"]) == 50.0987
    assert float(row["covariance_en_m2"]) == 0.3 * 9_900 * 3_300
    assert (row["kind"], row["consistent"], row["flagged"]) == ("position", "true", "false")
    assert float(row["error_m"]) == pytest.approx(9_286, abs=10)
    assert float(row["region_95_km2"]) == pytest.approx(1256.6, abs=0.1)


def test_the_last_row_is_that_of_all_events_together() -> None:
    found = rows(answers.seconds())
    assert (found[-1]["name"], found[-1]["events"], found[-1]["utc"]) == ("all", "28", "")
    assert found[5]["utc"] == "2017-11-27T10:41:05.000000Z"


def test_receivers_without_a_time_are_not_left_out_but_absent() -> None:
    (row,) = rows(answers.ambiguous())
    assert (row["receivers_used"], row["receivers_left_out"], row["left_out"]) == ("1", "1", "F1JEK")
    assert (row["places"], row["probability"]) == ("2", "0.62")


def test_nothing_known_is_an_empty_cell() -> None:
    (row,) = rows(answers.nothing())
    assert row["latitude_deg"] == row["error_m"] == row["probability"] == ""
    assert row["places"] == "0"


@pytest.mark.parametrize("name", [FORMULA, "+1", "-1+1", "@SUM(A1)", "\uff1d1"])
def test_a_name_is_no_formula(name: str) -> None:
    one = answers.event(name)
    (row,) = rows(Answer("", (one,), (answers.fix(one, []),)))
    assert row["name"] == f"'{name}"


def test_names_with_commas_and_quotes_stay_in_their_cell_and_lines_do_not_break() -> None:
    (row,) = rows(answers.hostile())
    assert row["left_out"] == f"{answers.HOSTILE}; {FORMULA}"
    one = answers.event(f"\r{CONTROL}")
    text = fix_csv.text(Answer("", (one,), (answers.fix(one, []),)))
    assert [len(line.split("\r")) for line in text.split("\n")] == [1, 1, 1]
    assert "]]>&amp;" in text
