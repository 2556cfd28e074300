"""Numbers that others wrote as text."""

from __future__ import annotations

import sys
from decimal import Decimal, InvalidOperation

_MAX_DIGITS = 30


def whole_number(text: str | None) -> int:
    """A whole number, also as pandas writes it where its column is one of floats: 3.0, 1.4e+18.

    Such a float has 53 bits: GPS times are then rounded to 256 ns, and nobody can tell whether one was. So
    none above 2^53 is taken.

    Raises:
        ValueError: It is none, or may have lost digits.
    """
    said = str(text).strip()
    try:
        value = Decimal("" if "_" in said else said)  # Python's own digits are nobody else's
    except InvalidOperation:
        raise ValueError(f"{said[:40]!r} is no number") from None
    if not value.is_finite() or value.adjusted() > _MAX_DIGITS or value != value.to_integral_value():
        raise ValueError(f"{said[:40]!r} is no whole number")
    is_float = not said.lstrip("+-").isdecimal()
    if is_float and abs(value) > 2**sys.float_info.mant_dig:
        remedy = 'write whole numbers, in pandas table.astype({"start_gps_ns": "int64"})'
        raise ValueError(f"{said[:40]} is a float, which loses nanoseconds: {remedy}")
    return int(value)
