"""Receivers' own errors go to a CSV file and come back as they were."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path

import pytest

from heimdall.core.errors import HeimdallError
from heimdall.localize import receiver_errors_file, receiver_errors_text
from heimdall.multilateration.receiver_errors import Measured, ReceiverError

KNOWN = ReceiverError(
    "North, hill", 44e-9, 5e-9, 31e-9, 2e-9, -4.25, 5.5, 18.5, 5.25, 25.0, 12.0, 18e-9, 297, 3
)
UNKNOWN = ReceiverError(
    "B", 0.0, math.inf, math.nan, math.nan, 0.0, 15.0, 0.0, 15.0, 0.0, 15.0, math.inf, 2, 0
)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "errors.csv"
    file.write_text(receiver_errors_file.text([KNOWN, UNKNOWN]), encoding="utf-8")
    known, unknown = receiver_errors_file.read(file)
    assert asdict(known) == pytest.approx(asdict(KNOWN))
    assert asdict(unknown) == pytest.approx(asdict(UNKNOWN), nan_ok=True)


def test_a_person_may_write_offsets_alone(tmp_path: Path) -> None:
    file = tmp_path / "errors.csv"
    file.write_text("receiver;offset_ns;offset_uncertainty_ns\nA;120;10\n", encoding="utf-8")
    error = receiver_errors_file.read(file)[0]
    assert (error.offset_s, error.remaining_s) == pytest.approx((120e-9, 10e-9))
    assert math.isnan(error.sigma_s)


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("name,offset_ns\nA,1\n", "no column receiver"),
        ("receiver,offset_ns\nA,late\n", "offset_ns is 'late'"),
        ("receiver,sigma_ns\nA,-1\n", "sigma_ns is '-1'"),
        ("receiver,events\nA,inf\n", "events is 'inf'"),
        ("receiver\nA\nA\n", "receiver A stands twice"),
        ("receiver,offset_ns\n,5\n", "no name of a receiver"),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path: Path, text: str, cause: str) -> None:
    file = tmp_path / "errors.csv"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(HeimdallError, match=cause):
        receiver_errors_file.read(file)


def test_the_text_says_what_stands_out_and_what_nobody_knows() -> None:
    said = receiver_errors_text.text(Measured((KNOWN, UNKNOWN), 27.0, 299))
    assert "Receiver North, hill is 44 ns late." in said
    assert "The events tell nothing of the offset of B." in said
    assert "The known places scatter by 27 m" in said
    assert receiver_errors_text.TOO_FEW in receiver_errors_text.text(Measured((UNKNOWN,), math.nan, 2))
