"""What fusion is told of a session: finite, in the same bytes each time, and varied only by seed."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import numpy.typing as npt

from heimdall.geometry.area import Receivers
from heimdall.network.tokens import (
    FADED_S2,
    LATE_S,
    LEAST_SPREAD_S2,
    PHYSICAL,
    TILE_SIGMA,
    TILE_SPACING,
    TILES,
    VARIED,
    Tokens,
    augment,
    chosen,
    collate,
    variants,
)
from heimdall.signal.arrival import Observation, arrivals, stamped_late, without_gps, without_receiver
from tests import known_sessions
from tests.fusion_world import FEATURES, world

EMPTY = -100.0  # nats, below which no tile is


def apart_m(place_m: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Distances between places (n, 2), each from each other one."""
    between = place_m[:, None] - place_m[None]
    return np.sqrt((between**2).sum(-1))[~np.eye(len(place_m), dtype=bool)]


def same(one: Tokens, other: Tokens) -> bool:
    return all(np.array_equal(getattr(one, f.name), getattr(other, f.name)) for f in fields(Tokens))


def test_every_value_is_finite_and_one_tile_is_near_the_truth() -> None:
    nearest_m = []
    for tokens, truth_m in zip(world().tokens, world().truth_m, strict=True):
        assert all(np.isfinite(getattr(tokens, field.name)).all() for field in fields(Tokens))
        nearest_m.append(np.hypot(*(tokens.centre_m[:TILES] - truth_m).T).min())
    assert np.median(nearest_m) < 4_000


def test_tiles_by_levels_are_apart_and_their_probabilities_add_up() -> None:
    for observation in world().observations:
        tokens = world().tokenizer.tokens(without_gps(observation, FEATURES))
        assert apart_m(tokens.centre_m[:TILES]).min() >= TILE_SPACING * world().tokenizer.cell_m
        share = np.exp(tokens.log_power + world().tokenizer.area.log_prior(tokens.centre_m))
        assert 1.0 - 1e-9 <= share.sum() <= 1.02 + 1e-9


def test_arrival_times_give_each_tile_a_place_of_its_own_and_one_is_the_truth() -> None:
    nearest_m = []
    for tokens, truth_m in zip(world().tokens, world().truth_m, strict=True):
        used = tokens.log_power > EMPTY
        assert apart_m(tokens.start_m[used]).min() > 100
        tiles_m = np.unique(tokens.centre_m[:TILES][used[:TILES]], axis=0)  # one may have two solutions
        assert (apart_m(tiles_m) >= TILE_SPACING * world().tokenizer.cell_m).all()
        np.testing.assert_array_equal(tokens.start_m[-1], tokens.centre_m[-1])  # the wide one has its mean
        nearest_m.append(np.hypot(*(tokens.start_m[used] - truth_m).T).min())
    assert np.median(nearest_m) < 100
    assert np.max(nearest_m) < 1_000


def test_one_late_stamp_of_four_leaves_a_start_near_the_truth() -> None:
    nearest_m = []
    for observation, truth_m in zip(world().observations, world().truth_m, strict=True):
        timed = np.flatnonzero(observation.arrivals.information_s2)
        for row in timed if len(timed) > 3 else ():
            for late_s in (1e-5, -3e-3):
                start_m = world().tokenizer.tokens(stamped_late(observation, int(row), late_s)).start_m
                nearest_m.append(np.hypot(*(start_m - truth_m).T).min())
    assert len(nearest_m) > 20
    assert np.median(nearest_m) < 500


