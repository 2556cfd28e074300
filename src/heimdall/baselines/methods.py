"""The names of the methods without learning, in the order of tables."""

from __future__ import annotations

from typing import Literal, get_args

Method = Literal["mean_position", "received_power", "time_of_arrival", "direct_position", "combined"]
METHODS: tuple[Method, ...] = get_args(Method)
