"""What is known of a run: its figures, its test sessions, its data and its making.

Everything is read from the files of one version: those of git, and those that DVC holds where its cache or
the remote has them. What is missing is remembered with its remedy, so that a page can say it.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from heimdall.core import paths, remedies
from heimdall.core.errors import HeimdallError
from heimdall.core.machine import REFERENCE
from heimdall.geometry import transmitters
from heimdall.pipeline.evaluate.predictors import LOCALIZER
from heimdall.report import revision
from heimdall.report.revision import Revision
from heimdall.reproduce import dvc_lock, git, model_file
from heimdall.reproduce.dvc_lock import Lock
from heimdall.reproduce.files import Files
from heimdall.reproduce.model_file import Statement
from heimdall.reproduce.paths import (
    CURVE,
    EVALUATION,
    EVALUATION_FULL,
    FEATURES,
    INDEX,
    LOCK_FILE,
    MODEL_RECORD,
    PRETRAINING_CURVE,
    SNAPSHOT_METRICS,
    TRAIN_METRICS,
)

RECEIVERS = f"{FEATURES}/receivers.parquet"
MEASUREMENTS = "data/snapshot/measurements.parquet"
FEATURE_METRICS, EXPORT_METRICS = "metrics/features.json", "metrics/export.json"
ERROR_CDF, RELIABILITY, ERROR_BOUND = (
    f"plots/{name}.csv" for name in ("error_cdf", "reliability", "error_bound")
)
MAP, SLICES = "plots/map.csv", "plots/slices.csv"

Say = Callable[[str], object]
_Parsed = TypeVar("_Parsed")


@dataclass(frozen=True)
class Absent:
    """A file that the report would need.

    Attributes:
        path: From the root of the clone.
        cause: Why it is not here.
        remedy: What brings it.
    """

    path: str
    cause: str
    remedy: str


@dataclass(frozen=True)
class Receiver:
    """A receiver of the network.

    Attributes:
        websdr_id: Its number.
        name: Its name.
        latitude_deg: Degrees.
        longitude_deg: Degrees.
    """

    websdr_id: int
    name: str
    latitude_deg: float
    longitude_deg: float


@dataclass(frozen=True)
class Recorded:
    """What the data say of a session.

    Attributes:
        time: When it was recorded, UTC; None where the snapshot is not here.
        frequency_mhz: Tuned frequency, MHz.
        modulation: The kind of signal; "unknown" where nobody said.
        region: The name of the receiver that is nearest to the transmitter.
        heard: The measured signal to noise ratio of each receiver that heard it, dB, by its number; the
            strongest first.
        silent: The numbers of the receivers that have a recording without the signal.
    """

    time: datetime | None
    frequency_mhz: float
    modulation: str
    region: str
    heard: Mapping[int, float]
    silent: tuple[int, ...]


@dataclass(frozen=True)
class Session:
    """A test session and the model's answer to it.

    Attributes:
        session_id: Lower-case UUID.
        latitude_deg: Of the transmitter, degrees.
        longitude_deg: Of the transmitter, degrees.
        estimated_latitude_deg: Of the answer, degrees.
        estimated_longitude_deg: Of the answer, degrees.
        sigma_east_m: Standard deviation to the east that the answer states, metres.
        sigma_north_m: The same to the north.
        correlation: Of the two; None in revisions that did not write it.
        level: Smallest probability of a region of the answer that holds the transmitter; None likewise.
        error_m: Distance of the answer from the transmitter, metres.
        transmitter: Its name as of `transmitters.by_place`; by place alone where the data are not here.
        bound_m: Root of the trace of the Cramer-Rao bound, metres; None where there is no bound, or
            plots/error_bound.csv is not here.
        recorded: What the data say of it; None where they are not here.
    """

    session_id: str
    latitude_deg: float
    longitude_deg: float
    estimated_latitude_deg: float
    estimated_longitude_deg: float
    sigma_east_m: float
    sigma_north_m: float
    correlation: float | None
    level: float | None
    error_m: float
    transmitter: str
    bound_m: float | None
    recorded: Recorded | None


@dataclass(frozen=True, eq=False)
class Run:
    """One run of the pipeline.

    Attributes:
        revision: The version.
        figures: The content of metrics/eval_full.json.
        tables: The tables of plots/ that are there, by path.
        sessions: The test sessions, in the order of plots/map.csv; none where that is missing.
        receivers: The network; none where the features are not here.
        metrics: The content of the other files of metrics/ that are there, by path.
        quarantine: The rows of data/quarantine.parquet; None where it is not here.
        model: What the record of the model says of its making; None where it is not here.
        machine: The content of reference.json, the machine on which dvc.lock was made; None likewise.
        lock: The dvc.lock.
        absent: What is missing.
    """

    revision: Revision
    figures: Mapping[str, Any]
    tables: Mapping[str, pd.DataFrame]
    sessions: tuple[Session, ...]
    receivers: tuple[Receiver, ...]
    metrics: Mapping[str, Mapping[str, Any]]
    quarantine: pd.DataFrame | None
    model: Statement | None
    machine: Mapping[str, Any] | None
    lock: Lock
    absent: tuple[Absent, ...]


class _Reader:
    """Reads what is there and remembers what is not."""

    def __init__(self, files: Files, say: Say) -> None:
        self.files = files
        self.absent: list[Absent] = []
        self._say = say

    def maybe(self, path: str, parse: Callable[[bytes], _Parsed]) -> _Parsed | None:
        """A file's content, or None where it cannot be had."""
        try:
            content = self.files.read(path)
        except HeimdallError as error:
            self._say(f"without {path}: {error.cause}")
            self.absent.append(self._absent(path))
            return None
        try:
            return parse(content)
        except (ValueError, KeyError, TypeError, OSError) as error:
            self._say(f"without {path}: {error!r}")
            self.absent.append(Absent(path, "It cannot be read.", f"{remedies.RESTORE}."))
            return None

    def _absent(self, path: str) -> Absent:
        """In words that do not depend on the machine: a message of the remote names its address."""
        made = dvc_lock.source_of(path, self.files.lock) is not None
        commit = self.files.commit
        if commit is None:
            there = (self.files.root / path).exists()
            cause = "It is not the one that dvc.lock names." if there else "It is not in the working tree."
            return Absent(path, cause, f"{remedies.RESTORE if there else remedies.BRING}.")
        if not made:
            return Absent(path, "This revision does not have it.", "Name a later revision.")
        remedy = "In a new clone run `heimdall services up`; else run `dvc push` in the clone that made it."
        return Absent(path, "Neither the cache of DVC nor its remote gave it.", remedy)


