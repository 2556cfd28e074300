"""A training step over virtual shards, on one rank or several: the same bits for any number of ranks.

A step is: the gradient of each shard, in the order of the shards; their sum along the tree of
`virtual_shards`; then norm, clipping and optimizer, as in a plain step, on every rank. Nothing but gradients,
losses and what validation found travels between the ranks.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, cast

import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch.optim.lr_scheduler import LRScheduler

from heimdall.core import randomness
from heimdall.core.params import Params
from heimdall.pipeline.train import exchange, virtual_shards
from heimdall.pipeline.train.lightning_module import LocalizationLightningModule
from heimdall.pipeline.train.ranks import Ranks
from heimdall.pipeline.train.shard_loaders import Shards
from heimdall.pipeline.train.task import Learner
from heimdall.pipeline.train.virtual_shards import Node


class ShardedLightningModule(LocalizationLightningModule):
    """How a network is trained in batches of `Shards`.

    Args:
        task: As of `LocalizationLightningModule`.
        settings: As there; `virtual_shards` as well.
        inputs: As there.
        work: As there.
        ranks: Those that train together, this one among them.
    """

    def __init__(
        self, task: Learner, settings: Params, inputs: dict[str, Any], work: Path, ranks: Ranks
    ) -> None:
        super().__init__(task, settings, inputs, work)
        self.automatic_optimization = False  # a batch has one backward pass for each shard
        self.ranks = ranks
        every = range(ranks.count)
        self._shards = [
            virtual_shards.shards_of(rank, ranks.count, settings.virtual_shards) for rank in every
        ]
        self._nodes = [virtual_shards.subtrees(rank, ranks.count, settings.virtual_shards) for rank in every]
        self._learning = [value for value in self.network.parameters() if value.requires_grad]

    def training_step(self, batch: Shards, batch_index: int) -> None:  # type: ignore[override]
        """One step of the optimizer.

        Raises:
            HeimdallError: The loss of a shard is not finite; every rank raises it.
        """
        first_own = self._shards[self.ranks.number].start
        losses = torch.zeros((max(map(len, self._shards)), 2), dtype=torch.float64)
        used = torch.zeros(len(self._learning), dtype=torch.float64)  # above 0 where there is a gradient

        def gradient(node: Node) -> torch.Tensor | None:
            shard, last = node
            if last - shard > 1:
                return None
            for value in self._learning:
                value.grad = None
            part = batch.parts[shard - first_own]
            if part is not None:
                self._seed_dropout(batch_index, shard)
                mean, count = self.task.loss(part)
                losses[shard - first_own] = torch.tensor([float(mean.detach()), count], dtype=torch.float64)
                with torch.autocast(self.device.type, enabled=False):
                    self.manual_backward(mean * (count / batch.size))
            used.add_(torch.tensor([value.grad is not None for value in self._learning]))
            return self._flat_gradient()

        sums = [virtual_shards.tree_sum(node, gradient) for node in self._nodes[self.ranks.number]]
        told = exchange.rows(self.ranks, torch.cat([losses.flatten(), used]))
        losses, used = told[:, : losses.numel()].reshape(-1, 2), told[:, losses.numel() :].sum(dim=0)
        for mean, count in losses.tolist():
            if count:
                self._train.append((self._finite(mean), int(count)))
        self._take(self._sum_of_all(sums), used.tolist())
        cast(LightningOptimizer, self.optimizers()).step()
        for value in self._learning:
            value.grad = None

    def on_validation_epoch_end(self) -> None:
        """As of the plain module, for the batches of all ranks."""
        found = exchange.values(self.ranks, (self._validation, self._errors_m))
        self._validation = [loss for losses, _ in found for loss in losses]
        self._errors_m = [error_m for _, errors_m in found for error_m in errors_m]
        super().on_validation_epoch_end()

    def validation_step(self, batch: Any, batch_index: int) -> torch.Tensor | None:  # type: ignore[override]  # noqa: ANN401
        """As of the plain module; nothing where this rank has fewer batches than others."""
        return super().validation_step(batch, batch_index) if len(batch) else None

    def on_train_epoch_end(self) -> None:
        """Step the schedule, and look whether all ranks still have the same weights.

        Raises:
            HeimdallError: They have not.
        """
        cast(LRScheduler, self.lr_schedulers()).step()
        if self.ranks.count > 1:
            exchange.require_same_weights(self.ranks, self._digest(), self.current_epoch + 1)

    def _seed_dropout(self, step: int, shard: int) -> None:
        named = randomness.generator(self.settings.seed, "dropout", self.current_epoch, step, shard)
        torch.manual_seed(int(named.integers(2**63)))

    def _flat_gradient(self) -> torch.Tensor:
        """All gradients in one vector; zeros where a parameter has none."""
        parts = [
            value.grad if value.grad is not None else torch.zeros_like(value) for value in self._learning
        ]
        return torch.cat([part.reshape(-1) for part in parts])

    def _sum_of_all(self, sums: list[torch.Tensor]) -> torch.Tensor:
        """The sum over all shards, of the sums over this rank's subtrees and those of the others."""
        width = max(map(len, self._nodes))
        own = torch.stack([*sums, *[torch.zeros_like(sums[0])] * (width - len(sums))])
        gathered = exchange.rows(self.ranks, own)  # (ranks, width, parameters)
        known = {
            node: gathered[rank, place]
            for rank, nodes in enumerate(self._nodes)
            for place, node in enumerate(nodes)
        }
        return virtual_shards.tree_sum((0, self.settings.virtual_shards), known.get)

    def _take(self, flat: torch.Tensor, used: list[float]) -> None:
        """Give each parameter its part of the gradient, but none, as in a plain step, where no shard has one.

        The optimizer would take zeros for a gradient, and let weights decay.
        """
        sizes = [value.numel() for value in self._learning]
        for value, part, shards in zip(self._learning, torch.split(flat, sizes), used, strict=True):
            value.grad = part.view_as(value) if shards else None

    def _digest(self) -> str:
        """SHA-256 of the weights."""
        digest = hashlib.sha256()
        for value in self.network.state_dict().values():
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()
