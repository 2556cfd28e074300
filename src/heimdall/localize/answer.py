"""What `heimdall locate` found out, as every format of its output is written from."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from heimdall.geometry import geo
from heimdall.multilateration.event import Event, Position
from heimdall.multilateration.fix import Fix, Place

ALONE = "One receiver alone cannot locate: give what two others or more have of the same time"


@dataclass(frozen=True, eq=False)
class Beside:
    """What a trained model says of the same recordings.

    Attributes:
        name: What a person calls the model.
        place: Where it has the transmitter; None if it cannot say.
        remark: What a person should know of that, a sentence without a full stop, or "".
    """

    name: str
    place: Place | None
    remark: str = ""


@dataclass(frozen=True, eq=False)
class Answer:
    """The answers for the events that one call was given.

    Attributes:
        title: What was located, in a few words: the transmitter, the frequency, the files.
        events: At least one.
        fixes: One for each event, in their order.
        together: The answer for all events together; None for a single event, or where the events are not of
            one transmitter.
        simulated: Whether the recordings are simulated; None if nothing says it.
        beside: What a trained model says, of several events of that with most receivers; None without one.
        beside_each: What it says of each of several events, in their order; else empty.
        origin_utc: The moment from which `Event.time_s` counts, UTC, aware; None if it is not known.
    """

    title: str
    events: tuple[Event, ...]
    fixes: tuple[Fix, ...]
    together: Fix | None = None
    simulated: bool | None = None
    beside: Beside | None = None
    beside_each: tuple[Beside, ...] = ()
    origin_utc: datetime | None = None

    @property
    def main(self) -> Fix | None:
        """The answer to read first: of all events together, or of the only one; None if there is none."""
        if self.together is not None:
            return self.together
        return self.fixes[0] if len(self.fixes) == 1 else None

    @property
    def alone(self) -> bool:
        """Whether all events are of one receiver, of which no answer can be."""
        return len(self.receivers()) == 1

    @property
    def truth(self) -> Position | None:
        """Where the transmitter was in every event; None if that is not known, or if it moved."""
        truths = {event.truth for event in self.events}
        return truths.pop() if len(truths) == 1 else None

    def truth_of(self, fix: Fix) -> Position | None:
        """Where the transmitter of one of the answers was, if known."""
        if fix is self.together:
            return self.truth
        return self.events[next(k for k, one in enumerate(self.fixes) if one is fix)].truth

    def error_m(self, fix: Fix) -> float | None:
        """Distance of one of the answers from the truth along the ground, metres; None if not known."""
        truth = self.truth_of(fix)
        if truth is None or not fix.places:
            return None
        place = fix.places[0]
        where = (place.latitude_deg, place.longitude_deg, truth.latitude_deg, truth.longitude_deg)
        return float(geo.distance_m(*where)[0])

    def utc(self, event: Event) -> str | None:
        """When an event was, in UTC as ISO 8601 with microseconds; None if that is not known."""
        if self.origin_utc is None or not np.isfinite(event.time_s):
            return None
        moment = (self.origin_utc + timedelta(seconds=event.time_s)).astimezone(UTC)
        return f"{moment.replace(tzinfo=None).isoformat(timespec='microseconds')}Z"

    def receivers(self) -> dict[str, Position]:
        """Where every receiver of the events stands, by its name, in the order of the events."""
        found: dict[str, Position] = {}
        for event in self.events:
            where = zip(event.latitude_deg, event.longitude_deg, event.altitude_m, strict=True)
            for name, (latitude, longitude, altitude) in zip(event.receiver, where, strict=True):
                found.setdefault(name, Position(float(latitude), float(longitude), float(altitude)))
        return found
