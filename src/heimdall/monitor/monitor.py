"""What a model says of sessions that were approved after it was made, beside what it said of its test split.

The new sessions are fetched and featurized as the pipeline does it, in a work folder that begins with the
pipeline's own shards: what was fetched once is not fetched again, and no output of the pipeline is touched.
"""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from tqdm import tqdm

from heimdall.compare import contest
from heimdall.compare.contest import Model
from heimdall.core import artifacts, determinism, locks
from heimdall.core.errors import HeimdallError
from heimdall.core.params import CalibrationParams, FeatureParams, Params
from heimdall.core.provenance import Provenance, provenance
from heimdall.geometry import transmitters
from heimdall.inference.onnx_model import OnnxLocalizer
from heimdall.metrics import metrics
from heimdall.metrics.metrics import Errors
from heimdall.monitor import alerts
from heimdall.monitor.alerts import Figures
from heimdall.network.dataset import DatasetConfig, Sessions, observations, read_index, read_network
from heimdall.pipeline.featurize import featurize, tables
from heimdall.pipeline.snapshot import former, snapshot
from heimdall.position.posterior import Posterior
from heimdall.recordings import archive
from heimdall.storage.endpoints import Endpoints

WORK = Path(".heimdall/monitor")
NEW = Path("new")  # below it: the index of the new sessions alone
PROBABILITIES = (0.68, 0.95)
# The pipeline's folders of shards, each with the file that says what they were made of.
_SHARDS = ((archive.SNAPSHOT, former.METRICS), (featurize.FEATURES, featurize.KEYS_FILE))

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Answers:
    """A model's answers to n sessions.

    Attributes:
        sessions: One row a session, as of `Sessions.table`.
        clusters: Transmitter of each, by name and by place.
        errors: Of the answers.
        latency_ms: Of each answer, from features in memory to the posterior, shape (n,).
        statistics: What is compared for drift, one column each.
    """

    sessions: pd.DataFrame
    clusters: list[str]
    errors: Errors
    latency_ms: Array
    statistics: pd.DataFrame


@dataclass(frozen=True, eq=False)
class Finding:
    """What monitoring found.

    Attributes:
        model: The model.
        data: Where the new sessions come from.
        known: Sessions approved in that time that were left out, because the model's data had them already.
        new: Answers to the new sessions, in the order of their approval; None where there are none.
        claimed: Answers to the model's own test split.
        approved_at: Of each new session, UTC.
        figures: The comparison; None where the new sessions are too few for any.
    """

    model: Model
    data: Provenance | None
    known: int
    new: Answers | None
    claimed: Answers
    approved_at: list[datetime]
    figures: Figures | None


def watch(
    root: Path, endpoints: Endpoints, model: Model, settings: Params, *, since: datetime, until: datetime
) -> Finding:
    """Compare sessions approved after `since`, and not after `until`, with the model's claims.

    Args:
        root: The clone; its data/features/ are those that the model was made of.
        endpoints: Where PostgreSQL and S3 are; they are only read.
        model: As of `contest.load`.
        settings: The pipeline's parameters.
        since: With a time zone.
        until: With a time zone.

    Raises:
        HeimdallError: The features are missing or those of another model, PostgreSQL or S3 fails, or too much
            of what is approved is bad.
    """
    config = DatasetConfig(root / featurize.FEATURES)
    network = read_network(config)
    if model.file.metadata.get("data_fingerprint") != network.data_fingerprint:
        cause = "it was made of other data than the features here: its claims cannot be worked out"
        remedy = "Check out its revision and run `dvc pull`, or name the model of these features (--model)"
        raise HeimdallError(model.name, cause, remedy)
    work = root / WORK
    with locks.alone(work):
        _prepare(root, work)
        snapshot.take(replace(settings.snapshot, as_of=until), endpoints, work, queries=root / "sql")
        features, calibration = FeatureParams(**network.features), CalibrationParams(**network.calibration)
        featurize.run(features, settings.split, work, calibration=calibration)
        own = set(read_index(config)["session_id"])
        chosen, known = _approved(work, since, own)
        sessions = _new(work, chosen, settings.validation_split) if len(chosen) else None
    claimed_sessions = observations(config, "all", settings.validation_split)
    claimed = _answers(model, config, claimed_sessions.of_split("test"))
    if sessions is None:
        return Finding(model, None, known, None, claimed, [], None)
    new = _answers(model, DatasetConfig(work / NEW), sessions)
    approved_at = [chosen[name].to_pydatetime() for name in new.sessions["session_id"]]
    order = np.argsort(np.array(approved_at), kind="stable")
    figures = None
    if alerts.enough(len(new.clusters), len(set(new.clusters))):
        trained = [claimed_sessions.of_split(name) for name in ("train", "val")]
        figures = compare(
            new,
            claimed,
            pd.concat([statistics(part) for part in trained], ignore_index=True),
            list(transmitters.by_place(pd.concat([part.table for part in trained], ignore_index=True))),
        )
    return Finding(
        model=model,
        data=provenance(new.sessions["simulated"]),
        known=known,
        new=_reordered(new, order),
        claimed=claimed,
        approved_at=[approved_at[row] for row in order],
        figures=figures,
    )


