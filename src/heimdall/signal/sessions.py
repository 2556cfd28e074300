"""The features of one session, all its receivers, and many sessions in one file.

A file is a safetensors container without metadata, laid out as docs/architecture.md says; the same sessions
give the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy

from heimdall.core import remedies

_PER_RECORDING: dict[str, type[np.generic]] = {
    "mel": np.float16,
    "websdr_id": np.int32,
    "energy_db": np.float32,
    "snr_db": np.float32,
    "gate": np.float32,
    "cfo_hz": np.float64,
    "timing_sigma_s": np.float64,
    "delay_s": np.float64,
    "delay_sigma_s": np.float64,
    "rms_bandwidth_hz": np.float64,
    "position_enu_m": np.float64,
    "detected": np.uint8,
}
_DTYPES = _PER_RECORDING | {
    "session_start": np.int64,
    "pair": np.int32,
    "pair_start": np.int64,
    "xcorr": np.float32,
}
_RANKS = {"mel": 4, "position_enu_m": 2, "pair": 2, "xcorr": 3}  # all others: 1


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


def pack(sessions: Sequence[SessionFeatures]) -> bytes:
    """Bytes of one file of sessions.

    Args:
        sessions: At least one, all with the same numbers of bands, frames and lags.

    Returns:
        A safetensors container.

    Raises:
        ValueError: There is no session, or the shapes do not go together.
    """
    first_row = _starts([len(item.websdr_id) for item in sessions])
    tensors = {
        name: np.concatenate([getattr(item, name) for item in sessions]).astype(dtype, copy=False)
        for name, dtype in _PER_RECORDING.items()
    }
    tensors["session_start"] = first_row
    tensors["pair"] = np.concatenate(
        [item.pair + np.int32(row) for item, row in zip(sessions, first_row[:-1], strict=True)]
    )
    tensors["pair_start"] = _starts([len(item.pair) for item in sessions])
    xcorr = np.ascontiguousarray(np.concatenate([item.xcorr for item in sessions]), np.complex64)
    tensors["xcorr"] = np.stack([xcorr.real, xcorr.imag], axis=-1)
    return safetensors.numpy.save({name: np.ascontiguousarray(tensors[name]) for name in sorted(tensors)})


def _starts(counts: Sequence[int]) -> npt.NDArray[np.int64]:
    """Where each item begins, and where the last ends."""
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def unpack(path: Path) -> list[SessionFeatures]:
    """Read a file of sessions.

    Args:
        path: A file that holds what `pack` returned.

    Returns:
        The sessions, in their order.

    Raises:
        HeimdallError: The file is missing, damaged, or holds something else.
    """
    try:
        tensors = safetensors.numpy.load(path.read_bytes())
        _check(tensors)
    except (safetensors.SafetensorError, KeyError, OSError, TypeError, ValueError) as error:
        raise remedies.of_output(path, error, "no file of session features") from None
    xcorr = tensors["xcorr"].view(np.complex64)[..., 0]
    rows, pairs = tensors["session_start"].tolist(), tensors["pair_start"].tolist()
    return [
        SessionFeatures(
            **{name: tensors[name][rows[k] : rows[k + 1]] for name in _PER_RECORDING},
            pair=tensors["pair"][pairs[k] : pairs[k + 1]] - np.int32(rows[k]),
            xcorr=xcorr[pairs[k] : pairs[k + 1]],
        )
        for k in range(len(rows) - 1)
    ]


def _check(tensors: Mapping[str, npt.NDArray[np.generic]]) -> None:
    """Raise ValueError, with the reason, unless the tensors are those of a file of sessions."""
    if set(tensors) != set(_DTYPES):
        raise ValueError(f"wrong tensors: {sorted(set(tensors) ^ set(_DTYPES))}")
    for name, dtype in _DTYPES.items():
        if tensors[name].dtype != dtype:
            raise ValueError(f"{name} is {tensors[name].dtype}, not {np.dtype(dtype)}")
        if tensors[name].ndim != _RANKS.get(name, 1):
            raise ValueError(f"{name} has shape {tensors[name].shape}")
    shapes = {name: tensors[name].shape for name in tensors}
    rows, pairs = shapes["websdr_id"][0], shapes["pair"][0]
    if (
        any(shapes[name][0] != rows for name in _PER_RECORDING)
        or shapes["mel"][1] != 3
        or shapes["position_enu_m"][1] != 3
        or shapes["pair"][1] != 2
        or shapes["xcorr"][0] != pairs
        or shapes["xcorr"][2] != 2
        or shapes["session_start"] != shapes["pair_start"]
    ):
        raise ValueError(f"shapes do not go together: {dict(sorted(shapes.items()))}")
    for name, total in (("session_start", rows), ("pair_start", pairs)):
        start = tensors[name].astype(np.int64)
        if len(start) < 2 or start[0] != 0 or start[-1] != total or (np.diff(start) < 0).any():
            raise ValueError(f"{name} does not divide {total} rows")
    pair, rows_of = tensors["pair"].astype(np.int64), tensors["session_start"].astype(np.int64)
    edges = tensors["pair_start"].astype(np.int64)
    owner = np.repeat(np.arange(len(edges) - 1), edges[1:] - edges[:-1])
    if (pair < rows_of[owner, None]).any() or (pair >= rows_of[owner + 1, None]).any():
        raise ValueError("a pair reaches beyond its session")
