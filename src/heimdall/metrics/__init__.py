"""How good positions are: errors in metres, accuracy, calibration, coverage, bootstrap intervals.

Imports `core`, `geometry` and `position`.
"""

__all__ = ["metrics"]
