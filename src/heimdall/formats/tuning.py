"""To which frequency receivers were tuned, by what their files say."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from heimdall.core.errors import HeimdallError
from heimdall.formats.recording import TimedRecording

MAX_DETUNING_HZ = 1000.0  # by so much programs round a frequency


def said_hz(recordings: Iterable[TimedRecording]) -> set[float]:
    """The frequencies that the files say."""
    return {one.frequency_hz for one in recordings if one.frequency_hz}


def undecided(said: Iterable[float]) -> HeimdallError:
    """That the files say no frequency, or several."""
    named = ", ".join(f"{one / 1e6:.12g}" for one in sorted(said))
    cause = f"the files say {named} MHz" if named else "the files do not say it"
    return HeimdallError("frequency of the recordings", cause, "Give --frequency-mhz")


def fitting(recordings: Sequence[TimedRecording], wanted_hz: float) -> tuple[list[bool], str]:
    """Which stretches are at this frequency, of files that say several; else all, for the user knows better.

    Args:
        recordings: The stretches.
        wanted_hz: By the user's word.

    Returns:
        Whether each of them is, and what to tell: a frequency outside of the one band that the files say may
        be in another unit. "" if there is nothing.
    """
    if len(said_hz(recordings)) < 2:
        outside = {
            one.frequency_hz
            for one in recordings
            if one.frequency_hz and abs(one.frequency_hz - wanted_hz) > one.sample_rate_hz / 2
        }
        said = next(iter(outside), 0.0) / 1e6
        told = (
            f"The files say {said:.12g} MHz, far from {wanted_hz / 1e6:.12g} MHz, which counts. "
            f"If it is a mistake, give --frequency-mhz {said:.12g}, or leave it out."
        )
        return [True] * len(recordings), told if outside else ""
    kept = [
        one.frequency_hz is None or abs(one.frequency_hz - wanted_hz) <= MAX_DETUNING_HZ for one in recordings
    ]
    left = kept.count(False)
    told = f"Stretches at another frequency than {wanted_hz / 1e6:g} MHz are left out: {left}"
    return kept, told if left else ""