def test_tiles_grow_until_they_hold_what_is_likely() -> None:
    """Arrival times of a keyed carrier, kilometres each: fourteen small tiles would leave most of it out."""
    plain, _ = known_sessions.observation(3, 4)
    vague = replace(plain.arrivals, information_s2=np.full(4, 1 / (30e-6) ** 2))
    exact, wide = (
        known_sessions.TOKENIZER.tokens(replace(plain, arrivals=found)) for found in (plain.arrivals, vague)
    )
    cell_m = known_sessions.TOKENIZER.cell_m
    sigma_m = np.sqrt([tokens.prior_m2[0, 0, 0] for tokens in (exact, wide)])
    np.testing.assert_allclose(sigma_m[0], TILE_SIGMA * cell_m)
    assert sigma_m[1] > 1.5 * TILE_SIGMA * cell_m
    tiles_m = np.unique(wide.centre_m[:TILES][wide.log_power[:TILES] > EMPTY], axis=0)
    assert len(tiles_m) > 1
    assert apart_m(tiles_m).min() >= TILE_SPACING * sigma_m[1] / TILE_SIGMA - 1e-6


def test_a_session_without_gps_time_has_tiles_by_levels_alone() -> None:
    observation = world().observations[0]
    untimed = replace(observation.session, timing_sigma_s=np.full(len(observation.session.websdr_id), np.inf))
    tokens = world().tokenizer.tokens(
        Observation(untimed, arrivals(untimed, FEATURES), observation.frequency_hz)
    )
    assert not tokens.information_s2.any()
    assert np.isfinite(tokens.physical).all()
    assert np.argmax(tokens.log_power[:TILES]) <= 2  # tiles are chosen by the levels' score, best first


def test_augmentation_depends_on_seed_epoch_and_session_alone() -> None:
    plain = world().tokens[0]
    assert same(augment(plain, 1, 2, 3), augment(plain, 1, 2, 3))
    assert not same(augment(plain, 1, 2, 3), augment(plain, 1, 3, 3))
    assert not same(augment(plain, 1, 2, 3), augment(plain, 2, 2, 3))


def test_augmentation_adds_clock_errors_as_large_as_it_says() -> None:
    plain = world().tokens[0]
    told, made = [], []
    for epoch in range(200):
        varied = augment(plain, 1, epoch, 0)
        made.append(((varied.delay_s - plain.delay_s) ** 2).mean())
        told.append((varied.timing_sigma_s**2 - plain.timing_sigma_s**2).mean())
    assert 0.85 < np.mean(made) / np.mean(told) < 1.15


def test_a_receiver_without_an_arrival_time_looks_in_training_as_it_does_later() -> None:
    observation = world().observations[0]
    session = observation.session
    timing_sigma_s = np.full(len(session.websdr_id), 50e-9)
    timing_sigma_s[0] = np.inf
    without = replace(session, timing_sigma_s=timing_sigma_s)
    plain = world().tokenizer.tokens(
        Observation(without, arrivals(without, FEATURES), observation.frequency_hz)
    )
    untimed = plain.information_s2 == 0
    assert untimed[0] and not untimed.all()
    clock = PHYSICAL.index("log_clock")
    assert set(plain.physical[untimed, clock]) == {np.float32(-9)}
    varied = augment(plain, 1, 0, 0)
    assert set(varied.physical[untimed, clock]) == {np.float32(-9)}
    assert (varied.physical[~untimed, clock] > plain.physical[~untimed, clock]).all()
    assert not varied.delay_s[untimed].any()


def test_a_receiver_that_is_switched_off_is_as_none_at_all() -> None:
    """In the levels of every place, in the tiles and in the arrival times."""
    made = world().tokenizer
    for observation in world().observations:
        for row, number in enumerate(observation.session.websdr_id.tolist()):
            kept = made.receivers.websdr_id != number
            others = Receivers(made.receivers.websdr_id[kept], made.receivers.position_m[kept])
            off = without_receiver(observation, row, FEATURES)
            found = made.tokens(off)
            expected = replace(made, receivers=others).tokens(replace(off, absent=()))
            for field in fields(Tokens):
                value = getattr(expected, field.name)
                np.testing.assert_allclose(getattr(found, field.name), value, rtol=1e-6, err_msg=field.name)
            if observation.session.detected[row]:
                assert not same(found, made.tokens(replace(off, absent=())))  # silence says something


