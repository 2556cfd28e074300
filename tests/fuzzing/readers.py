"""Every reader of foreign files: good seeds, changes of them, and what must hold of what it gives."""

from __future__ import annotations

import io
import json
import math
import pickle
import struct
import tarfile
import warnings
from dataclasses import asdict, is_dataclass
from pathlib import Path
from random import Random

import numpy as np
import pandas as pd

from heimdall.core import determinism, params
from heimdall.core.errors import HeimdallError
from heimdall.formats import reader, receivers_file, recording
from heimdall.formats.gps_time import Moment, utc_ns
from heimdall.formats.reader import Hints
from heimdall.formats.recording import TimedRecording
from heimdall.ingest import ingest
from heimdall.localize import arrival_table
from heimdall.pipeline.snapshot import receivers, schemas
from heimdall.recordings import iq, limits
from heimdall.session import start_times
from tests import REPOSITORY
from tests.formats import test_kiwi, test_reader
from tests.formats.test_kiwi import BLOCK, true_ns
from tests.formats.test_reader import AUXI, RATE_HZ, START, WAV_KINDS, XML, fmt, npy, rf64, signal, stored
from tests.fuzzing import mutations
from tests.fuzzing.mutations import OF_TEXT, TEXTS, Files
from tests.fuzzing.running import Reader, Wrong
from tests.recorded import stretches

COUNT = 4_800  # 0.1 s at 48 kHz: the shortest that is taken
SAMPLES = signal(COUNT)
SITE = receivers_file.Site("NORTH", 53.6, 7.2, 5.0)


def require(good: object, what: str) -> None:
    """Refuse to believe a reader.

    Raises:
        Wrong: It is not good.
    """
    if not good:
        raise Wrong(what)


def check_recordings(found: list[TimedRecording], bytes_read: int) -> None:
    """Every stretch is what the contract says of recordings, and all are no more than the file holds."""
    require(found, "no stretch")
    require(sum(len(one.samples) for one in found) * 2 <= bytes_read, "more samples than the file has")
    for one in found:
        require(one.samples.dtype == np.complex64 and one.samples.ndim == 1, "samples of another type")
        require(np.isfinite(one.samples).all() and one.samples.any(), "samples that are not finite, or zero")
        require(np.abs(one.samples.view(np.float32)).max() <= iq.MAX_LEVEL, "samples that are too loud")
        require(recording.MIN_RATE_HZ <= one.sample_rate_hz <= recording.MAX_RATE_HZ, "a rate out of range")
        require(one.duration_s >= iq.MIN_DURATION_S * 0.999, "too short")
        require(
            (one.start_gps_ns is None) == (one.timing_sigma is None), "GPS time without sigma, or sigma alone"
        )
        if one.timing_sigma is not None:
            steps, sigmas = one.timing_sigma.from_sample, one.timing_sigma.sigma_ns
            require(steps[0] == 0 and (np.diff(steps) > 0).all(), "steps of sigma that do not ascend")
            require((sigmas > 0).all(), f"a sigma of {sigmas.min()}")
        if one.start_utc is not None:
            require(1999 <= one.start_utc.year < 2100, f"a start in {one.start_utc.year}")
        if one.frequency_hz is not None:
            require(0 <= one.frequency_hz <= 1e12, f"a frequency of {one.frequency_hz} Hz")
        require(one.receiver is None or one.receiver.isprintable(), f"a receiver called {one.receiver!r}")
        require(all(text.isprintable() for text in one.remarks), f"remarks {one.remarks}")
        timed = one.disciplined(50.0)
        if timed.nominal_start_ns is not None:
            (stretch,) = stretches({SITE: [timed]})
            require(ingest.cut_sessions([stretch], 7.1) == [], "a session of one receiver")
            for part in stretch.parts.values():
                iq.decode(part.content([timed]), part.sample_rate_hz, 1.01)
                require(
                    part.timing_sigma_ns is None or 0 < part.timing_sigma_ns < math.inf, "a sigma of a second"
                )


