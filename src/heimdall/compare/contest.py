"""Two exported models on the same test sessions: figures of both, paired differences, latency.

A session is answered by itself, as a service asks. Figures are computed in the portable way of
`OnnxLocalizer`, latencies are measured in the fast one.
"""

from __future__ import annotations

import dataclasses
import io
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from tqdm import tqdm

from heimdall.compare import sample_size
from heimdall.compare.sample_size import SHARES, CanaryStep, SampleSize
from heimdall.core import artifacts, remedies
from heimdall.core.errors import HeimdallError, unreadable
from heimdall.core.params import EvaluateParams, Params, SplitParams
from heimdall.core.provenance import Provenance, provenance
from heimdall.geometry import transmitters
from heimdall.geometry.geo import distance_m
from heimdall.inference.onnx_model import OnnxLocalizer, session_inputs
from heimdall.inference.preprocessing import Preprocessing
from heimdall.metrics import metrics
from heimdall.metrics.metrics import Errors
from heimdall.network.dataset import DatasetConfig, Network, Sessions, observations, read_index, read_network
from heimdall.pipeline.evaluate import cases
from heimdall.pipeline.evaluate.cases import SLICES
from heimdall.pipeline.evaluate.figures import transmitter_weights
from heimdall.pipeline.evaluate.localizers import combine
from heimdall.pipeline.featurize import split
from heimdall.position.posterior import Posterior
from heimdall.reproduce import git
from heimdall.reproduce.files import Files
from heimdall.reproduce.paths import INDEX, MODEL
from heimdall.signal.arrival import Observation

Array = npt.NDArray[np.float64]
Localizer = Callable[[Observation], Posterior]  # of one session

_TIMED_ANSWERS = 100  # of each model, at least


@dataclass(frozen=True, eq=False)
class Model:
    """A model that is compared.

    Attributes:
        name: What a reader calls it: the revision as it was named, or the file's name.
        commit: Full hash; None for a file.
        content: Bytes of the ONNX file.
        file: The same, loaded in the portable way.
    """

    name: str
    commit: str | None
    content: bytes
    file: OnnxLocalizer

    @property
    def sha256(self) -> str:
        """Of the file, hexadecimal."""
        return artifacts.sha256_bytes(self.content)


@dataclass(frozen=True)
class Seen:
    """Test sessions that a model does not meet for the first time.

    Attributes:
        sessions: Those in its development split: it was trained on them, or its epoch was chosen by them.
        known_transmitter: Those of a transmitter of which another session was in it; counts `sessions`, too.
    """

    sessions: int
    known_transmitter: int


@dataclass(frozen=True, eq=False)
class Side:
    """One model and what it answered to n sessions.

    Attributes:
        model: The model.
        estimated_deg: Latitude and longitude of its answers, degrees, shape (n, 2).
        errors: Of its answers.
        latency_ms: From the features of a session in memory to its posterior, one thread, milliseconds, one
            value an answer.
        seen: How many of the sessions it knew; None where that cannot be told.
    """

    model: Model
    estimated_deg: Array
    errors: Errors
    latency_ms: Array
    seen: Seen | None


