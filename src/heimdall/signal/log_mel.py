"""Log-mel spectrogram of one recording, and the mel filter bank.

Of I, Q and magnitude, 128 bands, 32 frames.

The three channels are real signals, so their spectra are symmetric and a frequency +f and its mirror -f
fall into the same mel band. That is decided here once: the picture says what a signal sounds like and how
strong it is, and the sign of its carrier offset is kept beside it, in the session's `cfo_hz`.

Levels are absolute, in dB relative to full scale (dBFS): a tone of amplitude 1 in one channel, on the peak
of a mel band at least as wide as the window's main lobe, has its main line at 0 dB. To come to the scale of
torchaudio's `MelSpectrogram`, add 20 log10(sum(window) / 2), which is 60.2 dB at n_fft 4096.

The bytes do not depend on the CPU: pocketfft, element-wise float32 up to the power, then a sparse matrix and
log10 in float64. There is no BLAS product, whose order of summation depends on the machine.
"""

from __future__ import annotations

import math
import warnings
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import scipy.fft
import scipy.sparse

from heimdall.core.errors import HeimdallError
from heimdall.signal.features import cepstral_envelope

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

CHANNELS = 3  # I, Q, magnitude
FLOOR_POWER = 1e-15  # -150 dBFS: a bin's share of 16-bit quantisation noise is -131 dBFS at n_fft 4096


def iq_to_mel_spectrogram(  # noqa: PLR0917 - the specification's arguments
    iq_data: npt.NDArray[np.complexfloating],
    sample_rate: float = 192000.0,
    n_mels: int = 128,
    n_fft: int = 2048,
    hop_length: int = 512,
    f_min: float = 0.0,
    f_max: float | None = None,
) -> Float32:
    """Log-mel spectrogram of the magnitude |I + jQ|, a column a frame.

    The scale and the bands are those of `recording_features`, which the pipeline uses.

    Args:
        iq_data: Samples, shape (n,), full scale 1.
        sample_rate: Sample rate in Hz.
        n_mels: Number of mel bands.
        n_fft: Window length in samples. 2048 leaves four bands of 128 empty at 192 kHz, which a warning says.
        hop_length: Samples between frames.
        f_min: Lower edge of the first band, Hz.
        f_max: Upper edge of the last band, Hz; None for half the sample rate.

    Returns:
        Levels in dBFS, shape (n_mels, T) with T = 1 + n // hop_length: 376 of 192,000 samples.

    Raises:
        HeimdallError: As of `recording_features`.
        ValueError: As of `recording_features`.
    """
    magnitude = _channels(iq_data, n_fft)[2:]
    bands = mel_bank(sample_rate, n_mels, n_fft, f_min, f_max)
    picture: Float32 = _log_mel(magnitude, bands, n_fft, hop_length, frames=None)[0]
    return picture


def recording_features(
    iq: npt.NDArray[np.complexfloating],
    sample_rate_hz: float = 192000.0,
    *,
    n_mels: int = 128,
    n_fft: int = 4096,
    hop_length: int = 512,
    f_min: float = 0.0,
    f_max: float | None = None,
    frames: int = 32,
    n_mfcc: int | None = None,
) -> Float32:
    """Log-mel spectrogram of I, Q and magnitude, mean-pooled over the whole recording.

    The defaults are those of `features` in params.yaml. Hann window (periodic), frames centred on multiples
    of the hop with reflected ends, power, mean power of each of `frames` columns, mel bands, then 10 log10.
    Column i of `frames` is the mean of the T frames from floor(i T / frames) to ceil((i + 1) T / frames), as
    in adaptive average pooling.

    Args:
        iq: Samples, shape (n,), full scale 1.
        sample_rate_hz: Sample rate in Hz.
        n_mels: Number of mel bands.
        n_fft: Window length in samples.
        hop_length: Samples between frames.
        f_min: Lower edge of the first band, Hz.
        f_max: Upper edge of the last band, Hz; None for half the sample rate.
        frames: Number of columns.
        n_mfcc: Keep the envelope that so many MFCCs describe, see `cepstral_envelope`; None for all.

    Returns:
        Levels in dBFS, shape (3, n_mels, frames); without n_mfcc not below `10 log10(FLOOR_POWER)`.

    Raises:
        HeimdallError: The recording is shorter than n_fft // 2 + 1, or the bands reach beyond half the sample
            rate.
        ValueError: `iq` is not a one-dimensional complex array.
    """
    channels = _channels(iq, n_fft)
    bands = mel_bank(sample_rate_hz, n_mels, n_fft, f_min, f_max)
    picture = _log_mel(channels, bands, n_fft, hop_length, frames)
    return picture if n_mfcc is None else cepstral_envelope(picture, n_mfcc)


