"""Places that look as if latitude and longitude were exchanged, or a sign were lost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from heimdall.core.errors import HeimdallError
from heimdall.geometry.geo import distance_m

LARGEST_M = 3e6  # between neighbours of a network; beyond it a place that would be right otherwise is refused
_FAR_M = 100e3  # nearer ones are not looked at: there a lost sign is a place like others
_SPACINGS = 3.0  # so many times the usual distance between the others
_NEAR_SHARE = 0.2  # of the distance as given, if the place were right
_FEWEST = 3  # of two nobody knows which one stands apart, nor how far apart is odd
_DATE_LINE_DEG = 170.0  # beyond it neighbours have longitudes of both signs

Place = tuple[float, float]


@dataclass(frozen=True)
class Misplaced:
    """A place far from all others that would be near with one mistake undone.

    Attributes:
        name: Of the receiver or transmitter.
        far_m: Distance to the nearest other.
        near_m: That distance without the mistake.
        mistake: Which, in words.
    """

    name: str
    far_m: float
    near_m: float
    mistake: str

    def __str__(self) -> str:
        """As a person reads it, without a full stop."""
        far_km, near_km = round(self.far_m / 1e3), round(self.near_m / 1e3)
        return (
            f"{self.name} stands {far_km} km from the nearest of the others; with {self.mistake} it would be "
            f"{near_km} km"
        )


def find(places: Mapping[str, Place]) -> list[Misplaced]:
    """Those that stand far from all others, and would be near with one mistake undone.

    Args:
        places: Latitude and longitude in degrees by name, of all that belongs together.
    """
    found = []
    for name, place in places.items():
        others = [other for key, other in places.items() if key != name]
        if not others:
            continue
        far_m = _nearest_m(place, others)
        usual_m = LARGEST_M if len(places) < _FEWEST else max(_FAR_M, _SPACINGS * _spacing_m(others))
        if far_m <= usual_m:
            continue
        near_m, mistake = min(
            (_nearest_m(one, others), mistake) for mistake, one in _corrected(place).items()
        )
        if near_m <= _NEAR_SHARE * far_m:
            found.append(Misplaced(name, far_m, near_m, mistake))
    return found


def refuse_far(found: list[Misplaced]) -> None:
    """Refuse what no network is large enough for.

    Raises:
        HeimdallError: One of them is more than `LARGEST_M` from all others.
    """
    for one in found:
        if one.far_m > LARGEST_M:
            raise HeimdallError(
                "places",
                str(one),
                "Correct its latitude and longitude, or those of all others, as of a file of receivers",
            )


def _corrected(place: Place) -> dict[str, Place]:
    """The place without each mistake."""
    latitude_deg, longitude_deg = place
    corrected = {
        "the other sign of its latitude": (-latitude_deg, longitude_deg),
        "the other signs of both": (-latitude_deg, -longitude_deg),
    }
    if abs(longitude_deg) < _DATE_LINE_DEG:
        corrected["the other sign of its longitude"] = (latitude_deg, -longitude_deg)
    if abs(longitude_deg) <= 90:
        corrected["latitude and longitude exchanged"] = (longitude_deg, latitude_deg)
    return corrected


def _nearest_m(place: Place, others: list[Place]) -> float:
    latitude_deg, longitude_deg = np.array(others).T
    return float(distance_m(*place, latitude_deg, longitude_deg).min())


def _spacing_m(places: list[Place]) -> float:
    """Median distance to the nearest other; 0 of a single place."""
    nearest_m = (
        [_nearest_m(place, places[:number] + places[number + 1 :]) for number, place in enumerate(places)]
        if len(places) > 1
        else [0.0]
    )
    return float(np.median(nearest_m))
