"""What receivers around a simulated transmitter record, as files that other programs write."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from heimdall.core.randomness import generator
from heimdall.formats.gps_time import SECOND_NS, Moment, gps_ns_of_utc
from heimdall.geometry import geo

RATE_HZ = 24_000
START = "2026-01-09T12:00:00.000000000Z"
START_GPS_NS = gps_ns_of_utc(Moment.parse(START).ns)
TRUTH = (45.2, 8.1, 250.0)
PLACES = {
    "north": (45.75, 8.05, 300.0),
    "east pier": (45.15, 8.85, 210.0),
    "SOUTH": (44.6, 8.2, 400.0),
    "west": (45.25, 7.35, 250.0),
}
SIGMA_NS = 50.0
HALF_BAND_HZ = 5000.0
_CHANGE_S = 0.5  # of signal beyond both ends, from which later receivers take theirs

Samples = npt.NDArray[np.complex64]


def delay_s(name: str) -> float:
    """Along the straight line, which a signal at 145 MHz takes but for some nanoseconds."""
    line_m = geo.ecef_m(*PLACES[name]) - geo.ecef_m(*TRUTH)
    return float(np.sqrt((line_m**2).sum())) / 299_792_458.0


def samples(
    begin_s: float, duration_s: float, names: Sequence[str] = tuple(PLACES), noise: float = 0.1, seed: int = 1
) -> dict[str, Samples]:
    """The same transmission as each receiver has it from a time after START on; noise is relative to it."""
    total = round((20 + 2 * _CHANGE_S) * RATE_HZ)
    random = generator(seed, "test signal of locate")
    frequency_hz = np.fft.fftfreq(total, 1 / RATE_HZ)
    spectrum = np.fft.fft(random.normal(size=total) + 1j * random.normal(size=total))
    spectrum *= np.abs(frequency_hz) < HALF_BAND_HZ
    first, count = round((begin_s + _CHANGE_S) * RATE_HZ), round(duration_s * RATE_HZ)
    found = {}
    for name in names:
        late = np.fft.ifft(spectrum * np.exp(-2j * np.pi * frequency_hz * delay_s(name)))[
            first : first + count
        ]
        own = generator(seed, f"test noise of {name}")
        hiss = own.normal(size=count) + 1j * own.normal(size=count)
        found[name] = (0.3 * late / np.abs(late).std() + 0.3 * noise * hiss).astype(np.complex64)
    return found


def write_npy(folder: Path, name: str, iq: Samples, start_gps_ns: int | None = START_GPS_NS) -> Path:
    """With its GPS time in a file of JSON beside it."""
    path = folder / f"{name}.npy"
    np.save(path, iq)
    said: dict[str, object] = {"sample_rate_hz": RATE_HZ, "frequency_hz": 145_500_000}
    if start_gps_ns is not None:
        said |= {"start_gps_ns": start_gps_ns, "timing_sigma_ns": SIGMA_NS}
    path.with_suffix(".json").write_text(json.dumps(said))
    return path


def write_sigmf(folder: Path, name: str, iq: Samples) -> Path:
    """With its time in UTC, to the nanosecond."""
    iq.tofile(folder / f"{name}.sigmf-data")
    meta = {
        "global": {"core:datatype": "cf32_le", "core:version": "1.0.0", "core:sample_rate": RATE_HZ},
        "captures": [{"core:sample_start": 0, "core:datetime": START, "core:frequency": 145_500_000}],
        "annotations": [],
    }
    path = folder / f"{name}.sigmf-meta"
    path.write_text(json.dumps(meta))
    return path


def write_cu8(folder: Path, name: str, iq: Samples) -> Path:
    """As an RTL-SDR has it, which says nothing."""
    path = folder / f"{name}.cu8"
    parts = np.clip(np.round(iq.view(np.float32) * 128 + 127.5), 0, 255)
    path.write_bytes(parts.astype(np.uint8).tobytes())
    return path


def write_receivers(folder: Path, sigma_ns: Mapping[str, float] | None = None) -> Path:
    """Places, and standard deviations of the clocks that GPS disciplines."""
    clocks = sigma_ns or {}
    lines = ["name,latitude,longitude,altitude_m,timing_sigma_ns"]
    lines += [",".join([name, *map(str, place), str(clocks.get(name, ""))]) for name, place in PLACES.items()]
    path = folder / "receivers.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def later_ns(seconds: float) -> int:
    """GPS time so long after START."""
    return START_GPS_NS + round(seconds * SECOND_NS)
