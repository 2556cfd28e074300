"""What receivers' filters add to the shapes of channels is found, taken off, and told from echoes."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import numpy.typing as npt
import pytest

from heimdall.network import filters
from heimdall.network.filters import NO_FILTERS, Filters
from heimdall.position.receiver_delays import NO_DELAYS
from heimdall.signal.arrival import Observation
from tests import fusion_world

WEBSDR_ID = np.array([1, 2, 3, 4, 5], np.int32)
TILT_S = np.array([3e-6, -1e-6, 0.0, -2e-6, 0.0])
SPREAD_S2 = np.array([40e-12, -30e-12, 0.0, 10e-12, -20e-12])


def session(random: np.random.Generator, echoes: float, filtered: bool = True) -> Observation:
    """Four or five of the receivers; the first hears best, and shapes are over its own."""
    like = fusion_world.world().observations[0]
    count = int(random.integers(4, 6))
    chosen = random.permutation(5)[:count]
    tilt_s = echoes * 2e-7 * random.standard_normal(count) + filtered * TILT_S[chosen]
    real, imaginary = echoes * 2e-12 * random.standard_normal((2, count))
    spread_s2 = real + 1j * imaginary + filtered * SPREAD_S2[chosen]
    snr_db = np.concatenate([[40.0], random.uniform(10, 30, count - 1)]).astype(np.float32)
    arrivals = replace(
        like.arrivals,
        delay_s=np.zeros(count),
        information_s2=np.full(count, (5e-8) ** -2),
        tilt_s=tilt_s - tilt_s[0],
        spread_s2=spread_s2 - spread_s2[0],
        spread_sigma_s2=np.full(count, 1e-12),
    )
    return replace(
        like,
        arrivals=arrivals,
        session=replace(
            like.session,
            websdr_id=WEBSDR_ID[chosen],
            snr_db=snr_db,
            position_enu_m=np.zeros((count, 3)),
            timing_sigma_s=np.full(count, 5e-8),
        ),
    )


def sessions(count: int, *, echoes: float = 1.0, filtered: bool = True) -> list[Observation]:
    random = np.random.default_rng(5)
    return [session(random, echoes, filtered) for _ in range(count)]


def fitted(seen: list[Observation], websdr_id: npt.NDArray[np.int32] = WEBSDR_ID) -> Filters:
    """Each session of a transmitter of its own."""
    return of_senders(seen, [f"t{number}" for number in range(len(seen))], websdr_id)


def of_senders(
    seen: list[Observation], names: list[str], websdr_id: npt.NDArray[np.int32] = WEBSDR_ID
) -> Filters:
    """Where the transmitters are makes no difference to shapes."""
    plane, at_m = fusion_world.world().tokenizer.plane, np.zeros((len(seen), 2))
    found = filters.fit(seen, at_m, plane, transmitter=names, websdr_id=websdr_id)
    return replace(found, delays=NO_DELAYS)


def alike(found: tuple[float, ...], true: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """By how much they differ but for what is common to all."""
    off = np.array(found) - true
    return np.asarray(off - off.mean(), np.float64)


def test_filters_are_found_up_to_what_is_common_to_all() -> None:
    found = fitted(sessions(60))
    np.testing.assert_allclose(alike(found.tilt_s, TILT_S), 0, atol=1.5e-7)
    np.testing.assert_allclose(alike(found.spread_s2, SPREAD_S2), 0, atol=2e-12)


def test_without_filters_nearly_nothing_is_taken_off() -> None:
    found = fitted(sessions(60, filtered=False))
    assert np.abs(found.tilt_s).max() < 2e-8  # a tenth of what echoes scatter by
    assert np.abs(found.spread_s2).max() < 4e-13


def test_how_unlike_receivers_are_is_known_of_those_that_nobody_measured_too() -> None:
    found = fitted(sessions(60))
    assert found.unlike_spread_s2 == pytest.approx(np.std(SPREAD_S2), rel=0.2)
    assert fitted(sessions(60, filtered=False)).unlike_spread_s2 < 1e-12


def test_a_few_strange_sessions_change_little() -> None:
    seen = sessions(60)
    for number in range(0, 60, 10):
        wrong = replace(seen[number].arrivals, spread_s2=seen[number].arrivals.spread_s2 * -30)
        seen[number] = replace(seen[number], arrivals=wrong)
    found = fitted(seen)
    np.testing.assert_allclose(alike(found.spread_s2, SPREAD_S2), 0, atol=3e-12)


def test_taken_off_leaves_the_echoes_and_says_how_sure_that_is() -> None:
    found = fitted(sessions(200))
    strong = sessions(20, echoes=30.0), sessions(20, echoes=30.0, filtered=False)
    weak = sessions(20), sessions(20, filtered=False)
    for item, plain in (*zip(*weak, strict=True), *zip(*strong, strict=True)):
        after, without = found.taken_off(item), plain.arrivals
        number = [found.websdr_id.index(name) for name in item.session.websdr_id.tolist()]
        others = np.arange(len(number)) > 0  # whose shapes are over that of the first
        for measured, echo, filtered, unlike, atol in (
            (after.tilt_s, without.tilt_s, found.tilt_s, found.unlike_tilt_s, 1e-7),
            (after.spread_s2.real, without.spread_s2.real, found.spread_s2, found.unlike_spread_s2, 1.5e-12),
        ):
            taken = np.abs(np.array(filtered)[number] - filtered[number[0]])
            left = 0.7 * np.maximum(taken, np.sqrt(2) * unlike) * others
            some = np.sqrt(np.maximum(np.maximum(np.abs(echo) - atol, 0) ** 2 - left**2, 0))
            most = np.sqrt(np.maximum((np.abs(echo) + atol) ** 2 - left**2, 0))
            assert np.all((some <= np.abs(measured)) & (np.abs(measured) <= most))
        np.testing.assert_array_equal(after.spread_s2.imag, item.arrivals.spread_s2.imag)
        np.testing.assert_allclose(after.spread_sigma_s2, np.hypot(1e-12, left))
        np.testing.assert_array_equal(after.delay_s, item.arrivals.delay_s)


def test_too_little_is_no_reason_to_take_anything_off() -> None:
    for seen in ([], sessions(1), [fusion_world.world().observations[0]] * 3):
        assert fitted(seen) == NO_FILTERS
    silent = replace(sessions(1)[0].arrivals, tilt_s=np.zeros(5), spread_s2=np.zeros(5, np.complex128))
    kept = replace(sessions(1)[0], arrivals=silent)
    assert fitted(sessions(60)).taken_off(kept) is silent
    assert NO_FILTERS.taken_off(kept) is silent


def test_equal_sessions_have_the_exact_filters() -> None:
    found = fitted([sessions(1, echoes=0.0)[0]] * 40)
    known = [WEBSDR_ID.tolist().index(name) for name in found.websdr_id]
    np.testing.assert_allclose(found.tilt_s, TILT_S[known] - TILT_S[known].mean(), atol=1e-9)


def test_echoes_of_one_transmitter_are_no_filter() -> None:
    seen = sessions(60, filtered=False)
    one = [seen[0]] * 40
    few = [seen[number % 7] for number in range(60)]
    assert of_senders(one, ["t"] * 40) == NO_FILTERS
    found = of_senders(few, [f"t{number % 7}" for number in range(60)])
    assert not np.any([*found.tilt_s, *found.spread_s2, found.unlike_tilt_s, found.unlike_spread_s2])
    often = [*seen[:30], *one * 10]
    found = of_senders(often, [f"t{n}" for n in range(30)] + ["t0"] * 400)
    assert np.abs(found.spread_s2).max() < 1e-12


def test_transmitters_that_tell_nothing_are_passed_over() -> None:
    seen = sessions(60)
    flat = [
        replace(one.arrivals, tilt_s=0 * one.arrivals.tilt_s, spread_s2=np.zeros_like(one.arrivals.spread_s2))
        for one in seen[:5]
    ]
    shapeless = [replace(one, arrivals=found) for one, found in zip(seen, flat, strict=False)]
    names = [f"a{number}" for number in range(5)] + [f"t{number}" for number in range(60)]
    found = of_senders([*shapeless, *seen], names)
    assert found == fitted(seen)


def all_but_filters(found: Filters, item: Observation) -> npt.NDArray[np.complex128]:
    """Spreads of receivers that are as unlike as others, but nobody knows how."""
    spread_s2, left_s2 = item.arrivals.spread_s2, 0.7 * np.sqrt(2) * found.unlike_spread_s2
    real = np.sign(spread_s2.real) * np.sqrt(np.maximum(spread_s2.real**2 - left_s2**2, 0))
    return np.asarray(real + 1j * spread_s2.imag, np.complex128)


def test_receivers_that_nothing_connects_to_most_others_have_none() -> None:
    seen = sessions(60)
    apart = [
        replace(item, session=replace(item.session, websdr_id=item.session.websdr_id + 10))
        for item in sessions(20)
    ]
    found = fitted([*seen, *apart], np.concatenate([WEBSDR_ID, WEBSDR_ID + 10]))
    assert set(found.websdr_id) <= set(WEBSDR_ID.tolist())
    assert found.spread_s2 == pytest.approx(fitted(seen).spread_s2)
    after = found.taken_off(apart[0])
    np.testing.assert_allclose(after.spread_s2, all_but_filters(found, apart[0]))
    assert np.all(after.spread_sigma_s2[1:] > 0.9 * found.unlike_spread_s2)  # as unlike as others


def test_a_receiver_that_nobody_knows_keeps_its_shape() -> None:
    found = fitted(sessions(60))
    (item,) = (one for one in sessions(1, echoes=60.0))
    stranger = item.session.websdr_id.copy()
    stranger[1] = 99
    after = found.taken_off(replace(item, session=replace(item.session, websdr_id=stranger)))
    kept = all_but_filters(found, item)
    assert abs(after.spread_s2[1] - kept[1]) < 1e-15
    assert abs(after.spread_s2[2] - kept[2]) > 1e-13
    strange = replace(item, session=replace(item.session, websdr_id=stranger))
    assert fitted([*sessions(60), strange]).websdr_id == found.websdr_id


def test_they_survive_a_file() -> None:
    found = fitted(sessions(60))
    assert Filters.from_dict(asdict(found)) == found
    with pytest.raises(KeyError):
        Filters.from_dict({"websdr_id": [1]})
