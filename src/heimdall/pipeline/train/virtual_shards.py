"""A batch cut into virtual shards, and one order of adding their gradients for any number of ranks.

A batch of n items is cut into `virtual_shards` contiguous parts. Each part has a gradient of its own, and
the gradients are added along one binary tree. The tree does not know who computes: a rank adds up the
subtrees whose shards it holds, and every rank adds up the rest. So the bits are the same for any number of
ranks.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch

Node = tuple[int, int]  # the shards from the first, up to but without the second
Item = TypeVar("Item")


def cut(items: list[Item], parts: int) -> list[list[Item]]:
    """Items in contiguous parts whose sizes differ by 1 at most; some are empty where there are few items."""
    ends = [len(items) * part // parts for part in range(parts + 1)]
    return [items[first:last] for first, last in itertools.pairwise(ends)]


def shards_of(rank: int, ranks: int, shards: int) -> range:
    """The shards that a rank computes."""
    return range(rank * shards // ranks, (rank + 1) * shards // ranks)


def subtrees(rank: int, ranks: int, shards: int) -> list[Node]:
    """The largest subtrees of the tree of all shards that a rank can add up by itself.

    Args:
        rank: Number of the rank, from 0.
        ranks: How many there are, at most `shards`.
        shards: Number of shards.

    Returns:
        The subtrees in the order of their shards; one, where `ranks` is a power of two that divides `shards`.
    """
    own = shards_of(rank, ranks, shards)

    def within(first: int, last: int) -> Iterator[Node]:
        if own.start <= first and last <= own.stop:
            yield first, last
        elif first < own.stop and own.start < last:
            middle = (first + last) // 2
            yield from within(first, middle)
            yield from within(middle, last)

    return list(within(0, shards))


def tree_sum(node: Node, known: Callable[[Node], torch.Tensor | None]) -> torch.Tensor:
    """The sum over a subtree: of the sum over its first half and the sum over its second half.

    Args:
        node: The subtree.
        known: The sum over a subtree where it is known, else None. That of a single shard is always known.
            They are asked for in the order of their shards, so not all gradients are in memory at a time.

    Returns:
        The sum.
    """
    value = known(node)
    if value is not None:
        return value
    first, last = node
    middle = (first + last) // 2
    return tree_sum((first, middle), known) + tree_sum((middle, last), known)
