"""What the numbers and names of a recording can be: a snapshot keeps no others, and files are read alike."""

from __future__ import annotations

MAX_WEBSDR_ID = 2**31 - 1
MAX_FREQUENCY_HZ = 1e12
# From the lowest frequencies that are transmitted on to the highest at which terrestrial receivers listen.
LOWEST_MHZ, HIGHEST_MHZ = 0.003, 3000.0
LATEST_GPS_NS = 4 * 10**18  # the year 2106, before 64 bits are full
MIN_TIMING_SIGMA_NS = 1.0  # no receiver's clock is better; who writes 0 does not know
MAX_TIMING_SIGMA_NS = 1e15
# Light crosses the largest network, 3000 km, in 10 ms: a start that is less certain says nothing of a place,
# and counts as none.
USEFUL_TIMING_SIGMA_NS = 1e7
MAX_NAME = 200  # characters of a receiver's name


def receiver_name(text: str) -> str | None:
    """The name with single spaces; None if it is empty, too long, or has characters that no one can read."""
    name = " ".join(text.split())
    return name if name.isprintable() and 0 < len(name) <= MAX_NAME else None


def frequency_fault(frequency_mhz: float) -> tuple[str, str] | None:
    """Why a number is no frequency in MHz, and which one is meant, or ""; None if it is one."""
    if LOWEST_MHZ <= frequency_mhz <= HIGHEST_MHZ:
        return None
    meant = [
        f"It looks like a frequency in {unit}: did you mean {frequency_mhz / factor:.12g}?"
        for unit, factor in (("kHz", 1e3), ("Hz", 1e6))
        if LOWEST_MHZ <= frequency_mhz / factor <= HIGHEST_MHZ
    ]
    cause = f"{frequency_mhz:.12g} MHz is not between {LOWEST_MHZ:g} and {HIGHEST_MHZ:g} MHz"
    return cause, meant[0] if meant else ""
