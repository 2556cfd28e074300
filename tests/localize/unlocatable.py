"""What cannot be located, as recordings or arrival times: an answer must say so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from heimdall.core.randomness import generator
from heimdall.multilateration import solver
from heimdall.multilateration.event import Event
from heimdall.multilateration.fix import Fix
from tests.localize import known_networks, trials
from tests.localize.networks import Network, moved
from tests.localize.transmissions import Front, Sent, late, record, usual_fronts, waveform

Float64 = npt.NDArray[np.float64]

RATE_HZ = 12_000.0


@dataclass(frozen=True, eq=False)
class Answer:
    """What was said, and what there was.

    Attributes:
        fix: The answer.
        network: The receivers.
        truth: Where transmitters were, east and north of the network's own, metres; none for noise.
    """

    fix: Fix
    network: Network
    truth: tuple[Float64, ...] = (np.zeros(2),)

    @property
    def misleads(self) -> bool:
        """Whether it claims one place without a warning, and no transmitter is within five sigma of that."""
        if self.fix.flagged:
            return False
        place = self.fix.places[0]
        error_m = self.network.error_m(place.latitude_deg, place.longitude_deg)
        off = [error_m - one for one in self.truth]
        return all(one @ np.linalg.solve(place.covariance_m2, one) > 25 for one in off)


@dataclass(frozen=True)
class Case:
    """Answers of one sort.

    Attributes:
        name: What a person calls it.
        answer: That of a seed.
    """

    name: str
    answer: Callable[[int], Answer]


def noise(seed: int) -> Answer:
    """Seven recordings of noise, half of them with a spur at 0 Hz."""
    random = generator(seed, "noise")
    network = known_networks.seven(seed)
    fronts = usual_fronts(7, RATE_HZ, 0.0, random)
    return _of_recordings(network, [], fronts, random, truth=())


def one_receiver(seed: int) -> Answer:
    """One of seven receivers hears the transmission."""
    random = generator(seed, "one receiver")
    network = known_networks.seven(seed)
    fronts = usual_fronts(7, RATE_HZ, 25.0, random)
    level_db = np.array([0.0] + 6 * [-90.0])
    sent = Sent(waveform("nfm", random), network.delays_s, level_db)
    return _of_recordings(network, [sent], fronts, random)


def one_place(seed: int) -> Answer:
    """All receivers within five metres."""
    random = generator(seed, "one place")
    known = known_networks.seven(seed)
    near = tuple(moved(known.receiver[0], *random.uniform(-2.5, 2.5, 2).tolist()) for _ in known.receiver)
    network = replace(known, receiver=near)
    fronts = usual_fronts(7, RATE_HZ, 25.0, random)
    sent = Sent.alone(waveform("nfm", random), network.delays_s)
    return _of_recordings(network, [sent], fronts, random)


def wrong_stamps(seed: int) -> Answer:
    """Each of seven recordings is stamped wrongly, by up to 3 ms."""
    random = generator(seed, "wrong stamps")
    network = known_networks.seven(seed)
    fronts = [late(one, random.uniform(-3e-3, 3e-3)) for one in usual_fronts(7, RATE_HZ, 25.0, random)]
    sent = Sent.alone(waveform("nfm", random), network.delays_s)
    return _of_recordings(network, [sent], fronts, random)


def two_transmitters(seed: int) -> Answer:
    """Two at once, 20 to 50 km apart; every receiver hears both, one of them 0 to 6 dB louder."""
    random = generator(seed, "two transmitters")
    network, away_m = _with_another(seed, random)
    fronts = usual_fronts(7, RATE_HZ, 25.0, random)
    louder_db = random.uniform(-6, 6, 7)
    on_air = [
        Sent(waveform("gmsk9600", random), network.delays_s, louder_db / 2),
        Sent(waveform("gmsk9600", random), network.delays_from(away_m), -louder_db / 2),
    ]
    return _of_recordings(network, on_air, fronts, random, truth=(np.zeros(2), away_m))


def either_transmitter(seed: int) -> Answer:
    """Two at once; three of seven receivers hear one of them alone, four the other."""
    random = generator(seed, "either transmitter")
    network, away_m = _with_another(seed, random)
    delays_s = np.where(np.arange(7) < 3, network.delays_from(away_m), network.delays_s)
    return _of_times(network, delays_s, random, truth=(np.zeros(2), away_m))


def any_times(count: int) -> Callable[[int], Answer]:
    """Arrival times of nothing: uniform over what the network's size allows."""

    def answer(seed: int) -> Answer:
        random = generator(seed, "any times", count)
        network = {7: known_networks.seven, 30: known_networks.metre_waves}[count](seed)
        spread_s = float(np.ptp(network.position_m, axis=0).max()) / 3e8
        return _of_times(network, random.uniform(0, spread_s, count), random, truth=())

    return answer


CASES = (
    Case("noise alone", noise),
    Case("one receiver hears it", one_receiver),
    Case("receivers at one place", one_place),
    Case("every stamp wrong by up to 3 ms", wrong_stamps),
    Case("two transmitters at every receiver", two_transmitters),
    Case("two transmitters, three receivers hear one and four the other", either_transmitter),
    Case("any seven arrival times", any_times(7)),
    Case("any thirty arrival times", any_times(30)),
)


def _with_another(seed: int, random: np.random.Generator) -> tuple[Network, Float64]:
    """A network, and how far to the east and north of its transmitter another one is, metres."""
    angle = random.uniform(0, 2 * np.pi)
    away_m = random.uniform(20e3, 50e3) * np.array([np.cos(angle), np.sin(angle)])
    return known_networks.seven(seed), away_m


def _of_recordings(
    network: Network,
    sent: Sequence[Sent],
    fronts: Sequence[Front],
    random: np.random.Generator,
    truth: tuple[Float64, ...] = (np.zeros(2),),
) -> Answer:
    recordings = record(sent, fronts, random, frequency_hz=network.frequency_hz)
    return Answer(trials.located(network, recordings), network, truth)


def _of_times(
    network: Network, delays_s: Float64, random: np.random.Generator, truth: tuple[Float64, ...]
) -> Answer:
    arrival_s = delays_s + 1e-7 * random.standard_normal(len(delays_s))
    event = Event.of_times(
        network.name,
        network.names,
        network.receiver,
        arrival_s.tolist(),
        1e-7,
        frequency_hz=network.frequency_hz,
    )
    return Answer(solver.locate(event, trials.assumed(network)), network, truth)
