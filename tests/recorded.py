"""Recordings in memory as files of receivers that `heimdall ingest` has read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from heimdall.formats.recording import TimedRecording
from heimdall.ingest import ingest
from heimdall.ingest.ingest import Recorded, Session, Site, Stretch


def stretches(recordings: Mapping[Site, Sequence[TimedRecording]]) -> list[Stretch]:
    """Those of all receivers."""
    return [
        stretch
        for site, found in recordings.items()
        for stretch in ingest.read_stretches(Recorded(site.name, site, lambda found=found: found))  # type: ignore[misc]
    ]


def cut_sessions(recordings: Mapping[Site, Sequence[TimedRecording]], frequency_mhz: float) -> list[Session]:
    """Their sessions."""
    return ingest.cut_sessions(stretches(recordings), frequency_mhz)
