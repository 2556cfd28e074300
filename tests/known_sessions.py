"""Sessions of a made-up network with known geometry, and an untrained fusion network: for tests."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch

from heimdall.core.randomness import generator
from heimdall.geometry.area import Area, Receivers
from heimdall.geometry.geo import TangentPlane
from heimdall.geometry.propagation import GROUND_ALTITUDE_M, SPEED_OF_LIGHT_M_S, distances_m
from heimdall.network import fusion_net
from heimdall.network.fusion_net import FusionNet
from heimdall.network.tokens import SHAPE, Tokenizer, Tokens
from heimdall.pipeline.export.graphs import Graph, session_graph
from heimdall.pipeline.export.onnx_file import onnx_bytes
from heimdall.position.radio_map import RadioMap
from heimdall.position.received_power import PowerModel
from heimdall.signal.arrival import Arrivals, Observation
from heimdall.signal.sessions import SessionFeatures
from tests import tiny_features
from tests.feature_world import RECORD

PLANE = TangentPlane(tiny_features.LATITUDE_DEG, tiny_features.LONGITUDE_DEG, GROUND_ALTITUDE_M)
RECEIVERS = Receivers(
    websdr_id=np.arange(1, 6, dtype=np.int32),
    position_m=np.array(
        [
            [-60e3, -40e3, 200.0],
            [55e3, -45e3, 150.0],
            [-50e3, 50e3, 1200.0],
            [60e3, 40e3, 300.0],
            [0, 5e3, 250.0],
        ]
    ),
)
POWER = PowerModel(
    websdr_id=(1, 2, 3, 4, 5),
    gain_db=(15.0, 12.0, 20.0, 15.0, 10.0),
    slope=3.5,
    loss_db_per_km=0.1,
    uhf_offset_db=-5.0,
    shadow_sigma_db=8.0,
    power_sigma_db=6.0,
    squelch_db=-3.0,
)
RADIO = RadioMap(
    law=POWER,
    receiver_m=tuple(tuple(place) for place in RECEIVERS.position_m.tolist()),
    offset_db=(3.0, 3.0, 3.0, 3.0, 3.0),
    centre_m=((0.0, 0.0), (20e3, 20e3)),
    width_m=16e3,
    terrain_db=((1.0, -1.0), (0.0, 2.0), (0.0, 0.0), (-2.0, 0.0), (0.0, 1.0)),
    clear_sigma_db=8.0,
    blocked_sigma_db=12.0,
    blocked_loss_db=14.0,
    blocked_share=0.25,
    power_scale_db=6.0,
)
TOKENIZER = Tokenizer(PLANE, Area.around(RECEIVERS), POWER, RADIO, RECEIVERS)
SESSIONS = 10
OPSET = 18


def observation(number: int, heard: int) -> tuple[Observation, np.ndarray[Any, np.dtype[np.float64]]]:
    """A session that the first `heard` receivers recorded, and where its transmitter is, metres, (2,)."""
    random = generator(1, "known sessions", number)
    truth_m = random.uniform(-40e3, 40e3, 2)
    place_m = RECEIVERS.position_m[:heard]
    delay_s = distances_m(truth_m, place_m, PLANE) / SPEED_OF_LIGHT_M_S + random.normal(0, 1e-7, heard)
    features = SessionFeatures(
        mel=(-70 + 5 * random.standard_normal((heard, 3, 128, 32))).astype(np.float16),
        websdr_id=RECEIVERS.websdr_id[:heard],
        energy_db=np.full(heard, -60, np.float32),
        snr_db=random.uniform(5, 40, heard).astype(np.float32),
        gate=np.full(heard, 100, np.float32),
        cfo_hz=random.uniform(-100, 100, heard),
        timing_sigma_s=np.full(heard, 5e-8),
        delay_s=np.full(heard, np.nan),
        delay_sigma_s=np.full(heard, np.nan),
        rms_bandwidth_hz=np.zeros(heard),
        position_enu_m=place_m,
        detected=np.ones(heard, np.uint8),
        pair=np.zeros((0, 2), np.int32),
        xcorr=np.zeros((0, 65), np.complex64),
    )
    shape = random.uniform(-1, 1, (heard, SHAPE))
    information_s2 = np.full(heard, 1e14 if heard > 1 else 0.0)
    times = Arrivals.without_echoes(delay_s - delay_s[0], information_s2, 2e3, shape)
    return Observation(features, times, 145e6), truth_m


@cache
def sessions() -> tuple[list[Tokens], np.ndarray[Any, np.dtype[np.float64]]]:
    """`SESSIONS` sessions of one to five receivers, and their true positions, degrees, (n, 2)."""
    found = [observation(number, 1 + number % 5) for number in range(SESSIONS)]
    truth_m = np.stack([truth for _, truth in found])
    truth_deg = np.stack(PLANE.to_degrees(truth_m[:, 0], truth_m[:, 1]), -1)
    return [TOKENIZER.tokens(item) for item, _ in found], truth_deg


@cache
def network() -> FusionNet:
    """A network whose random heads make it distrust some receivers."""
    torch.manual_seed(2)
    made = fusion_net.create(TOKENIZER, sessions()[0], dropout_rate=0.2)
    for head in (made.receiver_head, made.session_head):
        torch.nn.init.normal_(head.weight, std=0.1)
    return made.eval()


@cache
def graph() -> Graph:
    """The graph of `network`."""
    return session_graph(network(), RECEIVERS)


@cache
def exported() -> bytes:
    """The ONNX file of `graph`; the export of some 5,000 operators takes seconds."""
    return onnx_bytes(graph(), RECORD, OPSET)
