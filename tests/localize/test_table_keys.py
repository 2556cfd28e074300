"""Columns whose cells are in metres and in kilometres have keys by which a page sorts them."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from heimdall.localize import fix_words
from heimdall.multilateration.event import Position
from heimdall.pages.elements import Table
from tests.localize import answers

UNITS_M = {"m": 1.0, "km": 1000.0}


def metres(said: str) -> list[float]:
    """Each of the lengths in a cell."""
    words = [one.replace(",", "").split(" ") for one in said.split(" x ")]
    return [float(value) * UNITS_M[unit] for value, unit in words]


def keys(table: Table, heading: str) -> tuple[list[str], list[float]]:
    """The cells of a column and the numbers by which it is sorted."""
    column = table.headings.index(heading)
    return [str(row[column]) for row in table.rows], list(table.keys[column])


def test_places_sort_by_the_larger_deviation_and_axis_in_metres() -> None:
    fix = answers.normal().main
    small, large = (
        dataclasses.replace(fix.places[0], covariance_m2=np.diag([20.0, size_m]) ** 2, probability=0.5)
        for size_m in (300.0, 2000.0)
    )
    table = fix_words.places(dataclasses.replace(fix, places=(small, large)))
    for heading in ("sigma E x N", "95 % ellipse"):
        cells, order = keys(table, heading)
        assert {cell.split(" ")[-1] for cell in cells} <= {"m", "km"}
        assert order == pytest.approx([max(metres(cell)) for cell in cells], rel=0.05)
        assert order[0] < order[1]


def test_events_sort_by_metres_and_those_without_a_place_are_last() -> None:
    answer = answers.seconds(3)
    near, far = answer.fixes[0], answer.fixes[1]
    nowhere = dataclasses.replace(answer.fixes[2], places=(), kind="nothing")
    place = near.places[0]
    truth = Position(place.latitude_deg + 0.001, place.longitude_deg, 0.0)
    away = Position(far.places[0].latitude_deg + 0.1, far.places[0].longitude_deg, 0.0)
    events = [
        dataclasses.replace(event, truth=where)
        for event, where in zip(answer.events, (truth, away, truth), strict=True)
    ]
    table = fix_words.events(dataclasses.replace(answer, events=tuple(events), fixes=(near, far, nowhere)))
    cells, order = keys(table, "error")
    assert [cell.split(" ")[-1] for cell in cells[:2]] == ["m", "km"]
    assert order[:2] == pytest.approx([metres(cell)[0] for cell in cells[:2]], rel=0.05)
    assert math.isnan(order[2])
    cells, order = keys(table, "sigma E x N")
    assert order[:2] == pytest.approx([max(metres(cell)) for cell in cells[:2]], rel=0.05)
    assert math.isnan(order[2])
