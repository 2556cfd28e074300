"""A recording that a model was made of or judged by."""

from __future__ import annotations

from dataclasses import dataclass

UNUSED = "none"  # in the snapshot, in no split


@dataclass(frozen=True)
class Row:
    """One recording that the model was made of or judged by.

    Attributes:
        measurement_id: Of the database's row.
        session_id: Lower-case UUID.
        websdr_id: Receiver.
        split: "train" changed the weights, "val" chose the epoch, "test" only judged; "none" did nothing.
        object_key: In the bucket of raw recordings.
        object_sha256: Of that object.
    """

    measurement_id: str
    session_id: str
    websdr_id: int
    split: str
    object_key: str
    object_sha256: str
