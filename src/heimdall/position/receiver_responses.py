"""What receivers' filters do to magnitudes within a signal's band, as sessions of many transmitters show it.

A filter's gain stays; an echo's has another phase for each transmitter, as phases turn within metres. So what
stays over many transmitters is the filters'. It is a smooth function of the frequency, of which nothing else
is known: a Gaussian process, whose size the sessions tell by its evidence (C. E. Rasmussen and C. K. I.
Williams, "Gaussian Processes for Machine Learning", 2006, 2.2 and 5.4). Where there are no filters, that size
is 0. Only differences between receivers can be known.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from heimdall.core.params import FeatureParams
from heimdall.signal import passband
from heimdall.signal.arrival import Observation, arrivals
from heimdall.signal.sessions import SessionFeatures

Float64 = npt.NDArray[np.float64]
Rows = tuple[tuple[float, ...], ...]

_ROUNDS = 3  # for a session's mean over frequencies is by what is there, of a gain that is not flat
_LENGTH_HZ = 2500.0  # over which a gain changes: a ripple of 6 kHz has 0.4 of a turn in it
_SIZES = (0.003, 0.006, 0.0125, 0.025, 0.05, 0.1)  # of a logarithm of magnitudes: 0.03 to 0.9 dB
# Ripples of 0.5 dB have 114 to 2411 in 30 sessions, and worlds without filters up to 34, but for one of 14 of
# hilly terrain, which has 130 (simulated).
_EVIDENT_NATS = 40.0
_JITTER = 1e-6  # of the size squared
_FLOOR = 1e-3  # of a logarithm: what echoes do beyond tilt and spread
_FACTOR_VARIANCE = 1.0  # of the factor of each recording, which is open
# What echoes do to the logarithm halfway to the band's edge, by tilt and by spread: as in light multipath.
# Where it is more, a session's own residuals tell.
_ECHO = (0.0125, 0.003)
# Size of any other function, such as of a deep fade. First it is thought large, or a receiver that few
# transmitters tell of would have theirs for its filter.
_OTHERS = (0.0, 0.0015, 0.003, 0.006, 0.0125, 0.025, 0.05, 0.1, 0.2, 0.4)
_OTHER_FIRST = 0.05
_REWEIGHTED = 5
_FREEDOM = 2.0  # degrees, of echoes' sizes
_LEAST = 5  # transmitters that must tell of a receiver
_MOST = 1024  # sessions: with more, memory would grow, and gains would hardly be known better


@dataclass(frozen=True)
class Responses:
    """Of the R receivers of a network.

    Attributes:
        features: The parameters of the features that it was measured in; None if nothing was found.
        websdr_id: The receivers.
        log_gain: Logarithms of the magnitudes by receiver, at the F frequencies of `passband.frequencies_hz`,
            R times F.
        tilt_sigma_s: What is left of the tilt of one receiver over that of another, standard deviation,
            seconds, R + 1 times R + 1: the last one is none of the network's.
        spread_sigma_s2: The same of the spread's real part, seconds squared.
    """

    features: FeatureParams | None = None
    websdr_id: tuple[int, ...] = ()
    log_gain: Rows = ()
    tilt_sigma_s: Rows = ()
    spread_sigma_s2: Rows = ()

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Responses:
        """What `dataclasses.asdict` made, also of JSON."""
        features = values["features"]
        return cls(
            None if features is None else FeatureParams(**features),
            tuple(int(value) for value in values["websdr_id"]),
            *(_rows(values[name]) for name in ("log_gain", "tilt_sigma_s", "spread_sigma_s2")),
        )

    def without(self, observation: Observation) -> SessionFeatures:
        """The session, had its receivers no filters as far as they are known.

        Raises:
            ValueError: Nothing was found.
        """
        if self.features is None:
            raise ValueError("no response is known")
        frequency_hz = passband.frequencies_hz(self.features)
        gain = np.vstack([np.array(self.log_gain), np.zeros(len(frequency_hz))])
        session = observation.session
        rate_hz = self.features.correlation_rate_hz
        return passband.equalised(observation, frequency_hz, gain[self._numbers(session)], rate_hz)

    def left(self, session: SessionFeatures, best: int) -> tuple[Float64, Float64]:
        """What may be left of tilts and spreads over those of one row, standard deviations, (R,) each."""
        number = self._numbers(session)
        sigma = np.array([self.tilt_sigma_s, self.spread_sigma_s2])[:, number, number[best]]
        sigma[:, best] = 0.0
        return sigma[0], sigma[1]

    def _numbers(self, session: SessionFeatures) -> npt.NDArray[np.intp]:
        """The places of a session's receivers among those known, and one more for others, shape (R,)."""
        place = {name: number for number, name in enumerate(self.websdr_id)}
        return np.array([place.get(name, len(place)) for name in session.websdr_id.tolist()], np.intp)


