"""Signal and noise in a spectrum: the noise density, and moments of the power above it."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import scipy.fft
import scipy.ndimage

from heimdall.signal.transforms import squared_magnitude

Float64 = npt.NDArray[np.float64]
Complex128 = npt.NDArray[np.complex128]

_NOISE_SEGMENT = 256  # samples at the lags' rate: 125 Hz at 32 kHz
_NOISE_QUANTILE = 0.1  # a signal may fill nine tenths of where noise is looked for
_SMOOTH_BINS = 15  # of about 1 Hz: the sidebands of slow Morse code are a few hertz apart


def noise_density(signal: Complex128, half_band: float) -> float:
    """Power that noise of the density found in the quiet parts of the band has if it fills all frequencies.

    Welch's method (Hann window, because the side lobes of a strong carrier would pass for noise), then the
    mean of the cells that are no higher than chance allows above the tenth percentile.

    Args:
        signal: Band-limited time series without the zeros before and after it, shape (n,).
        half_band: Half width of the band, cycles a sample.

    Returns:
        Mean power of a sample, above 0.
    """
    width = min(max(_NOISE_SEGMENT, math.ceil(16 / half_band)), len(signal))  # a narrow band has 28 cells
    window = np.array([0.5 - 0.5 * math.cos(2 * math.pi * k / width) for k in range(width)])
    segments = np.lib.stride_tricks.sliding_window_view(signal, width)[:: max(width // 2, 1)]
    density = np.add.reduce(squared_magnitude(scipy.fft.fft(segments * window, axis=1)), axis=0)
    # Two cells from the edge of the band, half of the window's main lobe hangs over it.
    inside = np.abs(scipy.fft.fftfreq(width)) <= half_band - 2 / width
    cells = np.sort(density[inside] if inside.any() else density)
    chance = 1 + 4 / math.sqrt(len(segments))
    quiet = cells[cells <= cells[int(_NOISE_QUANTILE * len(cells))] * chance]
    scale = len(segments) * float((window * window).sum())
    return max(float(quiet.mean()) / scale, np.finfo(np.float64).tiny)


def centre_hz(whitened: Complex128, rate_hz: float) -> float:
    """Centre of gravity of the power above noise, Hz; 0 if there is none."""
    weight, axis_hz = _above_noise(whitened, rate_hz)
    total = float(weight.sum())
    return float((weight * axis_hz).sum()) / total if total > 0 else 0.0


def spread_hz(whitened: Complex128, rate_hz: float) -> float:
    """Standard deviation of the frequency over the power above noise, Hz; infinite if there is none."""
    weight, axis_hz = _above_noise(whitened, rate_hz)
    total = float(weight.sum())
    if total <= 0:
        return math.inf
    offset_hz = axis_hz - float((weight * axis_hz).sum()) / total
    return math.sqrt(max(float((weight * offset_hz * offset_hz).sum()) / total, 0.0))


def _above_noise(whitened: Complex128, rate_hz: float) -> tuple[Float64, Float64]:
    """Power less noise of the bins where there is a signal, and their frequencies in Hz."""
    power = scipy.fft.fftshift(squared_magnitude(whitened))
    axis_hz = (np.arange(len(power)) - len(power) // 2) * (rate_hz / len(power))
    width = max(len(power) // _NOISE_SEGMENT, 1)
    cells = len(power) // width
    mean = power[: cells * width].reshape(cells, width).mean(axis=1)
    loud = np.repeat(mean > 1 + 4 / math.sqrt(width), width)
    return (power[: cells * width] - 1)[loud], axis_hz[: cells * width][loud]


def signal_share(whitened: Complex128) -> Float64:
    """Share of the signal in the power of each bin, by the mean of `_SMOOTH_BINS` bins around it.

    A correlation weighted by it is the best for delays (C. H. Knapp and G. C. Carter, "The generalized
    correlation method for estimation of time delay", IEEE Trans. ASSP 24, 1976, 320-327). For signals as wide
    as the band it hardly matters; the peak of a keyed carrier is moved by noise far from the carrier most.
    """
    mean = scipy.ndimage.uniform_filter1d(squared_magnitude(whitened), _SMOOTH_BINS, mode="wrap")
    surplus = np.where(mean > 1 + 4 / math.sqrt(_SMOOTH_BINS), mean - 1, 0.0)
    return np.asarray(surplus / (1 + surplus), np.float64)
