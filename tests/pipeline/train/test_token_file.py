"""The scratch file of tokens: what was put in comes out, and it does not matter who made it."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import pytest

from heimdall.core import workers
from heimdall.network import dataset, tokens
from heimdall.network.dataset import DatasetConfig, Sessions
from heimdall.network.tokens import Tokenizer, Tokens
from heimdall.pipeline.train import token_file
from heimdall.pipeline.train.task import Scratch
from heimdall.pipeline.train.token_file import Recipe
from tests import fusion_world
from tests.synthetic_sessions import FEATURES, PLANE, RECEIVERS, write_features

SEED = 3


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> Sessions:
    folder = tmp_path_factory.mktemp("features")
    write_features(folder)
    return dataset.observations(DatasetConfig(folder), "all", validation_split=0.2)


def recipe(*, varied: bool = True) -> Recipe:
    made = fusion_world.world().tokenizer
    return Recipe(replace(made, plane=PLANE, receivers=RECEIVERS), FEATURES, SEED, varied, threads=1)


def same(one: Tokens, other: Tokens) -> bool:
    found = [(getattr(one, field.name), getattr(other, field.name)) for field in fields(Tokens)]
    return all((a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes()) for a, b in found)


def test_each_session_comes_back_in_its_variants_to_the_last_bit(sessions: Sessions, tmp_path: Path) -> None:
    by = recipe()
    stored = token_file.made(by, sessions, Scratch(tmp_path), "train")
    assert len(stored) == len(sessions.observations) == 20
    for number, session in enumerate(sessions.observations):
        expected = tokens.variants(by.tokenizer, session, FEATURES, SEED, number)
        assert len(stored[number]) == len(expected) == 4
        assert all(same(*pair) for pair in zip(stored[number], expected, strict=True))
    plain = token_file.made(recipe(varied=False), sessions, Scratch(tmp_path), "val")
    assert all(same(one, varied[0]) for (one,), varied in zip(plain, stored, strict=True))


def test_the_bytes_do_not_depend_on_pieces_and_processes(
    sessions: Sessions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = token_file.made(recipe(), sessions, Scratch(tmp_path / "alone", alone=True), "train")
    monkeypatch.setattr(token_file, "PIECE", 3)
    monkeypatch.setattr(token_file, "_LEAST", 1)
    many = token_file.made(recipe(), sessions, Scratch(tmp_path / "many"), "train")
    assert many.path.read_bytes() == alone.path.read_bytes()


def test_a_file_that_is_there_is_not_made_again(
    sessions: Sessions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = token_file.made(recipe(), sessions, Scratch(tmp_path), "train")
    monkeypatch.setattr(Tokenizer, "tokens", lambda *_: pytest.fail("made again"))
    monkeypatch.setattr(workers, "mapped", lambda *_, **__: pytest.fail("made again"))
    assert same(token_file.made(recipe(), sessions, Scratch(tmp_path), "train")[7][1], first[7][1])
    with pytest.raises(IndexError):
        first[20]
