"""Receivers' own errors as CSV: what `heimdall receivers FILE...` writes and `heimdall locate` takes off.

`errors.csv` has a row for each receiver. Beside it, `errors.correlation.csv` has the correlations between the
errors of all offsets and places: a row and a column for each, in one order, up to the diagonal. With it, what
is left of these errors counts in each position as it must; without it, as if each receiver had its own.
"""

from __future__ import annotations

import csv
import difflib
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from heimdall.core import artifacts
from heimdall.core.errors import HeimdallError
from heimdall.formats import text_file
from heimdall.multilateration.receiver_errors import ReceiverError, Table

Float64 = npt.NDArray[np.float64]

# Of each column the field, and what its unit is in that of the field.
_COLUMNS = {
    "receiver": ("receiver", 1.0),
    "offset_ns": ("offset_s", 1e-9),
    "offset_uncertainty_ns": ("offset_uncertainty_s", 1e-9),
    "sigma_ns": ("sigma_s", 1e-9),
    "sigma_uncertainty_ns": ("sigma_uncertainty_s", 1e-9),
    "east_m": ("east_m", 1.0),
    "east_uncertainty_m": ("east_uncertainty_m", 1.0),
    "north_m": ("north_m", 1.0),
    "north_uncertainty_m": ("north_uncertainty_m", 1.0),
    "up_m": ("up_m", 1.0),
    "up_uncertainty_m": ("up_uncertainty_m", 1.0),
    "remaining_ns": ("remaining_s", 1e-9),
    "events": ("events", 1.0),
    "wrong": ("wrong", 1.0),
}
# What an empty cell means, or a column that is not there.
_MISSING = {
    "offset_uncertainty_s": math.inf,
    "sigma_s": math.nan,
    "sigma_uncertainty_s": math.nan,
    "remaining_s": math.inf,
}
_UNKNOWNS = ("offset", "east", "north", "up")
_ROUNDED = 1e-3  # of a correlation matrix's smallest eigenvalue: five decimals make it less than 0
_ALIKE = 0.65  # of two names (`difflib`), of which one may be meant as the other: `up` as `up_m`
_MAX_BYTES = 1 << 24
_REMEDY = "Write the file with `heimdall receivers FILE... --output errors.csv`"
_UNSURE = (
    "Say in offset_uncertainty_ns how sure the offset is, one standard deviation; 0 if it is exactly known"
)
_STATED = ("offset_ns", "sigma_ns", "east_m", "north_m", "up_m")  # columns of which one is needed
_UNCERTAINTIES = {name for name in _COLUMNS if "uncertainty" in name} | {"remaining_ns"}


def correlation_path(path: Path) -> Path:
    """The file of the correlations beside one of errors."""
    return path.with_suffix(".correlation.csv")


def write(path: Path, table: Table) -> None:
    """Write the table (RFC 4180, UTF-8), and beside it the correlations, if it has them.

    Numbers are to a thousandth; a cell is empty where nothing is known.
    """
    rows = [[_cell(getattr(error, name), unit) for name, unit in _COLUMNS.values()] for error in table.errors]
    artifacts.write_bytes(path, _csv([list(_COLUMNS), *rows]))
    if table.correlation is not None:
        label = [(error.receiver, unknown) for error in table.errors for unknown in _UNKNOWNS]
        heading = ["receiver", "of", *(" ".join(one) for one in label)]
        lower = [
            [*one, *(f"{value:.5f}" for value in table.correlation[row, : row + 1])]
            + [""] * (len(label) - row - 1)
            for row, one in enumerate(label)
        ]
        artifacts.write_bytes(correlation_path(path), _csv([heading, *lower]))


def _csv(rows: Sequence[Sequence[str]]) -> bytes:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(rows)
    return stream.getvalue().encode()


def read(path: Path) -> Table:
    """The errors of a file, in its order, with the correlations that stand beside it.

    Args:
        path: CSV with a header; columns in any order, of which `receiver` and an error are needed. In a file
            without a column of uncertainties, as people write it by hand, errors are exactly known. In
            another one the file knows nothing of a receiver that has none of `remaining_ns` and
            `offset_uncertainty_ns`.

    Raises:
        HeimdallError: A file cannot be read, it has no column of an error or one without its unit, a cell is
            no number, a receiver stands twice, an error lacks its uncertainty, or the correlations are none.
    """
    errors = _errors(path)
    beside = correlation_path(path)
    return Table(errors, _correlation(beside, errors) if beside.exists() else None)