NO_RESPONSES = Responses()


class _Measured(NamedTuple):
    """Gains in N recordings of S sessions, at F frequencies.

    `start` (S,) is where the recordings of each session begin, and `weight` (S,) makes each transmitter count
    once. `place` (N,) are the receivers' places in the network. `design` (N, F, F) makes of a receiver's gain
    what is measured, `value` (N, F), but for errors of covariance `noise` (N, F, F), in which is a factor of
    each recording, and a function that all recordings of a session have in common.
    """

    start: npt.NDArray[np.intp]
    weight: Float64
    place: npt.NDArray[np.intp]
    design: Float64
    value: Float64
    noise: Float64

    @property
    def recordings(self) -> npt.NDArray[np.intp]:
        """Recordings of each session, (S,)."""
        return np.diff(np.append(self.start, len(self.place)))


def fit(
    observations: Sequence[Observation],
    features: FeatureParams,
    *,
    transmitter: Sequence[str],
    websdr_id: npt.NDArray[np.int32],
) -> Responses:
    """The responses of a network's receivers.

    Args:
        observations: n sessions, of which 1024 at most are used, evenly; those are read three times.
        features: The parameters of their features.
        transmitter: A name for the transmitter of each.
        websdr_id: The receivers of the network, shape (R,).
    """
    used = np.unique(np.linspace(0, max(len(observations) - 1, 0), _MOST).astype(np.intp))[
        : len(observations)
    ]
    found, known = NO_RESPONSES, tuple(websdr_id.tolist())
    for _ in range(_ROUNDS):
        seen = ((observations[number], transmitter[number]) for number in used.tolist())
        measured = _measured(seen, features, known, found)
        if measured is None:
            return NO_RESPONSES
        found = _smooth(measured, features, known)
        if found == NO_RESPONSES:
            return NO_RESPONSES
    return found


def _measured(
    seen: Iterable[tuple[Observation, str]],
    features: FeatureParams,
    known: tuple[int, ...],
    so_far: Responses,
) -> _Measured | None:
    """The gains by what is left when those so far are taken off; None if too few tell."""
    frequency_hz, place = passband.frequencies_hz(features), {name: row for row, name in enumerate(known)}
    senders, numbers, found = [], [], []
    for item, sender in seen:
        rest = item
        if so_far != NO_RESPONSES:
            session = so_far.without(item)
            rest = replace(item, session=session, arrivals=arrivals(session, features, item.duration_s))
        one = passband.gains(rest, features)
        if one is not None:
            names = item.session.websdr_id[one.row].tolist()
            numbers.append(np.array([place.get(name, -1) for name in names], np.intp))
            senders.append(sender)
            found.append(one)
    kept = _told(list(zip(senders, numbers, strict=True)), len(known))
    used = [number for number, rows in enumerate(kept) if np.count_nonzero(rows) > 1]
    if not used:
        return None
    alike = passband.likeness(features)
    gain = np.array(so_far.log_gain or np.zeros((len(known), len(frequency_hz))))
    floor = _FLOOR**2 * np.eye(len(frequency_hz)) + _FACTOR_VARIANCE
    places, designs, values, noises = [], [], [], []
    for number in used:
        one = found[number]
        for row in np.flatnonzero(kept[number]).tolist():
            beside = passband.between(frequency_hz, frequency_hz + one.offset_hz[row])
            design = np.einsum("fg,ga->fa", one.blur, beside)
            own = int(numbers[number][row])
            places.append(own)
            designs.append(design)
            values.append(one.log_gain[row] + np.einsum("fa,a->f", design, gain[own]))
            noises.append(one.noise(row, alike) + floor)
    counts = [int(np.count_nonzero(kept[number])) for number in used]
    often = Counter(senders[number] for number in used)
    return _Measured(
        np.cumsum([0, *counts[:-1]]),
        np.array([1 / often[senders[number]] for number in used]),
        np.array(places),
        np.array(designs),
        np.array(values),
        np.array(noises),
    )


