"""Distances and frames against published figures and against each other."""

from __future__ import annotations

import numpy as np
import pytest

from heimdall import geo


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
