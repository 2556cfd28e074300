"""What receivers' filters do within the band is found, by its own size, and told from echoes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
import pytest

from heimdall.position import receiver_responses
from heimdall.position.receiver_responses import NO_RESPONSES, Responses
from heimdall.signal import passband
from heimdall.signal.arrival import Observation
from tests import filtered_sessions
from tests.filtered_sessions import RIPPLES, log_gain
from tests.synthetic_sessions import FEATURES

WEBSDR_ID = np.array([1, 2, 3, 5, 6], np.int32)  # of which the last is heard by nobody
FREQUENCY_HZ = passband.frequencies_hz(FEATURES)
MIDDLE = np.abs(FREQUENCY_HZ) <= 4000


def fitted(seen: Sequence[Observation], transmitter: Sequence[str] | None = None) -> Responses:
    """Each session of a transmitter of its own, unless others are named."""
    names = transmitter or [f"t{number}" for number in range(len(seen))]
    return receiver_responses.fit(seen, FEATURES, transmitter=names, websdr_id=WEBSDR_ID)


def errors(found: Responses) -> np.ndarray:
    """Of gains in the middle of the band, but for a factor and what all receivers have, (receivers, F)."""
    gain = np.array([found.log_gain[found.websdr_id.index(k)] for k in RIPPLES])
    off = (gain - [log_gain(k, FREQUENCY_HZ) for k in RIPPLES])[:, MIDDLE]
    off = off - off.mean(axis=1, keepdims=True)
    return np.asarray(off - off.mean(axis=0))


def test_filters_are_found_up_to_what_is_common_to_all() -> None:
    off = errors(fitted(filtered_sessions.sessions(40, filtered=True)))
    assert np.sqrt(np.mean(off * off)) < 2e-3  # 0.02 dB, of ripples of 0.5 dB


@pytest.mark.parametrize("echo", [0.02, 0.5, 0.9])
def test_echoes_are_no_filters(echo: float) -> None:
    assert fitted(filtered_sessions.sessions(40, filtered=False, echo=echo)) == NO_RESPONSES


def test_filters_are_found_among_strong_echoes() -> None:
    off = errors(fitted(filtered_sessions.sessions(60, filtered=True, echo=0.5)))
    assert np.sqrt(np.mean(off * off)) < 5e-3


def test_one_transmitter_counts_once_however_often_it_is_heard() -> None:
    seen = filtered_sessions.sessions(8, filtered=False, echo=0.5)
    names = [f"t{number}" for number in range(8)]
    often = [*seen, *seen[:2] * 60]
    found = fitted(often, [*names, *names[:2] * 60])
    assert found == fitted(seen, names) == NO_RESPONSES
    assert fitted(seen[:4] * 20, names[:4] * 20) == NO_RESPONSES  # too few tell


def test_it_says_how_well_it_knows_each_receiver() -> None:
    """The error of tilts and spreads is as large as it says, and of a receiver that nobody hears, large."""
    few, many = (fitted(filtered_sessions.sessions(n, filtered=True)) for n in (12, 60))
    for found, most in ((few, 4), (many, 4)):
        onto = receiver_responses._onto_channel(FREQUENCY_HZ, MIDDLE)
        off = np.zeros((4, len(FREQUENCY_HZ)))
        off[:, MIDDLE] = errors(found)
        of_shape = np.einsum("kf,rf->rk", onto, off)
        of_shape = of_shape - of_shape[0]
        sigma = np.array([found.tilt_sigma_s, found.spread_sigma_s2])[:, :4, 0].T
        assert np.all(np.abs(of_shape[1:]) < most * sigma[1:])
        unheard, known = (found.spread_sigma_s2[row][0] for row in (4, 1))
        assert unheard > 5 * known > 0
        assert found.spread_sigma_s2[5][0] == pytest.approx(unheard, rel=0.2)  # none of the network's
    assert many.spread_sigma_s2[1][0] < few.spread_sigma_s2[1][0]


def test_a_receiver_that_few_transmitters_tell_of_may_have_any_filter() -> None:
    """One deep fade is no filter."""
    random = np.random.default_rng(7)
    seen = filtered_sessions.sessions(30, filtered=True)
    seen += [filtered_sessions.session(random, filtered=False, echo=0.9, rows=[0, 1, 5]) for _ in range(2)]
    found = fitted(seen)
    assert set(found.log_gain[4]) == {0.0}
    assert found.spread_sigma_s2[4][0] > 5 * found.spread_sigma_s2[1][0]


def test_noise_is_no_filter() -> None:
    """Of weak recordings, many to a session."""
    random = np.random.default_rng(11)
    seen = [filtered_sessions.session(random, filtered=False, noise=5e-3) for _ in range(40)]
    assert fitted(seen) == NO_RESPONSES


def test_other_parameters_of_features_will_do() -> None:
    """As for channels of 2.2 kHz, whose edges no filter of a receiver should reach."""
    narrow = dataclasses.replace(FEATURES, correlation_band_hz=1467.0)
    seen = filtered_sessions.sessions(20, filtered=True)
    names = [f"t{number}" for number in range(20)]
    found = receiver_responses.fit(seen, narrow, transmitter=names, websdr_id=WEBSDR_ID)
    assert found != NO_RESPONSES
    assert np.isfinite(found.log_gain).all()
    assert np.isfinite(found.spread_sigma_s2).all()


def test_a_strange_session_changes_little() -> None:
    seen = filtered_sessions.sessions(40, filtered=True)
    seen[3:5] = filtered_sessions.sessions(2, filtered=False, echo=0.98, seed=9)
    off = errors(fitted(seen))
    assert np.sqrt(np.mean(off * off)) < 3e-3


def test_the_order_of_sessions_makes_no_difference_that_counts() -> None:
    seen = filtered_sessions.sessions(30, filtered=True)
    one, other = fitted(seen), fitted(seen[::-1])
    np.testing.assert_allclose(one.log_gain, other.log_gain, atol=1e-6)


def test_they_survive_a_file() -> None:
    found = fitted(filtered_sessions.sessions(12, filtered=True))
    assert found != NO_RESPONSES
    assert Responses.from_dict(json.loads(json.dumps(asdict(found)))) == found
    assert Responses.from_dict(json.loads(json.dumps(asdict(NO_RESPONSES)))) == NO_RESPONSES
    with pytest.raises(ValueError, match="no response"):
        NO_RESPONSES.without(filtered_sessions.sessions(1, filtered=True)[0])
