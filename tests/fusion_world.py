"""A few simulated sessions as localization sees them, and an untrained fusion network."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
import torch

from heimdall import simulate
from heimdall.core import params
from heimdall.geometry.area import Area, Receivers
from heimdall.geometry.geo import TangentPlane
from heimdall.geometry.propagation import GROUND_ALTITUDE_M
from heimdall.network import fusion_net
from heimdall.network.fusion_net import FusionNet
from heimdall.network.tokens import Tokenizer, Tokens
from heimdall.pipeline.simulate import simulated
from heimdall.position import radio_map, received_power
from heimdall.signal.arrival import Observation, arrivals
from heimdall.signal.extraction import session_features
from heimdall.simulate.world import RECEIVERS
from tests import REPOSITORY

FEATURES = params.load(REPOSITORY / "params.yaml").features
SESSIONS = 8


@dataclass(frozen=True)
class FusionWorld:
    """Eight sessions of four transmitters, light multipath, and what they are seen with."""

    observations: list[Observation]
    truth_m: npt.NDArray[np.float64]
    receivers: Receivers
    tokenizer: Tokenizer

    @property
    def tokens(self) -> list[Tokens]:
        return [self.tokenizer.tokens(observation) for observation in self.observations]


@cache
def world() -> FusionWorld:
    """The world, made once (2 s)."""
    made = simulate.make_world(5, 4, "light")
    positions = {site.websdr_id: made.receiver_position_m[k] for k, site in enumerate(made.receivers)}
    receivers = Receivers(
        np.array([site.websdr_id for site in RECEIVERS], np.int32), made.receiver_position_m
    )
    plane = TangentPlane(
        float(np.mean([site.latitude_deg for site in RECEIVERS])),
        float(np.mean([site.longitude_deg for site in RECEIVERS])),
        GROUND_ALTITUDE_M,
    )
    found, truth = [], []
    for plan in simulate.sessions(made, SESSIONS):
        recordings = simulated.as_received(simulate.render(made, plan))
        session = session_features(recordings, positions, FEATURES)
        found.append(Observation(session, arrivals(session, FEATURES), plan.frequency_hz))
        sender = made.transmitters[plan.transmitter]
        truth.append(plane.to_local(sender.latitude_deg, sender.longitude_deg))
    truth_m = np.array(truth)
    law, area = received_power.fit(found, truth_m, receivers, plane), Area.around(receivers)
    radio = radio_map.fit(found, truth_m, receivers, plane, law=law, area=area)
    return FusionWorld(found, truth_m, receivers, Tokenizer(plane, area, law, radio, receivers))


def untrained() -> FusionNet:
    """A network whose heads say something at random, so that nothing in it goes unnoticed."""
    torch.manual_seed(3)
    network = fusion_net.create(world().tokenizer, world().tokens, dropout_rate=0.1)
    for head in (network.receiver_head, network.session_head):
        torch.nn.init.normal_(head.weight, std=0.2)
    return network.eval()
