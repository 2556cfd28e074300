"""What plain least squares make of the sets of arrival times that benchmarks/real.py judges, altitude known.

    python benchmarks/real_yardstick.py ../shared/real

Nothing of the product locates here: straight lines between points on the WGS84 ellipsoid, every time counts
the same, the smallest sum of squares from nine starts around the receivers wins. The second line of each set
counts in that air slows a ray: refractivity falls with altitude from 315e-6 at the sea by 1/e in 7.35 km
(ITU-R P.453). The last columns are of every third message.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import numpy as np
import numpy.typing as npt
import real_sets
from pyproj import Geod, Transformer
from real_sets import RealSet, Row

from heimdall.core import table
from heimdall.core.errors import HeimdallError

Float64 = npt.NDArray[np.float64]

GEOD = Geod(ellps="WGS84")
TO_ECEF = Transformer.from_crs("EPSG:4979", "EPSG:4978", always_xy=True)
SPEED_OF_LIGHT_M_S = 299_792_458.0
REFRACTIVITY, SCALE_HEIGHT_M = 315e-6, 7350.0
NEAR_M = 300.0
STEPS, DEGREE = 30, 1e-5
HEADINGS = ("set", "way", "messages", "median, m", "p90, m", "within 300 m", "median, m", "within 300 m")


def ranges_m(place_deg: Float64, altitude_m: float, receivers: Float64, *, air: bool) -> Float64:
    """From a latitude and longitude to receivers (R, 3) of latitude, longitude, altitude; less their mean."""
    here = np.array(TO_ECEF.transform(place_deg[1], place_deg[0], altitude_m))
    there = np.stack(TO_ECEF.transform(receivers[:, 1], receivers[:, 0], receivers[:, 2]), axis=1)
    length = np.linalg.norm(there - here, axis=1)
    if air:
        heights = np.linspace(receivers[:, 2], altitude_m, 33)  # a straight ray over a plane
        length = length * (1 + REFRACTIVITY * np.exp(-heights / SCALE_HEIGHT_M).mean(axis=0))
    return length - length.mean()


def located(measured_m: Float64, altitude_m: float, receivers: Float64, *, air: bool) -> Float64:
    """Latitude and longitude with the least sum of squares that Gauss-Newton steps find."""
    best, least = np.full(2, np.nan), np.inf
    middle = receivers[:, :2].mean(axis=0)
    for away in itertools.product((-1.0, 0.0, 1.0), (-1.5, 0.0, 1.5)):
        place = middle + away
        for _ in range(STEPS):
            expected = ranges_m(place, altitude_m, receivers, air=air)
            slopes = [
                (ranges_m(place + DEGREE * axis, altitude_m, receivers, air=air) - expected) / DEGREE
                for axis in np.eye(2)
            ]
            step = np.linalg.lstsq(np.stack(slopes, axis=1), measured_m - expected, rcond=None)[0]
            step *= min(1.0, 1.0 / max(float(np.hypot(*step)), 1e-12))  # at most a degree
            place = np.clip(place + step, (-89.0, -540.0), (89.0, 540.0))
            if np.abs(step).max() < 1e-8:
                break
        rest = float(((measured_m - ranges_m(place, altitude_m, receivers, air=air)) ** 2).sum())
        if rest < least:
            best, least = place, rest
    return best


def error_m(row: Row, places: dict[str, Float64], *, air: bool) -> float:
    """Of one message, along the ground."""
    times = [(places[str(name)], time) for name, time, *_ in json.loads(row.cells["measurements"])]
    first = times[0][1]  # whole nanoseconds since 1970 have more digits than a float
    measured_m = SPEED_OF_LIGHT_M_S * 1e-9 * np.array([float(time - first) for _, time in times])
    measured_m -= measured_m.mean()
    assert row.truth is not None  # noqa: S101 - the caller took those that have one
    altitude_m = row.truth.altitude_m or 0.0
    place = located(measured_m, altitude_m, np.array([place for place, _ in times]), air=air)
    return float(GEOD.inv(place[1], place[0], row.truth.longitude_deg, row.truth.latitude_deg)[2])


def lines(one: RealSet) -> list[list[str]]:
    """Of one set, without air and with it."""
    with one.receivers.open(encoding="utf-8-sig", newline="") as file:
        places = {
            line["serial"]: np.array([float(line[key] or 0) for key in ("latitude", "longitude", "height")])
            for line in csv.DictReader(file)
        }
    rows = [row for row in real_sets.rows(one) if row.truth is not None]
    found = []
    for air in (False, True):
        errors = np.array([error_m(row, places, air=air) for row in rows])
        near = errors <= NEAR_M
        found.append(
            [
                one.name,
                "through air" if air else "in vacuum",
                str(len(errors)),
                f"{np.median(errors):.1f}",
                f"{np.quantile(errors, 0.9):.0f}",
                f"{near.mean():.1%}",
                f"{np.median(errors[::3]):.1f}",
                f"{near[::3].mean():.1%}",
            ]
        )
    return found


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("directory", type=Path, metavar="DIR", help="folder that holds the sets, or a set")
    try:
        sets = [real_sets.read(folder) for folder in real_sets.folders(parser.parse_args().directory)]
        found = [line for one in sets if one.kind == "arrivals" for line in lines(one)]
    except HeimdallError as error:
        print(error, file=sys.stderr)
        return 1
    print(*table.lines(HEADINGS, found, "llrrrrrr"), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
