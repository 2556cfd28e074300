"""What receivers' filters do to magnitudes within a signal's band, as sessions of many transmitters show it.

A filter's gain stays; an echo's has another phase for each transmitter, as phases turn within metres. So what
stays over many transmitters is the filters'. It is a smooth function of the frequency, of which nothing else
is known: a Gaussian process, whose size the sessions tell by its evidence (C. E. Rasmussen and C. K. I.
Williams, "Gaussian Processes for Machine Learning", 2006, 2.2 and 5.4). Where there are no filters, that size
is 0. Only differences between receivers can be known.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
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

_ROUNDS = 4  # for the spectra of correlations are blurred, and less so the flatter they are
_LENGTH_HZ = 2500.0  # over which a gain changes: a ripple of 6 kHz has 0.4 of a turn in it
_SIZES = (0.003, 0.006, 0.0125, 0.025, 0.05, 0.1)  # of a logarithm of magnitudes: 0.03 to 0.9 dB
_EVIDENT_NATS = 10.0  # worlds without filters have up to 5 where echoes are strong; ripples of 0.5 dB have 90
_JITTER = 1e-6  # of the size squared
_FLOOR = 1e-3  # of a logarithm: what echoes do beyond tilt and spread
_FACTOR_VARIANCE = 1.0  # of the factor of each receiver, which is open
# What echoes do to the logarithm halfway to the band's edge, by tilt and by spread: as in light multipath.
# Where it is more, a session's own residuals tell.
_ECHO = (0.0125, 0.003)
_OTHERS = (0.0, 0.0015, 0.003, 0.006, 0.0125, 0.025, 0.05, 0.1, 0.2, 0.4)
_REWEIGHTED = 4
_FREEDOM = 2.0  # degrees, of echoes' sizes
_LEAST = 5  # transmitters


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
        return passband.equalised(
            session, frequency_hz, gain[self._numbers(session)], self.features.correlation_rate_hz
        )

    def left(self, session: SessionFeatures, best: int) -> tuple[Float64, Float64]:
        """What may be left of tilts and spreads over those of one row, standard deviations, (R,) each."""
        number = self._numbers(session)
        tilt_s, spread_s2 = np.array([self.tilt_sigma_s, self.spread_sigma_s2])[:, number, number[best]]
        return tilt_s, spread_s2

    def _numbers(self, session: SessionFeatures) -> npt.NDArray[np.intp]:
        """The places of a session's receivers among those known, and one more for others, shape (R,)."""
        place = {name: number for number, name in enumerate(self.websdr_id)}
        return np.array([place.get(name, len(place)) for name in session.websdr_id.tolist()], np.intp)


NO_RESPONSES = Responses()


class _Measured(NamedTuple):
    """Differences between two receivers in n sessions, at F frequencies of R receivers.

    `design` (n, F, R F) makes them of all gains, `value` (n, F) they are, `variance` (n, F) is that of noise,
    and `weight` (n,) makes each transmitter count once.
    """

    design: Float64
    value: Float64
    variance: Float64
    weight: Float64


def fit(
    observations: Sequence[Observation],
    features: FeatureParams,
    *,
    transmitter: Sequence[str],
    websdr_id: npt.NDArray[np.int32],
) -> Responses:
    """The responses of a network's receivers.

    Args:
        observations: n sessions.
        features: The parameters of their features.
        transmitter: A name for the transmitter of each.
        websdr_id: The receivers of the network, shape (R,).
    """
    found, known = NO_RESPONSES, tuple(websdr_id.tolist())
    for _ in range(_ROUNDS):
        measured = _measured(observations, features, transmitter, known, found)
        if measured is None:
            return NO_RESPONSES
        found = _smooth(measured, features, known)
        if found == NO_RESPONSES:
            return NO_RESPONSES
    return found


