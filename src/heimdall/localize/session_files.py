"""The recordings of a session as files: which receiver's each is, and its samples."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from heimdall.core.errors import HeimdallError, unreadable
from heimdall.recordings import iq
from heimdall.signal.correlation import Recording

MAX_DURATION_S = 10.0  # as the snapshot takes them (snapshot.max_duration_s): no model has seen longer ones
USUAL_DURATION_S = 1.05  # those of the network last 1 s, to the accuracy of a sound card's clock
TOO_LONG = f"Give at most {MAX_DURATION_S:g} s of it, and its --sample-rate-hz"
_OBJECT_NAME = re.compile(r"websdr_([0-9]+)\.npy")


def named_files(files: Sequence[str]) -> dict[int, Path]:
    """The receiver of each file.

    Args:
        files: `websdr_ID.npy`, in any folder, or `ID=FILE`.

    Returns:
        Files by receiver, in the order given.

    Raises:
        HeimdallError: A name does not say the receiver, or two say the same.
    """
    found: dict[int, Path] = {}
    for text in files:
        before, equals, after = text.partition("=")
        named = _OBJECT_NAME.fullmatch(Path(text).name)
        if equals and before.isascii() and before.isdigit():
            websdr_id, path = int(before), Path(after)
        elif named:
            websdr_id, path = int(named[1]), Path(text)
        else:
            raise HeimdallError(
                text, "the name does not say which receiver made the recording", f"Give it as ID={text}"
            )
        if websdr_id in found:
            cause = f"receiver {websdr_id} has another file, {found[websdr_id]}"
            raise HeimdallError(str(path), cause, "Give one recording for each receiver")
        found[websdr_id] = path
    return found


def require(files: Sequence[str]) -> None:
    """Refuse files that cannot be read before anything slow, whatever model will take them.

    Args:
        files: As for `named_files`, or names that say nothing of a receiver.

    Raises:
        HeimdallError: The first that cannot be opened.
    """
    for text in files:
        before, equals, after = text.partition("=")
        _open(Path(after) if equals and before.isdigit() and not Path(text).exists() else Path(text)).close()


def read(file: Path, sample_rate_hz: float) -> iq.Samples:
    """Read and check one recording.

    Args:
        file: A one-dimensional complex .npy file.
        sample_rate_hz: Its rate.

    Returns:
        Samples, (n,) complex64.

    Raises:
        HeimdallError: The file cannot be read, or is no such recording.
    """
    limit = iq.max_object_bytes(sample_rate_hz, MAX_DURATION_S)
    with _open(file) as stream:
        content = stream.read(limit + 1)
    if len(content) > limit:
        cause = f"it is longer than {MAX_DURATION_S:g} s at {sample_rate_hz:g} Hz"
        raise HeimdallError(str(file), cause, TOO_LONG)
    try:
        return iq.decode(content, sample_rate_hz, MAX_DURATION_S)
    except iq.BadRecording as error:
        remedy = "Give a complex64 or complex128 .npy file and its --sample-rate-hz"
        remedy = TOO_LONG if error.reason == iq.OVERSIZED else remedy
        raise HeimdallError(str(file), error.detail, remedy) from None


def read_session(
    named: Mapping[int, Path], sample_rate_hz: float, starts: Mapping[int, tuple[int, float]]
) -> list[Recording]:
    """The recordings of a session, by the number of the receiver.

    Args:
        named: Files by receiver.
        sample_rate_hz: Of all of them.
        starts: GPS time of the first sample and its standard deviation, nanoseconds, by receiver, where
            they are known.

    Raises:
        HeimdallError: As for `read`.
    """
    recordings = []
    for websdr_id, path in sorted(named.items()):
        start_ns, sigma_ns = starts.get(websdr_id, (None, None))
        samples = read(path, sample_rate_hz)
        recordings.append(Recording(websdr_id, samples, sample_rate_hz, start_ns, sigma_ns))
    return recordings


def remarks(recordings: Sequence[Recording], starts: Mapping[int, tuple[int, float]] | None) -> list[str]:
    """What a person should know of the files of a session beside the answer.

    Args:
        recordings: Of the session.
        starts: As they were given; None where no file was.
    """
    found = []
    if starts is None:
        found.append(
            "--times is not given: the answer comes from received levels alone, and is accurate to kilometres"
        )
    else:
        known = {item.websdr_id for item in recordings}
        if not known & set(starts):
            found.append(
                "--times has no row of a receiver that made a recording: the answer comes from received "
                "levels alone, and is accurate to kilometres"
            )
        stray = sorted(set(starts) - known)
        if stray:
            found.append(f"these receivers have a start time but no recording: {', '.join(map(str, stray))}")
    durations_s = [len(item.iq) / item.sample_rate_hz for item in recordings]
    if max(durations_s) > USUAL_DURATION_S:
        # As `Preprocessing.observation` does; the features of the training say no duration, and count as 1 s.
        found.append(
            f"the longest recording lasts {max(durations_s):.1f} s: the accuracy of the arrival times is "
            f"computed for {min(durations_s):.1f} s, the length of the shortest one, but the model was "
            "trained and calibrated for recordings of 1 s"
        )
    return found


def _open(file: Path) -> BinaryIO:
    """A recording's file, open for reading."""
    try:
        return file.open("rb")
    except OSError as error:
        raise unreadable(file, error, "Name a .npy file that is there") from None