def test_variants_are_the_session_without_a_receiver_and_with_a_late_stamp() -> None:
    made = world()
    observation, plain = made.observations[2], made.tokens[2]
    off, late = (variants(made.tokenizer, observation, FEATURES, 1, 2)[number] for number in (1, 2))
    assert same(variants(made.tokenizer, observation, FEATURES, 1, 2)[0], plain)
    assert len(off.delay_s) == len(plain.delay_s) - 1
    moved_s = np.abs(late.delay_s - plain.delay_s)
    assert np.count_nonzero(moved_s) == 1
    assert LATE_S[0] <= moved_s.max() <= LATE_S[1]
    assert plain.information_s2[moved_s.argmax()] > 0
    np.testing.assert_array_equal(late.physical, plain.physical)


def test_a_variant_of_a_fading_signal_has_other_shapes_and_the_same_times() -> None:
    made, sizes = world(), []
    plain = made.tokens[2]
    shaped = plain.physical[:, PHYSICAL.index("log_spread")] > np.log10(LEAST_SPREAD_S2)
    assert shaped.sum() == np.count_nonzero(plain.information_s2) - 1  # beside the receiver that hears best
    about_shape = [
        PHYSICAL.index(name)
        for name in ("log_tilt", "spread_excess_us", "spread", "turned_spread", "log_spread")
    ]
    others = [column for column in range(len(PHYSICAL)) if column not in about_shape]
    for index in range(40):
        faded = variants(made.tokenizer, made.observations[2], FEATURES, 1, index)[-1]
        np.testing.assert_array_equal(faded.delay_s, plain.delay_s)
        np.testing.assert_array_equal(faded.information_s2, plain.information_s2)
        np.testing.assert_array_equal(faded.physical[:, others], plain.physical[:, others])
        np.testing.assert_array_equal(faded.physical[~shaped], plain.physical[~shaped])
        assert np.all(faded.physical[shaped][:, about_shape] != plain.physical[shaped][:, about_shape])
        sizes += (10.0 ** faded.physical[shaped, PHYSICAL.index("log_spread")]).tolist()
    assert FADED_S2[0] < np.median(sizes) < FADED_S2[1]


def test_variants_are_those_that_the_recordings_allow() -> None:
    """No session is left without a receiver; a late stamp among three could not be told from a right one.

    Channels of these have no shapes, which fading would change.
    """
    for number, heard in enumerate((1, 3, 4)):
        observation, _ = known_sessions.observation(number, heard)
        made = variants(known_sessions.TOKENIZER, observation, FEATURES, 1, number)
        assert [len(item.delay_s) for item in made] == {1: [1], 3: [3, 2], 4: [4, 3, 4]}[heard]


def test_variants_and_their_choice_depend_on_the_arguments_alone() -> None:
    made = world()
    observation = made.observations[2]
    first = variants(made.tokenizer, observation, FEATURES, 1, 2)
    assert all(map(same, first, variants(made.tokenizer, observation, FEATURES, 1, 2)))
    for seed, index in ((2, 2), (1, 3)):
        other = variants(made.tokenizer, observation, FEATURES, seed, index)
        assert not all(map(same, first[1:], other[1:]))

    def numbers(seed: int, index: int) -> list[int]:
        return [first.index(chosen(first, seed, epoch, index)) for epoch in range(400)]

    found = numbers(1, 2)
    assert found == numbers(1, 2)
    assert found != numbers(2, 2)
    assert found != numbers(1, 3)
    share = np.bincount(found) / 400
    np.testing.assert_allclose(share, [1 - VARIED, *[VARIED / 3] * 3], atol=0.06)
    assert chosen(first[:1], 1, 0, 0) is first[0]


def test_a_batch_is_filled_up_under_its_mask() -> None:
    tokens = world().tokens
    batch = collate(tokens, receivers=9)
    assert batch["mask"].sum(1).tolist() == [len(item.delay_s) for item in tokens]
    assert batch["physical"].shape == (len(tokens), 9, len(PHYSICAL))
    assert not batch["information_s2"][~batch["mask"]].any()
