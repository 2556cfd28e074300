"""Altitudes of the ground: what a file says comes back where it says it, and nothing elsewhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from heimdall.core.errors import HeimdallError
from heimdall.geometry import terrain

HEADER = "ncols 3\nnrows 2\nxllcenter 7\nyllcenter 46\ncellsize 0.5\nNODATA_value -9999\n"


def hgt(folder: Path, name: str = "N46E007.hgt", points: int = 1201, void: bool = False) -> Path:
    """A tile that rises by 1200 m to the north and by 600 m to the east, from 100 m in its corner."""
    line = np.arange(points) / (points - 1)
    height = np.rint(100 + 1200 * line[::-1, None] + 600 * line[None, :])
    if void:
        height[points // 2, points // 2] = -32768
    path = folder / name
    path.write_bytes(height.astype(">i2").tobytes())
    return path


def asc(folder: Path, text: str) -> Path:
    path = folder / "ground.asc"
    path.write_text(text, encoding="ascii")
    return path


@pytest.mark.parametrize("points", [1201, 3601])
def test_an_srtm_tile_lies_where_its_name_says(tmp_path: Path, points: int) -> None:
    ground = terrain.read([hgt(tmp_path, points=points)])
    latitude, longitude = np.array([[46.0, 47.0, 46.5, 46.123]]), np.array([[7.0, 7.0, 8.0, 7.456]])
    expected = 100 + 1200 * (latitude - 46) + 600 * (longitude - 7)
    np.testing.assert_allclose(ground.altitude_m(latitude, longitude), expected, rtol=0, atol=0.51)
    assert np.isnan(ground.altitude_m([45.9, 47.1, 46.5, np.nan], [7.5, 7.5, 8.1, 7.5])).all()


def test_tiles_south_and_west_of_the_origin_have_their_corner_in_the_south_west(tmp_path: Path) -> None:
    ground = terrain.read([hgt(tmp_path, "s34w071.SRTMGL3.hgt")])
    np.testing.assert_allclose(ground.altitude_m([-34.0, -33.0], [-71.0, -70.0]), [100, 1900])
    np.testing.assert_allclose(ground.altitude_m(-33.5, [289.5, -70.5]), 1000)


def test_a_void_point_is_not_known_nor_what_is_interpolated_from_it(tmp_path: Path) -> None:
    ground = terrain.read([hgt(tmp_path, void=True)])
    step = 1 / 1200
    assert np.isnan(ground.altitude_m([46.5, 46.5 + 0.9 * step], [7.5, 7.5 + 0.9 * step])).all()
    beside = ground.altitude_m([46.5 + step, 46.5 + 2 * step], 7.5)
    np.testing.assert_allclose(beside, [1001, 1002], rtol=0, atol=0.6)


def test_an_ascii_grid_is_read_by_its_header(tmp_path: Path) -> None:
    ground = terrain.read([asc(tmp_path, HEADER + "10 20 30\n40 50 -9999\n")])
    np.testing.assert_allclose(ground.altitude_m([46.5, 46.0, 46.25], [7.0, 7.5, 7.25]), [10, 50, 30])
    assert np.isnan(ground.altitude_m([46.0, 46.25], [8.0, 7.75])).all()
    # A point stands for its cell, half a step around; farther out the file says nothing.
    assert ground.altitude_m(46.74, 6.76) == 10
    assert np.isnan(ground.altitude_m([46.76, 46.5], [7.0, 6.74])).all()


def test_a_corner_of_an_ascii_grid_is_half_a_cell_before_its_first_point(tmp_path: Path) -> None:
    by_centre = terrain.read([asc(tmp_path, HEADER + "1 2 3 4 5 6")])
    corner = HEADER.replace("xllcenter 7", "XLLCORNER 6.75").replace("yllcenter 46", "yllcorner 45.75")
    by_corner = terrain.read([asc(tmp_path, corner + "1 2 3 4 5 6")])
    latitude, longitude = np.meshgrid(np.linspace(45.8, 46.7, 5), np.linspace(6.8, 8.2, 5))
    np.testing.assert_array_equal(
        by_centre.altitude_m(latitude, longitude), by_corner.altitude_m(latitude, longitude)
    )


def test_heights_above_the_geoid_are_raised_by_its_undulation(tmp_path: Path) -> None:
    path = hgt(tmp_path)
    plain, raised = terrain.read([path]), terrain.read([path], geoid_undulation_m=48.5)
    assert raised.altitude_m(46.2, 7.3) - plain.altitude_m(46.2, 7.3) == pytest.approx(48.5)


def test_a_folder_of_tiles_is_one_terrain(tmp_path: Path) -> None:
    hgt(tmp_path), hgt(tmp_path, "N46E008.hgt")
    (tmp_path / "readme.txt").write_text("no tile")
    np.testing.assert_allclose(
        terrain.read([tmp_path]).altitude_m([46.0, 46.0, 46.0], [7.5, 8.5, 9.5]), [400, 400, np.nan]
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (HEADER + "1 2 3 4 5", "5 altitudes, and its header says 3 x 2"),
        (HEADER + "1 2 3 4 x 6", "no number"),
        (HEADER + "\n \n", "0 altitudes"),
        (HEADER.replace("ncols 3", "ncols 1e300") + "1", "ncols and nrows"),
        (HEADER.replace("ncols 3", "ncols three") + "1", "ncols of its header is no number"),
        (HEADER.replace("cellsize", "dx") + "1", "has dx, which is not understood"),
        (HEADER.replace("nrows 2", "ncols 2") + "1", "ncols twice"),
        (HEADER.replace("xllcenter 7\n", "") + "1 2 3 4 5 6", "lower left corner"),
        (HEADER.replace("0.5", "30").replace("7", "412000") + "1 2 3 4 5 6", "not degrees on earth"),
        (HEADER.replace("cellsize 0.5", "cellsize nan") + "1 2 3 4 5 6", "no cellsize between"),
        (HEADER + "1 2 3 4 5 65535", "no ground on earth"),
        (HEADER + "-9999 " * 6, "no altitude at any point"),
    ],
)
def test_a_damaged_ascii_grid_is_refused_with_its_name(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(HeimdallError, match=said) as error:
        terrain.read([asc(tmp_path, text)])
    assert "ground.asc" in str(error.value)


def test_a_damaged_tile_is_refused_with_its_name(tmp_path: Path) -> None:
    short = tmp_path / "N46E007.hgt"
    short.write_bytes(bytes(1000))
    with pytest.raises(HeimdallError, match=r"N46E007.hgt: it has 1000 bytes; an SRTM tile has 2884802"):
        terrain.read([short])
    for name, said in [
        ("ground.hgt", "like N46E007.hgt"),
        ("N95E007.hgt", "not on earth"),
        ("N46E007.tif", "no terrain file"),
    ]:
        (tmp_path / name).write_bytes(bytes(1000))
        with pytest.raises(HeimdallError, match=said):
            terrain.read([tmp_path / name])
    with pytest.raises(HeimdallError, match="cannot be read"):
        terrain.read([tmp_path / "N47E007.hgt"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(HeimdallError, match="holds no terrain file"):
        terrain.read([tmp_path / "empty"])


def test_bytes_of_the_other_order_are_no_ground(tmp_path: Path) -> None:
    path = hgt(tmp_path)
    path.write_bytes(np.frombuffer(path.read_bytes(), ">i2").astype("<i2").tobytes())
    with pytest.raises(HeimdallError, match="big-endian"):
        terrain.read([path])
