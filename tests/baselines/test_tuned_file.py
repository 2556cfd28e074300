"""What the training split told the baselines is kept, and used with the data and the code that it is from."""

from __future__ import annotations

from pathlib import Path

import pytest

from heimdall.baselines import baselines, tuned_file
from heimdall.core import artifacts
from tests.baselines.test_baselines import SIX, exact_session
from tests.synthetic_sessions import PLANE, RATE_HZ, RECEIVERS, write_features

MADE = {"features": {}, "validation_split": 0.2, "code": "this"}


@pytest.fixture
def kept(tmp_path: Path) -> tuple[Path, object]:
    """A file, and what was written to it."""
    at_m = RECEIVERS.position_m[:3, :2] / 2
    seen = [exact_session(at, SIX) for at in at_m]
    tuned = baselines.fit(seen, at_m, RECEIVERS, PLANE, RATE_HZ, transmitter=["a", "b", "c"]).tuned
    file = tmp_path / "baselines.json"
    artifacts.write_json(file, tuned_file.content(tuned, MADE))
    return file, tuned


def test_what_was_kept_comes_back_bit_for_bit(kept: tuple[Path, object]) -> None:
    file, tuned = kept
    assert tuned_file.read(file, MADE) == tuned


def test_a_file_of_no_use_says_why(kept: tuple[Path, object], tmp_path: Path) -> None:
    file, _ = kept
    assert tuned_file.read(file, MADE | {"code": "another"}) == "baselines.json was made by other code"
    assert (
        tuned_file.read(file, MADE | {"validation_split": 0.3}) == "baselines.json was made from other data"
    )
    file.write_text("{}")
    assert tuned_file.read(file, MADE) == "baselines.json is damaged"
    assert tuned_file.read(tmp_path / "none.json", MADE) == "none.json is missing beside the features"


def test_other_features_or_another_share_are_other_data(tmp_path: Path) -> None:
    write_features(tmp_path)
    made = tuned_file.made_of(tmp_path, 0.2)
    assert tuned_file.made_of(tmp_path, 0.2) == made
    assert tuned_file.made_of(tmp_path, 0.3) != made
    (tmp_path / "network.json").write_text("{}")
    assert tuned_file.made_of(tmp_path, 0.2) != made
