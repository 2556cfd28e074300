"""The maps of a session of the network: what is said of each receiver, and where the lines of times cross."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from heimdall.geometry.propagation import SPEED_OF_LIGHT_M_S, distances_m
from heimdall.localize import network_map
from heimdall.localize.network_map import Scene
from heimdall.maps.projection import Projection
from heimdall.multilateration.fix import Place
from heimdall.pages import vector_map
from tests import known_sessions
from tests.known_sessions import PLANE, RECEIVERS


def _degrees(east_m: float, north_m: float) -> tuple[float, float]:
    latitude_deg, longitude_deg = PLANE.to_degrees(east_m, north_m)
    return float(latitude_deg), float(longitude_deg)


@pytest.mark.parametrize("number", range(4))
def test_lines_of_right_times_cross_where_the_transmitter_is(number: int) -> None:
    observation, truth_m = known_sessions.observation(number, 4)
    travel_s = distances_m(truth_m, observation.session.position_enu_m, PLANE) / SPEED_OF_LIGHT_M_S
    observation.arrivals.delay_s[:] = travel_s + 0.25
    stations = network_map.stations(observation, RECEIVERS, PLANE, {})
    east_m, north_m = truth_m.tolist()
    truth, answer = (_degrees(east_m + off_m, north_m - off_m) for off_m in (0.0, 300.0))
    place = Place(*answer, 260.0, 0.0, np.diag([4e4, 4e4]), 1.0)
    drawn = network_map.maps(Scene("it", stations, PLANE, [place], {}, truth))
    assert [name for name, _ in drawn] == ["Receivers and positions", "The position, enlarged"]
    lines = [one for one in drawn[1][1].lines if one.kind == "hyperbola"]
    assert len(lines) == 6
    for line in lines:
        off_m = np.hypot(*Projection(*truth).to_m(*line.positions.T))
        assert off_m.min() < 20


def test_a_receiver_without_a_recording_is_not_said_to_hear_nothing() -> None:
    observation, _ = known_sessions.observation(1, 3)
    observation.session.detected[2] = 0
    observation.arrivals.information_s2[2] = 0
    observation = dataclasses.replace(observation, absent=(5,))
    stations = network_map.stations(observation, RECEIVERS, PLANE, {})
    (_, drawn), *_ = network_map.maps(Scene("it", stations, PLANE, [], {}, None))
    assert [(one.kind, one.title.split(": ")[1]) for one in drawn.marks] == [
        ("receiver", "hears the signal, with an arrival time"),
        ("receiver", "hears the signal, with an arrival time"),
        ("unused", "hears nothing"),
        ("unrecorded", "no recording, counted as hearing nothing"),
        ("absent", "no usable recording, counted as unknown"),
    ]
    symbols = {kind: vector_map.key(kind).replace(kind, "") for kind in ("unused", "unrecorded", "absent")}
    assert symbols["unrecorded"] not in (
        symbols["unused"],
        symbols["absent"],
    )  # no colour alone tells them apart
    said = {kind: words for words, kind in vector_map.words(drawn)}
    assert said["unused"] == "a receiver that hears nothing"
    assert said["unrecorded"] == "no recording, counted as hearing nothing"
    assert said["absent"] == "no usable recording, counted as unknown"
