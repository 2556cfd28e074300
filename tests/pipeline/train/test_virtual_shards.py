"""One order of adding, whoever adds."""

from __future__ import annotations

import itertools

import pytest
import torch

from heimdall.pipeline.train import virtual_shards
from heimdall.pipeline.train.ranks import Ranks
from heimdall.pipeline.train.shard_loaders import BatchesOfRank, ShardSampler
from heimdall.pipeline.train.virtual_shards import Node

SIZES = [(shards, ranks) for shards in (1, 2, 3, 4, 6, 7, 8, 16) for ranks in range(1, shards + 1)]


def gradients(shards: int) -> torch.Tensor:
    """Of very different sizes, so that another order of adding has other bits."""
    drawn = torch.Generator().manual_seed(shards)
    return torch.randn(shards, 200, generator=drawn) * 10.0 ** torch.arange(shards)[:, None].remainder(5)


def leaf(values: torch.Tensor, node: Node) -> torch.Tensor | None:
    return values[node[0]] if node[1] - node[0] == 1 else None


@pytest.mark.parametrize(("shards", "ranks"), SIZES)
def test_what_ranks_add_up_by_themselves_makes_the_same_bits(shards: int, ranks: int) -> None:
    values = gradients(shards)
    whole = virtual_shards.tree_sum((0, shards), lambda node: leaf(values, node))
    known = {
        node: virtual_shards.tree_sum(node, lambda inner: leaf(values, inner))
        for rank in range(ranks)
        for node in virtual_shards.subtrees(rank, ranks, shards)
    }
    # Of everything below the subtrees nothing is known any more, as on the other ranks.
    assert torch.equal(virtual_shards.tree_sum((0, shards), known.get), whole)
    assert sorted(itertools.chain(*(range(*node) for node in known))) == list(range(shards))
    if shards % ranks == 0 and ranks & (ranks - 1) == 0:
        assert len(known) == ranks  # the least that can travel


def test_from_left_to_right_the_bits_are_others() -> None:
    """The property above would hold for equal numbers, too."""
    values = gradients(8)
    in_turn = values[0]
    for value in values[1:]:
        in_turn = in_turn + value
    assert not torch.equal(in_turn, virtual_shards.tree_sum((0, 8), lambda node: leaf(values, node)))


@pytest.mark.parametrize(("shards", "ranks"), SIZES)
def test_the_ranks_load_each_item_of_a_batch_once_and_cut_it_alike(shards: int, ranks: int) -> None:
    order: list[int] = list(range(2 * 16 + 5))
    together = [
        list(ShardSampler(order, 16, shards, Ranks(rank, ranks)))  # type: ignore[arg-type]
        for rank in range(ranks)
    ]
    alone = list(ShardSampler(order, 16, shards, Ranks()))  # type: ignore[arg-type]
    assert len(alone) == 3
    for batch, (size, parts) in enumerate(alone):
        assert [part for rank in together for part in rank[batch][1]] == parts
        assert {rank[batch][0] for rank in together} == {size}
        assert list(itertools.chain(*parts)) == order[16 * batch : 16 * batch + size]
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("ranks", [1, 2, 3, 5])
def test_validation_is_divided_by_whole_batches_and_every_rank_has_as_many(ranks: int) -> None:
    found = [list(BatchesOfRank(10, 4, Ranks(rank, ranks))) for rank in range(ranks)]
    assert len({len(batches) for batches in found}) == 1
    turns = [batch for turn in zip(*found, strict=True) for batch in turn]
    assert [batch for batch in turns if batch] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
