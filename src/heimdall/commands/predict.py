"""`heimdall predict`: the exported model on recordings."""

from __future__ import annotations

import csv
import json
import math
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from heimdall.core.errors import HeimdallError
from heimdall.geometry.geo import LocalFrame
from heimdall.inference.onnx_model import Arrays, OnnxLocalizer, session_inputs
from heimdall.inference.preprocessing import Preprocessing
from heimdall.metrics.metrics import chi_square_2
from heimdall.recordings import iq
from heimdall.signal.correlation import Recording
from heimdall.signal.log_mel import iq_to_mel_spectrogram

MAX_DURATION_S = 60.0
SHOWN_WEIGHT = 0.05  # of an alternative
# A Gaussian whose mean lies within this many standard deviations of a heavier one is the same place.
SAME_PLACE_SIGMAS = 3.0
TIMES_COLUMNS = ("websdr_id", "start_gps_ns", "timing_sigma_ns")
# What `iq_to_mel_spectrogram` takes of the parameters that the model was trained with.
_MEL_PARAMS = ("n_mels", "n_fft", "hop_length", "f_min", "f_max", "frames")
_OBJECT_NAME = re.compile(r"websdr_([0-9]+)\.npy")
_RADIUS_95 = math.sqrt(chi_square_2(0.95))


@dataclass(frozen=True)
class Place:
    """A Gaussian over the position.

    Attributes:
        latitude_deg: Latitude of its mean, degrees.
        longitude_deg: Longitude of its mean, degrees.
        sigma_east_m: Standard deviation to the east, metres.
        sigma_north_m: Standard deviation to the north, metres.
        ellipse_95_major_m: Longer semi-axis of the 95 % ellipse, metres.
        ellipse_95_minor_m: Shorter semi-axis of the 95 % ellipse, metres.
        ellipse_azimuth_deg: Direction of the longer axis, clockwise from north, degrees in [0, 180).
        weight: Probability of this place, with the lighter Gaussians around it.
    """

    latitude_deg: float
    longitude_deg: float
    sigma_east_m: float
    sigma_north_m: float
    ellipse_95_major_m: float
    ellipse_95_minor_m: float
    ellipse_azimuth_deg: float
    weight: float


@dataclass(frozen=True)
class SessionPrediction:
    """Where a session's transmitter is.

    Attributes:
        place: The answer, with the Gaussians of the same place.
        probability_within_1km: That the transmitter is within 1 km of its mean.
        alternatives: Other places of at least 5 %, the likeliest first.
        receivers_heard: Receivers that hear the signal.
        receivers_timed: Receivers whose arrival time could be used.
        latency_ms: From samples in memory to the position, milliseconds.
    """

    place: Place
    probability_within_1km: float
    alternatives: tuple[Place, ...]
    receivers_heard: tuple[int, ...]
    receivers_timed: tuple[int, ...]
    latency_ms: float


@dataclass(frozen=True)
class Prediction:
    """Where one recording's transmitter is, from one receiver's point of view.

    Attributes:
        file: The recording.
        latitude_deg: Latitude, degrees.
        longitude_deg: Longitude, degrees.
        sigma_east_m: Standard deviation to the east, metres.
        sigma_north_m: Standard deviation to the north, metres.
        ellipse_95_east_m: Semi-axis of the 95 % ellipse to the east, metres.
        ellipse_95_north_m: Semi-axis of the 95 % ellipse to the north, metres.
        latency_ms: From samples in memory to the position, milliseconds.
    """

    file: str
    latitude_deg: float
    longitude_deg: float
    sigma_east_m: float
    sigma_north_m: float
    ellipse_95_east_m: float
    ellipse_95_north_m: float
    latency_ms: float


