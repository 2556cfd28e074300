"""What the baselines know, from the training split."""

from __future__ import annotations

from dataclasses import dataclass

from heimdall.geometry.area import Area, Receivers
from heimdall.geometry.geo import TangentPlane
from heimdall.position.received_power import PowerModel


@dataclass(frozen=True)
class Timing:
    """How far the delays of a method are to be trusted.

    Attributes:
        excess_sigma_s: Standard deviation of the delays beyond noise and clock (multipath), seconds.
        inflation: By what the covariance that follows is multiplied.
    """

    excess_sigma_s: float
    inflation: float


@dataclass(frozen=True)
class Baselines:
    """Everything that the baselines know, from the training split.

    Attributes:
        receivers: All receivers of the network.
        plane: Of the positions.
        area: Where a transmitter is looked for.
        rate_hz: Lags a second of the correlations, Hz.
        mean_m: Mean position of the training transmitters, metres.
        covariance_m2: Their covariance, square metres, by rows.
        levels: The received-power model.
        arrival: Tuning of the time of arrival.
        direct: Tuning of the direct position.
    """

    receivers: Receivers
    plane: TangentPlane
    area: Area
    rate_hz: float
    mean_m: tuple[float, float]
    covariance_m2: tuple[tuple[float, float], tuple[float, float]]
    levels: PowerModel
    arrival: Timing
    direct: Timing
