"""Receivers from a file, as people and programs write it; and whose recording a file is."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from heimdall.core.errors import HeimdallError
from heimdall.formats import misplaced, receivers_file, stations
from heimdall.formats.receivers_file import Site

NORTH = Site("north_pier", 53.6, 7.25, 5.0)
SOUTH = Site("S-1", -45.0, 0.5, 0.0)


def point(name: object, *coordinates: object) -> dict[str, Any]:
    return {
        "type": "Feature",
        "geometry": {"type": "Point", "coordinates": list(coordinates)},
        "properties": {"name": name},
    }


def geojson(*features: object) -> bytes:
    return json.dumps({"type": "FeatureCollection", "features": features}).encode()


@pytest.mark.parametrize(
    "content",
    [
        b"name,latitude,longitude,altitude_m\nnorth_pier,53.6,7.25,5\nS-1,-45,0.5,\n",
        b"name,latitude_deg,longitude_deg,altitude_m\r\nnorth_pier,53.6,7.25,5\r\nS-1,-45,0.5,0\r\n",
        b"\xef\xbb\xbfName;Lat;Lon;Alt (m)\nnorth_pier;53,6;7,25;5\nS-1;-45;0,5;0\n",
        b"operator\tlng\tLATITUDE\tStation\televation\nx\t7.25\t53.6\tnorth_pier\t5\ny\t0.5\t-45\tS-1\t\n",
        'name,lat,lon,alt,note\nnorth_pier,53.6,7.25,5,"a, b"\n\n# out of use\nS-1,-45,.5,0,\u00e9\n'.encode(
            "latin-1"
        ),
        "name,lat,lon,alt\nnorth_pier,53.6,7.25,5\nS-1,-45,0.5,0\n".encode("utf-16"),
        geojson(point("north_pier", 7.25, 53.6, 5), point("S-1", 0.5, -45)),
    ],
)
def test_receivers_are_read_as_people_write_them(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "receivers").write_bytes(content)
    assert receivers_file.read(tmp_path / "receivers") == (NORTH, SOUTH)


@pytest.mark.parametrize(
    "content",
    [
        b'id,name,lat,latitude,lon,altitude_m,height\n7,"#1",1,1.0,2,250,12\n',
        b"height,altitude_m,station,name,lat,lon\n12,250,east,#1,1,2\n",
        geojson(
            point("", 2, 1, 0)
            | {"properties": {"station": "east", "name": "#1", "id": 7, "alt": 12, "altitude_m": 250}}
        ),
        geojson(point("", 2, 1, None) | {"properties": {"id": "#1", "altitude": 250}}),
    ],
)
def test_first_name_of_a_field_wins_over_its_synonyms(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "r").write_bytes(content)
    assert receivers_file.read(tmp_path / "r") == (Site("#1", 1.0, 2.0, 250.0),)


def test_clock_of_a_receiver_may_be_said(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("name,lat,lon,timing_sigma_ns\na,1,2,50\nb,1,3,\n")
    assert [site.timing_sigma_ns for site in receivers_file.read(tmp_path / "r.csv")] == [50.0, None]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"name,lat\na,1\n", "line 1: no column for longitude"),
        (b"name,lat,Lat,lon\na,1,1,2\n", "line 1: 2 columns lat"),
        (b"name,lat,lon,alt\nTorino,45,04,7,67,250\n", "line 2: 6 columns instead of 4"),
        (b"name,lat,lon,alt,timing_sigma_ns\nTorino,45,04,7,67,,\n", "line 2: 7 columns instead of 5"),
        (b"name,lat,lon\n#1,45,7\n", "line 2: #1 is a comment, or the name of a receiver"),
        (b"name,lat,lon,alt,height\na,1,2,3,4\n", "line 2: alt is '3' and height is '4'"),
        (b"id,station,lat,lon\n7,east,1,2\n", "line 2: id is '7' and station is 'east'.*right one name"),
        (
            geojson(point("a", 2, 1, 0) | {"properties": {"name": "a", "altitude": 250}}),
            "feature 1: altitude is '250' and altitude ASL is '0'",
        ),
        (b"name,lat,lon\na,1,2\nb,91,2\n", r"line 3: latitude '91' is no number from -90 to 90"),
        (b"name,lat,lon\na,1,nan\n", "line 2: longitude 'nan'"),
        (b"name,lat,lon\na,1_0,2\n", "line 2: latitude '1_0'"),
        (b"name,lat,lon\na,1,\n", "line 2: no longitude"),
        (b"name,lat,lon\n,1,2\n", "line 2: a receiver without a name"),
        (b"name,lat,lon\na,1\n", "line 2: 2 columns instead of 3"),
        (b"name,lat,lon\na,1,2\na,1,2\n", "line 3: receiver a stands in .*line 2, too"),
        (b"name,lat,lon\n", "no receiver in it"),
        (b"", "line 1: no column for name"),
        (b'name,lat,lon\n"a,1,2\n' + b"x" * 200_000, "no CSV"),
        (b"{", "no GeoJSON"),
        (geojson(point("a", 1)), "feature 1: no Point"),
        (geojson(point("a", 1, 2), 7), "feature 2: no Point"),
        (geojson(point(None, 1, 2)), "feature 1: a receiver without a name"),
        (geojson(point("a", 200, 2)), "feature 1: longitude '200' is no number from -180 to 180"),
        (geojson(point("a", "x" * 99, True)), "feature 1: latitude 'True'"),
        (b"\x81\x8d\x00\xff", "no text"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "r.csv").write_bytes(content)
    with pytest.raises(HeimdallError, match=message) as caught:
        receivers_file.read(tmp_path / "r.csv")
    assert "\n" not in str(caught.value)
    assert "r.csv" in str(caught.value)


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("20250324T104156Z_13500000_south_pier_iq.wav", "south_pier"),
        ("20250324T104156Z_13500000_A-B.c_iq.wav", "A-B.c"),
        ("20250324T104156Z_13500000_pier_iq.wav", "pier"),
        ("south_pier-2025-03-24.cf32", "south_pier"),
        ("recording of pier (2).wav", "pier"),
        ("PIER.sigmf-meta", "pier"),
        ("A-B.c=x.npy", "A-B.c"),
    ],
)
def test_station_is_known_from_the_name_of_its_file(file: str, name: str) -> None:
    sites = [Site(known, 1.0, 2.0, 3.0) for known in ("pier", "south_pier", "A-B.c", "B.c", "south")]
    ((path, site),) = stations.assign([file], [], sites).items()
    assert site.name == name
    assert path.name in file


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            ["20250324T104156Z_13500000_south_pier_iq.wav"],
            "it is of station south_pier, whose place is not given",
        ),
        (["piers.wav"], "does not have the name of exactly one receiver"),
        (["pier_quay.wav"], "does not have the name of exactly one receiver"),
        (["pier.wav", "pier=pier.wav"], "the file is given twice"),
    ],
)
def test_station_is_never_guessed(files: list[str], message: str) -> None:
    sites = [Site("pier", 1.0, 2.0, 3.0), Site("quay", 1.0, 2.0, 3.0)]
    with pytest.raises(HeimdallError, match=message):
        stations.assign(files, [], sites)


def test_only_the_two_files_of_sigmf_are_one_recording() -> None:
    sites = [Site("pier", 1.0, 2.0, 3.0)]
    files = ["pier_1", "pier_1meta", "pier_2.sigmf-data", "pier_2.sigmf-meta"]
    assert list(map(str, stations.assign(files, [], sites))) == [files[0], files[1], files[3]]


def test_receiver_named_by_hand_wins_over_the_file() -> None:
    moved = Site("pier", 9.0, 9.0, 9.0)
    listed = [Site("pier", 1.0, 2.0, 3.0), Site("south_pier", 1.0, 2.0, 3.0)]
    assert stations.assign(["x_pier.wav"], [moved], listed) == {Path("x_pier.wav"): moved}
    # ... but not over a receiver whose name only contains its own.
    assert stations.assign(["x_south_pier.wav"], [moved], listed) == {Path("x_south_pier.wav"): listed[1]}
    kiwi_file = "20250324T104156Z_13500000_south_pier_iq.wav"
    assert stations.assign([kiwi_file], [moved], listed) == {Path(kiwi_file): listed[1]}
    with pytest.raises(HeimdallError, match="it is of station south_pier, whose place is not given"):
        stations.assign([kiwi_file], [moved], [])


@pytest.mark.parametrize(
    "name", ["A.B-C_D", "\u00c5land 2", "4X1", "123", "pier (old)", "iq", "a+b", "S\u00e3o_Jos\u00e9"]
)
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_station_of_any_name_is_found_in_the_files_of_recorders(name: str, form: str) -> None:
    sites = [Site(known, 1.0, 2.0, 3.0) for known in (name, "A.B", "pier", "2", "4X", "12", "land", "a")]
    for file in (f"20250324T104156Z_13500000_{name}_iq.wav", f"{name}.sigmf-meta", f"x-{name}-2025.cf32"):
        written = unicodedata.normalize(form, file)
        ((_, site),) = stations.assign([written], [], sites).items()
        assert site.name == name


def test_sidecar_says_whose_recording_it_is(tmp_path: Path) -> None:
    sites = [Site("pier", 1.0, 2.0, 3.0), Site("quay", 1.0, 2.0, 3.0)]
    (tmp_path / "pier.json").write_text('{"receiver": "quay"}')
    for name in ("pier.npy", "pier.wav", "pier.cu8"):
        ((_, site),) = stations.assign([str(tmp_path / name)], [], sites).items()
        assert site.name == "quay"


def test_a_receiver_that_nobody_knows_is_named_as_such(tmp_path: Path) -> None:
    file = tmp_path / "second.npy"
    file.touch()
    with pytest.raises(HeimdallError, match="no receiver is called websdr_9") as caught:
        stations.assign([f"websdr_9={file}"], [], [Site("websdr_1", 1.0, 2.0, 3.0)])
    assert "Call it as the file of receivers does" in str(caught.value)


def test_sigmf_file_says_where_its_receiver_is_if_nobody_else_does(tmp_path: Path) -> None:
    def written(name: str, *captured: list[float]) -> str:
        whole = {"core:datatype": "cf32_le", "core:version": "1.0.0", "core:sample_rate": 48_000}
        points = [{"type": "Point", "coordinates": one} for one in captured]
        captures = [
            {"core:sample_start": number, "core:geolocation": point} for number, point in enumerate(points)
        ]
        path = tmp_path / f"{name}.sigmf-meta"
        path.write_text(json.dumps({"global": whole, "captures": captures, "annotations": []}))
        path.with_suffix(".sigmf-data").write_bytes(bytes(80))
        return str(path)

    north, south = written("north", [7.25, 53.6, 5.0], [7.25, 53.6, 5.0]), written("south", [0.5, -45.0])
    found = list(stations.assign([north, f"S-1={south}"], [], []).values())
    assert found == [Site("north", 53.6, 7.25, 5.0), SOUTH]
    assert [site.altitude_known for site in found] == [True, False]
    assert list(stations.assign([north.replace("meta", "data"), north], [], [])) == [Path(north)]
    listed = Site("north", 1.0, 2.0, 3.0)
    assert list(stations.assign([north], [], [listed]).values()) == [listed]
    again = written("north-2", [7.25, 53.6, 5.0])
    with pytest.raises(HeimdallError, match="its receiver north-2 stands where north stands"):
        stations.assign([north, again], [], [])
    assert len(stations.assign([north, f"north={again}"], [], [])) == 2
    with pytest.raises(HeimdallError, match="and others"):
        stations.assign([written("car", [7.0, 53.0], [7.1, 53.0])], [], [])
    with pytest.raises(HeimdallError, match="does not have the name of exactly one receiver"):
        stations.assign([written("nowhere")], [], [])


def test_altitude_that_nobody_said_is_known_as_that(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("name,lat,lon,alt\na,1,2,0\nb,1,3,\n")
    assert [site.altitude_known for site in receivers_file.read(tmp_path / "r.csv")] == [True, False]


@pytest.mark.parametrize(
    "name", ["x" * 201, "NORTH\x00", "\x1b[31mNORTH", "NO\u202eRTH"], ids=["long", "NUL", "colour", "turned"]
)
def test_name_that_is_no_text_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    path = tmp_path / "receivers.csv"
    path.write_text(f"name,lat,lon\n{name},45,7\n", encoding="utf-8")
    with pytest.raises(HeimdallError, match="line 2: the name") as caught:
        receivers_file.read(path)
    assert str(caught.value).isprintable()


def test_spaces_in_a_name_count_as_one(tmp_path: Path) -> None:
    path = tmp_path / "receivers.csv"
    path.write_text('name,lat,lon\n"SOUTH\u00a0 pier ",45,7\n', encoding="utf-8")
    assert [site.name for site in receivers_file.read(path)] == ["SOUTH pier"]


PIEDMONT = {"torino": (45.0, 7.7), "cuneo": (44.4, 7.5), "asti": (44.9, 8.2)}
UTAH = {"provo": (40.2, -111.7), "moab": (38.6, -109.6)}


@pytest.mark.parametrize(
    ("places", "said", "refused"),
    [
        (PIEDMONT | {"the transmitter": (45.1, 7.7)}, {}, False),
        (PIEDMONT | {"asti": (8.2, 44.9)}, {"asti": "latitude and longitude exchanged"}, True),
        (PIEDMONT | {"the transmitter": (7.7, 45.1)}, {"the transmitter": "exchanged"}, True),
        (PIEDMONT | {"asti": (-44.9, 8.2)}, {"asti": "the other sign of its latitude"}, True),
        # So far apart receivers of a network may stand, but hardly there.
        (PIEDMONT | {"asti": (44.9, -8.2)}, {"asti": "the other sign of its longitude"}, False),
        (
            UTAH | {"the transmitter": (39.5, 110.5)},
            {"the transmitter": "the other sign of its longitude"},
            True,
        ),
        ({"a": (45.0, 7.7), "b": (7.5, 44.4)}, {"a": "exchanged", "b": "exchanged"}, True),
        # Large networks, and those on both sides of the equator or of Greenwich.
        ({"rome": (41.9, 12.5), "moscow": (55.8, 37.6), "lisbon": (38.7, -9.1)}, {}, False),
        ({f"{lat} {lon}": (lat, lon) for lat in (-12.0, 12.0) for lon in (-12.0, 12.0)}, {}, False),
        (UTAH | {"greenwich": (51.5, 0.0)}, {}, False),
        ({"alone": (45.0, 7.7)}, {}, False),
        ({"two": (45.0, 3.0), "far apart": (45.0, -2.5)}, {}, False),
        ({"nadi": (-17.8, 177.4), "suva": (-18.1, 178.4), "lakeba": (-18.2, -178.8)}, {}, False),
    ],
)
def test_place_with_one_mistake_is_said_and_refused_where_no_network_is_so_large(
    places: dict[str, tuple[float, float]], said: dict[str, str], refused: bool
) -> None:
    found = misplaced.find(places)
    assert {one.name for one in found} == said.keys()
    for one in found:
        assert said[one.name] in str(one)
    if refused:
        with pytest.raises(HeimdallError, match="km from the nearest of the others; with"):
            misplaced.refuse_far(found)
    else:
        misplaced.refuse_far(found)