@click.command(
    epilog="Example: heimdall predict websdr_1.npy websdr_3.npy 4=other.npy --frequency-mhz 145.5"
    " --times times.csv"
)
@click.argument("files", nargs=-1, required=True, metavar="[ID=]FILE.npy...")
@click.option(
    "--model",
    type=click.Path(path_type=Path),
    default=Path("models/localizer.onnx"),
    show_default=True,
    help="The exported model.",
)
@click.option(
    "--sample-rate-hz",
    type=click.FloatRange(min=0, min_open=True),
    default=192_000.0,
    show_default=True,
    help="Sample rate of the recordings.",
)
@click.option(
    "--frequency-mhz", type=click.FloatRange(min=0, min_open=True), help="Tuned frequency of the session."
)
@click.option(
    "--times",
    type=click.Path(path_type=Path),
    help="CSV with the columns websdr_id, start_gps_ns, timing_sigma_ns: GPS time of each first sample.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def predict(
    *,
    files: tuple[str, ...],
    model: Path,
    sample_rate_hz: float,
    frequency_mhz: float | None,
    times: Path | None,
    as_json: bool,
) -> None:
    """Where the transmitter of a session is, from the recordings of its receivers.

    A recording is a one-dimensional complex64 or complex128 .npy file, named websdr_ID.npy as in the bucket,
    or given as ID=FILE. All files are one session and get one answer. A receiver of the network without a
    file counts as one that recorded and heard nothing. Without --times the answer rests on levels.

    A model of the kind "single" answers each file by itself; names, frequency and times do not matter then.
    """
    localizer = OnnxLocalizer.open(model)
    if localizer.kind == "single":
        if frequency_mhz is not None or times is not None:
            raise click.UsageError(f"{model} answers single recordings; it takes no frequency and no times")
        recorded: list[Prediction] = _recordings(localizer, files, model, sample_rate_hz)
        _say(localizer, table(recorded), [asdict(one) for one in recorded], as_json)
        return
    if frequency_mhz is None:
        raise click.UsageError(f"{model} answers sessions: give --frequency-mhz")
    if times is None:
        click.echo(
            "predict: no --times: without GPS start times the answer rests on levels, and is kilometres wide",
            err=True,
        )
    preprocessing = Preprocessing.of(localizer.metadata, str(model))
    session = _session(files, sample_rate_hz, {} if times is None else read_times(times))
    prediction = _predict_session(localizer, preprocessing, session, frequency_mhz * 1e6)
    _say(localizer, describe(prediction), _flat(prediction), as_json)


def named_files(files: Sequence[str]) -> dict[int, Path]:
    """The receiver of each file.

    Args:
        files: `websdr_ID.npy`, in any folder, or `ID=FILE`.

    Returns:
        Files by receiver, in the order given.

    Raises:
        HeimdallError: A name does not say the receiver, or two say the same.
    """
    found: dict[int, Path] = {}
    for text in files:
        before, equals, after = text.partition("=")
        named = _OBJECT_NAME.fullmatch(Path(text).name)
        if equals and before.isascii() and before.isdigit():
            websdr_id, path = int(before), Path(after)
        elif named:
            websdr_id, path = int(named[1]), Path(text)
        else:
            raise HeimdallError(
                text, "the name does not say which receiver it is of", f"Give it as ID={text}"
            )
        if websdr_id in found:
            cause = f"receiver {websdr_id} has another file, {found[websdr_id]}"
            raise HeimdallError(str(path), cause, "Give one recording a receiver")
        found[websdr_id] = path
    return found


def read_times(path: Path) -> dict[int, tuple[int, float]]:
    """Start times of a session's recordings.

    Args:
        path: CSV with a header and the columns `TIMES_COLUMNS`; others are ignored.

    Returns:
        GPS time of the first sample and its standard deviation, nanoseconds, by receiver.

    Raises:
        HeimdallError: The file cannot be read, lacks a column, or holds something else than numbers.
    """
    remedy = f"Give a CSV with the columns {', '.join(TIMES_COLUMNS)}"
    found: dict[int, tuple[int, float]] = {}
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            for number, row in enumerate(csv.DictReader(stream), start=2):
                subject = f"{path}, line {number}"
                try:
                    websdr_id, start_ns = int(row["websdr_id"]), int(row["start_gps_ns"])
                    sigma_ns = float(row["timing_sigma_ns"])
                except KeyError as error:
                    raise HeimdallError(str(path), f"no column {error}", remedy) from None
                except (TypeError, ValueError) as error:
                    raise HeimdallError(subject, f"no start time ({error})", remedy) from None
                if not (math.isfinite(sigma_ns) and sigma_ns >= 0):
                    cause = f"no standard deviation: {sigma_ns}"
                    raise HeimdallError(subject, cause, "Leave receivers without GPS time out")
                if websdr_id in found:
                    raise HeimdallError(subject, f"receiver {websdr_id} stands there twice", remedy)
                found[websdr_id] = start_ns, sigma_ns
    except OSError as error:
        raise HeimdallError(str(path), f"it cannot be read ({error.strerror})", remedy) from None
    except UnicodeDecodeError:
        raise HeimdallError(str(path), "it is no text", remedy) from None
    return found


def mel_params(metadata: dict[str, Any], model: Path) -> dict[str, Any]:
    """The spectrogram parameters that an exported model was trained with.

    Args:
        metadata: Of the ONNX file.
        model: The file, for the message.

    Raises:
        HeimdallError: The file does not say.
    """
    try:
        stored = metadata["params"]["features"]
        return {name: stored[name] for name in _MEL_PARAMS}
    except (KeyError, TypeError):
        cause = "it does not say how its features are made"
        raise HeimdallError(str(model), cause, "Export it with `dvc repro export`") from None


