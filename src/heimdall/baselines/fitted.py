"""What the baselines know: of the network, and from the training split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from heimdall.baselines.delays import ErrorLaw
from heimdall.geometry.area import Area, Receivers
from heimdall.geometry.geo import TangentPlane
from heimdall.position.received_power import PowerModel
from heimdall.position.receiver_delays import Delays

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Tuned:
    """What the training split tells: numbers that JSON can hold.

    Attributes:
        mean_m: Mean position of the training transmitters, metres.
        covariance_m2: Their covariance, square metres, by rows.
        margin_m: How far beyond the receivers' hull a transmitter is looked for, metres.
        reach_m: How far beyond the hull transmitters become rarer by a factor of four, metres.
        levels: The received-power model.
        delays: What receivers add to arrival times.
        times: The errors of arrival times without that.
        direct_inflation: By what the squared deviations of the direct position are divided.
    """

    mean_m: tuple[float, float]
    covariance_m2: tuple[tuple[float, float], tuple[float, float]]
    margin_m: float
    reach_m: float
    levels: PowerModel
    delays: Delays
    times: ErrorLaw
    direct_inflation: float

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Tuned:
        """What `dataclasses.asdict` made, after it went through JSON.

        Raises:
            KeyError: A value is missing.
            TypeError: A value is of another form.
            ValueError: The same.
        """
        east_m, north_m = map(float, values["mean_m"])
        (a, b), (c, d) = (map(float, row) for row in values["covariance_m2"])
        return cls(
            mean_m=(east_m, north_m),
            covariance_m2=((a, b), (c, d)),
            margin_m=float(values["margin_m"]),
            reach_m=float(values["reach_m"]),
            levels=PowerModel.from_dict(values["levels"]),
            delays=Delays.from_dict(values["delays"]),
            times=ErrorLaw(**values["times"]),
            direct_inflation=float(values["direct_inflation"]),
        )


@dataclass(frozen=True)
class Baselines:
    """Everything that the baselines know.

    Attributes:
        receivers: All receivers of the network.
        plane: Of the positions.
        area: Where a transmitter is looked for.
        rate_hz: Lags a second of the correlations, Hz.
        tuned: What the training split tells.
    """

    receivers: Receivers
    plane: TangentPlane
    area: Area
    rate_hz: float
    tuned: Tuned

    @classmethod
    def of(cls, tuned: Tuned, receivers: Receivers, plane: TangentPlane, rate_hz: float) -> Baselines:
        """The baselines of a network; the arguments are those of `baselines.fit`."""
        area = replace(Area.around(receivers), margin_m=tuned.margin_m, reach_m=tuned.reach_m)
        return cls(receivers, plane, area, rate_hz, tuned)
