"""What the ranks of a training tell each other, through `torch.distributed`: bytes as they are, never a sum.

With one rank nothing is sent, and every function gives back what this process has.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist

from heimdall.core import artifacts
from heimdall.core.errors import HeimdallError
from heimdall.pipeline.train.ranks import ENV, LOST, Ranks

Value = TypeVar("Value")

# A rank that dies closes its connections, which is seen at once. This is for a machine that is gone, and
# longer than what the first rank does alone: features and radio map.
_TIMEOUT = timedelta(days=1)
_MEETING = timedelta(minutes=10)


@contextmanager
def joined(ranks: Ranks, device: str) -> Iterator[None]:
    """Within it the ranks are connected; it begins when all of them are there.

    Args:
        ranks: This process and how many there are.
        device: "cpu" or "cuda".

    Raises:
        HeimdallError: This rank has no GPU, or another rank was lost.
    """
    if ranks.count == 1:
        yield
        return
    if device == "cuda":
        if ranks.local >= (there := torch.cuda.device_count()):
            cause = f"this machine has {there} GPUs, one for each worker"
            raise HeimdallError(f"worker {ranks.number}", cause, f"Start {there} workers here")
        torch.cuda.set_device(ranks.local)
    backend = "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo"
    try:
        if ranks.meeting == ENV:  # they come from several machines
            print(
                f"worker {ranks.number} of {ranks.count}: waiting for the others", file=sys.stderr, flush=True
            )
        dist.init_process_group(
            backend, ranks.meeting, timeout=_MEETING, rank=ranks.number, world_size=ranks.count
        )
        dist.distributed_c10d._set_pg_timeout(_TIMEOUT)
        yield
    except (RuntimeError, dist.DistBackendError) as error:
        if not _is_of_a_lost_rank(error):
            raise
        remedy = "Start the same command again, with any number of workers: it goes on after the last epoch"
        raise HeimdallError(f"worker {ranks.number}", LOST, remedy) from error
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def rows(ranks: Ranks, own: torch.Tensor) -> torch.Tensor:
    """A tensor of every rank, all of one shape.

    Args:
        ranks: As of `joined`.
        own: This rank's.

    Returns:
        (ranks, ...), in the order of the ranks.
    """
    if ranks.count == 1:
        return own[None]
    found = own.new_empty(ranks.count * own.numel())
    dist.all_gather_into_tensor(found, own.reshape(-1))
    return found.view(ranks.count, *own.shape)


def values(ranks: Ranks, own: Value) -> list[Value]:
    """Any small value of every rank, in the order of the ranks."""
    if ranks.count == 1:
        return [own]
    found: list[Any] = [None] * ranks.count
    dist.all_gather_object(found, own)
    return found


def of_the_first(ranks: Ranks, own: Value | None) -> Value:
    """What the first rank has.

    Args:
        ranks: As of `joined`.
        own: Of the first rank; None of the others.
    """
    if ranks.count == 1:
        return cast(Value, own)
    found = [own]
    dist.broadcast_object_list(found, src=0)
    return cast(Value, found[0])


def require_same(ranks: Ranks, inputs: Mapping[str, Any]) -> None:
    """Refuse ranks whose data, parameters, code or libraries are not those of the first.

    Args:
        ranks: As of `joined`.
        inputs: All that decides the bytes.

    Raises:
        HeimdallError: A rank has other inputs; it says which.
    """
    found = values(ranks, {name: artifacts.fingerprint([part]) for name, part in inputs.items()})
    for number, theirs in enumerate(found):
        differing = [name for name in found[0] if theirs.get(name) != found[0][name]]
        if differing:
            raise HeimdallError(
                f"worker {number}",
                f"it differs from worker 0 in: {', '.join(differing)}",
                "Give every worker the same commit, params.yaml, data and libraries",
            )


def require_same_weights(ranks: Ranks, digest: str, epoch: int) -> None:
    """Refuse to go on where the ranks no longer have the same weights.

    Args:
        ranks: As of `joined`.
        digest: SHA-256 of this rank's weights.
        epoch: Number of the epoch, from 1.

    Raises:
        HeimdallError: Some rank has others than the first.
    """
    found = values(ranks, digest)
    others = _named([number for number, theirs in enumerate(found) if theirs != found[0]])
    if others:
        raise HeimdallError(
            f"worker {others}",
            f"other weights than worker 0 after epoch {epoch}: that machine rounds in another way",
            "Start again without it: training goes on after the last epoch",
        )


def _named(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def _is_of_a_lost_rank(error: Exception) -> bool:
    """Whether an error is one of the connections between the ranks."""
    words = ("connection closed", "connection reset", "connection refused", "timed out", "timeout")
    return isinstance(error, dist.DistError) or any(word in str(error).lower() for word in words)