def _told(
    sessions: Sequence[tuple[str, npt.NDArray[np.intp]]], receivers: int
) -> list[npt.NDArray[np.bool_]]:
    """Which recordings are of receivers that enough transmitters tell of, beside another such one.

    Args:
        sessions: Of each the transmitter, and the places of its receivers in the network, -1 for others.
        receivers: Of the network.
    """
    enough = np.ones(receivers + 1, np.bool_)
    enough[-1] = False
    while True:
        told: list[set[str]] = [set() for _ in enough]
        for sender, numbers in sessions:
            among = numbers[enough[numbers]]
            for number in among.tolist() if len(among) > 1 else []:
                told[number].add(sender)
        fewer = enough & np.array([len(names) >= _LEAST for names in told])
        if (fewer == enough).all():
            return [enough[numbers] for _, numbers in sessions]
        enough = fewer


def _smooth(measured: _Measured, features: FeatureParams, known: tuple[int, ...]) -> Responses:
    """The most likely gains, and how well they are known."""
    frequency_hz = passband.frequencies_hz(features)
    away = (frequency_hz[:, None] - frequency_hz) / _LENGTH_HZ
    smooth = np.exp(-away * away / 2) + _JITTER * np.eye(len(frequency_hz))
    prior = np.asarray(np.kron(np.eye(len(known)), smooth), np.float64)
    middle_hz = features.correlation_band_hz / 2
    echo = (frequency_hz[:, None] / middle_hz) ** [1, 2] * _ECHO  # (F, 2)
    rows = len(measured.place)
    echoes = _Echoes(np.ones((rows, 2)), np.full(rows, _OTHER_FIRST))
    for number in range(_REWEIGHTED):
        within = np.asarray(np.linalg.inv(measured.noise + echoes.covariance(echo, smooth)), np.float64)
        normal, right = _normal_equations(measured, within, len(known))
        fits = [_posterior(size, prior, normal, right) for size in _SIZES]
        found = fits[int(np.argmax([one.evidence for one in fits]))]
        if number < _REWEIGHTED - 1:
            rest = _rest(measured, within, found.mean.reshape(len(known), -1))
            echoes = echoes.given(rest, measured.noise, echo, smooth)
    if found.evidence < _EVIDENT_NATS:
        return NO_RESPONSES
    gain = found.mean.reshape(len(known), -1)
    covariance = found.covariance.reshape(*gain.shape, *gain.shape).transpose(0, 2, 1, 3)  # (R, R, F, F)
    onto = _onto_channel(frequency_hz, np.abs(frequency_hz) <= middle_hz)
    parts = np.zeros((len(known) + 1, len(known) + 1, 2))
    parts[:-1, :-1] = np.einsum("kf,abfg,kg->abk", onto, covariance, onto)
    parts[-1, -1] = found.size**2 * np.einsum("kf,fg,kg->k", onto, smooth, onto)
    own = np.einsum("aak->ak", parts)
    sigma = np.sqrt(np.maximum(own[:, None] + own - 2 * parts, 0.0))
    sigma[-1, -1] = np.sqrt(2 * own[-1])  # two that are none of the network's
    return Responses(features, known, _rows(gain), _rows(sigma[..., 0]), _rows(sigma[..., 1]))


def _normal_equations(measured: _Measured, within: Float64, receivers: int) -> tuple[Float64, Float64]:
    """Of all receivers' gains, (R F, R F) and (R F,), beside what a session's recordings have in common.

    Args:
        measured: The gains.
        within: Inverse covariances of their errors, (N, F, F).
        receivers: R.
    """
    count = measured.value.shape[1]
    weighted = np.einsum("nfg,nga->nfa", within, measured.design)
    beside = _beside_common(measured, within, measured.value)
    total = np.add.reduceat(within, measured.start)  # (S, F, F)
    normal, right = np.zeros((receivers, count, receivers, count)), np.zeros((receivers, count))
    ends = measured.start + measured.recordings
    for number, (start, end) in enumerate(zip(measured.start.tolist(), ends.tolist(), strict=True)):
        own, by = slice(start, end), measured.weight[number]
        place, design, part = measured.place[own], measured.design[own], weighted[own]
        shared = np.linalg.solve(total[number], part)  # (n, F, F)
        block = -np.einsum("kfa,lfb->kalb", part, shared)
        alone = np.einsum("kfa,kfb->kab", design, part)
        for k in range(len(place)):
            block[k, :, k] += alone[k]
            normal[place[k], :, place] += by * block[k].transpose(1, 0, 2)
        right[place] += by * np.einsum("kfa,kf->ka", part, beside[own])
    return normal.reshape(receivers * count, -1), right.ravel()


