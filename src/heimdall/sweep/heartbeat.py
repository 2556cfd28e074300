"""By which signs of life a study knows that a worker is still there."""

from __future__ import annotations

INTERVAL_S = 30  # unless --heartbeat-s says otherwise
GRACE = 4  # intervals without a sign, after which a worker is lost
