"""What a row of the database must be: pandera schemas, and the reason of each row that fails them.

A bad row goes to quarantine and the rest goes on. Of two rows for the same recording none is kept, for
nothing says which one is right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pandera.pandas as pa

from heimdall.recordings import iq, limits

# Short codes of the quarantine, in the order in which a row with several faults is named.
UNREADABLE = "unreadable"
BAD_SESSION_ID = "bad_session_id"
UNKNOWN_RECEIVER = "unknown_receiver"
BAD_POSITION = "bad_position"
IMPOSSIBLE_TIME = "impossible_time"
BAD_SAMPLE_RATE = "bad_sample_rate"
BAD_FREQUENCY = "bad_frequency"
BAD_TIMING = "bad_timing"
BAD_SNR = "bad_snr"
BAD_OBJECT_KEY = "bad_object_key"
UNKNOWN_ORIGIN = "unknown_origin"
DUPLICATE = "duplicate"
INCONSISTENT_SESSION = "inconsistent_session"
NOT_ONE_TRANSMISSION = "not_one_transmission"
REPEATED = "repeated"
_ORDER = (
    UNREADABLE,
    BAD_SESSION_ID,
    UNKNOWN_RECEIVER,
    BAD_POSITION,
    IMPOSSIBLE_TIME,
    BAD_SAMPLE_RATE,
    BAD_FREQUENCY,
    BAD_TIMING,
    BAD_SNR,
    BAD_OBJECT_KEY,
    UNKNOWN_ORIGIN,
    DUPLICATE,
    INCONSISTENT_SESSION,
)

MAX_SAMPLE_RATE_HZ = 10e6  # no WebSDR delivers more; beyond it the column holds another unit
MAX_SPREAD_S = 600.0  # between the times of a session's recordings, which clocks of receivers give
MAX_FREQUENCY_SPREAD = 1e-3  # of the frequency: receivers are tuned side by side, not to another transmission
# Between `timestamp` and `start_gps_ns`. GPS tells the second of the week exactly; the number of the week is
# from elsewhere: a wrong start is off by whole weeks, or has another epoch, such as that of Unix time. Within
# half a week the start is right whatever `timestamp` is: a team's may be that of the row, not of the samples.
_MAX_APART_S = 3.5 * 86_400.0
_GPS_EPOCH_S = 315_964_800 - 18  # in Unix time; leap seconds do not matter here
EARLIEST = pd.Timestamp("2000-01-01T00:00:00Z")  # clocks that were never set begin before it
# No bucket, no folder above another, no control character: as a key of the bucket of recordings may be.
_OBJECT_KEY = r"^(?!/)(?!(?:.*/)?\.\.?(?:/|$))(?![A-Za-z0-9]+://)[^\x00-\x1f\x7f]{1,1024}\Z"
UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_BAD_RECEIVER = "bad_receiver"
NO_OBJECT = "no such object in the bucket"


def _made_before_approval(rows: pd.DataFrame) -> Any:  # noqa: ANN401 - pandas' comparisons have no precise type
    return (rows["timestamp"] >= EARLIEST) & (rows["timestamp"] <= rows["approved_at"])


def _has_a_start(rows: pd.DataFrame) -> Any:  # noqa: ANN401
    if "start_gps_ns" not in rows:
        return pd.Series(True, rows.index)
    start_s = pd.to_numeric(rows["start_gps_ns"]).astype("Float64") / 1e9 + _GPS_EPOCH_S
    # In microseconds: those of NumPy's nanoseconds end in 2262, and the year 1 is possible in PostgreSQL.
    made = rows["timestamp"].dt.as_unit("us").dt.tz_localize(None).to_numpy("datetime64[us]")
    made_s = (made - np.datetime64(0, "us")) / np.timedelta64(1, "s")
    return ((start_s - made_s).abs() <= _MAX_APART_S).fillna(True).astype(bool)


def _number(reason: str, *checks: pa.Check, nullable: bool = False) -> pa.Column:
    return pa.Column(float, list(checks), nullable=nullable, coerce=True, metadata={"reason": reason})


def measurement_schema(receiver_ids: Iterable[int]) -> pa.DataFrameSchema:
    """Schema of measurement rows, each check named by its reason.

    Args:
        receiver_ids: The receivers that exist.
    """

    def within(low: float, high: float, reason: str, *, above: bool = False) -> pa.Check:
        return pa.Check.in_range(low, high, include_min=not above, error=reason)

    return pa.DataFrameSchema(
        {
            "session_id": pa.Column(
                str,
                pa.Check.str_matches(rf"^{UUID}\Z", error=BAD_SESSION_ID),
                coerce=True,
                metadata={"reason": BAD_SESSION_ID},
            ),
            "websdr_id": pa.Column(
                "Int64",
                pa.Check.isin(sorted(receiver_ids), error=UNKNOWN_RECEIVER),
                coerce=True,
                metadata={"reason": UNKNOWN_RECEIVER},
            ),
            "latitude_deg": _number(BAD_POSITION, within(-90, 90, BAD_POSITION)),
            "longitude_deg": _number(BAD_POSITION, within(-180, 180, BAD_POSITION)),
            "timestamp": pa.Column(nullable=False, metadata={"reason": IMPOSSIBLE_TIME}),
            "sample_rate_hz": _number(
                BAD_SAMPLE_RATE, within(0, MAX_SAMPLE_RATE_HZ, BAD_SAMPLE_RATE, above=True)
            ),
            "frequency_mhz": _number(
                BAD_FREQUENCY, within(0, limits.MAX_FREQUENCY_HZ / 1e6, BAD_FREQUENCY, above=True)
            ),
            "timing_sigma_ns": _number(
                BAD_TIMING, within(0, limits.MAX_TIMING_SIGMA_NS, BAD_TIMING), nullable=True
            ),
            "snr_db": _number(BAD_SNR, within(-1000, 1000, BAD_SNR), nullable=True),
            "start_gps_ns": pa.Column(
                "Int64",
                within(0, limits.LATEST_GPS_NS, BAD_TIMING),
                nullable=True,
                coerce=True,
                required=False,
            ),
            "simulated": pa.Column(nullable=False, required=False, metadata={"reason": UNKNOWN_ORIGIN}),
            "object_key": pa.Column(
                str,
                pa.Check.str_matches(_OBJECT_KEY, error=BAD_OBJECT_KEY),
                nullable=True,
                required=False,
                coerce=True,
            ),
            UNREADABLE: pa.Column(
                checks=pa.Check(lambda texts: texts.isna(), error=UNREADABLE), nullable=True, required=False
            ),
        },
        checks=[
            pa.Check(_made_before_approval, error=IMPOSSIBLE_TIME),
            pa.Check(_has_a_start, error=BAD_TIMING),
        ],
    )


RECEIVER_RANGES = {
    "latitude_deg": (-90.0, 90.0),
    "longitude_deg": (-180.0, 180.0),
    "altitude_m": (-500.0, 20_000.0),
}
RECEIVER_SCHEMA = pa.DataFrameSchema(
    {
        "websdr_id": pa.Column(
            "Int64",
            pa.Check.in_range(0, limits.MAX_WEBSDR_ID, error=_BAD_RECEIVER),
            coerce=True,
            required=False,
            metadata={"reason": _BAD_RECEIVER},
        ),
        **{
            name: _number(_BAD_RECEIVER, pa.Check.in_range(low, high, error=_BAD_RECEIVER))
            for name, (low, high) in RECEIVER_RANGES.items()
        },
    }
)


def _said(row: dict[Any, Any], name: str, unit: str = "") -> str:
    """A value of a row in words: what the table has, or that it has none."""
    value = row.get(name)
    return "no value" if pd.isna(value) else f"{value} {unit}".rstrip()


_SENTENCES: dict[str, Callable[[dict[Any, Any]], str]] = {
    BAD_SESSION_ID: lambda row: (
        "session_id has no value"
        if pd.isna(row["session_id"])
        else f"session_id {str(row['session_id'])[:60]!r} is no lower-case UUID"
    ),
    UNREADABLE: lambda row: str(row[UNREADABLE]),
    UNKNOWN_RECEIVER: lambda row: (
        "websdr_id has no value"
        if pd.isna(row.get("number", row["websdr_id"]))
        else f"websdr_id {row.get('number', row['websdr_id'])} is no receiver with a position on Earth at "
        f"{_said(row, 'timestamp')} (a file that pins receivers says from when and until when)"
    ),
    BAD_POSITION: lambda row: (
        f"latitude {_said(row, 'latitude_deg')}, longitude {_said(row, 'longitude_deg')}"
    ),
    IMPOSSIBLE_TIME: lambda row: (
        f"made at {_said(row, 'timestamp')}, approved at {_said(row, 'approved_at')}"
    ),
    BAD_SAMPLE_RATE: lambda row: f"sample rate {_said(row, 'sample_rate_hz', 'Hz')}",
    BAD_FREQUENCY: lambda row: f"frequency {_said(row, 'frequency_mhz', 'MHz')}",
    BAD_TIMING: lambda row: (
        f"timing sigma {_said(row, 'timing_sigma_ns', 'ns')}, GPS start {_said(row, 'start_gps_ns', 'ns')}, "
        f"made at {_said(row, 'timestamp')}"
    ),
    BAD_SNR: lambda row: f"SNR {_said(row, 'snr_db', 'dB')}",
    BAD_OBJECT_KEY: lambda row: (
        f"object {str(row['object_key'])[:100]!r} is no key of the bucket of the recordings"
    ),
    UNKNOWN_ORIGIN: lambda _: "simulated has no value: neither a recording nor a simulation",
    DUPLICATE: lambda row: f"more than one row for receiver {row['websdr_id']} in this session; none is used",
    INCONSISTENT_SESSION: lambda _: "the session's rows name more than one position or source",
    NOT_ONE_TRANSMISSION: lambda _: (
        f"the session's rows are more than {MAX_SPREAD_S:g} s or {MAX_FREQUENCY_SPREAD:.1%} of the "
        "frequency apart"
    ),
    iq.MISSING: lambda _: NO_OBJECT,
}


def faults(schema: pa.DataFrameSchema, rows: pd.DataFrame) -> dict[str, npt.NDArray[np.int64]]:
    """The rows that fail a schema, each once, by reason.

    Args:
        schema: Of `measurement_schema`.
        rows: As the source gives them, with the identifiers of their receivers.

    Returns:
        Positions in `rows` by reason.
    """
    reasons: dict[int, str] = {}
    for row, reason in _failures(schema, rows.reset_index(drop=True)):
        reasons[row] = min(reasons.get(row, reason), reason, key=_ORDER.index)
    found: dict[str, list[int]] = {}
    for row, reason in reasons.items():
        found.setdefault(reason, []).append(row)
    return {reason: np.array(positions) for reason, positions in found.items()}


def detail(reason: str, row: dict[Any, Any]) -> str:
    """The sentence that says what is wrong with a row, given its columns."""
    return _SENTENCES[reason](row)


def valid_receivers(receivers: pd.DataFrame) -> pd.DataFrame:
    """The receivers that have a position on Earth, ordered by `websdr_id`.

    Args:
        receivers: Columns `websdr_id`, `name`, `latitude_deg`, `longitude_deg`, `altitude_m`.
    """
    return receivers[on_earth(receivers)].sort_values("websdr_id", ignore_index=True)


def on_earth(receivers: pd.DataFrame) -> pd.Series[bool]:
    """Which receivers have a position on Earth, and an identifier that is not negative if they have one."""
    places = receivers.reset_index(drop=True)
    good = pd.Series(True, receivers.index)
    good.iloc[sorted({row for row, _ in _failures(RECEIVER_SCHEMA, places)})] = False
    return good


def _failures(schema: pa.DataFrameSchema, rows: pd.DataFrame) -> list[tuple[int, str]]:
    """Row and reason of each failed check; a NULL counts as the column's own reason."""
    try:
        schema.validate(rows, lazy=True)
    except pa.errors.SchemaErrors as errors:
        cases = errors.failure_cases
        return [
            (int(row), schema.columns[column].metadata["reason"] if check == "not_nullable" else check)
            for row, column, check in zip(cases["index"], cases["column"], cases["check"], strict=True)
        ]
    return []