def _correlation(path: Path, errors: Sequence[ReceiverError]) -> Float64:
    """Correlations in the order of some errors; 0 with a receiver that the file does not have."""
    said = text_file.read(path, _MAX_BYTES, "a CSV file of correlations")
    rows = list(
        csv.reader(io.StringIO(said, newline=""), delimiter=text_file.separator_of(said.partition("\n")[0]))
    )[1:]
    number = {(row[0].strip(), row[1].strip()): k for k, row in enumerate(rows) if len(row) > 1}
    lower = np.eye(len(rows))
    for k, row in enumerate(rows):
        for column, cell in enumerate(row[2 : k + 3]):
            lower[k, column] = _number(f"{path}, line {k + 2}", "a correlation", cell, 1.0, math.nan)
    whole = np.tril(lower) + np.tril(lower, -1).T
    if (
        len(number) < len(rows)
        or not (np.abs(np.diag(whole) - 1) < _ROUNDED).all()
        or not np.linalg.eigvalsh(np.nan_to_num(whole, nan=9.0)).min(initial=0.0) > -_ROUNDED
    ):
        raise HeimdallError(str(path), "no matrix of correlations", f"Remove it, or: {_REMEDY}")
    asked = [number.get((error.receiver, unknown)) for error in errors for unknown in _UNKNOWNS]
    to = [k for k, row in enumerate(asked) if row is not None]
    of = [row for row in asked if row is not None]
    found = np.eye(len(asked))
    found[np.ix_(to, to)] = whole[np.ix_(of, of)]
    return found


def _errors(path: Path) -> tuple[ReceiverError, ...]:
    said = text_file.read(path, _MAX_BYTES, "a CSV file of receivers' errors")
    separator = text_file.separator_of(next(iter(said.splitlines()), ""))
    reader = csv.DictReader(io.StringIO(said, newline=""), delimiter=separator)
    reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
    _require_errors(path, reader.fieldnames)
    exact = not _UNCERTAINTIES & set(reader.fieldnames)
    found: dict[str, ReceiverError] = {}
    for row in reader:
        place = f"{path}, line {reader.line_num}"
        cells = {name: value for name, value in row.items() if isinstance(value, str)}
        error = _error(place, cells, exact=exact)
        if error.receiver in found:
            raise HeimdallError(place, f"receiver {error.receiver} stands twice", _REMEDY)
        found[error.receiver] = error
    return tuple(found.values())


def _require_errors(path: Path, columns: Sequence[str]) -> None:
    """Refuse columns that say no error of a receiver, or whose names lack their unit or have another one."""
    if "receiver" not in columns:
        raise HeimdallError(str(path), "no column receiver", _REMEDY)
    for name in columns:
        meant = difflib.get_close_matches(name, _COLUMNS, 1, _ALIKE)
        if meant and name not in _COLUMNS:
            remedy = f"Name it {meant[0]} if it is that, in its unit; otherwise give it another name"
            raise HeimdallError(str(path), f"the column {name} would not count", remedy)
    if not set(_STATED) & set(columns):
        cause = f"no column of an error in it ({', '.join(columns[:8])})"
        raise HeimdallError(str(path), cause, f"Give one of {', '.join(_STATED)}, or: {_REMEDY}")


def _error(place: str, row: Mapping[str, str], *, exact: bool) -> ReceiverError:
    name = row["receiver"].strip() if "receiver" in row else ""
    if not name:
        raise HeimdallError(place, "no name of a receiver", _REMEDY)
    value = {
        field: _number(place, column, row.get(column, ""), unit, _MISSING.get(field, 0.0))
        for column, (field, unit) in _COLUMNS.items()
        if field != "receiver"
    }
    if exact and any(row.get(column, "").strip() for column in _STATED):
        value["offset_uncertainty_s"] = value["remaining_s"] = 0.0
    elif not row.get("remaining_ns", "").strip():
        value["remaining_s"] = value["offset_uncertainty_s"]
    told = any(value[field] for field in ("offset_s", "east_m", "north_m", "up_m"))
    if math.isinf(value["remaining_s"]) and (told or not math.isnan(value["sigma_s"])):
        raise HeimdallError(place, f"an error of receiver {name} without its uncertainty", _UNSURE)
    events, wrong = int(value.pop("events")), int(value.pop("wrong"))
    return ReceiverError(receiver=name, events=events, wrong=wrong, **value)


def _number(place: str, column: str, cell: str, unit: float, missing: float) -> float:
    if not cell.strip():
        return missing
    try:
        number = float(cell)
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or (("uncertainty" in column or "sigma" in column) and number < 0):
        raise HeimdallError(place, f"{column} is {cell.strip()!r}", _REMEDY)
    return number * unit


def _cell(value: float | str, unit: float) -> str:
    if isinstance(value, int | str):
        return str(value)
    return f"{value / unit:.3f}" if math.isfinite(value) else ""
