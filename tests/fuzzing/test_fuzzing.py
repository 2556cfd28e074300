"""Some hundred mutated inputs through every reader, and that the benchmark notices what must not be."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from heimdall.core import params
from heimdall.core.errors import HeimdallError
from heimdall.formats import file_names, gps_time
from tests import REPOSITORY
from tests.conftest import Services, benchmark
from tests.fuzzing import mutations, readers, rows, running
from tests.fuzzing.running import LOST, TRACEBACK, WRONG, Reader


def test_of_mutated_input_each_is_accepted_or_refused_in_one_line(services: Services) -> None:
    """A process of its own, whose memory is limited; `benchmarks/fuzz.py` runs 20,000."""
    done = benchmark("fuzz", "--inputs", "880", "--seed", "7", env=services.env)
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in done.stdout.splitlines()]
    assert [row[0] for row in lines[2:-1]] == [*(one.name for one in readers.READERS), rows.NAME]
    assert all(int(row[2]) and int(row[3]) for row in lines[2:])  # some accepted, some refused


def changes(path: Path) -> None:
    path.write_bytes(b"x")


def raises(path: Path) -> None:
    raise KeyError(path.name)


def says_two_lines(path: Path) -> None:
    raise readers.Wrong("NaN")


def believes(path: Path) -> None:
    readers.require(math.isfinite(float("nan")), "NaN")


@pytest.mark.parametrize(
    ("read", "kind"), [(changes, LOST), (raises, TRACEBACK), (says_two_lines, WRONG), (believes, WRONG)]
)
def test_what_must_not_be_is_counted(read: object, kind: str) -> None:
    odd = Reader("odd", lambda: [{"x": b"12"}], (mutations.flip,), lambda path, _: read(path))  # type: ignore[operator]
    counts = running.run(odd, 1, range(3))
    assert (counts.by_kind[kind], len(counts.failures)) == (3, 3)


def test_an_input_is_made_again_by_its_number() -> None:
    seeds = readers.wav_seeds()
    made = [running.made(readers.READERS[2], seeds, running.generator("1 wav 5")) for _ in range(2)]
    assert made[0] == made[1]


def test_an_error_is_one_line_that_a_terminal_shows_whatever_it_quotes() -> None:
    text = str(HeimdallError("a\nb\x1b[31m", "x" * 9000, "Do\u2028it"))
    assert text.isprintable()
    assert text.startswith("a b\\x1b[31m: xxx")
    assert text.endswith("Do\\u2028it")
    assert len(text) < 2000


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        ("lr: 0.1", "lr stands twice"),
        ("x: {<<: {a: 1}}", "<< is not supported"),
        ("x: " + "[" * 5000, "brackets too deep"),
        ("x: 2026-13-45", "month must be in"),
        ("x: !!timestamp x", "not YAML"),
    ],
)
def test_parameters_that_yaml_cannot_mean_are_refused_in_one_line(
    tmp_path: Path, line: str, cause: str
) -> None:
    path = tmp_path / "params.yaml"
    path.write_text((REPOSITORY / "params.yaml").read_text(encoding="utf-8") + line + "\n", encoding="utf-8")
    with pytest.raises(HeimdallError, match=cause):
        params.load(path)


def test_a_frequency_or_a_moment_that_cannot_be_is_not_believed() -> None:
    assert file_names.parse(Path("20171127T104156Z_99999999999999_N_iq.wav")).frequency_hz is None
    assert file_names.parse(Path("x_99999999GHz.cf32")).frequency_hz is None
    with pytest.raises(HeimdallError, match="no time of a recording"):
        gps_time.to_utc(10**21)
    with pytest.raises(HeimdallError, match="no time of a recording"):
        gps_time.gps_ns_of_utc(-(10**21))