def places(answer: Arrays) -> list[Place]:
    """The places of one session's mixture, that of the answer first.

    Tiles that the solver brought to the same place are one: a Gaussian belongs to the answer, or else to the
    heaviest one, of which its mean is within `SAME_PLACE_SIGMAS` standard deviations.

    Args:
        answer: Outputs of a file of the kind "fusion" for one session.

    Returns:
        Places; their weights add up to 1.
    """
    weight, mean_deg = answer["weights"][0], answer["means_deg"][0]  # (K,), (K, 2)
    covariance = answer["covariances"][0]  # (K, 2, 2)
    left = np.argsort(-weight, kind="stable")
    head_deg, head_m2 = answer["positions"][0], answer["covariance"][0]
    found = []
    while True:
        east_m, north_m = LocalFrame(*head_deg.tolist()).to_local(*mean_deg[left].T)
        (a, b), (_, c) = head_m2.tolist()
        distance2 = (c * east_m**2 - 2 * b * east_m * north_m + a * north_m**2) / (a * c - b * b)
        near = distance2 <= SAME_PLACE_SIGMAS**2
        found.append(_place(head_deg, head_m2, float(weight[left[near]].sum())))
        left = left[~near]
        if not len(left):
            return found[:1] + sorted(found[1:], key=lambda place: -place.weight)
        head_deg, head_m2 = mean_deg[left[0]], covariance[left[0]]


def table(predictions: Sequence[Prediction]) -> str:
    """Predictions of recordings as lines of text, lengths in metres."""
    width = max(len("recording"), *(len(prediction.file) for prediction in predictions))
    lines = [
        f"{'recording':<{width}}  {'latitude':>10}  {'longitude':>10}  {'sigma E x N, m':>17}"
        f"  {'95 % ellipse E x N, m':>22}  {'ms':>6}"
    ]
    for one in predictions:
        sigma = f"{one.sigma_east_m:.0f} x {one.sigma_north_m:.0f}"
        ellipse = f"{one.ellipse_95_east_m:.0f} x {one.ellipse_95_north_m:.0f}"
        lines.append(
            f"{one.file:<{width}}  {one.latitude_deg:>10.5f}  {one.longitude_deg:>10.5f}  {sigma:>17}"
            f"  {ellipse:>22}  {one.latency_ms:>6.1f}"
        )
    return "\n".join(lines)


def describe(prediction: SessionPrediction) -> str:
    """The prediction of a session as lines of text, lengths in metres."""
    lines = [
        f"{'':<11}  {'latitude':>10}  {'longitude':>10}  {'sigma E x N, m':>17}"
        f"  {'95 % ellipse, m, azimuth':>27}  {'weight':>7}"
    ]
    shown = [("position", prediction.place), *(("alternative", one) for one in prediction.alternatives)]
    for label, place in shown:
        sigma = f"{place.sigma_east_m:.0f} x {place.sigma_north_m:.0f}"
        axes = f"{place.ellipse_95_major_m:.0f} x {place.ellipse_95_minor_m:.0f}"
        ellipse = f"{axes}, {place.ellipse_azimuth_deg:.0f}°"
        lines.append(
            f"{label:<11}  {place.latitude_deg:>10.5f}  {place.longitude_deg:>10.5f}  {sigma:>17}"
            f"  {ellipse:>27}  {place.weight:>7.1%}"
        )
    heard, timed = (
        ", ".join(map(str, numbers)) or "none"
        for numbers in (prediction.receivers_heard, prediction.receivers_timed)
    )
    lines.append(
        f"within 1 km of the position with probability {prediction.probability_within_1km:.1%};"
        f" {prediction.latency_ms:.0f} ms"
    )
    lines.append(f"receivers that hear it: {heard}; with a usable arrival time: {timed}")
    return "\n".join(lines)


def _say(localizer: OnnxLocalizer, text: str, content: object, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(content, indent=2, ensure_ascii=False))
        return
    click.echo(text)
    data = localizer.metadata.get("data")
    if data is not None:
        click.echo(f"The model was trained on {data} data.")


def _flat(prediction: SessionPrediction) -> dict[str, Any]:
    """The prediction with its place's fields beside the others."""
    values = asdict(prediction)
    place: dict[str, Any] = values.pop("place")
    return place | values


def _recordings(
    localizer: OnnxLocalizer, files: Sequence[str], model: Path, sample_rate_hz: float
) -> list[Prediction]:
    """Answers to single recordings."""
    mel = mel_params(localizer.metadata, model)
    # The first answer of a session allocates; it is no recording's latency.
    localizer.estimate(np.zeros((1, 3, mel["n_mels"], mel["frames"]), np.float32), batch_size=1)
    return [
        _predict_file(localizer, Path(file), sample_rate_hz, mel)
        for file in tqdm(files, desc="predict", unit="recording", disable=None)
    ]


