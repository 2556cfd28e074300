"""Distances and frames against published figures and against each other."""

from __future__ import annotations

import numpy as np
import pytest

from heimdall.geometry import geo


def test_distance_is_the_geodesic() -> None:
    # Vincenty (1975), Survey Review 23(176): Flinders Peak to Buninyong on GRS80, 54972.271 m;
    # WGS84 differs from GRS80 by less than a millimetre.
    flinders = (-(37 + 57 / 60 + 3.72030 / 3600), 144 + 25 / 60 + 29.52440 / 3600)
    buninyong = (-(37 + 39 / 60 + 10.15610 / 3600), 143 + 55 / 60 + 35.38390 / 3600)
    assert geo.distance_m(*flinders, *buninyong)[0] == pytest.approx(54972.271, abs=2e-3)


def test_distance_takes_arrays_and_broadcasts() -> None:
    distances = geo.distance_m(np.array([45.0, 46.0]), np.array([8.0, 8.0]), 45.0, 8.0)
    assert distances[0] == 0
    assert distances[1] == pytest.approx(111_141.5, abs=1.0)  # a degree of the meridian at 45.5 N


def test_local_frame_comes_back_exactly_and_is_metric_near_its_origin() -> None:
    frame = geo.LocalFrame(45.0, 8.0)
    latitude, longitude = np.array([44.5, 45.0, 45.9]), np.array([7.1, 8.0, 9.3])
    back = frame.to_degrees(*frame.to_local(latitude, longitude))
    np.testing.assert_allclose(back, (latitude, longitude), rtol=0, atol=1e-13)
    north_latitude, _ = frame.to_degrees(0.0, 1000.0)
    _, east_longitude = frame.to_degrees(1000.0, 0.0)
    assert geo.distance_m(45.0, 8.0, north_latitude, 8.0)[0] == pytest.approx(1000, abs=0.05)
    assert geo.distance_m(45.0, 8.0, 45.0, east_longitude)[0] == pytest.approx(1000, abs=0.05)


def test_enu_agrees_with_the_geodesic_and_sees_the_curvature() -> None:
    east, north, up = geo.enu_m(45.0, 8.1, 0.0, 45.0, 8.0)
    distance = float(geo.distance_m(45.0, 8.0, 45.0, 8.1)[0])
    assert float(np.hypot(east, north)) == pytest.approx(distance, abs=0.05)
    assert up == pytest.approx(-(distance**2) / (2 * 6.388e6), rel=0.01)
    np.testing.assert_allclose(geo.enu_m(45.0, 8.0, 120.0, 45.0, 8.0), (0, 0, 120), atol=1e-8)


@pytest.mark.parametrize("origin", [(91.0, 8.0), (45.0, 181.0), (float("nan"), 8.0)])
def test_an_origin_off_the_earth_is_refused(origin: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="no origin"):
        geo.LocalFrame(*origin)


PLANE = geo.TangentPlane(44.97, 8.16, 260.0)


def around_the_plane() -> tuple[np.ndarray, np.ndarray]:
    """Positions in degrees up to 200 km from the plane's origin."""
    latitude, longitude = np.meshgrid(np.linspace(43.7, 46.2, 7), np.linspace(6.4, 9.9, 7))
    return latitude, longitude


def test_the_tangent_plane_holds_exact_components() -> None:
    latitude, longitude = around_the_plane()
    east, north = PLANE.to_local(latitude, longitude)
    exact = [
        geo.enu_m(a, b, PLANE.altitude_m, PLANE.latitude_deg, PLANE.longitude_deg)[:2]
        for a, b in zip(latitude.ravel(), longitude.ravel(), strict=True)
    ]
    assert east.shape == latitude.shape
    np.testing.assert_allclose(np.stack([east.ravel(), north.ravel()], axis=1), exact, rtol=0, atol=1e-6)


@pytest.mark.parametrize("altitude_m", [0.0, 260.0, 4000.0])
@pytest.mark.parametrize("origin", [(44.97, 8.16), (-33.9, 18.4), (69.6, -178.9)])
def test_the_tangent_plane_comes_back_within_a_millimetre(
    origin: tuple[float, float], altitude_m: float
) -> None:
    plane = geo.TangentPlane(*origin, altitude_m)
    east, north = np.meshgrid(np.linspace(-141e3, 141e3, 7), np.linspace(-141e3, 141e3, 7))
    latitude, longitude = plane.to_degrees(east, north)
    back = plane.to_local(latitude, longitude)
    np.testing.assert_allclose(back, (east, north), rtol=0, atol=1e-3)
    up = [
        geo.enu_m(a, b, altitude_m, *origin)
        for a, b in zip(latitude.ravel().tolist(), longitude.ravel().tolist(), strict=True)
    ]
    np.testing.assert_allclose(np.array(up)[:, 0], east.ravel(), rtol=0, atol=1e-3)


def test_height_over_the_tangent_plane_is_the_ellipsoids() -> None:
    for azimuth in np.linspace(0, 2 * np.pi, 9):
        east, north = 100e3 * np.sin(azimuth), 100e3 * np.cos(azimuth)
        latitude, longitude = PLANE.to_degrees(east, north)
        exact = geo.enu_m(
            float(latitude), float(longitude), PLANE.altitude_m, PLANE.latitude_deg, PLANE.longitude_deg
        )
        assert float(PLANE.up_m(east, north)) == pytest.approx(exact[2], abs=0.06)  # it falls by 784 m


def test_radii_of_curvature_are_those_of_the_degree() -> None:
    frame = geo.LocalFrame(PLANE.latitude_deg, PLANE.longitude_deg)
    degree_north_m, degree_east_m = frame.metres_per_degree
    degree = np.pi / 180
    assert PLANE.north_radius_m * degree == pytest.approx(degree_north_m, rel=1e-12)
    cos_latitude = np.cos(np.radians(PLANE.latitude_deg))
    assert PLANE.east_radius_m * degree * cos_latitude == pytest.approx(degree_east_m, rel=1e-12)


def test_a_tangent_plane_needs_an_origin_on_earth() -> None:
    with pytest.raises(ValueError, match="no origin"):
        geo.TangentPlane(91.0, 8.0, 0.0)
