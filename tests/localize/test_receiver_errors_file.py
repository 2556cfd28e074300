"""Receivers' own errors go to a CSV file and come back as they were."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from heimdall.core.errors import HeimdallError
from heimdall.localize import receiver_errors_file, receiver_errors_text
from heimdall.multilateration import receiver_errors
from heimdall.multilateration.receiver_errors import Measured, ReceiverError, Table

KNOWN = ReceiverError(
    "North, hill", 44e-9, 5e-9, 31e-9, 2e-9, -4.25, 5.5, 18.5, 5.25, 25.0, 12.0, 18e-9, 297, 3
)
UNKNOWN = ReceiverError(
    "B", 0.0, math.inf, math.nan, math.nan, 0.0, 15.0, 0.0, 15.0, 0.0, 15.0, math.inf, 2, 0
)


def correlation() -> np.ndarray:
    """Of two receivers' offsets and places: the offset of the first goes with its place."""
    found = np.eye(8)
    found[0, 1] = found[1, 0] = -0.75
    found[0, 4] = found[4, 0] = 0.25
    return found


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "errors.csv"
    receiver_errors_file.write(file, Table((KNOWN, UNKNOWN), correlation()))
    table = receiver_errors_file.read(file)
    assert asdict(table.errors[0]) == pytest.approx(asdict(KNOWN))
    assert asdict(table.errors[1]) == pytest.approx(asdict(UNKNOWN), nan_ok=True)
    assert table.correlation == pytest.approx(correlation())
    # A row that a person takes away or adds, or moves, leaves the others as they were.
    head, first, second = file.read_text(encoding="utf-8").splitlines()
    file.write_text("\n".join([head, second, first, "C" + first[len('"North, hill"') :], ""]))
    edited = receiver_errors_file.read(file).correlation
    assert edited is not None
    assert edited[:8, :8] == pytest.approx(np.roll(correlation(), (4, 4), (0, 1)))
    assert edited[8:] == pytest.approx(np.eye(12)[8:])


def test_a_person_may_write_offsets_alone(tmp_path: Path) -> None:
    file = tmp_path / "errors.csv"
    file.write_text("receiver;offset_ns;offset_uncertainty_ns\nA;120;10\n", encoding="utf-8")
    table = receiver_errors_file.read(file)
    error = table.errors[0]
    assert (error.offset_s, error.remaining_s) == pytest.approx((120e-9, 10e-9))
    assert math.isnan(error.sigma_s)
    assert table.correlation is None
    # Without a column of uncertainties what is said is exactly known, and an empty cell says nothing.
    file.write_text("receiver, offset_ns, note\nA, 120, cable\nB, ,\nC, 0, reference\n", encoding="utf-8")
    found = [(error.offset_s, error.remaining_s) for error in receiver_errors_file.read(file).errors]
    assert found == [(pytest.approx(120e-9), 0.0), (0.0, math.inf), (0.0, 0.0)]


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("receiver,of,A offset\nA,offset,2\n", "no matrix"),
        ("receiver,of,A offset,A east\nA,offset,1,\nA,east,-1.5,1\n", "no matrix"),
        ("receiver,of,A offset,A east\nA,offset,1,\nA,east,,1\n", "no matrix"),
        ("receiver,of,A offset\nA,offset,one\n", "line 2: a correlation is 'one'"),
    ],
)
def test_correlations_that_are_none_are_refused(tmp_path: Path, text: str, cause: str) -> None:
    file = tmp_path / "errors.csv"
    receiver_errors_file.write(file, Table((KNOWN,), None))
    (tmp_path / "errors.correlation.csv").write_text(text)
    with pytest.raises(HeimdallError, match=cause) as caught:
        receiver_errors_file.read(file)
    assert "errors.correlation.csv" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("name,offset_ns\nA,1\n", "no column receiver"),
        ("receiver,offset_ns\nA,late\n", "offset_ns is 'late'"),
        ("receiver,sigma_ns\nA,-1\n", "sigma_ns is '-1'"),
        ("receiver,offset_ns,events\nA,1,inf\n", "events is 'inf'"),
        ("receiver,offset_ns\nA,1\nA,1\n", "receiver A stands twice"),
        ("receiver,offset_ns\n,5\n", "no name of a receiver"),
        ("receiver\nA\nB\n", r"no column of an error in it \(receiver\)\. Give one of offset_ns"),
        ("receiver,latitude,longitude\nA,50,9\n", "no column of an error in it"),
        ("receiver,offset\nA,120\n", r"column offset would not count\. Name it offset_ns"),
        ("receiver,offset_ns,offset_us\nA,1,1\n", "column offset_us would not count"),
        ("receiver,offset_ns,up\nA,1,1\n", "column up would not count"),
        ("receiver,offset_ns,uncertainty\nA,120,10\n", "column uncertainty would not count"),
        ("receiver,offset_ns,offset_uncertainty_ns\nA,120,\n", "line 2: an error of receiver A without its"),
        ("receiver,sigma_ns,offset_uncertainty_ns\nA,30,\n", "line 2: an error of receiver A without"),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path: Path, text: str, cause: str) -> None:
    file = tmp_path / "errors.csv"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(HeimdallError, match=cause):
        receiver_errors_file.read(file)


def test_the_text_says_what_stands_out_and_what_nobody_knows() -> None:
    said = receiver_errors_text.text(Measured((KNOWN, UNKNOWN), None, 27.0, 299))
    assert "Receiver North, hill is 44 ns late." in said
    assert "The events tell nothing of the offset of B." in said
    assert "The known places scatter by 27 m" in said
    assert receiver_errors_text.TOO_FEW in receiver_errors_text.text(Measured((UNKNOWN,), None, math.nan, 2))


def test_what_was_believed_beforehand_is_not_printed_as_if_it_were_measured() -> None:
    said = receiver_errors_text.text(Measured((KNOWN, UNKNOWN), None, math.nan, 1))
    north, other = said.splitlines()[1:3]
    assert " ".join(north.split()) == "North, hill 297 3 +44 +- 10 * 31 +- 4 -4 +- 11 +18 +- 10 unknown"
    assert other.split() == ["B", "2", "0", *["unknown"] * 5]
    assert "Measured in 1 event." in said


def test_one_late_receiver_makes_none_of_the_others_early() -> None:
    late_s = (-30e-9, -31e-9, -29e-9, 2470e-9)  # from the mean of all: the first three agree
    errors = tuple(replace(KNOWN, receiver=f"R{k}", offset_s=one) for k, one in enumerate(late_s))
    nothing = replace(UNKNOWN, offset_s=0.0)
    found = receiver_errors.centred(Measured((*errors, nothing), None, math.nan, 299))
    assert [error.offset_s for error in found.errors] == pytest.approx(
        [-0.5e-9, -1.5e-9, 0.5e-9, 2499.5e-9, 0]
    )
    said = receiver_errors_text.text(found)
    assert "Receiver R3 is 2500 ns late." in said
    assert not any(f"Receiver R{k} is" in said and "early" in said for k in range(3))
    # What is hardly known counts nothing for the zero, and moves with it.
    vague = replace(KNOWN, offset_s=-30e-9, remaining_s=math.inf)
    moved = receiver_errors.centred(Measured((*errors, *[vague] * 5), None, math.nan, 299)).errors[-1]
    assert moved.offset_s == pytest.approx(-30e-9 + 29.5e-9)
    assert receiver_errors.centred(Measured((nothing,), None, math.nan, 2)).errors == (nothing,)