def read_recording(path: Path, random: Random) -> None:
    """Any file, as `heimdall ingest` reads it."""
    hints = Hints(
        near=random.choice((None, test_kiwi.NEAR)),
        start=random.choice((None, Moment(utc_ns(START), 1e6))),
        sample_rate_hz=random.choice((None, 8e3, RATE_HZ, 1e7)),
        sample_format=random.choice((None, None, "cs8")),
    )
    found = reader.read(path, hints)
    check_recordings(found, sum(one.stat().st_size for one in path.parent.iterdir()))


def read_object(path: Path, random: Random) -> None:
    """The bytes of an object of the bucket, beside NumPy's own reader."""
    content, rate_hz = path.read_bytes(), random.choice((8e3, 8e3, RATE_HZ, RATE_HZ, 1e7))
    try:
        samples = iq.decode(content, rate_hz, 10.0)
    except iq.BadRecording as bad:
        raise bad_object(path, bad) from None
    check_recordings([TimedRecording(samples, rate_hz)], len(content))
    header = io.BytesIO(content)
    with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):
        wanted = np.load(header, allow_pickle=False).astype(np.complex64)
    require(np.array_equal(samples, wanted), "other samples than NumPy reads")


def bad_object(path: Path, bad: iq.BadRecording) -> Exception:
    """The line of the quarantine as a refusal."""
    require(bad.detail.isprintable(), f"a line of the quarantine: {bad.detail!r}")
    return HeimdallError(path.name, bad.detail, "Look at the object")


def read_receivers(path: Path, random: Random) -> None:
    """receivers.csv or GeoJSON, as `heimdall ingest --receivers` takes it."""
    sites = receivers_file.read(path)
    require(sites, "no receiver")
    require(len({site.name for site in sites}) == len(sites), "a name twice")
    for site in sites:
        require(
            site.name.strip() == site.name and site.name.isprintable(),
            f"a receiver called {site.name[:60]!r}",
        )
        require(len(site.name) <= 200, f"a name of {len(site.name)} characters")
        require(
            abs(site.latitude_deg) <= 90 and abs(site.longitude_deg) <= 180, "a place that is not on Earth"
        )
        require(-500 <= site.altitude_m <= 20_000, f"an altitude of {site.altitude_m}")
        require(
            site.timing_sigma_ns is None or 1 <= site.timing_sigma_ns <= 1e9, f"sigma {site.timing_sigma_ns}"
        )


def read_pinned(path: Path, random: Random) -> None:
    """sql/NAME.receivers.csv, as the snapshot takes it."""
    rows = receivers.pinned(path)
    require(len(rows), "no receiver")
    require(schemas.on_earth(rows).all(), "a place that is not on Earth")
    require(rows[["latitude_deg", "longitude_deg", "altitude_m"]].notna().all(axis=None), "a place with NaN")
    require(
        rows["name"].str.len().between(1, 200).all() and rows["name"].map(str.isprintable).all(), "a name"
    )
    require(rows["websdr_id"].between(0, 2**31 - 1).all(), "an identifier out of range")
    require(rows.groupby("websdr_id")["name"].nunique().eq(1).all(), "one identifier for two receivers")
    require((rows["from"].isna() | rows["until"].isna() | (rows["from"] < rows["until"])).all(), "a period")
    some = pd.DataFrame(
        {
            "websdr_id": pd.array([1, 2, None, 2**40], "Int64"),
            "timestamp": pd.to_datetime(["2026-01-01", None, "2020-01-01", "1970-01-01"], utc=True),
        }
    )
    require(len(receivers.place(some, rows)) == len(some), "rows are lost")


