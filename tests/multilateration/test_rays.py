"""Ways from transmitters to receivers."""

from __future__ import annotations

import numpy as np
import pytest
from pyproj import Geod

from heimdall.multilateration import rays
from heimdall.multilateration.rays import Propagation, Sites

_GEOD = Geod(ellps="WGS84")


@pytest.mark.parametrize(("distance_m", "within_m"), [(1e3, 0.001), (1e5, 0.001), (1e6, 0.5), (3e6, 40.0)])
def test_a_ground_wave_follows_the_geodesic(distance_m: float, within_m: float) -> None:
    generator = np.random.default_rng(0)
    for _ in range(50):
        latitude, longitude, azimuth = generator.uniform([-60, -180, 0], [60, 180, 360])
        there_longitude, there_latitude, _ = _GEOD.fwd(longitude, latitude, azimuth, distance_m)
        sites = Sites.at(np.array([there_latitude]), np.array([there_longitude]), np.array([350.0]))
        ways = rays.paths(np.array(latitude), np.array(longitude), np.array(80.0), sites, "ground-wave")
        least, most = distance_m * (1 + rays.REFRACTIVITY), distance_m + 2.1 * rays.D_LAYER_M
        assert ways.length_m[0] == pytest.approx(least, abs=within_m)
        assert ways.spread_m[0] == 0
        # All of the sky wave's part is between nothing and the excess of its way.
        ways = rays.paths(
            np.array(latitude), np.array(longitude), np.array(80.0), sites, "ground-and-sky-wave"
        )
        assert least - within_m < ways.length_m[0] < most
        bare = ways.length_m[0] - ways.spread_m[0] * np.sqrt(12) / 2
        assert bare == pytest.approx(least, abs=within_m)


@pytest.mark.parametrize("propagation", ["line-of-sight", "ground-wave", "ground-and-sky-wave", "sky-wave"])
def test_slopes_are_the_derivatives_of_the_lengths(propagation: Propagation) -> None:
    sites = Sites.at(np.array([45.2, 46.9, 44.1]), np.array([7.1, 9.0, 8.4]), np.array([200.0, 900.0, 10.0]))
    latitude, longitude, altitude = np.array(45.6), np.array(8.1), np.array(0.0)
    step = 20.0
    slope = rays.paths(latitude, longitude, altitude, sites, propagation).slope
    for column, (east, north) in enumerate([(step, 0.0), (0.0, step)]):
        ends = [
            rays.moved(latitude, longitude, altitude, np.array(sign * east), np.array(sign * north))
            for sign in (1, -1)
        ]
        ahead, behind = (rays.paths(*end, altitude, sites, propagation).length_m for end in ends)
        assert slope[:, column] == pytest.approx((ahead - behind) / (2 * step), abs=1e-4)


def test_air_slows_a_ray_to_an_aircraft_as_the_integral_along_it_says() -> None:
    sites = Sites.at(np.array([46.0]), np.array([8.0]), np.array([400.0]))
    latitude, longitude, altitude = np.array(48.5), np.array(9.0), np.array(10_000.0)
    ends = rays.ecef(latitude, longitude, altitude), sites.ecef_m[0]
    share = (np.arange(20_000) + 0.5) / 20_000
    points = ends[1] + share[:, None] * (ends[0] - ends[1])
    # Height over the sphere through both ends' ellipsoidal radii, which is what a short integral needs.
    radius = np.linalg.norm(points, axis=1)
    surface = (
        np.linalg.norm(ends[1])
        - 400.0
        + share * (np.linalg.norm(ends[0]) - 10_000.0 - (np.linalg.norm(ends[1]) - 400.0))
    )
    straight = np.linalg.norm(ends[0] - ends[1])
    delay = straight * np.mean(rays.REFRACTIVITY * np.exp(-(radius - surface) / rays.SCALE_HEIGHT_M))
    way = rays.paths(latitude, longitude, altitude, sites, "line-of-sight").length_m[0] - straight
    assert delay > 40.0
    assert way == pytest.approx(delay, abs=5.0)


def test_places_around_a_pole_lie_all_around_it() -> None:
    azimuth = np.radians([20.0, 110.0, 200.0, 290.0])
    latitude, longitude = rays.destination(90.0, 0.0, 5e4 * np.sin(azimuth), 5e4 * np.cos(azimuth))
    assert latitude == pytest.approx(np.full(4, latitude[0]))
    assert np.diff(np.sort(longitude)) == pytest.approx([90.0, 90.0, 90.0])


def test_a_sky_wave_is_longer_and_shares_the_height_of_its_layer() -> None:
    sites = Sites.at(np.array([45.0, 52.0]), np.array([0.0, 20.0]), np.zeros(2))
    ways = rays.paths(np.array(48.0), np.array(9.0), np.array(0.0), sites, "sky-wave")
    ground = rays.paths(np.array(48.0), np.array(9.0), np.array(0.0), sites, "ground-wave")
    assert (ways.length_m > ground.length_m + 50_000).all()
    assert (
        ways.common_m > 10_000
    ).all()  # 60 km of height are tens of kilometres of way, for all receivers alike


def test_what_a_frequency_usually_does() -> None:
    found = [rays.by_frequency(value) for value in (77.5e3, 7.1e6, 145e6, float("nan"))]
    assert found == ["ground-and-sky-wave", "sky-wave", "line-of-sight", "line-of-sight"]
