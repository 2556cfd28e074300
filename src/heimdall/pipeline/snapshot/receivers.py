"""The receivers of a snapshot: as the source's SELECT gives them, or as a tracked file pins them.

A number of the source may mean one receiver until some day and another one after it. Then the receivers get
identifiers of their own here, which do not change when lines are added at the end of the file.
"""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Collection, Iterator
from pathlib import Path

import pandas as pd
import pyarrow as pa

from heimdall.core.errors import HeimdallError, unreadable
from heimdall.pipeline.snapshot import schemas
from heimdall.recordings import archive, limits
from heimdall.storage import columns

NUMBER = "number"
FIRST_OF_REUSED = 1001  # identifiers of receivers whose number another one had before
_PLACES = ["name", "latitude_deg", "longitude_deg", "altitude_m"]
_FILE_NAMES = {"websdr_id": NUMBER, "latitude": "latitude_deg", "longitude": "longitude_deg"}
_CALLED = {"latitude_deg": "latitude", "longitude_deg": "longitude"}
_RANGE = "no number in its range"
_WRONG = {
    NUMBER: "no whole number that a receiver may have",
    "name": "no name",
    **dict.fromkeys(("from", "until"), "no time with a zone, such as 2026-02-01T12:00:00Z"),
}
_FORM = "Write it as sql/specification.receivers.csv: number,name,latitude,longitude,altitude_m,from,until"


def selected(table: pa.Table, path: Path) -> pd.DataFrame:
    """Receivers as the database gives them.

    Args:
        table: As `approved.read` gives it.
        path: The file with the SELECT, for the message.

    Returns:
        One row a receiver with a place on Earth: the columns of the snapshot's file, `NUMBER`, which is the
        identifier, and `from` and `until`, which are NaT.

    Raises:
        HeimdallError: Two receivers have one identifier.
    """
    rows = table.to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get)
    rows = schemas.valid_receivers(rows[rows[columns.UNREADABLE].isna()])
    twice = rows.loc[rows["websdr_id"].duplicated(), "websdr_id"].tolist()
    if twice:
        cause = f"its SELECT of receivers gives {twice[0]} more than once"
        raise HeimdallError(str(path), cause, "Let it give each receiver once")
    never = pd.Series(pd.NaT, rows.index, "datetime64[us, UTC]")
    return rows.assign(**{NUMBER: rows["websdr_id"], "from": never, "until": never})


def pinned(path: Path) -> pd.DataFrame:
    """Receivers of a file with the columns number, name, latitude, longitude, altitude_m, from and until.

    The last two are times with a zone, or empty: the number means this receiver from the one on, and before
    the other. A name is one receiver, whatever its numbers.

    Returns:
        As `selected`; one row for each line of the file.

    Raises:
        HeimdallError: The file is no such table, a line has no place on Earth, one name has two places, or a
            number means two receivers at one time.
    """
    rows = _read(path)
    for _, group in rows.groupby("name"):
        if len(group[_PLACES].drop_duplicates()) > 1:
            cause = f"{group['name'].iloc[0]} has more than one place"
            raise HeimdallError(str(path), cause, "Give a receiver that was moved another name")
    for number, group in rows.groupby(NUMBER):
        periods = sorted(zip(group["from"].fillna(_FIRST), group["until"].fillna(_LAST), strict=True))
        if any(begin >= end for begin, end in periods) or any(
            following[0] < period[1] for period, following in itertools.pairwise(periods)
        ):
            cause = f"the periods of number {number} overlap or end before they begin"
            raise HeimdallError(str(path), cause, "Correct from and until: `until` is the first moment after")
    return rows.assign(websdr_id=rows["name"].map(_identifiers(rows)).astype("Int64"))


def place(rows: pd.DataFrame, receivers: pd.DataFrame) -> pd.DataFrame:
    """Rows with the identifiers of their receivers.

    Args:
        rows: As the source gives them.
        receivers: As `selected` or `pinned` gives them.

    Returns:
        The rows with `NUMBER`, which is what the source says, and `websdr_id`, which is NA where that is no
        receiver at the row's time.
    """
    found = pd.Series(pd.NA, rows.index, "Int64")
    for receiver in receivers.to_dict("records"):
        here = (rows["websdr_id"] == receiver[NUMBER]).fillna(False)
        for name, inside in (("from", rows["timestamp"].ge), ("until", rows["timestamp"].lt)):
            if not pd.isna(receiver[name]):
                here &= inside(receiver[name])
        found[here.to_numpy(dtype=bool)] = receiver["websdr_id"]
    return rows.assign(**{NUMBER: rows["websdr_id"], "websdr_id": found})


def renamed(before: pd.DataFrame | None, now: pd.DataFrame) -> list[str]:
    """What to say of numbers that meant another receiver in the former snapshot.

    Args:
        before: data/snapshot/receivers.parquet, if there is one.
        now: As `selected` or `pinned` gives them.
    """
    if before is None:
        return []
    both = before.merge(now.drop_duplicates("websdr_id"), on="websdr_id", suffixes=("_before", ""))
    return [
        f"number {row['websdr_id']} is {row['name']} now, and was {row['name_before']} in the former "
        "snapshot: if that is not a new name of one receiver, its former recordings count as the other's"
        for row in both[both["name"] != both["name_before"]].to_dict("records")
    ]