def read_times(path: Path, random: Random) -> None:
    """times.csv, as `predict` and `locate` take it."""
    for websdr_id, (start_ns, sigma_ns) in start_times.read(path).items():
        require(0 <= websdr_id < 2**31, f"receiver {str(websdr_id)[:40]}")
        require(0 <= start_ns <= limits.LATEST_GPS_NS, f"a start at {str(start_ns)[:40]}")
        require(0 <= sigma_ns <= 1e15, f"a sigma of {sigma_ns}")


def read_parameters(path: Path, random: Random) -> None:
    """params.yaml, as every command reads it."""
    require(determinism.read_threads(path) is not None, "no threads")
    found = params.load(path)
    _check_values(asdict(found))
    require(
        found.lr > 0 and found.batch_size >= 1 and 0 < found.validation_split < 1, "a number out of range"
    )
    require(
        found.snapshot.as_of.tzinfo is not None and 0 <= found.seed < 2**32, "a time without a zone, a seed"
    )
    require(found.model.uncertainty_min_m < found.model.uncertainty_max_m, "sigma's bounds")
    require(0 <= found.augment.dropout_rate < 1 and 17 <= found.export.opset <= 23, "a number out of range")
    require(
        found.snapshot.source.replace("-", "_").isidentifier() or found.snapshot.source.isascii(), "a source"
    )


def _check_values(found: object) -> None:
    """No number is NaN, infinite, or beyond what a computer counts with."""
    if isinstance(found, dict):
        for one in found.values():
            _check_values(one)
    elif isinstance(found, float):
        require(math.isfinite(found), f"the number {found}")
    elif isinstance(found, int):
        require(abs(found) < 2**63, f"the number {str(found)[:40]}")
    require(not is_dataclass(found), "a section that is no section")


def npy_seeds() -> list[Files]:
    """Arrays of each version, type and order, and what Python 2 wrote."""
    double = SAMPLES.astype(np.complex128)
    big = SAMPLES.astype(">c8")
    arrays = [
        npy(version, array=one) for version in ((1, 0), (2, 0), (3, 0)) for one in (SAMPLES, double, big)
    ]
    old = npy(array=SAMPLES).replace(b"(4800,), }", b"(4800L,),}")
    odd = [
        np.array([{"a": 1}, None], object),
        SAMPLES.reshape(2, -1),
        np.zeros(0, np.complex64),
        np.arange(9),
    ]
    pickled = io.BytesIO()
    np.save(pickled, odd[0], allow_pickle=True)
    others = [npy(array=one) for one in odd[1:]]
    return [{"x.npy": one} for one in (*arrays, old, *others, pickled.getvalue(), pickle.dumps(odd[0]))]


def npy_header(random: Random, content: bytes) -> bytes:
    """Another type, order or shape in the header, of any length; the samples stay."""
    start = 10 + int.from_bytes(content[8:10], "little")
    count = random.choice(
        (4800, 0, 1, -1, 2**31, 2**40, 2**62, 2**63, 2**64, 10**400, "4800L", "True", "1e3", "None")
    )
    shape = random.choice(
        (f"({count},)", f"({count})", f"({count}, 1)", f"[{count}]", "()", "(" * 3000, f"({count},1,)")
    )
    types = ("<c8", "<c16", ">c8", ">c16", "|O", "<f8", "<c32", "c8", "|V8", "O", "<M8[ns]", "", "x" * 9000)
    descr = random.choice(
        (repr(random.choice(types)), "[('a','<c8')]", "None", "8", "'\\x00'", "b'<c8'", "{}")
    )
    order = random.choice(("False", "True", "0", "None", "'x'", "__import__('os')", "[0]*10**9", "9**9**9"))
    fields = [f"'descr': {descr}", f"'fortran_order': {order}", f"'shape': {shape}"]
    if random.random() < 0.5:  # one alone is odd
        good = ["'descr': '<c8'", "'fortran_order': False", "'shape': (4800,)"]
        kept = random.randrange(3)
        fields = [one if place == kept else good[place] for place, one in enumerate(fields)]
    if random.random() < 0.1:
        fields.insert(random.randrange(4), random.choice(("'more': 1", "'descr': '<c8'", "**{}", "")))
    text = (
        "{"
        + ", ".join(fields)
        + random.choice((", }", "}", "", "}}", "} \x00"))
        + " " * random.randrange(60)
        + "\n"
    )
    version = random.choice((b"\1\0", b"\2\0", b"\3\0", b"\4\0", b"\0\0"))
    length = len(text) + random.choice((0, 0, 0, 0, -1, 1, 60_000))
    size = struct.pack("<H" if version == b"\1\0" else "<I", max(0, length) % 65_536)
    return b"\x93NUMPY" + version + size + text.encode("latin-1") + content[start:]


