"""What was located as KML 2.2 (OGC 07-147r2), as Google Earth, Marble, QGIS and OsmAnd open it."""

from __future__ import annotations

import html
from collections.abc import Sequence
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from heimdall.localize import error_ellipse, fix_shapes, fix_words
from heimdall.localize.answer import Answer
from heimdall.localize.fix_shapes import Point, Polygon
from heimdall.multilateration.fix import Fix, Place, Region
from heimdall.pages.elements import printable

NAMESPACE = "http://www.opengis.net/kml/2.2"
# Colours are aabbggrr: opacity, blue, green, red. Okabe and Ito, 2008. No icon comes from a server.
_MARKERS = {
    "receiver": "ffb27200",
    "place": "ff005ed5",
    "alternative": "ff009fe6",
    "truth": "ff739e00",
    "model": "ffa779cc",
}
_FILLS = {"region-68": "66005ed5", "region-95": "33005ed5", "model-95": "33a779cc"}


def text(answer: Answer) -> str:
    """A document: a folder of the receivers, one for each answer, with its time if that is known."""
    root = Element("kml", {"xmlns": NAMESPACE})
    document = SubElement(root, "Document")
    _said(document, "name", printable(answer.title))
    _said(document, "open", "1")
    provenance = fix_words.provenance(answer)
    if provenance:
        _said(document, "description", provenance)
    _styles(document)
    folder = _folder(document, "Receivers")
    for name, one in answer.receivers().items():
        altitude = f"{one.altitude_m:.1f} m above the ellipsoid"
        _point(folder, name, [altitude], "receiver", fix_shapes.point(one.latitude_deg, one.longitude_deg))
    if answer.together is not None:
        _fix(_folder(document, "All events together"), answer, answer.together)
    fixes = document if answer.together is None else _folder(document, "Events", shown=False)
    for event, fix in zip(answer.events, answer.fixes, strict=True):
        folder = _folder(fixes, fix.name, utc=answer.utc(event), shown=answer.together is None)
        _fix(folder, answer, fix, shown=answer.together is None)
    truths = {event.truth: event.name for event in answer.events if event.truth is not None}
    if truths:
        folder = _folder(document, "Truth")
        for position, name in truths.items():
            where = fix_shapes.point(position.latitude_deg, position.longitude_deg)
            _point(folder, "Truth" if len(truths) == 1 else f"Truth of {name}", [], "truth", where)
    if answer.beside is not None and answer.beside.place is not None:
        place, name = answer.beside.place, answer.beside.name
        folder = _folder(document, f"Trained model {name}")
        _region(folder, error_ellipse.region(place), "model-95", shown=True)
        _place(folder, f"Trained model {name}", place, [], "model", shown=True)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, "unicode") + "\n"


def _styles(document: Element) -> None:
    for name, colour in _MARKERS.items():
        style = SubElement(document, "Style", {"id": name})
        _said(SubElement(style, "IconStyle"), "color", colour)
        _said(SubElement(style, "LabelStyle"), "color", colour)
    for name, colour in _FILLS.items():
        style = SubElement(document, "Style", {"id": name})
        line = SubElement(style, "LineStyle")
        _said(line, "color", f"ff{colour[2:]}")
        _said(line, "width", "1.5")
        _said(SubElement(style, "PolyStyle"), "color", colour)


def _fix(folder: Element, answer: Answer, fix: Fix, *, shown: bool = True) -> None:
    for region in sorted(fix.regions, key=lambda one: -one.probability):
        _region(folder, region, f"region-{100 * region.probability:.0f}", shown=shown)
    said = [*fix_words.sentences(answer, fix), *fix_words.remarks(fix)]
    places = fix_words.shown(fix)
    for number, place in enumerate(places):
        name = fix.name if len(places) == 1 else f"{fix.name}: {fix_words.share(place.probability)}"
        style = "place" if number == 0 else "alternative"
        _place(folder, name, place, said if number == 0 else [], style, shown=shown)


def _place(folder: Element, name: str, place: Place, said: Sequence[str], style: str, *, shown: bool) -> None:
    lines = said or [f"{fix_words.where(place)}.", f"{fix_words.spread(place).capitalize()}."]
    where = fix_shapes.point(place.latitude_deg, place.longitude_deg)
    _point(folder, name, lines, style, where, shown=shown)


def _point(
    folder: Element, name: str, lines: Sequence[str], style: str, where: Point, *, shown: bool = True
) -> None:
    mark = _placemark(folder, name, lines, style, shown=shown)
    point = SubElement(mark, "Point")
    _said(point, "altitudeMode", "clampToGround")
    _said(point, "coordinates", _coordinates([where]))


def _region(folder: Element, region: Region, style: str, *, shown: bool) -> None:
    polygons = fix_shapes.polygons(region)
    if not polygons:  # narrower than the last digit
        return
    name = f"{100 * region.probability:.0f} % region"
    mark = _placemark(folder, name, [f"{fix_words.area(region.area_km2)}."], style, shown=shown)
    around = mark if len(polygons) == 1 else SubElement(mark, "MultiGeometry")
    for one in polygons:
        _polygon(around, one)


def _polygon(around: Element, polygon: Polygon) -> None:
    element = SubElement(around, "Polygon")
    _said(element, "tessellate", "1")
    _said(element, "altitudeMode", "clampToGround")
    for boundary, rings in (("outerBoundaryIs", [polygon.outline]), ("innerBoundaryIs", polygon.holes)):
        for ring in rings:
            linear = SubElement(SubElement(element, boundary), "LinearRing")
            _said(linear, "coordinates", _coordinates(ring))


def _folder(around: Element, name: str, *, utc: str | None = None, shown: bool = True) -> Element:
    folder = SubElement(around, "Folder")
    _said(folder, "name", printable(name))
    _hide(folder, shown)
    if utc is not None:
        _said(SubElement(folder, "TimeStamp"), "when", utc)
    return folder


def _placemark(folder: Element, name: str, lines: Sequence[str], style: str, *, shown: bool) -> Element:
    mark = SubElement(folder, "Placemark")
    _said(mark, "name", printable(name))
    _hide(mark, shown)
    if lines:
        # Programs show a description as HTML: a name in it is escaped once more.
        _said(mark, "description", "<br>".join(html.escape(line) for line in lines))
    _said(mark, "styleUrl", f"#{style}")
    return mark


def _hide(feature: Element, shown: bool) -> None:
    if not shown:
        _said(feature, "visibility", "0")


def _said(around: Element, name: str, value: str) -> None:
    SubElement(around, name).text = value


def _coordinates(points: Sequence[Point]) -> str:
    digits = fix_shapes.DECIMALS
    return " ".join(f"{longitude:.{digits}f},{latitude:.{digits}f}" for longitude, latitude in points)
