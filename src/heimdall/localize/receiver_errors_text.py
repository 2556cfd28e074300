"""What `heimdall receivers FILE...` found, as lines of text."""

from __future__ import annotations

import math

from heimdall.core.table import lines as aligned
from heimdall.multilateration.receiver_errors import TELLING, Measured, ReceiverError
from heimdall.multilateration.receiver_fit import PLACE_SIGMA_M, UNTOLD_SCATTER

STANDS_OUT = 4.0  # standard deviations
UNKNOWN = "unknown"  # where what the events say is hardly surer than what is believed without them
_HEADINGS = (
    "receiver",
    "events",
    "wrong",
    "offset, ns",
    "",
    "scatter, ns",
    "east, m",
    "north, m",
    "up, m",
    "",
)
TOO_FEW = (
    "Too few times to spare: an event tells more than its place only if four receivers or more have it, and "
    "each receiver needs several such events. Give more files"
)
_KNOWN = ", or the transmitters' places if they are known: by --transmitter, or by --known those of a table"


def text(measured: Measured) -> str:
    """A line for each receiver, with stars beside what stands out, and sentences of what it means."""
    if not measured.errors:
        return f"No event has three arrival times.\n{TOO_FEW}.\n"
    rows = [
        (
            error.receiver,
            str(error.events),
            str(error.wrong),
            _value(error.offset_s * 1e9, error.offset_uncertainty_s * 1e9)
            if math.isfinite(error.remaining_s)
            else UNKNOWN,
            "*" if is_offset(error) else "",
            _scatter(error.sigma_s * 1e9, error.sigma_uncertainty_s * 1e9),
            _place(error.east_m, error.east_uncertainty_m),
            _place(error.north_m, error.north_uncertainty_m),
            "*" if is_elsewhere(error) else "",
            _place(error.up_m, error.up_uncertainty_m),
        )
        for error in measured.errors
    ]
    return "\n".join([*aligned(_HEADINGS, rows, "lrrrlrrrlr"), *_sentences(measured), ""])


def is_offset(error: ReceiverError) -> bool:
    """Whether its times are early or late beyond doubt."""
    return abs(error.offset_s) > STANDS_OUT * error.offset_uncertainty_s


def is_elsewhere(error: ReceiverError) -> bool:
    """Whether it stands elsewhere beyond doubt."""
    return (
        abs(error.east_m) > STANDS_OUT * error.east_uncertainty_m
        or abs(error.north_m) > STANDS_OUT * error.north_uncertainty_m
    )


def _sentences(measured: Measured) -> list[str]:
    counted = f"{measured.events} event{'' if measured.events == 1 else 's'}"
    found = [
        f"Measured in {counted}. Offsets count from their median, for only differences between receivers "
        "are known; +- is 2 sigma."
    ]
    if all(math.isnan(error.sigma_s) for error in measured.errors):
        return [*found, f"{TOO_FEW}{'' if math.isfinite(measured.known_sigma_m) else _KNOWN}."]
    if math.isfinite(measured.known_sigma_m):
        scatter = f"{measured.known_sigma_m:.0f} m, east or north"
        found.append(f"The known places scatter by {scatter}, about those that the times say.")
    wrong = [error.receiver for error in measured.errors if error.wrong > error.events / 2]
    untold = [error.receiver for error in measured.errors if math.isinf(error.remaining_s)]
    for error in measured.errors:
        if error.receiver not in wrong and is_offset(error):
            when = "late" if error.offset_s > 0 else "early"
            found.append(f"Receiver {error.receiver} is {abs(error.offset_s) * 1e9:.0f} ns {when}.")
        if is_elsewhere(error):
            shift = f"{error.east_m:+.0f} m to the east and {error.north_m:+.0f} m to the north"
            found.append(f"Receiver {error.receiver} is {shift} of its position in the file.")
    if wrong:
        found.append(f"Most times of {', '.join(wrong)} fit no place. Check position and clock.")
    if untold:
        found.append(f"The events tell nothing of the offset of {', '.join(untold)}.")
    return found


def _value(value: float, sigma: float) -> str:
    return f"{value:+.0f} +- {2 * sigma:.0f}"


def _scatter(value: float, sigma: float) -> str:
    told = sigma**2 <= TELLING * (UNTOLD_SCATTER * value) ** 2
    return f"{value:.0f} +- {2 * sigma:.0f}" if told else UNKNOWN


def _place(value: float, sigma: float) -> str:
    return _value(value, sigma) if sigma**2 <= TELLING * PLACE_SIGMA_M**2 else UNKNOWN
