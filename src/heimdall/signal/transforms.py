"""Spectra and time series: chirp transform, shifts in time and frequency, sums at many lags."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import scipy.fft
import scipy.ndimage

Float64 = npt.NDArray[np.float64]
Complex128 = npt.NDArray[np.complex128]


def chirp_transform(samples: Complex128, half: int, step: float) -> Complex128:
    """sum_n x_n exp(-2 pi i k n step) for k = -half .. half, by k n = (k^2 + n^2 - (k - n)^2) / 2.

    Bluestein's algorithm: IEEE Trans. Audio Electroacoustics 18 (1970), 451-455.

    Args:
        samples: Shape (n,).
        half: Largest k.
        step: Cycles a sample.

    Returns:
        Shape (2 half + 1,).
    """
    count = len(samples)
    index = np.arange(-half - count, half + count + 1, dtype=np.int64)
    phase = np.exp(1j * np.pi * np.remainder(index.astype(np.float64) ** 2 * step, 2.0))
    zero = half + count  # where index is 0
    size = scipy.fft.next_fast_len(count + 2 * half)
    left = scipy.fft.fft(samples * phase[zero : zero + count].conj(), size)
    # Chirp over k - n from -half - count + 1 to half, its first value at place 0.
    right = scipy.fft.fft(phase[zero - half - count + 1 : zero + half + 1], size)
    product = scipy.fft.ifft(left * right)[count - 1 : count + 2 * half]
    return np.asarray(product * phase[zero - half : zero + half + 1].conj(), np.complex128)


def squared_magnitude(values: Complex128) -> Float64:
    """|x|^2 without hypot, whose last bit depends on the CPU."""
    return np.asarray(values.real * values.real + values.imag * values.imag, np.float64)


def blocks(series: npt.NDArray[np.complexfloating], length: int) -> npt.NDArray[np.complexfloating]:
    """Blocks of `length` samples as columns, so that a sum over a block goes element by element."""
    count = len(series) // length
    return np.ascontiguousarray(series[: count * length].reshape(count, length).T)


def phase_ramp(cycles_per_sample: float, size: int) -> Complex128:
    """exp(2 pi i f n), shape (size,), as the product of a coarse and a fine table: it costs a tenth."""
    width = math.isqrt(size) + 1
    fine = np.exp(2j * np.pi * cycles_per_sample * np.arange(width))
    coarse = np.exp(2j * np.pi * cycles_per_sample * np.arange(0, size, width))
    return np.asarray((coarse[:, None] * fine).reshape(-1)[:size], np.complex128)


def delay_ramp(samples: float, size: int) -> Complex128:
    """What multiplies an FFT, shape (size,), to delay its signal by `samples`."""
    turn = phase_ramp(-samples / size, (size + 1) // 2)
    return np.concatenate([turn, phase_ramp(samples / size, size - len(turn) + 1)[:0:-1]])


def lag_window(product: Complex128, lags: int) -> Complex128:
    """Sums over the bins of a cross spectrum, which is spent, at the lags -lags .. lags: (2 lags + 1,)."""
    correlation = scipy.fft.ifft(product, overwrite_x=True)
    return np.concatenate([correlation[len(correlation) - lags :], correlation[: lags + 1]]) * len(product)