def read(repository: Path, typed: str | None, say: Say) -> Run:
    """Read the run of a version.

    Args:
        repository: A clone's root.
        typed: A commit, branch or tag; None for the working tree.
        say: Called with a line of progress.

    Raises:
        HeimdallError: There is no such revision, no run in it, or its figures are not those of its dvc.lock.
    """
    git.require_root(repository, "report")
    commit = git.commit_of(repository, typed) if typed else None
    files = Files(repository, commit)
    say("reading figures and plots")
    figures = _figures(files)
    reader = _Reader(files, say)
    tables = {
        path: table
        for path in (ERROR_CDF, RELIABILITY, ERROR_BOUND, SLICES, MAP, CURVE, PRETRAINING_CURVE)
        if (table := reader.maybe(path, _csv)) is not None
    }
    metrics = {
        path: found
        for path in (SNAPSHOT_METRICS, FEATURE_METRICS, TRAIN_METRICS, EXPORT_METRICS)
        if (found := reader.maybe(path, _json)) is not None
    }
    machine = reader.maybe(str(REFERENCE), _json)
    say("reading the data of the test sessions")
    receivers = reader.maybe(RECEIVERS, _receivers)
    index = reader.maybe(INDEX, _parquet)
    sessions = _sessions(tables.get(MAP), tables.get(ERROR_BOUND), index, _recorded(reader, index))
    return Run(
        revision=revision.find(repository, typed, files.lock),
        figures=figures,
        tables=tables,
        sessions=sessions,
        receivers=receivers or (),
        metrics=metrics,
        quarantine=reader.maybe(str(paths.QUARANTINE), _parquet),
        model=reader.maybe(MODEL_RECORD, lambda content: model_file.statement(_json(content))),
        machine=machine,
        lock=files.lock,
        absent=tuple(reader.absent),
    )