def _measured(
    observations: Sequence[Observation],
    features: FeatureParams,
    transmitter: Sequence[str],
    known: tuple[int, ...],
    so_far: Responses,
) -> _Measured | None:
    """Differences of gains, by what is left when those so far are taken off; None if too few tell."""
    frequency_hz = passband.frequencies_hz(features)
    count = len(frequency_hz)
    gain = np.array(so_far.log_gain or np.zeros((len(known), count)))
    place = {name: number for number, name in enumerate(known)}
    designs, values, variances, senders = [], [], [], []
    for item, sender in zip(observations, transmitter, strict=True):
        seen = item
        if so_far != NO_RESPONSES:
            session = so_far.without(item)
            seen = replace(item, session=session, arrivals=arrivals(session, features, item.duration_s))
        found = passband.gains(seen, features)
        names = item.session.websdr_id.tolist()
        if found is None or names[found.best] not in place:
            continue
        second = place[names[found.best]]
        beside = passband.between(frequency_hz, frequency_hz + found.best_offset_hz)
        for row, left, variance, offset_hz in zip(
            found.row.tolist(), found.log_gain, found.variance, found.offset_hz.tolist(), strict=True
        ):
            if names[row] not in place:
                continue
            first = place[names[row]]
            design = np.zeros((count, len(known), count))
            design[:, first] += passband.between(frequency_hz, frequency_hz + offset_hz)
            design[:, second] -= beside
            designs.append(design.reshape(count, -1))
            values.append(left + np.einsum("fa,a->f", designs[-1], gain.ravel()))
            variances.append(variance)
            senders.append((sender, first, second))
    if len({sender for sender, _, _ in senders}) < _LEAST:
        return None
    often = Counter(senders)
    weight = np.array([1 / often[one] for one in senders])
    return _Measured(np.array(designs), np.array(values), np.array(variances), weight)


def _smooth(measured: _Measured, features: FeatureParams, known: tuple[int, ...]) -> Responses:
    """The most likely gains, and how well they are known."""
    frequency_hz = passband.frequencies_hz(features)
    away = (frequency_hz[:, None] - frequency_hz) / _LENGTH_HZ
    smooth = np.exp(-away * away / 2) + _JITTER * np.eye(len(frequency_hz))
    prior = np.asarray(np.kron(np.eye(len(known)), smooth), np.float64)
    middle_hz = features.correlation_band_hz / 2
    echo = (frequency_hz[:, None] / middle_hz) ** [1, 2] * _ECHO  # (F, 2)
    noise = (measured.variance + _FLOOR**2)[..., None] * np.eye(len(frequency_hz)) + _FACTOR_VARIANCE
    echoes = _Echoes(np.ones((len(measured.value), 2)), np.zeros(len(measured.value)))
    for _ in range(_REWEIGHTED):
        within = np.linalg.inv(noise + echoes.covariance(echo, smooth)) * measured.weight[:, None, None]
        weighted = np.einsum("nfg,ngi->nfi", within, measured.design)
        normal = np.einsum("nfi,nfj->ij", measured.design, weighted)
        right = np.einsum("nfi,nf->i", weighted, measured.value)
        fits = [_posterior(size, prior, normal, right) for size in _SIZES]
        found = fits[int(np.argmax([one.evidence for one in fits]))]
        if found.evidence < _EVIDENT_NATS:
            return NO_RESPONSES
        residual = measured.value - np.einsum("nfi,i->nf", measured.design, found.mean)
        echoes = echoes.given(residual, noise, echo, smooth)
    gain = found.mean.reshape(len(known), -1)
    covariance = found.covariance.reshape(*gain.shape, *gain.shape).transpose(0, 2, 1, 3)  # (R, R, F, F)
    onto = _onto_channel(frequency_hz, np.abs(frequency_hz) <= middle_hz)
    parts = np.zeros((len(known) + 1, len(known) + 1, 2))
    parts[:-1, :-1] = np.einsum("kf,abfg,kg->abk", onto, covariance, onto)
    parts[-1, -1] = found.size**2 * np.einsum("kf,fg,kg->k", onto, smooth, onto)
    own = np.einsum("aak->ak", parts)
    sigma = np.sqrt(np.maximum(own[:, None] + own - 2 * parts, 0.0))
    return Responses(features, known, _rows(gain), _rows(sigma[..., 0]), _rows(sigma[..., 1]))


class _Echoes(NamedTuple):
    """How large what n sessions have beside the receivers' gains is.

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
