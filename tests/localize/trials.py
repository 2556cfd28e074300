"""Answers for simulated transmissions, judged by the bound of Cramer and Rao."""

from __future__ import annotations

import itertools
import json
import math
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from heimdall.core import child
from heimdall.core.randomness import generator
from heimdall.multilateration import solver
from heimdall.multilateration.event import Event
from heimdall.multilateration.fix import Fix, Region
from heimdall.multilateration.solver import Assumptions
from heimdall.signal import arrival_times
from heimdall.signal.correlation import Recording
from tests.localize.bounds import delay_information_s2, position_covariance_m2
from tests.localize.networks import SKY_SPREAD_S, Network
from tests.localize.transmissions import (
    CLOCK_SIGMA_NS,
    Kind,
    Sent,
    late,
    record,
    usual_fronts,
    waveform,
    write_sigmf,
)

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Trial:
    """One answer and what was true.

    Attributes:
        network: Who sent and who heard.
        bound_m2: Smallest covariance of east and north, shape (2, 2).
        fix: The answer.
        cpu_s: What it cost.
    """

    network: Network
    bound_m2: Float64
    fix: Fix
    cpu_s: float = math.nan

    @property
    def error_m(self) -> Float64:
        """East and north of the first place from the truth, shape (2,); NaN without a place."""
        if not self.fix.places:
            return np.full(2, np.nan)
        place = self.fix.places[0]
        return self.network.error_m(place.latitude_deg, place.longitude_deg)


@dataclass(frozen=True)
class Summary:
    """What N trials say together.

    Attributes:
        trials: How many.
        positions: Share of the answers that are a position and consistent.
        bound_m: Root of the bound's trace, the median.
        error_m: Median distance to the truth.
        median_ratio: Errors over the bound, by the median of their squares; 1 if it is reached.
        rms_ratio: By the mean of their squares, among the answers that do not warn.
        claimed_ratio: Claimed sigma over the bound's, the median.
        honesty: Errors over the claimed sigma, as `median_ratio`.
        honesty_rms: As `rms_ratio`.
        within_68: Share of the truths in the region of 68 %.
        within_95: Of 95 %.
        cpu_s: Median.
    """

    trials: int
    positions: float
    bound_m: float
    error_m: float
    median_ratio: float
    rms_ratio: float
    claimed_ratio: float
    honesty: float
    honesty_rms: float
    within_68: float
    within_95: float
    cpu_s: float


def summary(trials: Sequence[Trial]) -> Summary:
    """Of at least one trial; NaN where no answer has a place."""
    nothing = np.full((2, 2), np.nan)
    error = np.array([one.error_m for one in trials])
    bound = np.array([one.bound_m2 for one in trials])
    claimed = np.array([one.fix.places[0].covariance_m2 if one.fix.places else nothing for one in trials])
    placed = np.isfinite(error).all(axis=1)
    sound = np.array([not one.fix.flagged for one in trials]) & placed
    by_bound, by_claim = _squares(error, bound), _squares(error, claimed)
    size = np.sqrt(np.trace(claimed, axis1=1, axis2=2) / np.trace(bound, axis1=1, axis2=2))
    held = np.array([[_held(one, wanted) for wanted in (0.68, 0.95)] for one in trials])
    return Summary(
        trials=len(trials),
        positions=float(sound.mean()),
        bound_m=float(np.median(np.sqrt(np.trace(bound, axis1=1, axis2=2)))),
        error_m=_median(np.hypot(*error[placed].T)),
        median_ratio=math.sqrt(_median(by_bound[placed]) / (2 * math.log(2))),
        rms_ratio=math.sqrt(_mean(by_bound[sound]) / 2),
        claimed_ratio=_median(size[placed]),
        honesty=math.sqrt(_median(by_claim[placed]) / (2 * math.log(2))),
        honesty_rms=math.sqrt(_mean(by_claim[sound]) / 2),
        within_68=float(held[:, 0].mean()),
        within_95=float(held[:, 1].mean()),
        cpu_s=float(np.median([one.cpu_s for one in trials])),
    )


