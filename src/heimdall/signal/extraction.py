"""From the recordings of a session to its features: log-mel and delay of each, correlation of pairs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from heimdall.core.params import FeatureParams
from heimdall.signal import arrival_times
from heimdall.signal.coherence import correlate_coherent, sigma_of
from heimdall.signal.correlation import Recording
from heimdall.signal.log_mel import recording_features
from heimdall.signal.sessions import SessionFeatures


def session_features(
    recordings: Sequence[Recording],
    position_enu_m: Mapping[int, npt.NDArray[np.float64]],
    params: FeatureParams,
) -> SessionFeatures:
    """Compute everything that later stages know of a session.

    Args:
        recordings: The session's recordings, at least one, in the order in which they are to be stored.
        position_enu_m: East, north and up in metres, shape (3,), by receiver.
        params: The parameters of the features.

    Returns:
        The session.

    Raises:
        HeimdallError: A recording is too short for the parameters, or a frequency lies above half of its
            sample rate.
        ValueError: There is no recording.
        KeyError: A receiver has no position.
    """
    position_m = np.array([position_enu_m[item.websdr_id] for item in recordings], np.float64)
    found = correlate_coherent(recordings, position_m, params)
    timed = [
        item if kept else replace(item, start_gps_ns=None)
        for item, kept in zip(recordings, found.timed, strict=True)
    ]
    times = arrival_times.measure(timed, position_m)
    mel = [
        recording_features(
            item.iq,
            item.sample_rate_hz,
            n_mels=params.n_mels,
            n_fft=params.n_fft,
            hop_length=params.hop_length,
            f_min=params.f_min,
            f_max=params.f_max,
            frames=params.frames,
            n_mfcc=params.n_mfcc,
        )
        for item in recordings
    ]
    sigma_s = [
        sigma_of(item.timing_sigma_ns) if timed else math.inf
        for item, timed in zip(recordings, found.timed, strict=True)
    ]
    return SessionFeatures(
        mel=np.array(mel, np.float16),
        websdr_id=np.array([item.websdr_id for item in recordings], np.int32),
        energy_db=found.energy_db.astype(np.float32),
        snr_db=found.snr_db.astype(np.float32),
        gate=found.gate.astype(np.float32),
        cfo_hz=found.cfo_hz,
        timing_sigma_s=np.array(sigma_s, np.float64),
        delay_s=times.delay_s,
        delay_sigma_s=times.sigma_s,
        rms_bandwidth_hz=np.full(len(recordings), times.rms_bandwidth_hz),
        position_enu_m=position_m,
        detected=found.detected.astype(np.uint8),
        pair=found.pair,
        xcorr=found.xcorr.astype(np.complex64),
    )
