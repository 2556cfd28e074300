"""Noise, tones and their log-mel, for the tests of spectrograms and features."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from heimdall.core.randomness import generator
from heimdall.signal.log_mel import recording_features

RATE_HZ = 192000


def mel(
    iq: npt.NDArray[np.complexfloating],
    rate_hz: float = RATE_HZ,
    *,
    n_mels: int = 128,
    n_fft: int = 4096,
    hop_length: int = 512,
    f_min: float = 0.0,
    f_max: float | None = None,
    frames: int = 32,
) -> npt.NDArray[np.float32]:
    return recording_features(
        iq,
        rate_hz,
        n_mels=n_mels,
        n_fft=n_fft,
        hop_length=hop_length,
        f_min=f_min,
        f_max=f_max,
        frames=frames,
    )


def noise(samples: int, seed: int = 0) -> npt.NDArray[np.complex64]:
    random = generator(seed, "test.noise")
    return (0.01 * (random.standard_normal(samples) + 1j * random.standard_normal(samples))).astype(
        np.complex64
    )


def tone(frequency_hz: float, samples: int = RATE_HZ // 4) -> npt.NDArray[np.complex128]:
    return np.exp(2j * np.pi * frequency_hz * np.arange(samples) / RATE_HZ)