def of_times(
    network: Network, sigma_s: float, random: np.random.Generator, wrong_s: Sequence[float] = ()
) -> Trial:
    """The answer for arrival times with Gaussian errors.

    Args:
        network: Receivers and transmitter.
        sigma_s: Standard deviation of each arrival time.
        random: Where errors come from.
        wrong_s: By how much the times of the first receivers are off beside that.
    """
    sigma = np.full(len(network.receiver), sigma_s)
    arrival_s = drawn_delays_s(network, random) + sigma * random.standard_normal(len(sigma)) + random.random()
    arrival_s[: len(wrong_s)] += wrong_s
    event = Event.of_times(
        network.name,
        network.names,
        network.receiver,
        arrival_s.tolist(),
        sigma_s,
        frequency_hz=network.frequency_hz,
    )
    started = time.process_time()
    fix = solver.locate(event, assumed(network))
    return Trial(network, horizontal_bound_m2(network, sigma), fix, time.process_time() - started)


def of_signals(
    network: Network,
    kind: Kind,
    rate_hz: float,
    snr_db: float,
    random: np.random.Generator,
    *,
    offset_hz: float | None = None,
    wrong_s: float = 0.0,
) -> Trial:
    """The answer for recordings of one second, from their samples.

    Args:
        network: Receivers and transmitter.
        kind: Of signal.
        rate_hz: Sample rate of all receivers.
        snr_db: Mean of the receivers' signal to noise ratios in the signal's bandwidth, about which they are
            spread.
        random: Where the transmission, levels and noise come from.
        offset_hz: Carrier less the tuned frequency; None for anything within 100 Hz.
        wrong_s: By how much the stamp of the first receiver is late.
    """
    sent = waveform(kind, random)
    fronts = usual_fronts(len(network.receiver), rate_hz, snr_db, random)
    fronts[0] = late(fronts[0], wrong_s)
    drawn_hz = float(random.uniform(-100, 100))
    delays_s = drawn_delays_s(network, random)
    on_air = Sent.alone(sent, delays_s, drawn_hz if offset_hz is None else offset_hz)
    recordings = record([on_air], fronts, random, frequency_hz=network.frequency_hz)
    started = time.process_time()
    fix = located(network, recordings)
    cpu_s = time.process_time() - started
    sigma_s = np.sqrt(1 / delay_information_s2(sent, fronts) + (CLOCK_SIGMA_NS * 1e-9) ** 2)
    return Trial(network, horizontal_bound_m2(network, sigma_s), fix, cpu_s)


@dataclass(frozen=True)
class Run:
    """One run of the program.

    Attributes:
        cpu_s: Of the process, its start included.
        error_m: Distance of its answer from the truth.
    """

    cpu_s: float
    error_m: float


