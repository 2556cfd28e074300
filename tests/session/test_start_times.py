"""times.csv: no nanosecond is lost on the way, and what lost some is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from heimdall.core.errors import HeimdallError
from heimdall.session import start_times

HEAD = "websdr_id,start_gps_ns,timing_sigma_ns\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("websdr_id,start_gps_ns\n1,2", "no column 'timing_sigma_ns'"),
        (f"{HEAD}1,2,5,6", "line 2: more values than its header has"),
        (f"{HEAD}1,noon,5", "times.csv, line 2: no start time"),
        (f"{HEAD}1,2.5,5", "line 2: no start time ('2.5' is no whole number)"),
        (f"{HEAD}1,inf,5", "line 2: no start time"),
        (f"{HEAD}1,1.4000000001234568e+18,5", "which loses nanoseconds: write whole numbers, in pandas"),
        (f"{HEAD}1,1400000000123456768.0,5", "which loses nanoseconds"),
        (f"{HEAD}1,2,inf", "line 2: no standard deviation: inf"),
        (f"{HEAD}1,2,5\n1.0,2,5", "line 3: receiver 1 stands there twice"),
        (f"{HEAD}-1,2,5", "line 2: no receiver has the number -1"),
        (f"{HEAD}{'9' * 5000},2,5", "line 2: no start time"),
        (f"{HEAD}1,1e999999999,5", "line 2: no start time"),
        (f"{HEAD}1,{2**63},5", "line 2: no start time: 9.22337e+18 ns"),
        (f"{HEAD}1,2,5,{'y' * 150_000}", "no CSV (field larger than field limit"),
        (None, "cannot be read"),
    ],
)
def test_bad_start_times_are_named(text: str | None, said: str, tmp_path: Path) -> None:
    times = tmp_path / "times.csv"
    if text is not None:
        times.write_text(text, encoding="utf-8")
    with pytest.raises(HeimdallError) as caught:
        start_times.read(times)
    assert said in str(caught.value)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    times = tmp_path / "times.csv"
    rows = [(1, 1_400_000_000_000_000_123, 50.0), (7, 3 * 10**18 + 1, 0.1)]
    times.write_text(start_times.text(rows), encoding="utf-8")
    wanted = {websdr_id: (start, sigma) for websdr_id, start, sigma in rows}
    assert start_times.read(times) == wanted
    for separator in (",", ", ", ";"):  # as spreadsheets write it
        times.write_text(start_times.text(rows).replace(",", separator), encoding="utf-8-sig")
        assert start_times.read(times) == wanted


def test_floats_of_pandas_are_taken_exactly_or_refused(tmp_path: Path) -> None:
    times = tmp_path / "times.csv"

    def written(start: float) -> Path:
        # The index is a column, too.
        row = {"websdr_id": [1.0], "start_gps_ns": [start], "timing_sigma_ns": [50]}
        pd.DataFrame(row).to_csv(times)
        return times

    assert start_times.read(written(123.0)) == {1: (123, 50.0)}
    draw = np.random.default_rng(1)
    for offset_ns in (0, 90, *draw.integers(1_000, 10**9 - 1_000, 50).tolist()):
        start_ns = int(draw.integers(10**9, 2 * 10**9)) * 10**9 + offset_ns
        with pytest.raises(HeimdallError, match="which loses nanoseconds"):
            start_times.read(written(float(start_ns)))
        assert start_times.read(written(start_ns)) == {1: (start_ns, 50.0)}
