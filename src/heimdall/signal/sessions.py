"""The features of one session, all its receivers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class SessionFeatures:
    """R recordings of one transmission and their P = R (R - 1) / 2 pairs.

    Attributes:
        mel: Log-mel levels, dBFS, shape (R, 3, n_mels, frames), float16.
        websdr_id: Receivers, shape (R,), int32.
        energy_db: Power within the correlation band, dBFS, shape (R,), float32.
        snr_db: Signal to noise within that band, dB, shape (R,), float32.
        gate: Detection statistic T (see `heimdall.signal.correlation.correlate`), shape (R,), float32.
        cfo_hz: Carrier offset from the tuned frequency, Hz, shape (R,), float64.
        timing_sigma_s: Standard deviation of the start time, seconds, shape (R,), float64; inf without GPS
            time.
        delay_s: When the signal came, less than when it came to one of the receivers, seconds, shape (R,),
            float64; nan where its recording and the others do not say it (see
            `heimdall.signal.arrival_times.measure`).
        delay_sigma_s: Standard deviation of that by what the recordings hold, without the clock, seconds,
            shape (R,), float64; nan where there is no delay.
        rms_bandwidth_hz: Rms bandwidth of what the delays rest on, Hz, shape (R,), float64, alike in all; 0
            without delays.
        position_enu_m: East, north and up of the receivers, metres, shape (R, 3), float64.
        detected: The receiver hears the signal, shape (R,), uint8, 0 or 1.
        pair: Rows (a, b) of this session, a < b, shape (P, 2), int32.
        xcorr: Correlation of noise-whitened recordings at lags around 0, shape (P, lags), complex64; the peak
            is at delay of a - delay of b (see `heimdall.signal.correlation.Correlation`).
    """

    mel: npt.NDArray[np.float16]
    websdr_id: npt.NDArray[np.int32]
    energy_db: npt.NDArray[np.float32]
    snr_db: npt.NDArray[np.float32]
    gate: npt.NDArray[np.float32]
    cfo_hz: npt.NDArray[np.float64]
    timing_sigma_s: npt.NDArray[np.float64]
    delay_s: npt.NDArray[np.float64]
    delay_sigma_s: npt.NDArray[np.float64]
    rms_bandwidth_hz: npt.NDArray[np.float64]
    position_enu_m: npt.NDArray[np.float64]
    detected: npt.NDArray[np.uint8]
    pair: npt.NDArray[np.int32]
    xcorr: npt.NDArray[np.complex64]
