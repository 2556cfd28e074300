"""times.csv: when the recordings of a session began, by GPS."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path

from heimdall.core.errors import HeimdallError, unreadable
from heimdall.core.numbers import whole_number
from heimdall.recordings import limits

COLUMNS = ("websdr_id", "start_gps_ns", "timing_sigma_ns")


def text(rows: Iterable[tuple[int, int, float]]) -> str:
    """The content of the file.

    Args:
        rows: Receiver, GPS time of its first sample and the standard deviation of that, nanoseconds.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerows([COLUMNS, *rows])
    return stream.getvalue()


def read(path: Path) -> dict[int, tuple[int, float]]:
    """Start times of a session's recordings.

    Args:
        path: CSV with a header and the columns `COLUMNS`; others are ignored.

    Returns:
        GPS time of the first sample and its standard deviation, nanoseconds, by receiver.

    Raises:
        HeimdallError: The file cannot be read, lacks a column, or holds something else than numbers.
    """
    remedy = f"Give a CSV with the columns {', '.join(COLUMNS)}"
    found: dict[int, tuple[int, float]] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:  # spreadsheets write a byte order mark
            separator = ";" if ";" in stream.readline() else ","
            stream.seek(0)
            rows = csv.DictReader(stream, delimiter=separator, skipinitialspace=True)
            for number, row in enumerate(rows, start=2):
                subject = f"{path}, line {number}"
                if any(value.strip() for value in row.get(None) or ()):
                    raise HeimdallError(subject, "more values than its header has", remedy)
                try:
                    websdr_id, start_ns = (whole_number(row[name]) for name in COLUMNS[:2])
                    sigma_ns = float(row["timing_sigma_ns"])
                except KeyError as error:
                    raise HeimdallError(str(path), f"no column {error}", remedy) from None
                except (TypeError, ValueError) as error:
                    raise HeimdallError(subject, f"no start time ({error})", remedy) from None
                if not 0 <= websdr_id <= limits.MAX_WEBSDR_ID:
                    raise HeimdallError(subject, f"no receiver has the number {websdr_id:.6g}", remedy)
                if not 0 <= start_ns <= limits.LATEST_GPS_NS:
                    raise HeimdallError(subject, f"no start time: {start_ns:.6g} ns", remedy)
                if not 0 <= sigma_ns <= limits.MAX_TIMING_SIGMA_NS:
                    cause = f"no standard deviation: {sigma_ns}"
                    raise HeimdallError(subject, cause, "Leave receivers without GPS time out")
                if websdr_id in found:
                    raise HeimdallError(subject, f"receiver {websdr_id} stands there twice", remedy)
                found[websdr_id] = start_ns, sigma_ns
    except OSError as error:
        raise unreadable(path, error) from None
    except csv.Error as error:
        raise HeimdallError(str(path), f"no CSV ({error})", remedy) from None
    except UnicodeDecodeError:
        raise HeimdallError(str(path), "it is no text", remedy) from None
    return found
