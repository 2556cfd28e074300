"""The networks that the bound is tried on, each turned and scattered by a seed."""

from __future__ import annotations

import numpy as np

from heimdall.core.randomness import generator
from heimdall.multilateration.event import Position
from tests.localize.networks import Network, around, moved

_CENTRE = Position(47.0, 8.0, 0.0)


def seven(seed: int) -> Network:
    """Seven receivers over 120 km, for signals of any kind at 145 MHz."""
    random = generator(seed, "seven")
    offset_m = tuple(random.uniform(-25e3, 25e3, 2).tolist())
    return around(
        "7 over 120 km, 145 MHz",
        _CENTRE,
        7,
        60e3,
        random,
        frequency_hz=145e6,
        altitude_m=lambda: float(random.uniform(200, 900)),
        offset_m=offset_m,
    )


def short_wave(seed: int) -> Network:
    """Three receivers 1000 km apart at 7 MHz; a wave from the F layer, whose height they do not know."""
    return _triangle(seed, "sky")


def long_wave(seed: int) -> Network:
    """The same by rays that are known: along the ground."""
    return _triangle(seed, "ground")


def metre_waves(seed: int) -> Network:
    """Thirty receivers over 300 km at 145 MHz, and a transmitter that all of them see: 3000 m high."""
    random = generator(seed, "metre waves")
    offset_m = tuple(random.uniform(-60e3, 60e3, 2).tolist())
    return around(
        "30 over 300 km, 145 MHz",
        Position(47.0, 8.0, 3000.0),
        30,
        150e3,
        random,
        frequency_hz=145e6,
        altitude_m=lambda: float(random.uniform(100, 1500)),
        offset_m=offset_m,
    )


def city(seed: int) -> Network:
    """Twelve receivers over 5 km at 433 MHz."""
    random = generator(seed, "city")
    offset_m = tuple(random.uniform(-1.5e3, 1.5e3, 2).tolist())
    return around(
        "12 over 5 km, 433 MHz",
        Position(47.0, 8.0, 420.0),
        12,
        2.5e3,
        random,
        frequency_hz=433e6,
        altitude_m=lambda: float(random.uniform(410, 500)),
        offset_m=offset_m,
    )


def five(seed: int) -> Network:
    """Five receivers over 100 km at 145 MHz, the transmitter among them."""
    random = generator(seed, "five")
    offset_m = tuple(random.uniform(-15e3, 15e3, 2).tolist())
    return around(
        "5 over 100 km, 145 MHz",
        _CENTRE,
        5,
        50e3,
        random,
        frequency_hz=145e6,
        altitude_m=lambda: float(random.uniform(200, 900)),
        offset_m=offset_m,
    )


def _triangle(seed: int, way: str) -> Network:
    random = generator(seed, "triangle")
    turn = random.uniform(0, 2 * np.pi)
    corners = [turn + third * 2 * np.pi / 3 for third in range(3)]
    away_m = 1000e3 / np.sqrt(3)
    receiver = tuple(moved(_CENTRE, away_m * np.sin(one), away_m * np.cos(one)) for one in corners)
    transmitter = moved(_CENTRE, *random.uniform(-150e3, 150e3, 2).tolist())
    if way == "sky":
        return Network("3 by 1000 km, 7 MHz, sky wave", receiver, transmitter, 7e6, "sky")
    return Network("3 by 1000 km, 7 MHz, known rays", receiver, transmitter, 7e6, "ground")