@dataclass(frozen=True, eq=False)
class Contest:
    """Two models on the same n test sessions. Differences are B's value less A's.

    Attributes:
        data: Where the sessions come from.
        data_fingerprint: Of the measurements that the sessions are of.
        sessions: One row a session: `session_id`, `cluster` (its transmitter), `latitude_deg`,
            `longitude_deg` of the truth, the columns of `cases.SLICES`.
        a: The first model, by habit the one that is in use.
        b: The second one.
        overall: As of `figures`.
        slices: The same for each slice, with `slice` and `value`, in a fixed order.
        sample_size: What telling them apart takes; None with fewer than two transmitters.
        canary: What it takes if B answers only the first of `sample_size.SHARES` of the sessions.
        rising_canary: The same if B's share rises through all of them. None where `of_canary` says so.
    """

    data: Provenance
    data_fingerprint: str
    sessions: pd.DataFrame
    a: Side
    b: Side
    overall: dict[str, Any]
    slices: list[dict[str, Any]]
    sample_size: SampleSize | None
    canary: list[CanaryStep] | None
    rising_canary: list[CanaryStep] | None

    @property
    def apart_m(self) -> Array:
        """Distance between the two answers to each session, metres, shape (n,)."""
        return distance_m(*self.a.estimated_deg.T, *self.b.estimated_deg.T)

    @property
    def sides(self) -> tuple[tuple[str, Side], tuple[str, Side]]:
        """Both models by the letters that readers know them by."""
        return ("A", self.a), ("B", self.b)

    @property
    def disagreements(self) -> pd.DataFrame:
        """One row a session, the one in which they disagree most first: errors and distance apart, metres."""
        table = self.sessions[["session_id", "cluster", "receivers_heard"]].rename(
            columns={"cluster": "transmitter"}
        )
        table = table.assign(
            apart_m=self.apart_m, a_error_m=self.a.errors.distance_m, b_error_m=self.b.errors.distance_m
        )
        return table.sort_values(["apart_m", "session_id"], ascending=[False, True])


def load(repository: Path, name: str) -> Model:
    """The model that a person names.

    Args:
        repository: A clone, with access to its remote; only asked where `name` is a revision.
        name: A path that ends with ".onnx", or a git revision whose dvc.lock has `MODEL`.

    Raises:
        HeimdallError: There is no such file or revision, its model is not to be had, or it is none.
    """
    if name.endswith(".onnx"):
        try:
            return _model(Path(name).name, None, Path(name).read_bytes())
        except OSError as error:
            raise unreadable(name, error, "Name an .onnx file that is there, or a git revision") from None
    git.require_root(repository, name)
    commit = git.commit_of(repository, name)
    return _model(name, commit, Files(repository, commit).output(MODEL))


def hold(repository: Path, a: Model, b: Model, data: DatasetConfig, params: Params) -> Contest:
    """Let both models answer every test session.

    Args:
        repository: The clone that has the models' commits.
        a: The first model.
        b: The second one.
        data: Where the features are; their test split is answered.
        params: `evaluate` says how intervals are made.

    Returns:
        What came of it.

    Raises:
        HeimdallError: The features are missing, the test split has no members, or a model takes other
            features or knows other receivers.
    """
    network = read_network(data)
    test = observations(data, "test", params.validation_split)
    index = read_index(data)
    sessions = cases.described(test, list(transmitters.by_place(test.table)), network.plane)
    developments = [_development(repository, model, index, network) for model in (a, b)]
    latencies_ms = _latencies_ms((a, b), network, test.observations)
    first, second = (
        _side(model, network, test, latency_ms, seen(test.table, trained))
        for model, latency_ms, trained in zip((a, b), latencies_ms, developments, strict=True)
    )
    overall = figures(first.errors, second.errors, sessions, params.evaluate)
    slices = []
    for column in SLICES:
        groups = sessions.groupby(column).indices
        for value in sorted(groups, key=cases.reading_order):
            rows = np.asarray(groups[value], np.intp)
            own, other = (_rows(side.errors, rows) for side in (first, second))
            found = figures(own, other, sessions.iloc[rows], params.evaluate)
            slices.append({"slice": column, "value": str(value)} | found)
    a_m, b_m = first.errors.distance_m, second.errors.distance_m
    clusters = sessions["cluster"].tolist()
    return Contest(
        data=provenance(test.table["simulated"]),
        data_fingerprint=network.data_fingerprint,
        sessions=sessions,
        a=first,
        b=second,
        overall=overall,
        slices=slices,
        sample_size=sample_size.of_paired(b_m - a_m, clusters),
        canary=sample_size.of_canary(a_m, b_m, clusters, SHARES[:1]),
        rising_canary=sample_size.of_canary(a_m, b_m, clusters, SHARES),
    )


