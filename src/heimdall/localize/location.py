"""Where sessions of data/features/ have their transmitter, by every method side by side."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from heimdall.baselines import baselines, tuned_file
from heimdall.baselines.fitted import Baselines
from heimdall.baselines.methods import Method
from heimdall.core import paths, remedies
from heimdall.core.errors import HeimdallError
from heimdall.geometry import geo, transmitters
from heimdall.geometry.area import Area, Receivers
from heimdall.geometry.geo import TangentPlane
from heimdall.localize import together
from heimdall.localize.error_ellipse import ellipse_95
from heimdall.network import model_file
from heimdall.network.dataset import DatasetConfig, Sessions, read_network, read_receivers
from heimdall.network.fusion_net import FusionNet
from heimdall.network.localize import localize
from heimdall.position.posterior import Posterior
from heimdall.signal.arrival import Observation


@dataclass(frozen=True)
class Localizer:
    """A method as it locates sessions.

    Attributes:
        locate: From sessions to their posteriors.
        area: The prior of these: where transmitters are when nothing is heard.
    """

    locate: Callable[[Sequence[Observation]], Posterior]
    area: Area

    def __call__(self, observations: Sequence[Observation]) -> Posterior:
        """The posteriors of some sessions."""
        return self.locate(observations)


@dataclass(frozen=True)
class Location:
    """Where one method says that one session's transmitter is.

    Attributes:
        session_id: The session, or `TOGETHER`.
        split: "train" where the methods were tuned on it; "val" or "test".
        method: Its name.
        latitude_deg: Latitude, degrees.
        longitude_deg: Longitude, degrees.
        sigma_east_m: Standard deviation to the east, metres.
        sigma_north_m: Standard deviation to the north, metres.
        ellipse_95_major_m: Larger semi-axis of the 95 % ellipse, metres.
        ellipse_95_minor_m: Smaller semi-axis, metres.
        ellipse_azimuth_deg: Direction of the larger axis, degrees from north to the east, in [0, 180).
        error_m: Distance from the true position, metres; None where that is not known.
    """

    session_id: str
    split: str
    method: str
    latitude_deg: float
    longitude_deg: float
    sigma_east_m: float
    sigma_north_m: float
    ellipse_95_major_m: float
    ellipse_95_minor_m: float
    ellipse_azimuth_deg: float
    error_m: float | None


def without_learning(
    chosen: Sequence[Method],
    known: Sessions,
    validation_split: float,
    config: DatasetConfig,
    say: Callable[[str], None],
) -> dict[str, Localizer]:
    """Methods without learning, as the stage evaluate tuned them, or else tuned now on the training split.

    Args:
        chosen: The methods; with none nothing is read or tuned.
        known: All sessions of the features.
        validation_split: Share of the development rows that is not trained on.
        config: Where the features are; what the stage found is kept beside that folder.
        say: Is told why they are tuned now.

    Returns:
        By the name of the method, with dashes.

    Raises:
        HeimdallError: The training split is empty, or a file of the features is missing.
    """
    if not chosen:
        return {}
    network, receivers = read_network(config), read_receivers(config)
    rate_hz = float(network.features["correlation_rate_hz"])
    made = tuned_file.made_of(config.data_dir, validation_split)
    kept = tuned_file.read(config.data_dir.parent / paths.BASELINES.name, made)
    if isinstance(kept, str):
        say(f"{kept}: the methods without learning are tuned on the training split now")
        training = known.of_split("train")
        if not training.observations:
            cause = "the training split has no sessions to tune the methods on"
            raise HeimdallError(str(config.index_file), cause, remedies.APPROVE)
        truth_m = training.truth_m(network.plane)
        fitted = baselines.fit(
            training.observations,
            truth_m,
            receivers,
            network.plane,
            rate_hz,
            transmitter=list(transmitters.by_place(training.table)),
        )
    else:
        fitted = Baselines.of(kept, receivers, network.plane, rate_hz)

    def localizer(method: Method) -> Localizer:
        def locate(observations: Sequence[Observation]) -> Posterior:
            return Posterior.concatenate(
                [baselines.locate(method, observation, fitted) for observation in observations]
            )

        return Localizer(locate, fitted.area)

    return {method.replace("_", "-"): localizer(method) for method in chosen}


def fusion(model: Path, receivers: Receivers) -> Localizer:
    """The trained fusion model.

    Args:
        model: Its weights, its configuration beside them.
        receivers: All receivers of the network.

    Raises:
        HeimdallError: There is none, or it is another model.
    """
    network, _ = model_file.load(model, model.with_suffix(".json"))
    if not isinstance(network, FusionNet):
        remedy = "Set model.name to fusion in params.yaml and run `dvc repro train`, or give another --method"
        raise HeimdallError(str(model), "it is not a fusion model", remedy)
    return Localizer(lambda observations: localize(network, observations, receivers), network.area)


TOGETHER = "together"  # in the place of an identifier
_WITHOUT_SESSION = "mean-position"  # what it says comes from no session
_ONE_PLACE_M = 1.0
_CONTRADICTION = 100.0  # times that two places must be likelier than one


@dataclass(frozen=True, eq=False)
class Answers:
    """What the methods say of sessions, and of all of them together.

    Attributes:
        sessions: Rows of a table of sessions.
        observations: What is known of each, in the same order.
        posteriors: Of the sessions, by method.
        located: Of each session the answers of all methods.
        together: Posteriors of all sessions together by method; empty where they are not of one place.
        located_together: The same as answers.
        doubt: What speaks against one place, half a sentence; None where nothing does.
    """

    sessions: Sequence[Mapping[Hashable, Any]]
    observations: Sequence[Observation]
    posteriors: Mapping[str, Posterior]
    located: Sequence[Sequence[Location]]
    together: Mapping[str, Posterior]
    located_together: Sequence[Location]
    doubt: str | None


def answers(
    sessions: Sequence[Mapping[Hashable, Any]],
    observations: Sequence[Observation],
    localizers: Mapping[str, Localizer],
    plane: TangentPlane,
    *,
    one_place: bool,
) -> Answers:
    """Locate sessions by every method.

    Args:
        sessions: Rows of a table of sessions.
        observations: What is known of each, in the same order.
        localizers: The methods, by name.
        plane: Of their positions.
        one_place: Whether all sessions are said to be of one transmitter at one place.
    """
    posteriors = {name: localizer(observations) for name, localizer in localizers.items()}
    each = [locations(sessions, name, posterior, plane) for name, posterior in posteriors.items()]
    whole: dict[str, Posterior] = {}
    located_together: list[Location] = []
    doubt = None
    if one_place:
        row, doubt = _as_one(sessions)
        for name, posterior in posteriors.items():
            whole[name] = _all_together(name, posterior, localizers[name].area)
            located_together += locations([row], name, whole[name], plane)
        doubt = doubt or _contradiction(sessions, posteriors, localizers)
    located = list(zip(*each, strict=True))
    return Answers(sessions, observations, posteriors, located, whole, located_together, doubt)


def _all_together(name: str, posterior: Posterior, area: Area) -> Posterior:
    if name == _WITHOUT_SESSION:
        return posterior.of_sessions(np.array([0]))
    return together.together(posterior, area, together.SHARED)


def _contradiction(
    sessions: Sequence[Mapping[Hashable, Any]],
    posteriors: Mapping[str, Posterior],
    localizers: Mapping[str, Localizer],
) -> str | None:
    """Which two sessions the last of the methods, which knows most, has in different places, if any."""
    name = list(posteriors)[-1]
    if name == _WITHOUT_SESSION:
        return None
    log_odds = together.log_odds(posteriors[name], localizers[name].area)
    one, other = divmod(int(log_odds.argmin()), len(sessions))
    if log_odds[one, other] > -math.log(_CONTRADICTION):
        return None
    pair = " and ".join(str(sessions[number]["session_id"])[:8] for number in (one, other))
    return f"by {name}, two places explain {pair} more than {_CONTRADICTION:.0f} times better than one"


def _as_one(sessions: Sequence[Mapping[Hashable, Any]]) -> tuple[dict[Hashable, Any], str | None]:
    """Sessions of one place as a row of a table, and what speaks against it; then its place is unknown."""
    places_deg = np.array([(one["latitude_deg"], one["longitude_deg"]) for one in sessions], np.float64)
    known_deg = places_deg[np.isfinite(places_deg).all(axis=1)]
    apart_m = np.zeros(1) if not len(known_deg) else geo.distance_m(*known_deg[0], *known_deg.T)
    differ = bool((apart_m > _ONE_PLACE_M).any())
    latitude_deg, longitude_deg = (np.nan, np.nan) if differ or not len(known_deg) else known_deg[0].tolist()
    splits = {one["split"] for one in sessions}
    row: dict[Hashable, Any] = {
        "session_id": TOGETHER,
        "split": next(name for name in ("train", "val", "test") if name in splits),
        "latitude_deg": latitude_deg,
        "longitude_deg": longitude_deg,
    }
    return row, f"their known places are up to {apart_m.max():.0f} m apart" if differ else None


def locations(
    sessions: Sequence[Mapping[Hashable, Any]], method: str, posterior: Posterior, plane: TangentPlane
) -> list[Location]:
    """One method's answers.

    Args:
        sessions: Rows of a table of sessions.
        method: Its name.
        posterior: Of these sessions, in their order.
        plane: Of the posterior's positions.

    Returns:
        The answers, in the order of the sessions.
    """
    position_m, sigma_m = posterior.position_m, posterior.sigma_m
    latitude_deg, longitude_deg = plane.to_degrees(position_m[:, 0], position_m[:, 1])
    truth_deg = [
        np.array([session[name] for session in sessions]) for name in ("latitude_deg", "longitude_deg")
    ]
    error_m = geo.distance_m(latitude_deg, longitude_deg, *truth_deg)
    found = []
    for number, session in enumerate(sessions):
        ellipse = ellipse_95(posterior.medoid_covariance_m2[number])
        found.append(
            Location(
                session_id=session["session_id"],
                split=session["split"],
                method=method,
                latitude_deg=float(latitude_deg[number]),
                longitude_deg=float(longitude_deg[number]),
                sigma_east_m=float(sigma_m[number, 0]),
                sigma_north_m=float(sigma_m[number, 1]),
                ellipse_95_major_m=ellipse.major_m,
                ellipse_95_minor_m=ellipse.minor_m,
                ellipse_azimuth_deg=ellipse.azimuth_deg,
                error_m=float(error_m[number]) if np.isfinite(error_m[number]) else None,
            )
        )
    return found
