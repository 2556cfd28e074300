"""The files of a session, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from heimdall.core.errors import HeimdallError
from heimdall.localize import session_files


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("websdr_id,start_gps_ns\n1,2", "no column 'timing_sigma_ns'"),
        ("websdr_id,start_gps_ns,timing_sigma_ns\n1,noon,5", "times.csv, line 2: no start time"),
        ("websdr_id,start_gps_ns,timing_sigma_ns\n1,2,inf", "line 2: no standard deviation: inf"),
        ("websdr_id,start_gps_ns,timing_sigma_ns\n1,2,5\n1,2,5", "line 3: receiver 1 stands there twice"),
        (None, "cannot be read"),
    ],
)
def test_bad_start_times_are_named(text: str | None, said: str, tmp_path: Path) -> None:
    times = tmp_path / "times.csv"
    if text is not None:
        times.write_text(text, encoding="utf-8")
    with pytest.raises(HeimdallError) as caught:
        session_files.read_times(times)
    assert said in str(caught.value)


def test_a_file_that_cannot_be_opened_is_named_before_any_model_is(tmp_path: Path) -> None:
    there = tmp_path / "websdr_1.npy"
    there.write_bytes(b"")
    session_files.require([str(there), f"2={there}"])
    with pytest.raises(HeimdallError, match=r"none\.npy: it cannot be read \(No such file"):
        session_files.require([str(there), f"2={tmp_path}/none.npy"])
    with pytest.raises(HeimdallError, match="directory"):
        session_files.require([str(tmp_path)])
