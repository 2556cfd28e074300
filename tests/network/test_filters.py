"""What receivers' filters add to arrival times and to the shapes of channels is taken off, and no more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace

import numpy as np
import pytest

from heimdall.network import filters
from heimdall.network.filters import NO_FILTERS, Filters
from heimdall.position.receiver_delays import Delays
from heimdall.signal.arrival import Arrivals, Observation, stamped_late
from tests import filtered_sessions
from tests.synthetic_sessions import FEATURES, PLANE, RECEIVERS


def fitted(seen: Sequence[Observation]) -> Filters:
    """Each session of a transmitter of its own; where these are tells of delays alone."""
    names = [f"t{number}" for number in range(len(seen))]
    at_m = np.zeros((len(seen), 2))
    found = filters.fit(seen, at_m, PLANE, FEATURES, transmitter=names, websdr_id=RECEIVERS.websdr_id)
    return replace(found, delays=NO_FILTERS.delays)


def shapes(found: Arrivals) -> np.ndarray:
    """Tilts and real parts of spreads, (R, 2), in us and us^2."""
    return np.column_stack([1e6 * found.tilt_s, 1e12 * found.spread_s2.real])


def test_channels_are_those_of_receivers_without_filters() -> None:
    """Of what ripples of half a decibel do to tilts and spreads, a fifth and less is left."""
    found = fitted(filtered_sessions.sessions(60, filtered=True))
    before, after, scaled = [], [], []
    for item, plain in zip(
        filtered_sessions.sessions(30, filtered=True, seed=8),
        filtered_sessions.sessions(30, filtered=False, seed=8),
        strict=True,
    ):
        taken = found.taken_off(item)
        before.append(shapes(item.arrivals) - shapes(plain.arrivals))
        off = shapes(taken) - shapes(plain.arrivals)
        after.append(np.column_stack([np.abs(taken.tilt_s) - np.abs(plain.arrivals.tilt_s), off[:, 1]]))
        scaled.append((off[:, 1] / 1e12 / taken.spread_sigma_s2)[1:])
        np.testing.assert_array_equal(taken.delay_s, item.arrivals.delay_s)
        np.testing.assert_array_equal(taken.information_s2, item.arrivals.information_s2)
        assert np.all(taken.spread_sigma_s2[1:] > item.arrivals.spread_sigma_s2[1:])
    moved, left = (np.median(np.abs(np.concatenate(part)[:, :]), axis=0) for part in (before, after))
    assert np.all(moved > [0.3, 10])
    assert np.all(left < [0.1, 3])
    assert np.sqrt(np.mean(np.concatenate(scaled) ** 2)) < 1.5


def test_nothing_is_taken_off_receivers_that_are_alike() -> None:
    seen = filtered_sessions.sessions(60, filtered=False)
    found = fitted(seen)
    assert found == NO_FILTERS
    assert found.taken_off(seen[0]) is seen[0].arrivals


def test_too_little_is_no_reason_to_take_anything_off() -> None:
    for seen in ([], filtered_sessions.sessions(4, filtered=True)):
        assert fitted(seen) == NO_FILTERS


def test_a_session_without_shapes_stays_as_it_is() -> None:
    """As of a keyed carrier, and where nobody is to know of echoes."""
    found = fitted(filtered_sessions.sessions(20, filtered=True))
    (item,) = filtered_sessions.sessions(1, filtered=True)
    seen = item.arrivals
    flat = Arrivals.without_echoes(seen.delay_s, seen.information_s2, seen.rms_bandwidth_hz, seen.shape)
    assert found.taken_off(replace(item, arrivals=flat)) is flat


def test_a_late_stamp_stays_late() -> None:
    found = fitted(filtered_sessions.sessions(20, filtered=True))
    (item,) = filtered_sessions.sessions(1, filtered=True)
    late, plain = found.taken_off(stamped_late(item, 1, 1e-5)), found.taken_off(item)
    np.testing.assert_allclose(late.delay_s - plain.delay_s, [0, 1e-5, 0, 0], atol=1e-15)
    np.testing.assert_array_equal(late.tilt_s, plain.tilt_s)


def test_a_receiver_that_nobody_knows_may_have_any_filter() -> None:
    found = fitted(filtered_sessions.sessions(60, filtered=True))
    (item,) = filtered_sessions.sessions(1, filtered=True)
    stranger = item.session.websdr_id.copy()
    stranger[2] = 99
    known = found.taken_off(item)
    after = found.taken_off(replace(item, session=replace(item.session, websdr_id=stranger)))
    assert after.spread_sigma_s2[2] > 5 * known.spread_sigma_s2[2]
    assert abs(after.tilt_s[2]) < abs(item.arrivals.tilt_s[2])
    assert after.spread_sigma_s2[1] == pytest.approx(known.spread_sigma_s2[1], rel=0.1)


def test_delays_are_taken_off_arrival_times() -> None:
    (item,) = filtered_sessions.sessions(1, filtered=False)
    names = item.session.websdr_id.tolist()
    own = Filters(delays=Delays((names[1],), (2e-7,)))
    after = own.taken_off(item)
    np.testing.assert_allclose(item.arrivals.delay_s - after.delay_s, [0, 2e-7, 0, 0], atol=1e-15)
    assert after.tilt_s is item.arrivals.tilt_s


def test_they_survive_a_file() -> None:
    found = fitted(filtered_sessions.sessions(20, filtered=True))
    assert found != NO_FILTERS
    assert Filters.from_dict(asdict(found)) == found
    with pytest.raises(KeyError):
        Filters.from_dict({"delays": {"websdr_id": [], "delay_s": []}})
