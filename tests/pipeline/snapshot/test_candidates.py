"""Where shards end: sessions stay whole, and one more or less changes little."""

from __future__ import annotations

import uuid

import pytest

from heimdall.pipeline.snapshot.candidates import Candidate, cut
from tests.pipeline.snapshot.snapshot_world import RATE_HZ


def candidates(count: int) -> list[Candidate]:
    return [
        Candidate(0, str(uuid.UUID(int=number * 7919)), receiver, RATE_HZ, "key", "etag", 5)
        for number in range(count)
        for receiver in (1, 2)
    ]


def test_sessions_are_never_divided_and_shards_have_the_wished_size() -> None:
    items = candidates(400)
    groups = list(cut(items, 4))
    assert [item for group in groups for item in group] == items
    assert all(groups[k][-1].session_id != groups[k + 1][0].session_id for k in range(len(groups) - 1))
    assert 70 < len(groups) < 130
    assert [len(group) for group in cut(candidates(5), 1)] == [2] * 5


@pytest.mark.parametrize("missing", [0, 77, 199])
def test_one_session_less_changes_one_shard_or_joins_two(missing: int) -> None:
    items = candidates(200)
    gone = items[2 * missing].session_id
    whole = {tuple(group) for group in cut(items, 4)}
    less = {tuple(group) for group in cut([item for item in items if item.session_id != gone], 4)}
    assert len(whole - less) <= 2
    assert len(less - whole) <= 1
