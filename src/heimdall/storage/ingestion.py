"""What a transaction needs that adds recordings while others may do the same."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import cast

from heimdall.core.errors import HeimdallError
from heimdall.storage.approved import MARGIN
from heimdall.storage.connection import Cursor
from heimdall.storage.tables import Source

_LOCK = 0x4845494D44414C4C  # "HEIMDALL"; held until the transaction ends, which a connection pooler allows


def lock(cursor: Cursor) -> None:
    """Let no other ingest decide on receivers, sources and rows until this transaction ends."""
    # Longer than the usual 10 s: another one may write for 30 s, and no reader waits for an ingest.
    cursor.execute("SET LOCAL lock_timeout = '60s'")
    cursor.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))


def now(cursor: Cursor) -> datetime:
    """The server's clock, in UTC: an approval is stamped by it, in the transaction that brings the rows."""
    cursor.execute("SELECT clock_timestamp()")
    row = cursor.fetchone()
    assert row is not None  # noqa: S101 - a SELECT without FROM has one row
    return cast("datetime", row[0])


def refuse_late(cursor: Cursor, approved_at: datetime) -> None:
    """Refuse to commit rows so long after their stamp that a reader may have passed it.

    Args:
        cursor: Of the transaction, after its last row.
        approved_at: The stamp that `now` gave.

    Raises:
        HeimdallError: More than half of the readers' margin went by; the other half is for the commit.
    """
    took = now(cursor) - approved_at
    if took > MARGIN / 2:
        cause = f"its rows took {took.total_seconds():.0f} s, and a snapshot may have passed their approval"
        raise HeimdallError("ingest", cause, "Ingest fewer files at once; nothing of this was stored")


def refuse_other_modulation(cursor: Cursor, source: Source) -> None:
    """Compare a known transmitter with the database.

    Raises:
        HeimdallError: The database has it with another modulation, or approved recordings of it without any:
            the same `as_of` would give another snapshot.
    """
    cursor.execute(
        "SELECT modulation, EXISTS (SELECT FROM measurements WHERE source_id = sources.id AND approved) "
        "FROM sources WHERE id = %s",
        (source.source_id,),
    )
    row = cursor.fetchone()
    if row is not None and row[0] is None and row[1] and source.modulation is not None:
        raise HeimdallError(
            f"source {source.source_id}",
            "recordings of it are approved without a modulation, and a snapshot may have them",
            "Leave --modulation out",
        )
    if row is not None and None not in (row[0], source.modulation) and row[0] != source.modulation:
        raise HeimdallError(
            f"source {source.source_id}",
            f"its modulation is {row[0]} in the database, not {source.modulation}",
            f"Give --modulation {row[0]}, or another --source if it is another transmitter",
        )


def complete(cursor: Cursor, sources: Sequence[Source]) -> None:
    """Add the modulation of known transmitters where the database has none."""
    for source in sources:
        cursor.execute(
            "UPDATE sources SET modulation = %s WHERE id = %s AND modulation IS NULL",
            (source.modulation, source.source_id),
        )