def used(receivers: pd.DataFrame, websdr_ids: Collection[int]) -> pd.DataFrame:
    """data/snapshot/receivers.parquet: those that have recordings in the snapshot, by identifier."""
    chosen = receivers[receivers["websdr_id"].isin(websdr_ids)]
    chosen = chosen.drop_duplicates("websdr_id").sort_values("websdr_id", ignore_index=True)
    names: list[str] = archive.RECEIVERS_SCHEMA.names
    return chosen[names].astype({"websdr_id": "int32"})


_DECIMAL_COMMA = re.compile(r"\A([+-]?\d+),(\d+)\Z")
_NAMED_UTC = re.compile(r"\s*(?:UTC|GMT)\s*\Z")
# As ISO 8601 and PostgreSQL write it; the day at the end of a date is no zone.
_ZONED = r"[T ]\d\d[\d:.]*\s*(?:Z|UTC|GMT|[+-]\d\d(?::?\d\d)?)\s*$"
_FIRST, _LAST = (pd.Timestamp(f"{year}-01-01T00:00:00Z").as_unit("us") for year in ("0001", "9999"))


def _read(path: Path) -> pd.DataFrame:
    """The lines of a file, checked one by one."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise unreadable(path, error) from None
    except UnicodeDecodeError:
        raise HeimdallError(str(path), "not UTF-8 text", "Save it as UTF-8") from None
    found = list(_lines(path, text))
    if len(found) < 2:
        raise HeimdallError(str(path), "no receiver in it", _FORM)
    places = [place for place, _ in found[1:]]
    rows = pd.DataFrame([values for _, values in found[1:]], columns=found[0][1], dtype="str")
    rows = rows.rename(columns=_FILE_NAMES).replace("", None)
    wanted = [NUMBER, *_PLACES]
    missing = [_CALLED.get(name, name) for name in wanted if list(rows.columns).count(name) != 1]
    if missing:
        raise HeimdallError(f"{path}, line 1", f"not one column {', '.join(missing)}", _FORM)
    twice = [name for name in ("from", "until") if list(rows.columns).count(name) > 1]
    if twice:
        raise HeimdallError(str(path), f"more than one column {', '.join(twice)}", _FORM)
    given = rows.copy()
    for name in wanted[2:]:
        rows[name] = pd.to_numeric(rows[name], errors="coerce").astype("float64")
    numbers = pd.to_numeric(rows[NUMBER], errors="coerce")
    whole = numbers.notna() & (numbers % 1 == 0) & numbers.between(0, limits.MAX_WEBSDR_ID)
    rows[NUMBER] = numbers.where(whole).astype("Int64")
    rows["name"] = rows["name"].map(limits.receiver_name, na_action="ignore")
    good = {NUMBER: whole, "name": rows["name"].notna()}
    good |= {name: rows[name].between(*schemas.RECEIVER_RANGES[name]) for name in wanted[2:]}
    for name in ("from", "until"):
        texts = given[name] if name in given else pd.Series(None, rows.index, "str")
        zoned = texts.str.contains(_ZONED, na=True)
        texts = texts.str.replace(_NAMED_UTC, "Z", regex=True)
        times = pd.to_datetime(texts, utc=True, errors="coerce", format="ISO8601")
        rows[name] = times.astype("datetime64[us, UTC]")
        good[name] = zoned & (texts.isna() == times.isna())
    for row, place in enumerate(places):
        for name, fine in good.items():
            if not fine.iloc[row]:
                said = given[name].iloc[row]
                called, wrong = _CALLED.get(name, name), _WRONG.get(name, _RANGE)
                cause = f"no {called}" if pd.isna(said) else f"{called} {said[:40]!r} is {wrong}"
                raise HeimdallError(place, cause, _FORM)
    return rows


def _lines(path: Path, text: str) -> Iterator[tuple[str, list[str]]]:
    """Place and values of each line that is not blank; the first is the header.

    The separator is the one that the header has: a comma, a semicolon or a tab. Beside semicolons a number
    may have a decimal comma.

    Raises:
        HeimdallError: A line has another number of values than the header, as a decimal comma makes it, or it
            is no CSV.
    """
    separator = max(",;\t", key=next(iter(text.splitlines()), "").count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True)
    width = 0
    try:
        for row in reader:
            values = [value.strip() for value in row]
            if separator == ";":
                values = [_DECIMAL_COMMA.sub(r"\1.\2", value) for value in values]
            if not any(values):
                continue
            place = f"{path}, line {reader.line_num}"
            width = width or len(values)
            if len(values) != width:
                cause = f"{len(values)} values instead of {width}; a number has a decimal point, no comma"
                raise HeimdallError(place, cause, _FORM)
            yield place, values
    except csv.Error as error:
        raise HeimdallError(f"{path}, line {reader.line_num}", f"no CSV ({error})", _FORM) from None


def _identifiers(rows: pd.DataFrame) -> dict[str, int]:
    """Identifier by name: the first number of a receiver, unless an earlier one has it.

    A line depends on those above it alone: so a line at the end changes no identifier.
    """
    found: dict[str, int] = {}
    taken: set[int] = set()
    numbers: set[int] = set()
    for name, number in zip(rows["name"], rows[NUMBER].astype(int), strict=True):
        numbers.add(number)
        if name in found:
            continue
        free = (other for other in itertools.count(FIRST_OF_REUSED) if other not in taken | numbers)
        found[name] = next(free) if number in taken else number
        taken.add(found[name])
    return found
