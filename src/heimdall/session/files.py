"""The recordings of a session as files, as `heimdall predict` and `heimdall locate` take them."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from heimdall.core import artifacts, remedies
from heimdall.core.errors import HeimdallError
from heimdall.recordings import archive, iq
from heimdall.session import start_times
from heimdall.session.catalogue import Session

TIMES_FILE = "times.csv"
RECEIVERS_FILE = "receivers.csv"
USUAL_RATE_HZ = 192_000.0  # of the network, and what `predict` takes unless told otherwise


@dataclass(frozen=True)
class Fetched:
    """The files of a session.

    Attributes:
        session_id: The session.
        recordings: `websdr_ID.npy`, by the number of the receiver.
        times: `times.csv`; None where no receiver knows the GPS time.
        sample_rates_hz: All sample rates of the recordings.
        command: What locates them; None where their rates differ, because `heimdall predict` takes one.
        without_model: What locates them without a model, where one has a GPS time.
    """

    session_id: str
    recordings: tuple[Path, ...]
    times: Path | None
    sample_rates_hz: tuple[float, ...]
    command: str | None
    without_model: str


def write(session: Session, folder: Path) -> Fetched:
    """Write the recordings of a session, and when each began, from the snapshot.

    A `.json` beside each recording and `receivers.csv` say what `heimdall locate` needs to know.

    Args:
        session: One of `catalogue.sessions`.
        folder: Where to; the files of this session are replaced.

    Returns:
        What was written.

    Raises:
        HeimdallError: The snapshot is missing or damaged, or the folder holds recordings of another session,
            which would be taken for this one's.
    """
    measurements = archive.read_measurements()
    rows = measurements[measurements["session_id"] == session.session_id].sort_values("websdr_id")
    contents = {
        folder / f"websdr_{websdr_id}.npy": iq.encode(samples)
        for websdr_id, samples in samples_of(rows).items()
    }
    foreign = [file for file in folder.glob("websdr_*.npy") if contents.get(file) != file.read_bytes()]
    if foreign:
        cause = "it is a recording of another session"
        raise HeimdallError(str(min(foreign)), cause, "Name a folder of its own with --output")
    for file, content in contents.items():
        artifacts.write_bytes(file, content)
    recordings = list(contents)
    for websdr_id, row in rows.set_index("websdr_id").iterrows():
        artifacts.write_json(folder / f"websdr_{websdr_id}.json", _said(row, session.frequency_mhz))
    artifacts.write_bytes(folder / RECEIVERS_FILE, _receivers(rows["websdr_id"]).encode("utf-8"))
    timed = rows[rows["start_gps_ns"].notna()]
    times = folder / TIMES_FILE if len(timed) else None
    if times is not None:
        columns = (timed[name].tolist() for name in start_times.COLUMNS)
        artifacts.write_bytes(times, start_times.text(zip(*columns, strict=True)).encode("utf-8"))
    rates_hz = tuple(sorted(set(rows["sample_rate_hz"].tolist())))
    command = None
    if len(rates_hz) == 1:
        said = _command(recordings, session.frequency_mhz, times, rates_hz[0])
        absent = archive.absent_from(session.session_id)
        command = shlex.join([*said, *(word for one in absent for word in ("--absent", str(one)))])
    words = ["heimdall", "locate", *map(str, recordings), "--receivers", str(folder / RECEIVERS_FILE)]
    return Fetched(session.session_id, tuple(recordings), times, rates_hz, command, shlex.join(words))


def samples_of(measurements: pd.DataFrame) -> dict[int, iq.Samples]:
    """The samples of a session.

    Args:
        measurements: Its rows of the snapshot.

    Returns:
        Samples, (n,) complex64, by the number of the receiver, in the order of the rows.

    Raises:
        HeimdallError: A shard is missing or damaged, or lacks a recording.
    """
    paths = [archive.shard_path(name) for name in measurements["shard"].unique()]
    stored = {key: samples for path in paths for key, samples in archive.read_shard(path).items()}
    keys = list(zip(measurements["session_id"], measurements["websdr_id"].tolist(), strict=True))
    for session_id, websdr_id in keys:
        if (session_id, websdr_id) not in stored:
            cause = f"no recording of receiver {websdr_id} in session {session_id}"
            raise HeimdallError(str(archive.SNAPSHOT), cause, remedies.RESTORE)
    return {websdr_id: stored[session_id, websdr_id] for session_id, websdr_id in keys}


def _said(row: pd.Series[Any], frequency_mhz: float) -> dict[str, float]:
    """What stands beside a recording, as `formats.plain` reads it."""
    said = {"sample_rate_hz": row["sample_rate_hz"], "frequency_hz": frequency_mhz * 1e6}
    if pd.notna(row["start_gps_ns"]):
        said |= {"start_gps_ns": int(row["start_gps_ns"]), "timing_sigma_ns": float(row["timing_sigma_ns"])}
    return said


def _receivers(websdr_ids: pd.Series[int]) -> str:
    """The places of some receivers, by the names of their files."""
    known = archive.read_receivers()
    lines = ["name,latitude_deg,longitude_deg,altitude_m"]
    for row in known[known["websdr_id"].isin(websdr_ids)].itertuples():
        lines.append(f"websdr_{row.websdr_id},{row.latitude_deg!r},{row.longitude_deg!r},{row.altitude_m!r}")
    return "\n".join(lines) + "\n"


def _command(recordings: list[Path], frequency_mhz: float, times: Path | None, rate_hz: float) -> list[str]:
    """The words of the line that locates the files."""
    words = ["heimdall", "predict", *map(str, recordings), "--frequency-mhz", repr(frequency_mhz)]
    words += [] if times is None else ["--times", str(times)]
    return words if rate_hz == USUAL_RATE_HZ else [*words, "--sample-rate-hz", repr(rate_hz)]