def _rest(measured: _Measured, within: Float64, gain: Float64) -> Float64:
    """What is left of the measurements without gains (R, F) and what sessions have in common, (N, F)."""
    rest = measured.value - np.einsum("nfa,na->nf", measured.design, gain[measured.place])
    count = np.repeat(measured.recordings, measured.recordings)[:, None]
    share = count / (count - 1)  # the mean has taken the rest
    return np.asarray(_beside_common(measured, within, rest) * np.sqrt(share), np.float64)


def _beside_common(measured: _Measured, within: Float64, value: Float64) -> Float64:
    """Values (N, F) without the mean of each session's recordings, by inverse covariances (N, F, F)."""
    total = np.add.reduceat(within, measured.start)
    given = np.add.reduceat(np.einsum("nfg,ng->nf", within, value), measured.start)
    common = np.linalg.solve(total, given[..., None])[..., 0]
    return np.asarray(value - np.repeat(common, measured.recordings, axis=0), np.float64)


class _Echoes(NamedTuple):
    """How large what n recordings have beside the receivers' gains is.

    `channel` (n, 2) are mean squares of tilt and spread, over those of light multipath. `other` (n,) is the
    standard deviation of any smooth function of the frequency, such as of deep fades.
    """

    channel: Float64
    other: Float64

    def covariance(self, echo: Float64, smooth: Float64) -> Float64:
        """At F frequencies, (n, F, F)."""
        channel = np.einsum("fe,ne,ge->nfg", echo, self.channel, echo)
        return np.asarray(channel + (self.other * self.other)[:, None, None] * smooth, np.float64)

    def given(self, residual: Float64, noise: Float64, echo: Float64, smooth: Float64) -> _Echoes:
        """As what is left of the measurements, (n, F), says: the mean squares, and the most likely others."""
        beside = noise + _Echoes(np.zeros_like(self.channel), self.other).covariance(echo, smooth)
        certain = np.linalg.inv(beside)
        of_channel = np.einsum("fe,nfg,gh->neh", echo, certain, echo)
        along = np.einsum("fe,nfg,ng->ne", echo, certain, residual)
        covariance = np.linalg.inv(of_channel + np.eye(2) / self.channel[:, :, None])
        size = np.einsum("neh,nh->ne", covariance, along)
        square = size * size + np.einsum("nee->ne", covariance)
        channel = (square + _FREEDOM) / (1 + _FREEDOM)
        log_likelihood = []
        for one in _OTHERS:
            whole = noise + _Echoes(channel, np.full(len(residual), one)).covariance(echo, smooth)
            scaled = np.linalg.solve(whole, residual[..., None])[..., 0]
            log_likelihood.append(-np.einsum("nf,nf->n", residual, scaled) - np.linalg.slogdet(whole)[1])
        return _Echoes(channel, np.array(_OTHERS)[np.argmax(log_likelihood, axis=0)])


class _Posterior(NamedTuple):
    """Of normal variables of a size: mean, covariance, and the logarithm of the evidence over that of 0."""

    size: float
    mean: Float64
    covariance: Float64
    evidence: float


def _posterior(size: float, prior: Float64, normal: Float64, right: Float64) -> _Posterior:
    """By the prior covariance of size 1 and the normal equations of what was measured."""
    of_size = size * size * prior
    system = np.eye(len(prior)) + of_size @ normal
    covariance = np.asarray(np.linalg.solve(system, of_size), np.float64)
    mean = covariance @ right
    return _Posterior(size, mean, covariance, float(right @ mean - np.linalg.slogdet(system)[1]) / 2)


def _onto_channel(frequency_hz: Float64, used: npt.NDArray[np.bool_]) -> Float64:
    """Weights of gains at F frequencies, of which some are used, that make tilt and spread, shape (2, F).

    By least squares: the logarithm of a channel's magnitude is 2 pi f tilt - (2 pi f)^2 spread / 2, but for a
    factor (see `channels`).
    """
    turn = 2 * np.pi * frequency_hz[used]
    most = float(turn.max())
    shape = np.column_stack([np.ones(len(turn)), turn / most, -((turn / most) ** 2) / 2])
    onto = np.zeros((2, len(frequency_hz)))
    onto[:, used] = np.linalg.pinv(shape)[1:]
    return np.asarray(onto / np.array([[most], [most * most]]), np.float64)


def _rows(values: Sequence[Sequence[float]] | Float64) -> Rows:
    return tuple(tuple(float(value) for value in row) for row in values)