def compare(new: Answers, claimed: Answers, trained: pd.DataFrame, trained_clusters: list[str]) -> Figures:
    """The figures of new sessions, of the test split, and of the statistics of the training."""
    covered = {level: float(np.mean(claimed.errors.level <= level)) for level in PROBABILITIES}
    return Figures(
        accuracy=alerts.accuracy(
            new.errors.distance_m, new.clusters, claimed.errors.distance_m, claimed.clusters
        ),
        coverage=alerts.coverages(new.errors.level, covered, len(claimed.errors)),
        drift=alerts.drifts(new.statistics, new.clusters, trained, trained_clusters),
        latency=alerts.latency(new.latency_ms),
    )


def statistics(sessions: Sessions) -> pd.DataFrame:
    """What is compared for drift: one row a session, over the recordings that hear the signal."""

    def row(number: int) -> dict[str, float]:
        item = sessions.observations[number].session
        heard = item.detected.astype(bool) if item.detected.any() else np.ones(len(item.detected), bool)
        return {
            "receivers heard": float(np.count_nonzero(item.detected)),
            "SNR, dB": float(np.median(item.snr_db[heard])),
            "level, dBFS": float(np.median(item.energy_db[heard])),
            "carrier offset, Hz": float(np.median(np.abs(item.cfo_hz[heard]))),
            "clock, s": float(np.median(item.timing_sigma_s)),
            "log-mel, dBFS": float(item.mel[heard].astype(np.float64).mean()),
        }

    return pd.DataFrame([row(number) for number in range(len(sessions.observations))])


def _answers(model: Model, config: DatasetConfig, sessions: Sessions) -> Answers:
    """A model's answers, one session at a time, as a service asks."""
    network = read_network(config)
    locate = contest.localizer(OnnxLocalizer(model.content, model.name), model.name, network)
    locate(sessions.observations[0])  # the first answer allocates
    posteriors: list[Posterior] = []
    latency_ms = []
    for item in tqdm(sessions.observations, desc=model.name, unit="session", disable=None):
        started_s = time.perf_counter()
        posteriors.append(locate(item))
        latency_ms.append((time.perf_counter() - started_s) * 1000)
    latitude_deg, longitude_deg = sessions.table[["latitude_deg", "longitude_deg"]].to_numpy(np.float64).T
    return Answers(
        sessions=sessions.table,
        clusters=list(transmitters.by_place(sessions.table)),
        errors=metrics.errors(Posterior.concatenate(posteriors), latitude_deg, longitude_deg, network.plane),
        latency_ms=np.array(latency_ms),
        statistics=statistics(sessions),
    )


def _reordered(answers: Answers, order: npt.NDArray[np.intp]) -> Answers:
    return Answers(
        sessions=answers.sessions.iloc[order].reset_index(drop=True),
        clusters=[answers.clusters[row] for row in order],
        errors=Errors(**{name: getattr(answers.errors, name)[order] for name in answers.errors.__dict__}),
        latency_ms=answers.latency_ms[order],
        statistics=answers.statistics.iloc[order].reset_index(drop=True),
    )


def _prepare(root: Path, work: Path) -> None:
    """Begin with the pipeline's shards: files of these folders are never written to, only replaced.

    Later the folders are the monitor's own: they hold more than the pipeline's.
    """
    for folder, made_of in _SHARDS:
        if not (work / folder).exists() and (root / folder).exists() and (root / made_of).exists():
            artifacts.write_bytes(work / made_of, (root / made_of).read_bytes())
            partial = work / f"{folder.name}.partial"
            shutil.rmtree(partial, ignore_errors=True)
            shutil.copytree(root / folder, partial, copy_function=os.link)
            (work / folder).parent.mkdir(parents=True, exist_ok=True)
            partial.replace(work / folder)
    if (root / determinism.LOCK_FILE).exists():
        artifacts.write_bytes(work / determinism.LOCK_FILE, (root / determinism.LOCK_FILE).read_bytes())


def _approved(work: Path, since: datetime, own: set[str]) -> tuple[dict[str, pd.Timestamp], int]:
    """The sessions approved since then by the moment of their last approval, and how many are the model's."""
    last = archive.read_measurements(work).groupby("session_id")["approved_at"].max()
    recent = last[last > pd.Timestamp(since)]
    chosen = {str(name): moment for name, moment in recent.items() if name not in own}
    return chosen, len(recent) - len(chosen)


def _new(work: Path, chosen: dict[str, Any], validation_split: float) -> Sessions:
    """The observations of some sessions, from an index of them alone."""
    folder, made = work / NEW, work / featurize.FEATURES
    index = read_index(DatasetConfig(made))
    index = index[index["session_id"].isin(chosen)]
    archive.write_table(folder / "index.parquet", index, tables.INDEX_SCHEMA)
    for name in ("receivers.parquet", "absent.parquet", "network.json"):
        artifacts.write_bytes(folder / name, (made / name).read_bytes())
    shards = folder / "shards"
    shards.unlink(missing_ok=True)
    shards.symlink_to((made / "shards").resolve())
    return observations(DatasetConfig(folder), "all", validation_split)
