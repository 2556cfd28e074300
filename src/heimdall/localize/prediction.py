"""What the exported model says of recordings: one answer a session, or one a recording."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from heimdall.core import remedies
from heimdall.core.errors import HeimdallError
from heimdall.geometry.geo import LocalFrame
from heimdall.inference.onnx_model import Arrays, OnnxLocalizer, session_inputs
from heimdall.inference.preprocessing import Preprocessing
from heimdall.localize import session_files
from heimdall.localize.error_ellipse import RADIUS_95, ellipse_95
from heimdall.signal import coherence
from heimdall.signal.arrival import Observation
from heimdall.signal.correlation import Recording
from heimdall.signal.log_mel import recording_features

SHOWN_WEIGHT = 0.05  # of an alternative
# A Gaussian whose mean lies within this many standard deviations of a heavier one is the same place.
SAME_PLACE_SIGMAS = 3.0
# What `recording_features` takes of the parameters that the model was trained with.
_MEL_PARAMS = ("n_mels", "n_fft", "hop_length", "f_min", "f_max", "frames")


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
class Untimed:
    """A receiver that hears the signal, but whose arrival time is not used.

    Attributes:
        websdr_id: The receiver.
        why: The reason, in a few words.
    """

    websdr_id: int
    why: str


@dataclass(frozen=True)
class SessionPrediction:
    """Where a session's transmitter is.

    Attributes:
        place: The answer, with the Gaussians of the same place; None where no receiver hears anything, for
            then the model says only where transmitters usually are.
        probability_within_1km: That the transmitter is within 1 km of its mean; None without a place.
        alternatives: Other places of at least 5 %, the likeliest first.
        receivers_heard: Receivers that hear the signal.
        receivers_timed: Receivers whose arrival time could be used.
        receivers_untimed: The others of those that hear it.
        latency_ms: From samples in memory to the position, milliseconds.
    """

    place: Place | None
    probability_within_1km: float | None
    alternatives: tuple[Place, ...]
    receivers_heard: tuple[int, ...]
    receivers_timed: tuple[int, ...]
    receivers_untimed: tuple[Untimed, ...]
    latency_ms: float

    def flat(self) -> dict[str, Any]:
        """All fields, those of the place, which may be None, beside the others."""
        values = asdict(self)
        place = values.pop("place") or dict.fromkeys(field.name for field in fields(Place))
        return {**place, **values}


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


def of_session(
    localizer: OnnxLocalizer,
    preprocessing: Preprocessing,
    recordings: Sequence[Recording],
    frequency_hz: float,
    *,
    absent: Sequence[int] = (),
) -> tuple[SessionPrediction, Observation]:
    """Localize one session.

    Args:
        localizer: A model of the kind "fusion".
        preprocessing: What it says of its inputs.
        recordings: One a receiver; a receiver without one heard nothing.
        frequency_hz: Tuned frequency.
        absent: Receivers that were switched off, so that they say nothing.

    Returns:
        The answer, and what it rests on.

    Raises:
        HeimdallError: A recording does not suit the model; an absent receiver is none of its network, or has
            a recording.
    """
    known = preprocessing.tokenizer.receivers.websdr_id.tolist()
    recorded = [item.websdr_id for item in recordings]
    for number in absent:
        if number not in known or number in recorded:
            network = f"the model's network has {', '.join(map(str, sorted(known)))}"
            cause = "it has a recording" if number in recorded else network
            raise HeimdallError(f"absent receiver {number}", cause, "Leave it out, or name another one")
    started_s = time.perf_counter()
    observation = preprocessing.observation(recordings, frequency_hz)
    observation = replace(observation, absent=tuple(absent))
    answer = localizer.answer([session_inputs([preprocessing.tokenizer.tokens(observation)])])
    latency_ms = (time.perf_counter() - started_s) * 1000
    numbers = observation.session.websdr_id
    heard = tuple(numbers[observation.session.detected > 0].tolist())
    found = places(answer) if heard else []
    prediction = SessionPrediction(
        place=found[0] if found else None,
        probability_within_1km=float(answer["localizable"][0]) if found else None,
        alternatives=tuple(shown(found[1:])),
        receivers_heard=heard,
        receivers_timed=tuple(numbers[observation.arrivals.information_s2 > 0].tolist()),
        receivers_untimed=untimed(observation, recordings),
        latency_ms=latency_ms,
    )
    return prediction, observation


def shown(alternatives: Sequence[Place]) -> list[Place]:
    """The places beside the answer that are likely enough to be shown."""
    return [place for place in alternatives if place.weight >= SHOWN_WEIGHT]


def untimed(observation: Observation, recordings: Sequence[Recording]) -> tuple[Untimed, ...]:
    """Why receivers that hear the signal have no usable arrival time.

    Args:
        observation: A session.
        recordings: Its recordings, in the same order.
    """
    session, information_s2 = observation.session, observation.arrivals.information_s2
    usable = (session.detected > 0) & np.isfinite(session.timing_sigma_s)
    reasons = coherence.reasons(
        [recording.start_gps_ns for recording in recordings],
        [recording.timing_sigma_ns for recording in recordings],
        max(len(recording.iq) / recording.sample_rate_hz for recording in recordings),
        np.isfinite(session.timing_sigma_s).tolist(),
    )
    found = []
    for row, (recording, reason) in enumerate(zip(recordings, reasons, strict=True)):
        if session.detected[row] == 0 or information_s2[row] > 0:
            continue
        if recording.start_gps_ns is None:
            why = "the time of the first sample is not given"
        elif reason == coherence.CONTRADICTS:
            why = "the other recordings contradict the time of the first sample"
        elif not usable[row]:
            why = "its recording starts at another time than the others"
        elif np.count_nonzero(usable) < 2:
            why = "no other receiver that hears the signal has a time"
        else:
            why = "the correlation has no clear peak"
        found.append(Untimed(recording.websdr_id, why))
    return tuple(found)


def of_recordings(
    localizer: OnnxLocalizer, files: Sequence[Path], model: Path, sample_rate_hz: float
) -> list[Prediction]:
    """Localize recordings, each by itself.

    Args:
        localizer: A model of the kind "single".
        files: One-dimensional complex .npy files.
        model: Its file, for messages.
        sample_rate_hz: Of the recordings.

    Returns:
        The answers, in the order of the files.

    Raises:
        HeimdallError: A file is no recording or does not suit the model, or the model does not say how its
            inputs are made.
    """
    mel = mel_params(localizer.metadata, model)
    # The first answer of a session allocates; it is no recording's latency.
    localizer.estimate(np.zeros((1, 3, mel["n_mels"], mel["frames"]), np.float32), batch_size=1)
    return [
        _of_recording(localizer, file, sample_rate_hz, mel)
        for file in tqdm(files, desc="predict", unit="recording", disable=None)
    ]


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
        return {name: stored[name] for name in _MEL_PARAMS} | {"n_mfcc": stored.get("n_mfcc")}
    except (KeyError, TypeError):
        cause = "it does not say how its features are made"
        raise HeimdallError(str(model), cause, remedies.MODEL) from None


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
        found.append(place(head_deg, head_m2, float(weight[left[near]].sum())))
        left = left[~near]
        if not len(left):
            return found[:1] + sorted(found[1:], key=lambda place: -place.weight)
        head_deg, head_m2 = mean_deg[left[0]], covariance[left[0]]


def place(mean_deg: npt.NDArray[np.float64], covariance_m2: npt.NDArray[np.float64], weight: float) -> Place:
    """A Gaussian of mean (2,) and covariance (2, 2), east before north, as what people read."""
    ellipse = ellipse_95(covariance_m2)
    return Place(
        latitude_deg=float(mean_deg[0]),
        longitude_deg=float(mean_deg[1]),
        sigma_east_m=math.sqrt(covariance_m2[0, 0]),
        sigma_north_m=math.sqrt(covariance_m2[1, 1]),
        ellipse_95_major_m=ellipse.major_m,
        ellipse_95_minor_m=ellipse.minor_m,
        ellipse_azimuth_deg=ellipse.azimuth_deg,
        weight=weight,
    )


def _of_recording(
    localizer: OnnxLocalizer, file: Path, sample_rate_hz: float, mel: dict[str, Any]
) -> Prediction:
    """Read, check and localize one recording."""
    samples = session_files.read(file, sample_rate_hz)
    started_s = time.perf_counter()
    try:
        features = recording_features(samples, sample_rate_hz, **mel)  # (3, n_mels, frames)
    except HeimdallError as error:
        remedy = "Give a recording of the length and sample rate that the model was trained on"
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
        ellipse_95_east_m=sigma_east_m * RADIUS_95,
        ellipse_95_north_m=sigma_north_m * RADIUS_95,
        latency_ms=latency_ms,
    )
