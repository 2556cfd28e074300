"""What a trained model says of recordings that were located without it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from heimdall.core.errors import HeimdallError
from heimdall.geometry import geo
from heimdall.inference.onnx_model import OnnxLocalizer, session_inputs
from heimdall.inference.preprocessing import Preprocessing
from heimdall.localize import events, prediction
from heimdall.localize.answer import Beside
from heimdall.localize.events import Cut
from heimdall.multilateration.fix import Place

SAME_RECEIVER_M = 100.0  # horizontally: maps and phones differ, and antennas stand beside houses


def of_seconds(model: Path, cuts: Sequence[Cut], frequency_hz: float) -> list[Beside]:
    """A fusion model's answer for each second. It knows the receivers of its own network alone.

    Args:
        model: An ONNX file of the kind "fusion".
        cuts: The seconds.
        frequency_hz: Tuned frequency.

    Raises:
        HeimdallError: The file is none, or a recording does not suit it.
    """
    localizer = OnnxLocalizer.open(model)
    if localizer.kind != "fusion":
        cause = "it locates single recordings, and no second of several receivers"
        raise HeimdallError(str(model), cause, "Export a model of the kind fusion, or leave --model out")
    return [_of_second(model, localizer, cut, frequency_hz) for cut in cuts]


def _of_second(model: Path, localizer: OnnxLocalizer, cut: Cut, frequency_hz: float) -> Beside:
    preprocessing = Preprocessing.of(localizer.metadata, str(model))
    tokenizer = preprocessing.tokenizer
    recordings = []
    for stretch, recording in events.recordings(cut, frequency_hz):
        site = stretch.site
        where = (site.latitude_deg, site.longitude_deg, site.altitude_m)
        here_m = geo.enu_m(*where, tokenizer.plane.latitude_deg, tokenizer.plane.longitude_deg)
        away_m = np.hypot(*(tokenizer.receivers.position_m - here_m)[:, :2].T)
        nearest = int(np.argmin(away_m))
        if away_m[nearest] < SAME_RECEIVER_M:
            recordings.append(replace(recording, websdr_id=int(tokenizer.receivers.websdr_id[nearest])))
    known = len({one.websdr_id for one in recordings})
    of_all = f"{known} of the {len(cut.parts)} receivers are of its network"
    if known < 2 or known < len(recordings) or math.isnan(frequency_hz):
        why = "nothing says the frequency" if math.isnan(frequency_hz) else f"{of_all}, which has others"
        return Beside(model.name, None, why)
    observation = preprocessing.observation(recordings, frequency_hz)
    if not (observation.session.detected > 0).any():
        return Beside(model.name, None, "it hears no signal")
    answer = localizer.answer([session_inputs([tokenizer.tokens(observation)])])
    (latitude_deg, longitude_deg), covariance_m2 = answer["positions"][0].tolist(), answer["covariance"][0]
    weight = prediction.places(answer)[0].weight
    place = Place(latitude_deg, longitude_deg, tokenizer.plane.altitude_m, 0.0, covariance_m2, weight)
    remark = f"of the second {cut.name}" + (f"; {of_all}" if known < len(cut.parts) else "")
    return Beside(model.name, place, remark)
