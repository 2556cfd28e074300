"""The tokens of all sessions of a training: made once, kept in a scratch file, and read one by one.

A record is a session in its variants, filled up to as many receivers as the largest session has. So each lies
where its number says. The bytes depend on the sessions and on what makes the tokens, not on who makes them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from heimdall.core import artifacts, locks, workers
from heimdall.core.params import FeatureParams
from heimdall.geometry.area import Receivers
from heimdall.network import tokens
from heimdall.network.dataset import Sessions, StoredObservations
from heimdall.network.tokens import PER_RECEIVER, PHYSICAL, SHAPE, TILES, Tokenizer, Tokens
from heimdall.pipeline.train import world_networks
from heimdall.pipeline.train.task import Scratch
from heimdall.pipeline.train.world_networks import Measured
from heimdall.signal.arrival import Observation

PIECE = 64  # sessions that are made at a time
_LEAST = 4  # pieces for which a process is worth its start
_MOST_VARIANTS = 4
# Of each field of `Tokens` behind the axis of receivers or tiles.
_SHAPES: dict[str, tuple[int, ...]] = {
    "receiver_m": (3,),
    "physical": (len(PHYSICAL),),
    "shape": (SHAPE,),
    "centre_m": (2,),
    "prior_m2": (2, 2),
    "start_m": (2,),
}
_FLOAT32 = ("physical", "shape")


@dataclass(frozen=True)
class Recipe:
    """What makes the tokens of a split.

    Attributes:
        tokenizer: Of the network.
        features: The parameters that the features were made with.
        seed: The user's seed.
        varied: Whether there are variants, as in training.
        threads: Of PyTorch.
        elsewhere: As of `world_networks.measured`, where sessions are of simulated worlds; None where all are
            of the network itself.
    """

    tokenizer: Tokenizer
    features: FeatureParams
    seed: int
    varied: bool
    threads: int
    elsewhere: Mapping[str, Receivers] | None = None

    def measured(self, sessions: Sessions) -> Sequence[Measured]:
        """What the tokens of each session are made with."""
        if self.elsewhere is None:
            return [Measured(self.tokenizer, self.tokenizer.filters)] * len(sessions.observations)
        return world_networks.measured(sessions, self.tokenizer, self.features, self.elsewhere)

    def of(self, session: Observation, number: int, by: Measured) -> tuple[Tokens, ...]:
        """A session in its variants."""
        if self.varied:
            return tokens.variants(
                by.tokenizer, session, self.features, self.seed, number, filters=by.filters
            )
        return (by.tokenizer.tokens(session, by.filters),)


@dataclass(frozen=True)
class TokenFile(Sequence[tuple[Tokens, ...]]):
    """Sessions in their variants, read when they are asked for."""

    path: Path
    record: np.dtype[Any]

    def __len__(self) -> int:
        """How many sessions."""
        return self.path.stat().st_size // self.record.itemsize

    def __getitem__(self, number: Any) -> Any:  # noqa: ANN401 - an index or a slice, as of Sequence
        """One session in its variants."""
        if isinstance(number, slice):
            return [self[one] for one in range(len(self))[number]]
        number = range(len(self))[number]
        (found,) = np.fromfile(self.path, self.record, 1, offset=number * self.record.itemsize)
        return tuple(_tokens(found, variant) for variant in range(int(found["variants"])))


@dataclass(frozen=True, eq=False)
class _Piece:
    recipe: Recipe
    record: np.dtype[Any]
    sessions: Sequence[Observation]
    first: int
    measured: Sequence[Measured]


def made(recipe: Recipe, sessions: Sessions, scratch: Scratch, name: str) -> TokenFile:
    """The tokens of a split, from a file that is there or is written now.

    Args:
        recipe: What makes them.
        sessions: n sessions.
        scratch: Where the file goes.
        name: Of the split, for the file and the bar.

    Raises:
        HeimdallError: A shard is missing or damaged, or the index does not fit it.
    """
    most_receivers = int(sessions.table["recordings"].max())
    record = record_type(_MOST_VARIANTS if recipe.varied else 1, most_receivers)
    found = TokenFile(scratch.folder / f"tokens-{name}.bin", record)
    with locks.in_turn(scratch.folder / "tokens.lock"):  # of several processes one makes it
        if not found.path.exists() or len(found) != len(sessions.observations):
            with artifacts.atomic(found.path) as partial, partial.open("wb") as stream:
                for content in tqdm(
                    _pieces(recipe, sessions, record, scratch),
                    desc=f"tokens, {name}",
                    total=-(-len(sessions.observations) // PIECE),
                    leave=False,
                    disable=None,
                ):
                    stream.write(content)
    return found


def _pieces(recipe: Recipe, sessions: Sessions, record: np.dtype[Any], scratch: Scratch) -> Iterator[bytes]:
    starts = range(0, len(sessions.observations), PIECE)
    measured = recipe.measured(sessions)
    pieces = (
        _Piece(recipe, record, sessions.observations[at : at + PIECE], at, measured[at : at + PIECE])
        for at in starts
    )
    if scratch.alone:
        return map(records, pieces)
    return workers.mapped(records, pieces, files=_files, least=_LEAST)


def _files(piece: _Piece) -> tuple[Path, ...]:
    return piece.sessions.files if isinstance(piece.sessions, StoredObservations) else ()


def records(piece: _Piece) -> bytes:
    """The records of some sessions.

    Raises:
        HeimdallError: As of `made`.
    """
    torch.set_num_threads(piece.recipe.threads)
    found = np.zeros(len(piece.sessions), piece.record)
    for place, session in enumerate(piece.sessions):
        made_of = piece.recipe.of(session, piece.first + place, piece.measured[place])
        found[place]["variants"] = len(made_of)
        for variant, one in enumerate(made_of):
            count = len(one.delay_s)
            found[place]["receivers"][variant] = count
            for field in fields(Tokens):
                target = found[place][field.name][variant]
                if field.name in PER_RECEIVER:
                    target = target[:count]
                target[...] = getattr(one, field.name)
    return found.tobytes()


def record_type(variants: int, receivers: int) -> np.dtype[Any]:
    """Of a session in its variants, with as many receivers at most."""

    def of_field(name: str) -> tuple[str, str, tuple[int, ...]]:
        rows = receivers if name in PER_RECEIVER else TILES + 1
        return name, "<f4" if name in _FLOAT32 else "<f8", (variants, rows, *_SHAPES.get(name, ()))

    counts = [("variants", "<i4"), ("receivers", "<i4", (variants,))]
    return np.dtype([*counts, *(of_field(field.name) for field in fields(Tokens))], align=True)


def _tokens(record: np.void, variant: int) -> Tokens:
    """One variant of a record."""
    count = int(record["receivers"][variant])
    values = {field.name: record[field.name][variant] for field in fields(Tokens)}
    return Tokens(
        **{name: value[:count] if name in PER_RECEIVER else value for name, value in values.items()}
    )