def _figures(files: Files) -> Mapping[str, Any]:
    """All figures of the evaluation; commits before 2026-12 have them in metrics/eval.json."""
    full = EVALUATION_FULL in dvc_lock.outputs(files.lock)
    path = EVALUATION_FULL if full or EVALUATION not in dvc_lock.outputs(files.lock) else EVALUATION
    found = _json(files.output(path))
    if not {"split_by", "targets", "cramer_rao"} <= found.keys() or LOCALIZER not in found.get("test", {}):
        remedy = f"Name a later revision (`git log --oneline {LOCK_FILE}` lists some)"
        raise HeimdallError(path, "it has not the figures of sessions that a report is made of", remedy)
    return found


def _json(content: bytes) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(content)
    return loaded


def _csv(content: bytes) -> pd.DataFrame:
    """A table of plots/; names and labels such as "3" or "unknown" stay text."""
    text = {"session_id": str, "split": str, "predictor": str, "slice": str, "value": str}
    return pd.read_csv(io.BytesIO(content), dtype=text, keep_default_na=False, na_values=[""])


def _parquet(content: bytes) -> pd.DataFrame:
    return pd.read_parquet(io.BytesIO(content))


def _receivers(content: bytes) -> tuple[Receiver, ...]:
    return tuple(
        Receiver(
            int(row["websdr_id"]), str(row["name"]), float(row["latitude_deg"]), float(row["longitude_deg"])
        )
        for row in _parquet(content).to_dict("records")
    )


def _recorded(reader: _Reader, index: pd.DataFrame | None) -> dict[str, Recorded]:
    """What the data say of each test session."""
    if index is None:
        return {}
    measurements = reader.maybe(MEASUREMENTS, _parquet)
    times = None if measurements is None else measurements.groupby("session_id")["timestamp"].min()
    test = index[index["split"] == "test"]
    return {
        str(name): _of_session(rows, None if times is None else times.get(name))
        for name, rows in test.groupby("session_id", sort=False)
    }


def _of_session(rows: pd.DataFrame, time: pd.Timestamp | None) -> Recorded:
    first = rows.iloc[0]
    heard = rows[rows["detected"]].sort_values(["snr_db", "websdr_id"], ascending=[False, True])
    return Recorded(
        time=None if time is None else time.to_pydatetime(),
        frequency_mhz=float(first["frequency_mhz"]),
        modulation=str(first["modulation"]),
        region=str(first["region"]),
        heard=dict(zip(heard["websdr_id"].tolist(), heard["snr_db"].tolist(), strict=True)),
        silent=tuple(sorted(rows.loc[~rows["detected"], "websdr_id"].tolist())),
    )


def _sessions(
    answers: pd.DataFrame | None,
    bounds: pd.DataFrame | None,
    index: pd.DataFrame | None,
    recorded: Mapping[str, Recorded],
) -> tuple[Session, ...]:
    if answers is None:
        return ()
    transmitter = _transmitters(answers, index)
    bound_m = {} if bounds is None else dict(zip(bounds["session_id"], bounds["bound_m"], strict=True))
    return tuple(
        Session(
            session_id=row["session_id"],
            **{name: float(row[name]) for name in _NUMBERS},
            correlation=_number(row, "correlation"),
            level=_number(row, "level"),
            transmitter=transmitter[row["session_id"]],
            bound_m=bound_m.get(row["session_id"]),
            recorded=recorded.get(row["session_id"]),
        )
        for row in answers.to_dict("records")
    )


def _transmitters(answers: pd.DataFrame, index: pd.DataFrame | None) -> dict[str, str]:
    """The transmitter of each session, as the evaluation tells them apart."""
    table = answers[["session_id", "latitude_deg", "longitude_deg"]].assign(source_id=None)
    if index is not None:
        names = index.drop_duplicates("session_id").set_index("session_id")["source_id"]
        table["source_id"] = table["session_id"].map(names)
    return dict(zip(table["session_id"], transmitters.by_place(table), strict=True))


_NUMBERS = (
    "latitude_deg",
    "longitude_deg",
    "estimated_latitude_deg",
    "estimated_longitude_deg",
    "sigma_east_m",
    "sigma_north_m",
    "error_m",
)


def _number(row: Mapping[Any, Any], name: str) -> float | None:
    return float(row[name]) if name in row and np.isfinite(row[name]) else None
