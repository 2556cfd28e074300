"""The networks that the bound is tried on, each turned and scattered by a seed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from heimdall.core.randomness import generator
from heimdall.multilateration.event import Position
from tests.localize.networks import LAYER_SIGMA_M, Network, around, moved

_CENTRE = Position(47.0, 8.0, 0.0)
_RELIEF_M = 300.0  # of a transmitter about the receivers, of whose altitude nobody says anything


def seven(seed: int) -> Network:
    """Seven receivers over 120 km, for signals of any kind at 145 MHz."""
    return _on_the_ground("7 over 120 km, 145 MHz", seed, 7, 60e3, 145e6)


def five(seed: int) -> Network:
    """Five receivers over 100 km at 145 MHz, the transmitter among them."""
    return _on_the_ground("5 over 100 km, 145 MHz", seed, 5, 50e3, 145e6)


def city(seed: int) -> Network:
    """Twelve receivers over 5 km at 433 MHz."""
    return _on_the_ground("12 over 5 km, 433 MHz", seed, 12, 2.5e3, 433e6)


def metre_waves(seed: int) -> Network:
    """Thirty receivers over 300 km at 145 MHz, and a transmitter that all of them see: 3000 m high."""
    random = generator(seed, "metre waves")
    return around(
        "30 over 300 km, 145 MHz",
        Position(_CENTRE.latitude_deg, _CENTRE.longitude_deg, 3000.0),
        30,
        150e3,
        random,
        frequency_hz=145e6,
        altitude_m=lambda: float(random.uniform(100, 1500)),
        offset_m=tuple(random.uniform(-60e3, 60e3, 2).tolist()),
    )


def short_wave(seed: int) -> Network:
    """Three receivers 1000 km apart at 7 MHz; a wave from the F layer, whose height they do not know."""
    known = short_wave_of_known_rays(seed)
    return replace(known, name="3 by 1000 km, 7 MHz, sky wave", way="sky", third_sigma_m=LAYER_SIGMA_M)


def short_wave_of_known_rays(seed: int) -> Network:
    """The same along the ground."""
    random = generator(seed, "triangle")
    turn = random.uniform(0, 2 * np.pi)
    away_m = 1000e3 / np.sqrt(3)
    receiver = tuple(
        moved(_CENTRE, away_m * np.sin(angle), away_m * np.cos(angle))
        for angle in turn + np.arange(3) * 2 * np.pi / 3
    )
    transmitter = moved(_CENTRE, *random.uniform(-150e3, 150e3, 2).tolist())
    return Network("3 by 1000 km, 7 MHz, known rays", receiver, transmitter, 7e6, "ground")


def _on_the_ground(name: str, seed: int, count: int, radius_m: float, frequency_hz: float) -> Network:
    """Receivers on hills, and a transmitter within the inner half, somewhere about their altitude."""
    random = generator(seed, name)
    offset_m = tuple(random.uniform(-0.35 * radius_m, 0.35 * radius_m, 2).tolist())
    made = around(
        name,
        _CENTRE,
        count,
        radius_m,
        random,
        frequency_hz=frequency_hz,
        altitude_m=lambda: float(random.uniform(300, 900)),
        offset_m=offset_m,
    )
    middle_m = float(np.median([one.altitude_m for one in made.receiver]))
    altitude_m = middle_m + _RELIEF_M * random.standard_normal()
    return replace(
        made, transmitter=replace(made.transmitter, altitude_m=altitude_m), third_sigma_m=_RELIEF_M
    )