def figures(a: Errors, b: Errors, sessions: pd.DataFrame, params: EvaluateParams) -> dict[str, Any]:
    """The figures of merit of both models, and how much larger B's mean error is.

    Args:
        a: Of the first model, n errors, n > 0.
        b: Of the second one, row by row of the same sessions.
        sessions: n rows with `cluster`, the session's transmitter.
        params: How the intervals are made.

    Returns:
        `sessions`, `transmitters`; `a` and `b`, as of `metrics.summary`; `mae_difference_m`, below 0 where B
        is better, with `_low` and `_high`, the paired 95 % interval over whole transmitters, null with one.
    """
    weights = transmitter_weights(sessions, params)
    return {
        "sessions": len(a),
        "transmitters": int(sessions["cluster"].nunique()),
        "a": metrics.summary(a, weights),
        "b": metrics.summary(b, weights),
    } | metrics.mae_difference(b, a, weights, "mae_difference_m")


def localizer(file: OnnxLocalizer, subject: str, network: Network) -> Localizer:
    """What an exported model answers to a session whose features are made.

    Receivers are where the model's file says that they are. The Gaussians that a single-receiver network
    gives to a session's recordings are multiplied, as in `localizers.localizer`.

    Args:
        file: The model.
        subject: What to call it in messages.
        network: Of the features; answers are in its plane.

    Returns:
        A function of one session. It raises a `HeimdallError` where the session has a receiver that the model
        does not know, or the answer is no posterior.

    Raises:
        HeimdallError: The model was trained with other features, or does not say with which.
    """
    own, here = file.metadata.get("params", {}).get("features", {}), network.features
    # A parameter that one of the two does not have is null.
    other = [name for name in {**here, **own} if own.get(name) != here.get(name)]
    if other:
        shown = ", ".join(f"{name} {own.get(name)}, here {here.get(name)}" for name in other)
        remedy = "Give params.yaml its values and run `dvc repro featurize`, or name a model with these"
        raise HeimdallError(subject, f"it takes other features ({shown})", remedy)
    answer = _single(file, network) if file.kind == "single" else _fusion(file, subject, network)

    def locate(session: Observation) -> Posterior:
        try:
            return answer(session)
        except ValueError as error:
            cause = f"its answer to a session is no posterior ({error})"
            raise HeimdallError(subject, cause, remedies.MODEL) from None

    return locate


def _single(file: OnnxLocalizer, network: Network) -> Localizer:
    def answer(session: Observation) -> Posterior:
        mel = session.session.mel.astype(np.float32)
        found = combine(file.estimate(mel, len(mel)), np.zeros(len(mel), np.intp), network.frame)
        position_m = np.stack(network.plane.to_local(found.latitude_deg, found.longitude_deg), axis=-1)
        sigma_m = np.stack([found.sigma_east_m, found.sigma_north_m], axis=-1)
        return Posterior.gaussian(position_m, sigma_m[:, :, np.newaxis] ** 2 * np.eye(2))

    return answer


def _fusion(file: OnnxLocalizer, subject: str, network: Network) -> Localizer:
    tokenizer = Preprocessing.of(file.metadata, subject).tokenizer
    known = dict(zip(tokenizer.receivers.websdr_id.tolist(), tokenizer.receivers.position_m, strict=True))

    def answer(session: Observation) -> Posterior:
        numbers = session.session.websdr_id.tolist()
        strange = sorted(set(numbers) - set(known))
        if strange:
            cause = f"it does not know receiver {strange[0]}, which heard a test session"
            raise HeimdallError(
                subject, cause, "Name a model whose training had that receiver in its snapshot"
            )
        placed = dataclasses.replace(
            session.session, position_enu_m=np.array([known[number] for number in numbers])
        )
        tokens = tokenizer.tokens(dataclasses.replace(session, session=placed))
        found = file.answer([session_inputs([tokens])])
        mean_m = np.stack(network.plane.to_local(*np.moveaxis(found["means_deg"], -1, 0)), axis=-1)
        return Posterior(mean_m, found["covariances"], found["weights"])

    return answer


