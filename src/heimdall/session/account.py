"""Why a session's answer is right or wrong, in plain sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from heimdall.baselines.cramer_rao import cramer_rao_m2
from heimdall.localize.fix_words import length
from heimdall.session import credible, residuals
from heimdall.session.detail import Detail, Receiver
from heimdall.session.located import Located
from heimdall.session.residuals import Deviation
from heimdall.session.session_text import LEFT_OUT

_TWO, _FIXING = 2, 3  # arrival times: two leave a line
_LARGE = 3.0  # standard deviations: one in four hundred by chance


def sentences(detail: Detail, answers: Sequence[Located]) -> list[str]:
    """What a person should know of an answer, the most important first.

    Args:
        detail: The session.
        answers: Of `located.locate_session`, the one to look at first.
    """
    said = [_answered(answers[0], detail)]
    if len(answers) > 1:
        said.append(_compared(*answers[:2]))
    said += [_timed(detail, answers[0]), *_bound(detail), *_largest(detail)]
    said += [
        *_explained(detail, answers[0]),
        *(one for answer in answers for one in _left_out(detail, answer)),
    ]
    return [*said, *_without_time(detail), *_without(detail)]


def _answered(answer: Located, detail: Detail) -> str:
    method = f"{answer.method[0].upper()}{answer.method[1:]}"
    if answer.place is None:
        why = "; ".join(answer.fix.remarks)
        return f"{method}: nothing can be said of where the transmitter is{f' ({why})' if why else ''}."
    if answer.error_m is None:
        return f"{method}: the true position is not known, so that nobody can tell how wrong the answer is."
    off = f"the answer is {length(answer.error_m)} from the known position"
    return f"{method}: {off}, which lies {_held(answer)}."


def _held(answer: Located) -> str:
    if answer.held_within == 1.0:
        return "outside of the 95 % region"
    if answer.held_within == 0.95:
        return "inside of the 95 % region and outside of the 68 % region"
    return "inside of the 68 % region"


def _compared(first: Located, second: Located) -> str:
    if second.place is None or second.error_m is None or first.error_m is None:
        return f"By {second.method}, there is no answer to compare."
    off = f"it would be {length(second.error_m)} off"
    how = f"By {second.method}, {off}, with the known position {_held(second)}"
    if first.held_within == credible.PROBABILITIES[0]:
        return f"{how}."
    if max(first.error_m, second.error_m) < 2 * min(first.error_m, second.error_m):
        return f"{how}: both are about as far off, so look at the recordings first."
    if first.error_m > second.error_m:
        return f"{how}: the recordings allow a better answer, so look at the model first."
    return f"{how}: the localizer made more of the same recordings."


def _timed(detail: Detail, answer: Located) -> str:
    heard = [one for one in detail.receivers if one.detected]
    timed = [one for one in detail.receivers if one.delay_usable]
    recorded = [one for one in detail.receivers if one.recorded]
    counted = (
        f"The signal is heard in {len(heard)} of {len(recorded)} recordings, and "
        f"{len(timed) or 'none'} of them {'have' if len(timed) > 1 else 'has'} a usable arrival time"
    )
    if not timed:
        return f"{counted}: the answer rests on levels alone, which tell kilometres."
    names = f"{counted} ({_names(timed)})"
    left = sum(bool(one.left_out) for one in residuals.of(detail, answer))
    if left:
        names += f", of which the answer leaves out {left}"
    used = len(timed) - left
    if used < _TWO:
        return (
            f"{names}: one time alone tells nothing, and the answer rests on levels, which tell kilometres."
        )
    if used == _TWO:
        return f"{names}: two times leave a line of possible places, and levels tell where on it."
    if used == _FIXING:
        return f"{names}: three times give a place, and no fourth one checks them."
    which = "those that are left are more" if left else "more"
    return f"{names}: {which} than a place needs, so that they check each other."


def _bound(detail: Detail) -> list[str]:
    """How well the position could be known, by the arrival times' own standard deviations."""
    if not detail.has_truth:
        return []
    observation = detail.observation
    covariance_m2 = cramer_rao_m2(
        np.array(detail.plane.to_local(detail.latitude_deg, detail.longitude_deg)),
        observation.arrivals.information_s2,
        observation.session.timing_sigma_s,
        observation.session.position_enu_m,
        detail.plane,
    )
    bound_m = float(np.sqrt(np.trace(covariance_m2)))
    if not np.isfinite(bound_m):
        return []
    return [
        "With arrival times as good as these state to be, no unbiased method that uses times alone has an "
        f"RMS error below {length(bound_m)} here (Cramer-Rao bound; echoes make it worse)."
    ]