def program(network: Network, kind: Kind, rate_hz: float, snr_db: float, folder: Path) -> Run:
    """`heimdall locate` with SigMF files of one second.

    Args:
        network: Receivers and transmitter.
        kind: Of signal.
        rate_hz: Sample rate of all receivers.
        snr_db: As of `of_signals`.
        folder: Where the files are written.
    """
    random = generator(0, "program")
    usual = usual_fronts(len(network.receiver), rate_hz, snr_db, random)
    fronts = [replace(one, start_s=one.start_s - 4e-3) for one in usual]  # before the whole second
    sent = Sent.alone(waveform(kind, random), network.delays_s)
    recordings = record([sent], fronts, random, frequency_hz=network.frequency_hz, duration_s=1.02)
    files = write_sigmf(folder, recordings, network.names, network.frequency_hz)
    receivers = folder / "receivers.csv"
    receivers.write_text(network.receivers_csv)
    call = "import sys; from heimdall.cli import main; sys.exit(main())"
    words = ["locate", *map(str, files), "--receivers", str(receivers), "--json"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", call, *words],
        capture_output=True,
        text=True,
        check=True,
        env=child.environment(),
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    place = json.loads(done.stdout)["events"][0]["places"][0]
    return Run(cpu_s, float(np.hypot(*network.error_m(place["latitude_deg"], place["longitude_deg"]))))


def located(network: Network, recordings: Sequence[Recording]) -> Fix:
    """The answer for recordings of a network's receivers."""
    return solver.locate(measured(network, recordings), assumed(network))


def measured(network: Network, recordings: Sequence[Recording]) -> Event:
    """Arrival times and levels of recordings as an event."""
    times = arrival_times.measure(recordings, network.position_m)
    clock_s = np.array([one.timing_sigma_ns or np.nan for one in recordings]) * 1e-9
    empty = Event.of_times(
        network.name,
        network.names,
        network.receiver,
        times.delay_s.tolist(),
        np.hypot(times.sigma_s, clock_s).tolist(),
        frequency_hz=network.frequency_hz,
    )
    said = [f"{name}: {why}" for name, why in zip(network.names, times.reason, strict=True) if why]
    return replace(empty, level_db=times.level_db, heard=times.heard, remarks=tuple(said))


def assumed(network: Network) -> Assumptions:
    """What a user who knows the network's rays and altitude says, and nothing that is unknown."""
    if network.way == "line of sight":
        return Assumptions(altitude=None if network.third_sigma_m else network.transmitter.altitude_m)
    return Assumptions(propagation="sky-wave" if network.way == "sky" else "ground-wave")


def drawn_delays_s(network: Network, random: np.random.Generator) -> Float64:
    """Delays to the receivers, shape (R,); by the sky, with the layer at any height and each way its own."""
    if network.way != "sky":
        return network.delays_s
    height_m = network.third_sigma_m * random.standard_normal()
    own_s = SKY_SPREAD_S * random.standard_normal(len(network.receiver))
    return network.delays_from(np.array([0.0, 0.0, height_m])) + own_s


def horizontal_bound_m2(network: Network, sigma_s: Float64) -> Float64:
    """The bound of east and north, shape (2, 2), by arrival times of standard deviations (R,)."""
    if network.way == "sky":
        sigma_s = np.hypot(sigma_s, SKY_SPREAD_S)
    if not network.third_sigma_m:
        return position_covariance_m2(network.delays_from, np.zeros(2), sigma_s)
    prior_m = np.array([np.inf, np.inf, network.third_sigma_m])
    return position_covariance_m2(network.delays_from, np.zeros(3), sigma_s, prior_m)[:2, :2]


def inside(region: Region, latitude_deg: float, longitude_deg: float) -> bool:
    """Whether a place is within a region, by the crossings of a ray to the east."""
    crossings = 0
    for ring in region.rings:
        for (x_a, y_a), (x_b, y_b) in itertools.pairwise(ring):
            if (y_a > latitude_deg) != (y_b > latitude_deg):
                crossings += x_a + (latitude_deg - y_a) / (y_b - y_a) * (x_b - x_a) > longitude_deg
    return crossings % 2 == 1


def _held(trial: Trial, probability: float) -> bool:
    truth = trial.network.transmitter
    found = [one for one in trial.fix.regions if abs(one.probability - probability) < 1e-6]
    return any(inside(one, truth.latitude_deg, truth.longitude_deg) for one in found)


def _squares(error: Float64, covariance: Float64) -> Float64:
    """Error in units of the covariance, squared, shape (N,)."""
    good = np.isfinite(error).all(axis=1) & np.isfinite(covariance).all(axis=(1, 2))
    found = np.full(len(error), np.nan)
    found[good] = [e @ np.linalg.solve(c, e) for e, c in zip(error[good], covariance[good], strict=True)]
    return found


def _median(values: Float64) -> float:
    return float(np.nanmedian(values)) if np.isfinite(values).any() else math.nan


def _mean(values: Float64) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else math.nan