def _model(name: str, commit: str | None, content: bytes) -> Model:
    return Model(name, commit, content, OnnxLocalizer(content, name, portable=True))


def _side(model: Model, network: Network, test: Sessions, latency_ms: Array, known: Seen | None) -> Side:
    """One model's answers to the test sessions, one by one."""
    locate = localizer(model.file, model.name, network)
    progress = tqdm(test.observations, desc=model.name, unit="session", disable=None)
    posterior = Posterior.concatenate([locate(item) for item in progress])
    latitude_deg, longitude_deg = test.table[["latitude_deg", "longitude_deg"]].to_numpy(np.float64).T
    return Side(
        model,
        np.stack(network.plane.to_degrees(*posterior.position_m.T), axis=-1),
        metrics.errors(posterior, latitude_deg, longitude_deg, network.plane),
        latency_ms,
        known,
    )


def _latencies_ms(models: Sequence[Model], network: Network, sessions: Sequence[Observation]) -> list[Array]:
    """Latencies of each model's answers, measured by turns: what slows the machine slows both."""
    locates = [localizer(OnnxLocalizer(one.content, one.name), one.name, network) for one in models]
    for locate in locates:
        locate(sessions[0])  # the first answer allocates
    rounds = math.ceil(_TIMED_ANSWERS / len(sessions))
    found: list[list[float]] = [[] for _ in models]
    progress = tqdm(sessions, desc="latency", unit="session", disable=None)
    for session in progress:
        for _ in range(rounds):
            for locate, times in zip(locates, found, strict=True):
                started_s = time.perf_counter()
                locate(session)
                times.append((time.perf_counter() - started_s) * 1000)
    return [np.array(times) for times in found]


def _development(
    repository: Path, model: Model, index: pd.DataFrame, network: Network
) -> pd.DataFrame | None:
    """The rows of the index that the model's training or the choice of its epoch used; None if unknown."""
    same_data = model.file.metadata.get("data_fingerprint") == network.data_fingerprint
    own_split = model.file.metadata.get("params", {}).get("split")
    if same_data and own_split == network.split:
        rows = index
    elif same_data and own_split is not None:
        try:
            params = SplitParams(**own_split)
        except (TypeError, ValueError) as error:
            cause = f"its file names no split ({' '.join(str(error).split())[:200]})"
            raise HeimdallError(model.name, cause, remedies.MODEL) from None
        rows = index.assign(split=split.assign(index, params)["split"])
    elif model.commit is not None:
        rows = pd.read_parquet(io.BytesIO(Files(repository, model.commit).output(INDEX)))
    else:
        return None
    return rows[rows["split"] == "development"]


def seen(test: pd.DataFrame, development: pd.DataFrame | None) -> Seen | None:
    """How many test sessions a model knew.

    Args:
        test: One row a session: `session_id`, `source_id` (null where the transmitter is unknown),
            `latitude_deg`, `longitude_deg`.
        development: The same of what the model was made of; None where that is unknown.
    """
    if development is None:
        return None
    itself = test["session_id"].isin(development["session_id"])
    needed = ["session_id", "source_id", "latitude_deg", "longitude_deg"]
    transmitter = transmitters.by_place(pd.concat([test[needed], development[needed]], ignore_index=True))
    same = transmitter[: len(test)].isin(transmitter[len(test) :])
    return Seen(int(itself.sum()), int(same.sum()))


def _rows(errors: Errors, rows: npt.NDArray[np.intp]) -> Errors:
    return Errors(**{field.name: getattr(errors, field.name)[rows] for field in dataclasses.fields(Errors)})
