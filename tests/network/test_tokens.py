"""What fusion is told of a session: finite, in the same bytes each time, and varied only by seed."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np

from heimdall.network.tokens import PHYSICAL, TILE_SIGMA_M, TILE_SPACING_M, TILES, Tokens, augment, collate
from heimdall.position.arrival import Observation, arrivals
from tests import known_sessions
from tests.fusion_world import FEATURES, world


def same(one: Tokens, other: Tokens) -> bool:
    return all(np.array_equal(getattr(one, f.name), getattr(other, f.name)) for f in fields(Tokens))


def test_every_value_is_finite_and_one_tile_is_near_the_truth() -> None:
    nearest_m = []
    for tokens, truth_m in zip(world().tokens, world().truth_m, strict=True):
        assert all(np.isfinite(getattr(tokens, field.name)).all() for field in fields(Tokens))
        nearest_m.append(np.hypot(*(tokens.centre_m[:TILES] - truth_m).T).min())
    assert np.median(nearest_m) < 4_000


def test_tiles_are_apart_and_their_probabilities_add_up() -> None:
    for tokens in world().tokens:
        between = tokens.centre_m[:TILES, None] - tokens.centre_m[None, :TILES]
        apart_m = np.sqrt((between**2).sum(-1))[~np.eye(TILES, dtype=bool)]
        assert apart_m.min() >= TILE_SPACING_M
        assert 1.0 - 1e-9 <= np.exp(tokens.log_power).sum() <= 1.02 + 1e-9


def test_tiles_grow_until_they_hold_what_is_likely() -> None:
    """Arrival times of a keyed carrier, kilometres each: fourteen small tiles would leave most of it out."""
    plain, _ = known_sessions.observation(3, 4)
    vague = replace(plain.arrivals, information_s2=np.full(4, 1 / (30e-6) ** 2))
    exact, wide = (
        known_sessions.TOKENIZER.tokens(replace(plain, arrivals=found)) for found in (plain.arrivals, vague)
    )
    sigma_m = np.sqrt([tokens.prior_m2[0, 0, 0] for tokens in (exact, wide)])
    assert sigma_m[0] == TILE_SIGMA_M
    assert sigma_m[1] > TILE_SIGMA_M
    between = wide.centre_m[:TILES, None] - wide.centre_m[None, :TILES]
    apart_m = np.sqrt((between**2).sum(-1))[~np.eye(TILES, dtype=bool)]
    assert apart_m.min() >= TILE_SPACING_M * sigma_m[1] / TILE_SIGMA_M


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
        if len(varied.delay_s) == len(plain.delay_s):
            made.append(((varied.delay_s - plain.delay_s) ** 2).mean())
            told.append((varied.timing_sigma_s**2 - plain.timing_sigma_s**2).mean())
    assert 0.85 < np.mean(made) / np.mean(told) < 1.15
    assert len(made) < 200  # some lost a receiver


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
    varied = next(
        item
        for item in (augment(plain, 1, epoch, 0) for epoch in range(50))
        if len(item.delay_s) == len(untimed)
    )
    assert set(varied.physical[untimed, clock]) == {np.float32(-9)}
    assert (varied.physical[~untimed, clock] > plain.physical[~untimed, clock]).all()
    assert not varied.delay_s[untimed].any()


def test_a_lone_receiver_is_never_dropped() -> None:
    plain = world().tokens[0]
    lone = replace(plain, **{f.name: getattr(plain, f.name)[:1] for f in fields(Tokens)[:7]})
    assert all(len(augment(lone, 1, epoch, 0).delay_s) == 1 for epoch in range(50))


def test_a_batch_is_filled_up_under_its_mask() -> None:
    tokens = world().tokens
    batch = collate(tokens, receivers=9)
    assert batch["mask"].sum(1).tolist() == [len(item.delay_s) for item in tokens]
    assert batch["physical"].shape == (len(tokens), 9, len(PHYSICAL))
    assert not batch["information_s2"][~batch["mask"]].any()