def _log_mel(
    channels: Float32,
    bands: scipy.sparse.csr_array[np.float64, tuple[int, int]],
    n_fft: int,
    hop_length: int,
    frames: int | None,
) -> Float32:
    """Levels (C, n_mels, frames) of channels (C, n), in dBFS; a column a frame where `frames` is None."""
    window = hann_window(n_fft)
    padded = _reflected(channels, n_fft // 2)
    framed = np.lib.stride_tricks.sliding_window_view(padded, n_fft, axis=1)[:, ::hop_length]  # (C, T, n_fft)
    count = framed.shape[1]
    columns = count if frames is None else frames
    pooled = np.empty((columns, len(channels), n_fft // 2 + 1))
    for column in range(columns):
        first, last = column * count // columns, -(-(column + 1) * count // columns)
        # One column's frames at a time stay in the cache.
        spectrum = scipy.fft.rfft(framed[:, first:last] * window).view(np.float32)
        np.multiply(spectrum, spectrum, out=spectrum)
        power = np.add.reduce(spectrum, axis=1)  # frame after frame, in this order
        pooled[column] = (power[:, 0::2] + power[:, 1::2]) / (last - first)
    full_scale = (math.fsum(window.tolist()) / 2) ** 2
    mel = (
        np.asarray(bands @ pooled.reshape(columns * len(channels), -1).T) / full_scale
    )  # (n_mels, columns * C)
    level_db = 10 * np.log10(np.maximum(mel, FLOOR_POWER))
    picture = level_db.reshape(-1, columns, len(channels)).transpose(2, 0, 1)
    return np.ascontiguousarray(picture, dtype=np.float32)


def _channels(iq: npt.NDArray[np.complexfloating], n_fft: int) -> Float32:
    """I, Q and magnitude, shape (3, n). The root of the sum of squares is exact everywhere; hypot is not."""
    if not isinstance(iq, np.ndarray) or iq.ndim != 1 or not np.iscomplexobj(iq):
        given = f"{iq.dtype} {iq.shape}" if isinstance(iq, np.ndarray) else type(iq).__name__
        raise ValueError(f"iq must be a complex array of shape (n,), as np.load reads it, not {given}")
    if len(iq) < n_fft // 2 + 1:
        cause = f"{len(iq)} samples are too few for features.n_fft {n_fft}"
        raise HeimdallError("recording", cause, "Lower features.n_fft")
    channels = np.empty((CHANNELS, len(iq)), np.float32)
    channels[0], channels[1] = iq.real, iq.imag
    channels[2] = np.sqrt(channels[0] * channels[0] + channels[1] * channels[1])
    return channels


def _reflected(channels: Float32, margin: int) -> Float32:
    """Continue (3, n) by its mirror image at both ends, without repeating the end itself."""
    head = channels[:, margin:0:-1]
    tail = channels[:, -2 : -margin - 2 : -1]
    return np.concatenate([head, channels, tail], axis=1)


@lru_cache(maxsize=8)
def hann_window(n_fft: int) -> Float32:
    """Periodic Hann window, shape (n_fft,), from the scalar cosine of the C library."""
    return np.array([0.5 - 0.5 * math.cos(2 * math.pi * k / n_fft) for k in range(n_fft)], np.float32)


def hz_to_mel(frequency_hz: float) -> float:
    """HTK mel scale: 2595 log10(1 + f / 700) (Young et al., The HTK Book, section 5.6)."""
    return 2595 * math.log10(1 + frequency_hz / 700)


def mel_to_hz(mel: float) -> float:
    """Inverse of `hz_to_mel`."""
    return 700 * (10 ** (mel / 2595) - 1)


@lru_cache(maxsize=64)
def mel_bank(
    sample_rate_hz: float, n_mels: int, n_fft: int, f_min: float, f_max: float | None
) -> scipy.sparse.csr_array[np.float64, tuple[int, int]]:
    """Triangular filters of height 1, equally spaced on the HTK mel scale.

    Filters that hold no FFT bin (n_fft too small for n_mels) stay empty; a warning says how many.

    Args:
        sample_rate_hz: Sample rate in Hz.
        n_mels: Number of filters.
        n_fft: FFT length.
        f_min: Lower edge of the first filter, Hz.
        f_max: Upper edge of the last filter, Hz; None for half the sample rate.

    Returns:
        Sparse matrix of shape (n_mels, n_fft // 2 + 1), float64.

    Raises:
        HeimdallError: f_max is above half the sample rate, or f_min is not below the upper edge.
    """
    nyquist_hz = sample_rate_hz / 2
    upper_hz = nyquist_hz if f_max is None else f_max
    if upper_hz > nyquist_hz:
        cause = f"{upper_hz:g} Hz is above half the recording's sample rate of {sample_rate_hz:g} Hz"
        raise HeimdallError("features.f_max", cause, "Lower it, or use null for half of each sample rate")
    if f_min >= upper_hz:
        cause = f"{f_min:g} Hz is not below the upper edge of {upper_hz:g} Hz"
        raise HeimdallError("features.f_min", cause, "Lower it")
    low, high = hz_to_mel(f_min), hz_to_mel(upper_hz)
    edges_hz = [mel_to_hz(low + (high - low) * k / (n_mels + 1)) for k in range(n_mels + 2)]
    bin_hz = sample_rate_hz / n_fft
    rows: list[int] = []
    columns: list[int] = []
    weights: list[float] = []
    for band in range(n_mels):
        left, centre, right = edges_hz[band : band + 3]
        for k in range(math.ceil(left / bin_hz), min(math.floor(right / bin_hz), n_fft // 2) + 1):
            frequency_hz = k * bin_hz
            weight = min((frequency_hz - left) / (centre - left), (right - frequency_hz) / (right - centre))
            if weight > 0:
                rows.append(band)
                columns.append(k)
                weights.append(weight)
    empty = n_mels - len(set(rows))
    if empty:
        # The text is the same for all recordings of about one rate, so that Python prints it once.
        text = (
            f"{empty} of {n_mels} mel filters are empty with n_fft {n_fft} at {sample_rate_hz / 1000:.0f} kHz"
        )
        warnings.warn(
            f"{text}: raise n_fft or lower n_mels (params.yaml, features)", UserWarning, stacklevel=3
        )
    return scipy.sparse.csr_array((weights, (rows, columns)), shape=(n_mels, n_fft // 2 + 1))
