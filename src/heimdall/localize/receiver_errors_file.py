"""Receivers' own errors as CSV: what `heimdall receivers FILE...` writes and `heimdall locate` takes off."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from heimdall.core.errors import HeimdallError
from heimdall.formats import text_file
from heimdall.multilateration.receiver_errors import ReceiverError

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
_MAX_BYTES = 1 << 24
_REMEDY = "Write the file with `heimdall receivers FILE... --output errors.csv`"


def text(errors: Sequence[ReceiverError]) -> str:
    """The table (RFC 4180, UTF-8), numbers to a thousandth; a cell is empty where nothing is known."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for error in errors:
        writer.writerow([_cell(getattr(error, name), unit) for name, unit in _COLUMNS.values()])
    return stream.getvalue()


def read(path: Path) -> tuple[ReceiverError, ...]:
    """The errors of a file, in its order.

    Args:
        path: CSV with a header; columns in any order, of which `receiver` is needed. Where `remaining_ns` is
            not given, the file knows nothing of the receiver, unless it has an `offset_uncertainty_ns`.

    Raises:
        HeimdallError: The file cannot be read, a cell is no number, or a receiver stands twice.
    """
    said = text_file.read(path, _MAX_BYTES, "a CSV file of receivers' errors")
    separator = text_file.separator_of(next(iter(said.splitlines()), ""))
    reader = csv.DictReader(io.StringIO(said, newline=""), delimiter=separator)
    if "receiver" not in (reader.fieldnames or ()):
        raise HeimdallError(str(path), "no column receiver", _REMEDY)
    found: dict[str, ReceiverError] = {}
    for row in reader:
        place = f"{path}, line {reader.line_num}"
        error = _error(place, {name: value for name, value in row.items() if isinstance(value, str)})
        if error.receiver in found:
            raise HeimdallError(place, f"receiver {error.receiver} stands twice", _REMEDY)
        found[error.receiver] = error
    return tuple(found.values())


def _error(place: str, row: Mapping[str, str]) -> ReceiverError:
    name = row["receiver"].strip() if "receiver" in row else ""
    if not name:
        raise HeimdallError(place, "no name of a receiver", _REMEDY)
    value = {
        field: _number(place, column, row.get(column, ""), unit, _MISSING.get(field, 0.0))
        for column, (field, unit) in _COLUMNS.items()
        if field != "receiver"
    }
    if not row.get("remaining_ns", "").strip():
        value["remaining_s"] = value["offset_uncertainty_s"]
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
