"""From the recordings of a session to what an exported fusion network takes, by what its file says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from heimdall.core import remedies
from heimdall.core.errors import HeimdallError
from heimdall.core.params import UNCALIBRATED, CalibrationParams, FeatureParams
from heimdall.geometry.area import Area, Receivers
from heimdall.geometry.geo import TangentPlane
from heimdall.network.filters import Filters
from heimdall.network.tokens import Tokenizer
from heimdall.position.radio_map import RadioMap
from heimdall.position.received_power import PowerModel
from heimdall.signal.arrival import Observation, arrivals
from heimdall.signal.correlation import Recording
from heimdall.signal.extraction import session_features


@dataclass(frozen=True, eq=False)
class Preprocessing:
    """How a network's inputs are made.

    Attributes:
        features: Parameters of the features that it was trained with.
        calibration: What is taken off receivers.
        tokenizer: What makes the tokens.
    """

    features: FeatureParams
    calibration: CalibrationParams
    tokenizer: Tokenizer

    @classmethod
    def of(cls, metadata: Mapping[str, Any], subject: str) -> Preprocessing:
        """As an ONNX file of the kind "fusion" says.

        Args:
            metadata: Of the file.
            subject: The file, for the message.

        Raises:
            HeimdallError: The file does not say.
        """
        try:
            stored = metadata["preprocessing"]
            receivers = stored["receivers"]
            tokenizer = Tokenizer(
                TangentPlane(**stored["plane"]),
                Area.from_dict(stored["area"]),
                PowerModel.from_dict(stored["power"]),
                RadioMap.from_dict(stored["radio"]),
                Receivers(
                    np.array(receivers["websdr_id"], np.int32), np.array(receivers["position_m"], np.float64)
                ),
                Filters.from_dict(stored["filters"]),
            )
            chosen = metadata["params"]
            calibration = chosen.get("calibration", asdict(UNCALIBRATED))  # files before it was there
            return cls(FeatureParams(**chosen["features"]), CalibrationParams(**calibration), tokenizer)
        except (KeyError, TypeError, ValueError) as error:
            cause = f"it does not say how its inputs are made ({error!r})"
            raise HeimdallError(subject, cause, remedies.MODEL) from None

    def observation(self, recordings: Sequence[Recording], frequency_hz: float) -> Observation:
        """What a session's recordings say.

        Args:
            recordings: At least one, each of another receiver of the network.
            frequency_hz: Tuned frequency, Hz.

        Returns:
            The session, in the order of the recordings.

        Raises:
            HeimdallError: A receiver is unknown, or a recording is too short for the parameters.
        """
        receivers = self.tokenizer.receivers
        known = dict(zip(receivers.websdr_id.tolist(), receivers.position_m, strict=True))
        for item in recordings:
            if item.websdr_id not in known:
                cause = f"it is none of the network's ({', '.join(map(str, sorted(known)))})"
                remedy = "Leave it out, or export a model that was trained with it"
                raise HeimdallError(f"receiver {item.websdr_id}", cause, remedy)
        session = session_features([self._calibrated(item) for item in recordings], known, self.features)
        duration_s = min(len(item.iq) / item.sample_rate_hz for item in recordings)
        seen = arrivals(session, self.features, duration_s)
        return Observation(session, seen, frequency_hz, duration_s=duration_s)

    def _calibrated(self, recording: Recording) -> Recording:
        stamped_ns = recording.start_gps_ns
        if stamped_ns is None:
            return recording
        start_gps_ns = self.calibration.start_gps_ns(recording.websdr_id, stamped_ns)
        return replace(recording, start_gps_ns=start_gps_ns)