def npy_samples(random: Random, content: bytes) -> bytes:
    """Bits of the samples, not of the header."""
    start = min(len(content), 128)
    return content[:start] + mutations.flip(random, content[start:])


def wav_seeds() -> list[Files]:
    """Every sample type, RF64 and BW64, EXTENSIBLE, and what recorders add."""
    data = {kind: stored(kind, SAMPLES) for kind, _, _ in WAV_KINDS}
    files = [test_reader.wav(fmt(code, bits), data[kind]) for kind, code, bits in WAV_KINDS]
    files += [test_reader.wav(fmt(code, bits, extensible=True), data[kind]) for kind, code, bits in WAV_KINDS]
    files += [rf64(fmt(1, 16), data["cs16"]), rf64(fmt(3, 32), data["cf32"], b"BW64")]
    files += [test_reader.wav(fmt(1, 16), data["cs16"], one) for one in (AUXI, XML)]
    return [{"x_20260101_120000_7100kHz.wav": one} for one in files]


def kiwi_seeds() -> list[Files]:
    """Files of a KiwiSDR: good, with a gap, with old fixes, over the end of a week."""
    blocks, name = 26, "20171127T104156Z_77500_NORTH_iq.wav"
    noise = np.random.default_rng(3).integers(-999, 999, (blocks * BLOCK, 2)).astype(np.int16)
    starts = (124_934 * 10**9, 604_799 * 10**9)
    good = [[(time, 2) for time in true_ns(blocks, start)] for start in starts]
    gap = [(time + (10**9 if number > 12 else 0), age) for number, (time, age) in enumerate(good[0])]
    old = [(time, 255) for time, _ in good[0]]
    mixed = [(time, 2 if number < 14 else 40 + number) for number, (time, _) in enumerate(good[0])]
    return [{name: test_kiwi.wav(stamps, noise)} for stamps in (*good, gap, old, mixed)]


def sigmf_seeds() -> list[Files]:
    """Metadata and data of some types, with captures, with a time of each form."""
    found: list[Files] = []
    for datatype, captures in (
        (
            "cf32_le",
            [{"core:sample_start": 0, "core:frequency": 7.1e6, "core:datetime": "2024-05-06T07:08:09.25Z"}],
        ),
        (
            "ci16_be",
            [
                {"core:sample_start": 0, "core:datetime": "2024-05-06T07:08:09Z", "core:global_index": 0},
                {"core:sample_start": 2_400, "core:global_index": 9_000, "core:header_bytes": 0},
            ],
        ),
        ("cu8", [{"core:sample_start": 0}, {"core:sample_start": 4_000, "core:frequency": 1e6}]),
        ("cf64_le", []),
    ):
        whole = {"core:datatype": datatype, "core:version": "1.0.0", "core:sample_rate": 24_000}
        meta = {"global": whole, "captures": captures, "annotations": []}
        kind = datatype.split("_")[0].replace("ci", "cs")
        data = np.frombuffer(stored(kind, SAMPLES), reader.plain.RAW_TYPES[kind].dtype)
        if datatype.endswith("_be"):
            data = data.astype(data.dtype.newbyteorder(">"))
        found.append({"x.sigmf-meta": json.dumps(meta).encode(), "x.sigmf-data": data.tobytes()})
    return found


