"""Batches in virtual shards: which items a rank loads, and how they are collated."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, cast

from torch.utils.data import BatchSampler, Dataset, Sampler

from heimdall.pipeline.train import virtual_shards
from heimdall.pipeline.train.ranks import Ranks

Collate = Callable[[list[Any]], Any]
Cut = tuple[int, list[list[Any]]]  # items of a batch, and the keys of those in a rank's shards


class Shards(NamedTuple):
    """What a rank computes of a batch.

    Attributes:
        size: Items of the whole batch.
        parts: This rank's shards, each collated by itself; None where the batch left a shard without items.
    """

    size: int
    parts: list[Any]


class ShardSampler(Sampler[Cut]):
    """The batches of a plain training, of each of them one rank's shards.

    Args:
        order: The order of the items; it may change by the epoch.
        batch_size: Items of a batch of all ranks.
        shards: Number of virtual shards.
        ranks: The rank and how many there are.
    """

    def __init__(self, order: Sampler[Any], batch_size: int, shards: int, ranks: Ranks) -> None:
        self.order, self.shards = order, shards
        self._batches = BatchSampler(order, batch_size, drop_last=False)
        self._own = virtual_shards.shards_of(ranks.number, ranks.count, shards)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next iteration; Lightning calls it."""
        cast(Any, self.order).set_epoch(epoch)

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Cut]:
        for keys in self._batches:
            parts = virtual_shards.cut(keys, self.shards)
            yield len(keys), parts[self._own.start : self._own.stop]


class CollatedShards(Dataset[Shards]):
    """A rank's shards by the keys of their items. A shard is collated alike whichever rank has it.

    Args:
        items: By key.
        collate: Items of a shard to what the task takes.
    """

    def __init__(self, items: Dataset[Any], collate: Collate) -> None:
        self.items, self.collate = items, collate

    def __getitem__(self, key: Cut) -> Shards:
        size, parts = key
        return Shards(
            size, [self.collate([self.items[item] for item in part]) if part else None for part in parts]
        )


class BatchesOfRank(Sampler[list[int]]):
    """Whole batches of validation items, every so many of them; an empty one where the others have one more.

    Args:
        size: Number of items.
        batch_size: Items of a batch.
        ranks: The rank and how many there are.
    """

    def __init__(self, size: int, batch_size: int, ranks: Ranks) -> None:
        self._size, self._batch_size, self._ranks = size, batch_size, ranks

    def __len__(self) -> int:
        return math.ceil(self._size / (self._batch_size * self._ranks.count))

    def __iter__(self) -> Iterator[list[int]]:
        for turn in range(len(self)):
            first = (turn * self._ranks.count + self._ranks.number) * self._batch_size
            yield list(range(first, min(first + self._batch_size, self._size)))


def some(collate: Collate, items: list[Any]) -> Any:  # noqa: ANN401 - as `collate` makes it
    """Items collated; no items stay none."""
    return collate(items) if items else items


def as_it_is(shards: Shards) -> Shards:
    """Shards are collated already."""
    return shards
