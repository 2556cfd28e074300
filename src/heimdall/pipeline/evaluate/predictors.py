"""The names of what is evaluated, as they stand in metrics/eval_full.json."""

from __future__ import annotations

from heimdall.baselines.methods import METHODS, Method

LOCALIZER = "localizer"
UNCALIBRATED = "localizer_uncalibrated"
RECEIVED_POWER: Method = "received_power"
PREDICTORS: tuple[str, ...] = (LOCALIZER, *METHODS)
