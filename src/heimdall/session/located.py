"""Where a session's transmitter is: by the trained localizer, and without learning."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from heimdall.core import paths
from heimdall.core.errors import HeimdallError
from heimdall.geometry import geo
from heimdall.localize import location
from heimdall.multilateration import regions, solver
from heimdall.multilateration.event import Event
from heimdall.multilateration.fix import Fix, Place, Residual
from heimdall.multilateration.solver import Assumptions
from heimdall.network import dataset
from heimdall.network.dataset import DatasetConfig
from heimdall.position.posterior import Posterior
from heimdall.session import credible, lateness
from heimdall.session.detail import Detail

LOCALIZER = "the trained localizer"
WITHOUT_LEARNING = "times and levels, without learning"


@dataclass(frozen=True, eq=False)
class Located:
    """One method's answer.

    Attributes:
        method: What a person calls it.
        fix: Its places, the first of which is the answer, its regions, and the residuals of the answer of
            every recording that has an arrival time, in their order.
        error_m: Distance of the answer from the known position, metres; None if either is missing.
        held_within: The smallest probability, 0.68 or 0.95, of a region that holds the known position; 1.0 if
            none does, and None if either is missing. Of the localizer it is by `Posterior.level`, as in the
            evaluation.
    """

    method: str
    fix: Fix
    error_m: float | None
    held_within: float | None

    @property
    def place(self) -> Place | None:
        """The answer; None if there is none."""
        return self.fix.places[0] if self.fix.places else None


def locate_session(
    detail: Detail,
    model: Path = paths.WEIGHTS,
    features: Path = paths.FEATURES,
    say: Callable[[str], None] = lambda line: None,
) -> tuple[Located, ...]:
    """The answers of a session, the one to look at first.

        answer, *others = heimdall.locate_session(found)
        answer.method, answer.place.latitude_deg, answer.place.covariance_m2, answer.error_m

    The trained localizer answers if its file is there and takes sessions, as `heimdall locate` has it. What
    is found without learning needs nothing but the session: it tells whether a wrong answer is the model's
    fault or that of the recordings.

    Args:
        detail: The session.
        model: The weights of the localizer, their configuration beside them.
        features: The featurize stage's output.
        say: Is told why the localizer is left out.

    Returns:
        One answer or two.

    Raises:
        HeimdallError: A file of the features is missing or damaged.
    """
    found = []
    receivers = dataset.read_receivers(DatasetConfig(features))
    try:
        localizer = location.fusion(model, receivers)
    except HeimdallError as error:
        say(f"the localizer is left out: {error}")
    else:
        found.append(_by_localizer(localizer([detail.observation]), detail))
    assumed = Assumptions(altitude=detail.plane.altitude_m)
    found.append(_located(WITHOUT_LEARNING, solver.locate(_event(detail), assumed), detail))
    return tuple(found)


def _by_localizer(posterior: Posterior, detail: Detail) -> Located:
    answer = _located(LOCALIZER, _of_posterior(posterior, detail), detail)
    if answer.held_within is None:
        return answer
    truth_m = np.stack(detail.plane.to_local(detail.latitude_deg, detail.longitude_deg))
    level = float(posterior.level(truth_m[np.newaxis])[0])
    held = [probability for probability in credible.PROBABILITIES if level <= probability]
    return replace(answer, held_within=min(held, default=1.0))


def _located(method: str, fix: Fix, detail: Detail) -> Located:
    if not fix.places or not detail.has_truth:
        return Located(method, fix, None, None)
    truth_deg = detail.latitude_deg, detail.longitude_deg
    best = fix.places[0]
    error_m = geo.distance_m(best.latitude_deg, best.longitude_deg, *truth_deg).item()
    held = [region.probability for region in fix.regions if region.holds(*truth_deg)]
    return Located(method, fix, error_m, min(held, default=1.0))


def _of_posterior(posterior: Posterior, detail: Detail) -> Fix:
    """The answer of a mixture for one session: the medoid stands for it, and comes first."""
    first = int(posterior.medoid[0])
    heaviest = np.argsort(-posterior.weight[0], kind="stable").tolist()
    order = [first, *(number for number in heaviest if number != first)]
    latitude_deg, longitude_deg = detail.plane.to_degrees(*posterior.mean_m[0, order].T)
    places = tuple(
        Place(
            latitude_deg=float(latitude_deg[k]),
            longitude_deg=float(longitude_deg[k]),
            altitude_m=detail.plane.altitude_m,
            altitude_sigma_m=0.0,
            covariance_m2=posterior.covariance_m2[0, number],
            probability=float(posterior.weight[0, number]),
        )
        for k, number in enumerate(order)
    )
    best = places[0]
    return Fix(
        name=detail.session.session_id,
        kind="position",
        places=places,
        regions=credible.regions(posterior, detail.plane)
        or regions.of_places([one for one in places if one.probability > 0]),
        residuals=_residuals(detail, best),
        consistent=True,
        remarks=(),
    )


def _residuals(detail: Detail, place: Place) -> tuple[Residual, ...]:
    """The residuals of an answer of the localizer, which does not give them itself."""
    observation = detail.observation
    travelled_s = lateness.travel_s(observation, place.latitude_deg, place.longitude_deg, detail.plane)
    values = zip(
        lateness.late_s(observation, travelled_s).tolist(),
        lateness.sigma_s(observation).tolist(),
        strict=True,
    )
    return tuple(
        Residual(detail.name(row), late_s, sigma_s, used=bool(np.isfinite(late_s)))
        for row, (late_s, sigma_s) in enumerate(values)
    )


def _event(detail: Detail) -> Event:
    """What the recordings of a session say, as the solver for any network takes it."""
    stored, observation = detail.observation.session, detail.observation
    by_number = {one.websdr_id: one for one in detail.receivers}
    sites = [by_number[number] for number in stored.websdr_id.tolist()]
    sigma_s = lateness.sigma_s(observation)
    unknown = np.full(len(sites), np.nan)
    return Event(
        name=detail.session.session_id,
        receiver=tuple(one.label for one in sites),
        latitude_deg=np.array([one.latitude_deg for one in sites], np.float64),
        longitude_deg=np.array([one.longitude_deg for one in sites], np.float64),
        altitude_m=np.array([one.altitude_m for one in sites], np.float64),
        arrival_s=np.where(np.isfinite(sigma_s), observation.arrivals.delay_s, np.nan),
        sigma_s=sigma_s,
        level_db=stored.energy_db.astype(np.float64),
        heard=stored.detected > 0,
        offset_hz=unknown,
        offset_sigma_hz=unknown,
        frequency_hz=observation.frequency_hz,
    )
