"""What the ranks of a training tell each other, through `torch.distributed`: bytes as they are, never a sum.

With one rank nothing is sent, and every function gives back what this process has.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from threading import Event
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist

from heimdall.core import artifacts
from heimdall.core.errors import HeimdallError
from heimdall.pipeline.train.ranks import LOST, Ranks

Value = TypeVar("Value")

# A rank that dies closes its connections, which is seen at once. This is for a machine that is gone. What may
# take longer is done `in_its_time`.
_TIMEOUT = timedelta(minutes=10)
_TELLS_S = 1.0
_TO_MAKE_FEATURES = timedelta(days=7)  # which the first rank may do before it comes
_SHORT = 20  # letters of a value that is shown
_ABSENT = "absent"


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
        dist.init_process_group(
            backend, timeout=_TIMEOUT, rank=ranks.number, world_size=ranks.count, store=_met(ranks)
        )
        yield
    except (RuntimeError, dist.DistBackendError) as error:
        if not _is_of_a_lost_rank(error):
            raise
        remedy = "Start the same command again, with any number of workers: it goes on after the last epoch"
        raise HeimdallError(f"worker {ranks.number}", LOST, remedy) from error
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _met(ranks: Ranks) -> Any:  # noqa: ANN401 - a Store, which torch does not name for type checkers
    """Where the ranks find each other, when all are there, however long that takes.

    Whoever started them, `ranks.together` or torchrun's agents, ends all when one is lost before.
    """
    api = cast(Any, dist)
    if ranks.meeting is None:  # they may come from several machines
        print(f"worker {ranks.number} of {ranks.count}: waiting for the others", file=sys.stderr, flush=True)
        store, *_ = next(api.rendezvous("env://", ranks.number, ranks.count, timeout=_TO_MAKE_FEATURES))
    else:
        store = api.FileStore(str(ranks.meeting), ranks.count)
    store.set(f"here/{ranks.number}", "")
    store.wait([f"here/{number}" for number in range(ranks.count)], _TO_MAKE_FEATURES)
    store.set_timeout(_TIMEOUT)
    return store


@contextmanager
def in_its_time(ranks: Ranks) -> Iterator[None]:
    """Within it each rank does what takes long, or nothing; it ends when all have done it.

    Meanwhile they tell each other that they are still there, so that nobody waits for a machine that is gone.
    A rank that fails tells that it has not done it, and leaves: the others lose it.

    Args:
        ranks: As of `joined`. Within it they must not tell each other anything else.
    """
    if ranks.count == 1:
        yield
        return
    done, failed = Event(), Event()

    def tell() -> None:
        while not all(values(ranks, done.wait(_TELLS_S) and not failed.is_set())) and not failed.is_set():
            pass

    with ThreadPoolExecutor(1) as pool:
        telling = pool.submit(tell)
        try:
            yield
            done.set()
            telling.result()
        except BaseException:
            failed.set()
            raise


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
    first, *others = values(ranks, inputs)
    for number, theirs in enumerate(others, start=1):
        differing = list(_differences("", theirs, first))
        if differing:
            raise HeimdallError(
                f"worker {number}",
                f"it differs from worker 0 in: {', '.join(differing)}",
                "Give every worker the same commit, params.yaml, data and libraries",
            )


def _differences(name: str, theirs: Any, ours: Any) -> Iterator[str]:  # noqa: ANN401 - any JSON value
    """The names of the parts that differ, those of mappings with dots, each with both values if short."""
    if isinstance(theirs, Mapping) and isinstance(ours, Mapping):
        for key in dict.fromkeys((*ours, *theirs)):
            part = f"{name}.{key}" if name else key
            yield from _differences(part, theirs.get(key, _ABSENT), ours.get(key, _ABSENT))
    elif artifacts.fingerprint([theirs]) != artifacts.fingerprint([ours]):
        short = max(len(str(theirs)), len(str(ours))) <= _SHORT
        yield f"{name} ({theirs}, not {ours})" if short else name


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
