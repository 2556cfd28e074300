"""What was located as GeoJSON (RFC 7946): receivers, places and regions, as maps open them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

from heimdall.localize import error_ellipse, fix_shapes, fix_words
from heimdall.localize.answer import Answer
from heimdall.localize.error_ellipse import ellipse_95
from heimdall.localize.fix_shapes import Point
from heimdall.multilateration.event import Position
from heimdall.multilateration.fix import Fix, Place, Region

# Drawn as simplestyle-spec 1.1.0 says by geojson.io and GitHub; Okabe and Ito, 2008.
_COLOURS = {
    "receiver": "#0072B2",
    "region": "#D55E00",
    "place": "#D55E00",
    "truth": "#009E73",
    "model": "#CC79A7",
}
_OPACITY = {"0.95": 0.15, "0.68": 0.3}

Feature = dict[str, Any]


def text(answer: Answer) -> str:
    """A FeatureCollection, WGS84, longitude before latitude, with 7 digits of a degree; a line a feature.

    The property `role` says what a feature is: receiver, region, place, truth, or model (what a trained model
    says). `event` names the answer that it is of. Altitudes are properties. Regions are cut at 180 degrees.
    """
    features = [
        _position(one, "receiver", {"name": name, "altitude_m": one.altitude_m})
        for name, one in answer.receivers().items()
    ]
    utc = [answer.utc(event) for event in answer.events]
    for fix, moment in [*zip(answer.fixes, utc, strict=True), (answer.together, None)]:
        if fix is not None:
            features += _fix(fix, {"event": fix.name} | ({} if moment is None else {"utc": moment}))
    truths = {event.truth: event.name for event in answer.events if event.truth is not None}
    for position, name in truths.items():
        features.append(_position(position, "truth", {"event": name, "altitude_m": position.altitude_m}))
    if answer.beside is not None and answer.beside.place is not None:
        place, said = answer.beside.place, {"name": answer.beside.name}
        features += [*_region(error_ellipse.region(place), "model", said), _place(place, "model", said)]
    box = fix_shapes.box([part for one in features for part in _parts(one["geometry"])])
    head = f'{{"type": "FeatureCollection", "bbox": {_dumps(box)}, "features": [\n'
    return head + ",\n".join(map(_dumps, features)) + "\n]}\n"


def _dumps(value: Sequence[float] | Feature) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _fix(fix: Fix, said: Feature) -> list[Feature]:
    """The larger regions first, so that the places are drawn above all."""
    regions = sorted(fix.regions, key=lambda one: -one.probability)
    features = [feature for one in regions for feature in _region(one, "region", said)]
    about = {**said, "kind": fix.kind, "flagged": fix.flagged, "consistent": fix.consistent}
    return [*features, *(_place(place, "place", about) for place in fix_words.shown(fix))]


def _region(region: Region, role: str, said: Feature) -> list[Feature]:
    polygons = [[one.outline, *one.holes] for one in fix_shapes.polygons(region)]
    if not polygons:  # narrower than the last digit
        return []
    geometry = (
        {"type": "Polygon", "coordinates": polygons[0]}
        if len(polygons) == 1
        else {"type": "MultiPolygon", "coordinates": polygons}
    )
    properties = {
        **said,
        "probability": region.probability,
        "area_km2": region.area_km2,
        "stroke": _COLOURS[role],
        "stroke-width": 1,
        "fill": _COLOURS[role],
        "fill-opacity": _OPACITY.get(f"{region.probability:.2f}", 0.15),
    }
    return [_feature(geometry, role, properties)]


def _place(place: Place, role: str, said: Feature) -> Feature:
    ellipse, (east_m, north_m) = ellipse_95(place.covariance_m2), fix_words.sigma_m(place)
    properties = {
        **said,
        "probability": place.probability,
        "altitude_m": place.altitude_m,
        "altitude_sigma_m": place.altitude_sigma_m,
        "sigma_east_m": east_m,
        "sigma_north_m": north_m,
        "ellipse_95_major_m": ellipse.major_m,
        "ellipse_95_minor_m": ellipse.minor_m,
        "ellipse_azimuth_deg": ellipse.azimuth_deg,
    }
    return _position(Position(place.latitude_deg, place.longitude_deg), role, properties)


def _position(position: Position, role: str, properties: Feature) -> Feature:
    point = fix_shapes.point(position.latitude_deg, position.longitude_deg)
    marked = {**properties, "marker-color": _COLOURS[role]}
    return _feature({"type": "Point", "coordinates": point}, role, marked)


def _feature(geometry: Feature, role: str, properties: Feature) -> Feature:
    known = {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in properties.items()
    }
    return {"type": "Feature", "geometry": geometry, "properties": {"role": role, **known}}


def _parts(geometry: Feature) -> Iterator[Sequence[Point]]:
    """What spans a geometry: its point, or the outlines of its polygons."""
    coordinates = geometry["coordinates"]
    if geometry["type"] == "Point":
        yield [coordinates]
    elif geometry["type"] == "Polygon":
        yield coordinates[0]
    else:
        yield from (polygon[0] for polygon in coordinates)
