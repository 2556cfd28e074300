"""Rows for the tests of the tables: two receivers, two transmitters, any number of measurements."""

from __future__ import annotations

import dataclasses
import uuid
from datetime import UTC, datetime, timedelta

from heimdall.storage.tables import Measurement, Receiver, Source

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SESSION = str(uuid.UUID(int=7))
RECEIVERS = [Receiver(2, "Milano", 45.46, 9.19, 122.0), Receiver(1, "Torino", 45.07, 7.69, 239.0)]
SOURCES = [Source("beacon", "A beacon", "cw"), Source("unknown-modulation", "Another", None)]


def measurement(number: int, **changes: object) -> Measurement:
    plain = Measurement(
        measurement_id=str(uuid.UUID(int=number)),
        session_id=SESSION,
        websdr_id=1,
        latitude_deg=45.1,
        longitude_deg=8.2,
        frequency_mhz=145.5,
        snr_db=12.5,
        timestamp=NOON - timedelta(hours=1),
        created_at=NOON,
        approved=True,
        approved_at=NOON,
        sample_rate_hz=192_000.0,
        source_id="beacon",
        start_gps_ns=1_451_000_000_123_456_789,
        timing_sigma_ns=50.0,
        simulated=True,
    )
    return dataclasses.replace(plain, **changes)