def _read(file: Path, sample_rate_hz: float) -> iq.Samples:
    """Read and check one recording."""
    limit_bytes = iq.max_object_bytes(sample_rate_hz, MAX_DURATION_S)
    try:
        with file.open("rb") as stream:
            content = stream.read(limit_bytes + 1)
        return iq.decode(content, sample_rate_hz, MAX_DURATION_S)
    except OSError as error:
        raise HeimdallError(str(file), f"it cannot be read ({error.strerror})", "Name a .npy file") from None
    except iq.BadRecording as error:
        remedy = "Give a complex64 or complex128 .npy file and its --sample-rate-hz"
        raise HeimdallError(str(file), error.detail, remedy) from None


def _predict_file(
    localizer: OnnxLocalizer, file: Path, sample_rate_hz: float, mel: dict[str, Any]
) -> Prediction:
    """Read, check and localize one recording."""
    samples = _read(file, sample_rate_hz)
    started_s = time.perf_counter()
    try:
        features = iq_to_mel_spectrogram(samples, sample_rate_hz, **mel)  # (3, n_mels, frames)
    except HeimdallError as error:
        remedy = "Give a recording as long and of the rate that the model was trained on"
        raise HeimdallError(str(file), error.cause, remedy) from None
    estimate = localizer.estimate(features[np.newaxis], batch_size=1)
    latency_ms = (time.perf_counter() - started_s) * 1000
    sigma_east_m, sigma_north_m = float(estimate.sigma_east_m[0]), float(estimate.sigma_north_m[0])
    return Prediction(
        file=str(file),
        latitude_deg=float(estimate.latitude_deg[0]),
        longitude_deg=float(estimate.longitude_deg[0]),
        sigma_east_m=sigma_east_m,
        sigma_north_m=sigma_north_m,
        ellipse_95_east_m=sigma_east_m * _RADIUS_95,
        ellipse_95_north_m=sigma_north_m * _RADIUS_95,
        latency_ms=latency_ms,
    )


def _session(
    files: Sequence[str], sample_rate_hz: float, starts: Mapping[int, tuple[int, float]]
) -> list[Recording]:
    """The recordings of a session, by the number of the receiver."""
    named = named_files(files)
    stray = sorted(set(starts) - set(named))
    if stray:
        click.echo(f"predict: start times without a recording: {', '.join(map(str, stray))}", err=True)
    recordings = []
    for websdr_id, path in sorted(named.items()):
        start_ns, sigma_ns = starts.get(websdr_id, (None, None))
        samples = _read(path, sample_rate_hz)
        recordings.append(Recording(websdr_id, samples, sample_rate_hz, start_ns, sigma_ns))
    return recordings


def _predict_session(
    localizer: OnnxLocalizer,
    preprocessing: Preprocessing,
    recordings: Sequence[Recording],
    frequency_hz: float,
) -> SessionPrediction:
    """Localize one session."""
    started_s = time.perf_counter()
    observation = preprocessing.observation(recordings, frequency_hz)
    answer = localizer.answer([session_inputs([preprocessing.tokenizer.tokens(observation)])])
    latency_ms = (time.perf_counter() - started_s) * 1000
    found = places(answer)
    numbers = observation.session.websdr_id
    return SessionPrediction(
        place=found[0],
        probability_within_1km=float(answer["localizable"][0]),
        alternatives=tuple(place for place in found[1:] if place.weight >= SHOWN_WEIGHT),
        receivers_heard=tuple(numbers[observation.session.detected > 0].tolist()),
        receivers_timed=tuple(numbers[observation.arrivals.information_s2 > 0].tolist()),
        latency_ms=latency_ms,
    )


def _place(mean_deg: npt.NDArray[np.float64], covariance_m2: npt.NDArray[np.float64], weight: float) -> Place:
    """A Gaussian of mean (2,) and covariance (2, 2), east before north, as what people read."""
    (east, cross), (_, north) = covariance_m2.tolist()
    middle, half = (east + north) / 2, math.hypot((east - north) / 2, cross)
    return Place(
        latitude_deg=float(mean_deg[0]),
        longitude_deg=float(mean_deg[1]),
        sigma_east_m=math.sqrt(east),
        sigma_north_m=math.sqrt(north),
        ellipse_95_major_m=_RADIUS_95 * math.sqrt(middle + half),
        ellipse_95_minor_m=_RADIUS_95 * math.sqrt((east * north - cross**2) / (middle + half)),
        ellipse_azimuth_deg=math.degrees(0.5 * math.atan2(2 * cross, north - east)) % 180,
        weight=weight,
    )