def _largest(detail: Detail) -> list[str]:
    """The receiver whose time contradicts the known position most."""
    known = [(one.receiver, one.against_truth) for one in residuals.of(detail, None) if one.against_truth]
    if len(known) < _TWO:
        return []  # one time is right from everywhere
    if len(known) == _TWO:
        return [_differ(*known)]
    name, deviation = max(known, key=lambda item: abs(item[1].sigmas))
    if abs(deviation.sigmas) < _LARGE:
        return [
            "Every arrival time agrees with the known position within three stated standard deviations; the "
            f"largest residual is that of {name}: it came {_residual(deviation)}."
        ]
    return [
        f"The arrival time of {name} contradicts the known position most: it came {_residual(deviation)}. "
        "An echo, another signal or a wrong clock does that."
    ]


def _differ(first: tuple[str, Deviation], second: tuple[str, Deviation]) -> str:
    """How well two times fit to the known position: nobody can tell which of them is wrong."""
    late, early = sorted((first, second), key=lambda item: -item[1].late_s)
    by = Deviation(late[1].late_s - early[1].late_s, math.hypot(late[1].sigma_s, early[1].sigma_s))
    said = (
        f"Against the known position, the two differ by {by.late_s * 1e6:.2f} µs ({late[0]} is later than "
        f"{early[0]}), {length(by.metres)} of path, {by.sigmas:.1f} stated standard deviations"
    )
    if by.sigmas < _LARGE:
        return f"{said}: they agree with it."
    return (
        f"{said}. An echo, another signal or a wrong clock does that, and nothing says at which of the two."
    )


def _explained(detail: Detail, answer: Located) -> list[str]:
    """Which time the answer itself leaves unexplained."""
    rows = residuals.of(detail, answer)
    known = [(one.receiver, one.against_answer) for one in rows if one.against_answer and not one.left_out]
    if len(known) < _FIXING:
        return []  # two times fit everywhere on a line
    name, deviation = max(known, key=lambda item: abs(item[1].sigmas))
    if abs(deviation.sigmas) < _LARGE:
        which = "every arrival time" if len(known) == len(rows) else "the arrival times that it uses"
        return [f"The answer explains {which} within three stated standard deviations."]
    return [f"The answer explains the time of {name} least: it came {_residual(deviation)}."]


def _left_out(detail: Detail, answer: Located) -> list[str]:
    """Which times a method does not use, and why."""
    left = [f"{one.receiver} ({one.left_out})" for one in residuals.of(detail, answer) if one.left_out]
    method = f"{answer.method[0].upper()}{answer.method[1:]}"
    return [f"{method}: left out: {', '.join(left)}."] if left else []


def _residual(deviation: Deviation) -> str:
    way = "later" if deviation.late_s > 0 else "earlier"
    return (
        f"{abs(deviation.late_s) * 1e6:.2f} µs {way} than expected, {length(abs(deviation.metres))} of path, "
        f"{abs(deviation.sigmas):.1f} stated standard deviations"
    )


def _without_time(detail: Detail) -> list[str]:
    """Receivers that hear the signal and say nothing of its time."""
    by_reason: dict[str, list[Receiver]] = {}
    for one in detail.receivers:
        if one.detected and not one.delay_usable:
            by_reason.setdefault(no_time(one), []).append(one)
    return [f"{_names(ones)}: the signal is heard, but {reason}." for reason, ones in by_reason.items()]


def no_time(one: Receiver) -> str:
    """Why a receiver that hears the signal has no usable arrival time."""
    if one.time_left_out:
        return f"the start time is not used, because it {LEFT_OUT[one.time_left_out]}"
    if one.has_gps_time:
        return "the correlations with the others have no clear peak"
    return "the GPS time of the recording is not known"


def _without(detail: Detail) -> list[str]:
    """Receivers that do not hear the signal, or have no recording."""
    said = []
    silent = [one for one in detail.receivers if one.recorded and not one.detected]
    if silent:
        said.append(f"{_names(silent)}: there is a recording, and the signal is not heard in it.")
    said += [
        f"Receiver {_label(number, detail)}: a recording is in the quarantine and was not used ({why})."
        for number, why in detail.quarantined.items()
    ]
    missing = [one for one in detail.receivers if not one.recorded]
    absent = [one for one in missing if one.websdr_id in detail.observation.absent]
    silent = [one for one in missing if one not in absent]
    if absent:
        said.append(
            f"{_names(absent)}: there is no recording to use, and from that nothing is concluded, because it "
            "is in the quarantine or the receiver did not stand there then."
        )
    if silent:
        said.append(
            f"{_names(silent)}: there is no recording. The localizer takes such a receiver as one that hears "
            "nothing, which is wrong if it was switched off or its recording lost."
        )
    return said


def _label(number: int, detail: Detail) -> str:
    return next((one.label for one in detail.receivers if one.websdr_id == number), str(number))


def _names(receivers: Sequence[Receiver]) -> str:
    return ", ".join(one.label for one in receivers)