def archive_seeds() -> list[Files]:
    """The same as archives."""
    found: list[Files] = []
    for files in sigmf_seeds():
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w") as archive:
            for name, content in files.items():
                member = tarfile.TarInfo(f"x/{name}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        found.append({"x.sigmf": stream.getvalue()})
    return found


def archive_member(random: Random, content: bytes) -> bytes:
    """A field of a member's header in an archive: its name, size, type or sums."""
    try:
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            members = archive.getmembers()
    except tarfile.TarError:
        return mutations.flip(random, content)
    if not members:
        return mutations.flip(random, content)
    start = random.choice(members).offset
    header = bytearray(content[start : start + 512])
    place, length = random.choice(
        ((0, 100), (100, 8), (124, 12), (136, 12), (156, 1), (157, 100), (257, 8), (345, 155))
    )
    odd = random.choice(
        (b"\xff" * length, b"7" * length, b"../x", b"x.sigmf-meta", b"\x80" + b"\0" * 11, b"2", b"L", b"x")
    )
    header[place : place + min(length, len(odd))] = odd[:length]
    if random.random() < 0.8:  # with a sum that is right, so that the rest is believed
        header[148:156] = b" " * 8
        header[148:156] = f"{sum(header):06o}\0 ".encode()
    return content[:start] + bytes(header) + content[start + 512 :]


def archive_json(random: Random, content: bytes) -> bytes:
    """The metadata in an archive changed as beside it."""
    try:
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            parts = {one.name: archive.extractfile(one).read() for one in archive if one.isfile()}  # type: ignore[union-attr]
    except (tarfile.TarError, OSError, EOFError):
        return mutations.flip(random, content)
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, body in parts.items():
            changed = mutations.value(random, body) if name.endswith("meta") else body
            member = tarfile.TarInfo(name)
            member.size = len(changed)
            archive.addfile(member, io.BytesIO(changed))
    return stream.getvalue()


def raw_seeds() -> list[Files]:
    """Raw files of every type, one with what a file of JSON says of it."""
    kinds = ("cu8", "cs8", "cu16", "cs16", "cs32", "cf32", "cf64")
    found: list[Files] = [
        {f"x_20260101_120000_7100kHz_48kSps.{kind}": stored(kind, SAMPLES)} for kind in kinds
    ]
    found.append({"gqrx_20260101_120000_7100000_48000_fc.raw": stored("cf32", SAMPLES)})
    beside = {
        "sample_rate_hz": 48_000,
        "frequency_hz": 7.1e6,
        "start_gps_ns": 1_400_000_000_000_000_001,
        "timing_sigma_ns": 30,
        "receiver": "NORTH",
    }
    for name, content in (("x.cf32", stored("cf32", SAMPLES)), ("x.npy", npy(array=SAMPLES))):
        found.append({name: content, "x.json": json.dumps(beside).encode()})
    return found


def receiver_seeds() -> list[Files]:
    """Tables with commas, semicolons and tabs, and GeoJSON."""
    rows = ("NORTH,53.6,7.2,5,", "SOUTH pier,45.7,0.6,200,30", '"WEST, 2",47.1,8.4,,', "4,-33.9,151.2,-2,1e3")
    table = "\n".join(("name,latitude,longitude,altitude_m,timing_sigma_ns", *rows, ""))
    other = "id;lat;lon\nNORTH;53,6;7,2\nS\u00dcD;45,7;0,6\n"
    features = [
        {
            "type": "Feature",
            "properties": {"name": name, "id": 7, "altitude_m": 12},
            "geometry": {"type": "Point", "coordinates": place},
        }
        for name, place in (("NORTH", [7.2, 53.6, 5]), ("SOUTH", [0.6, 45.7]))
    ]
    geo = json.dumps({"type": "FeatureCollection", "features": features})
    return [{"receivers.csv": text.encode()} for text in (table, other, table.replace(",", "\t"), geo)]


def pinned_seeds() -> list[Files]:
    """The shipped file, and one whose numbers were given anew."""
    shipped = (REPOSITORY / "sql" / "specification.receivers.csv").read_bytes()
    again = (
        "number,name,latitude,longitude,altitude_m,from,until\n1,NORTH,53.6,7.2,5,,2026-01-01T00:00:00Z\n"
        "1,SOUTH,45.7,0.6,200,2026-01-01T00:00:00Z,\n2,NORTH,53.6,7.2,5,2026-01-01T00:00:00+00:00,\n"
    )
    return [{"x.receivers.csv": content} for content in (shipped, again.encode())]


def times_seeds() -> list[Files]:
    """Whole numbers, and as pandas writes them."""
    plain = "websdr_id,start_gps_ns,timing_sigma_ns\n1,1400000000000000001,30.5\n2,1400000000000000101,30\n"
    floats = "websdr_id,start_gps_ns,timing_sigma_ns,more\n1.0,140000000001,30.5,x\n2.0,140000000101.0,1e2,\n"
    return [{"times.csv": text.encode()} for text in (plain, floats)]


def arrival_seeds() -> list[Files]:
    """A table of arrival times of each form."""
    times = (1_768_000_000_000_000_017, 1_768_000_000_001_234_530, 1_768_000_000_000_900_121)
    long = "event,receiver,time_ns,sigma_ns,level_db,frequency_mhz\n1,NORTH,{},30,-50,145.5\n"
    long += "1,SOUTH,{},,,\n1,WEST,{},,,\n"
    dated = (
        "station;time;tx_latitude\nNORTH;2026-01-09T23:06:40.000000017Z;1\nSOUTH;2026-01-09T23:06:40,001Z;1\n"
    )
    wide = "event,NORTH_ns,SOUTH_ns,WEST_us\n1,{},{},{}\n2,1,2,3\n"
    messages = (
        "id,timeAtServer,aircraft,latitude,longitude,geoAltitude,measurements\n"
        '1,1.5,401,48.5,9.2,9875.5,"[[""NORTH"", {}, 75], [""SOUTH"", {}, 3.5], [""WEST"", {}, 9]]"\n'
    )
    pairs = "receiver_a,receiver_b,tdoa_us,sigma_us\nSOUTH,NORTH,1234.5,0.2\nWEST,NORTH,-900.25,0.2\n"
    forms = (long, dated, long.replace(",", "\t"), wide, messages, pairs)
    return [{"times.csv": form.format(*times).encode()} for form in forms]


def read_arrivals(path: Path, random: Random) -> None:
    """A table of arrival times, as `locate` takes it."""
    places = ((53.6, 7.2, 5.0), (45.7, 0.6, 200.0), (47.1, 8.4, 450.0))
    sites = [
        receivers_file.Site(name, *place)
        for name, place in zip(("NORTH", "SOUTH", "WEST"), places, strict=True)
    ]
    table = arrival_table.read(path, sites, random.choice((None, "us")))
    require(table.events, "no event")
    for event in table.events:
        require(len(set(event.receiver)) == len(event.receiver), "a receiver twice")
        require(not np.isinf(event.arrival_s).any(), "an infinite time")
        require(not (event.sigma_s <= 0).any() and not np.isinf(event.sigma_s).any(), "a sigma")
        require(not np.isinf(event.level_db).any(), "a level")
        require(not math.isinf(event.frequency_hz) and not math.isinf(event.time_s), "a frequency or a time")
        require(event.truth is None or abs(event.truth.latitude_deg) <= 90, "a truth")
        require(all(text.isprintable() for text in (event.name, event.transmitter, *event.remarks)), "a text")


def yaml_value(random: Random, content: bytes) -> bytes:
    """The value of a line, a line with another indent, a key twice, an anchor, a bomb."""
    lines = content.decode("utf-8", "replace").split("\n")
    at = random.randrange(len(lines))
    key, colon, _ = lines[at].partition(":")
    more = (
        "&a [*a]",
        "!!python/object:os.system x",
        "!!binary |",
        "!!set {a, b}",
        "*a",
        "&a 1",
        "|",
        ">-",
        "? ",
        "!x 1",
    )
    more += (
        "[" * 3000,
        "{" * 3000,
        "[[[]]]",
        "{a: 1}",
        "{a: 1, a: 2}",
        "- 1",
        "!!int x",
        "!!float ''",
        "!!timestamp x",
    )
    more += (
        "!!int 0b",
        "!!null x",
        "!!omap [a]",
        "!!pairs [[]]",
        "1:99:99",
        "0b102",
        "0x",
        ".",
        "1e-05",
        "=",
        "<<: 1",
    )
    kind = random.random()
    if kind < 0.7:
        odd = random.choice(TEXTS if random.random() < 0.6 else more)
        lines[at] = f"{key}{colon or ':'} {odd if random.random() < 0.8 else json.dumps(odd)}"
    elif kind < 0.8:
        lines[at] = " " * random.randrange(5) + lines[at].lstrip()
    elif kind < 0.9:
        lines.insert(random.randrange(len(lines) + 1), lines[at])
    else:
        lines.insert(random.randrange(len(lines) + 1), random.choice(BOMBS))
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def _bomb(step: str, levels: int) -> str:
    """Each level names the former one nine times."""
    names = [
        f"b{level}: &b{level} {step.format(', '.join([f'*b{level - 1}'] * 9))}" for level in range(1, levels)
    ]
    return "\n".join(["b0: &b0 {x: 1}", *names])


BOMBS = (
    _bomb("[{}]", 9),
    _bomb("{{<<: [{}]}}", 9),
    _bomb("[{}]", 40),
    "calibration: {delay_ns: {<<: {<<: {<<: {websdr_1: 1}}}}}",
    "? [a, b]\n: 1",
    "? {a: 1}\n: 1",
    "x: &x {<<: *x}",
    "%YAML 1.1\n---",
    "---\n---\n",
    "x: " + "[" * 2000 + "]" * 2000,
    "x: " + "9" * 100_000,
    "lr: !!float " + "9" * 100_000,
    "? " * 1500 + "x",
)


def parameters_seeds() -> list[Files]:
    """The committed file."""
    return [{"params.yaml": (REPOSITORY / "params.yaml").read_bytes()}]


READERS = (
    Reader("npy", npy_seeds, (npy_header, npy_samples), read_object),
    Reader("kiwi", kiwi_seeds, (mutations.chunk,), read_recording, renamed=True),
    Reader(
        "wav", wav_seeds, (mutations.chunk, mutations.chunk, mutations.set_word), read_recording, renamed=True
    ),
    Reader("sigmf", sigmf_seeds, (mutations.value, mutations.value, mutations.number), read_recording),
    Reader("sigmf-archive", archive_seeds, (archive_member, archive_json, archive_json), read_recording),
    Reader("raw", raw_seeds, (mutations.value, mutations.set_word), read_recording, renamed=True),
    Reader(
        "receivers",
        receiver_seeds,
        (mutations.cell, mutations.cell, mutations.value, *OF_TEXT),
        read_receivers,
    ),
    Reader("pinned", pinned_seeds, (mutations.cell, mutations.cell, *OF_TEXT), read_pinned),
    Reader("times", times_seeds, (mutations.cell, mutations.cell, *OF_TEXT), read_times),
    Reader(
        "arrivals", arrival_seeds, (mutations.cell, mutations.cell, mutations.number, *OF_TEXT), read_arrivals
    ),
    Reader("parameters", parameters_seeds, (yaml_value, yaml_value, *OF_TEXT), read_parameters),
)
