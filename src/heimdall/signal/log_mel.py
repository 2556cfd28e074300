"""Log-mel spectrogram of one recording, the mel filter bank, MFCC, normalisation and augmentation.

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
from collections.abc import Iterable
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import scipy.fft
import scipy.sparse

from heimdall.core.errors import HeimdallError
from heimdall.core.randomness import generator

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

CHANNELS = 3  # I, Q, magnitude
FLOOR_POWER = 1e-15  # -150 dBFS: a bin's share of 16-bit quantisation noise is -131 dBFS at n_fft 4096
DROPOUT_BLOCK = (8, 4)  # bands and frames that are dropped together

_UNSEEDED = generator(0, "augmentation without a seed")


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


def compute_mfcc(mel_spectrogram: npt.NDArray[np.floating], n_mfcc: int = 13) -> Float32:
    """Mel-frequency cepstral coefficients: orthonormal DCT-II over the bands (Davis and Mermelstein, 1980).

    Args:
        mel_spectrogram: Levels in dB, shape (..., n_mels, T).
        n_mfcc: How many coefficients to keep.

    Returns:
        Coefficients, shape (..., n_mfcc, T), float32.

    Raises:
        ValueError: n_mfcc is below 1 or above the number of bands, or the spectrogram has not two axes.
    """
    if mel_spectrogram.ndim < 2:
        raise ValueError(f"a spectrogram has the shape (..., n_mels, T), not {mel_spectrogram.shape}")
    bands = mel_spectrogram.shape[-2]
    if not 1 <= n_mfcc <= bands:
        raise ValueError(f"n_mfcc must be between 1 and {bands}, not {n_mfcc}")
    cepstrum = scipy.fft.dct(mel_spectrogram.astype(np.float64), type=2, norm="ortho", axis=-2)
    return np.ascontiguousarray(cepstrum[..., :n_mfcc, :], dtype=np.float32)


def feature_statistics(features: Iterable[npt.NDArray[np.floating]]) -> tuple[Float64, Float64]:
    """Mean and standard deviation of each channel over many recordings.

    Sums over recordings are exact, so the result does not depend on their order.

    Args:
        features: Arrays of shape (C, n_mels, frames), such as those of the training split.

    Returns:
        Mean and standard deviation, each of shape (C,), float64, in the unit of the features.

    Raises:
        HeimdallError: There is no recording, or a channel has the same value everywhere.
    """
    sums: list[list[float]] = []
    squares: list[list[float]] = []
    count = 0
    for feature in features:
        rows = feature.astype(np.float64).reshape(len(feature), -1)
        sums.append(rows.sum(axis=1).tolist())
        squares.append((rows * rows).sum(axis=1).tolist())
        count += rows.shape[1]
    if not count:
        raise HeimdallError("features", "no recording to take statistics of", "Check the split's members")
    mean = np.array([math.fsum(column) / count for column in zip(*sums, strict=True)])
    mean_square = np.array([math.fsum(column) / count for column in zip(*squares, strict=True)])
    variance = mean_square - mean * mean
    # What is left of two equal numbers after rounding is no variation.
    if (variance <= 1e-12 * mean_square).any():
        raise HeimdallError("features", "a channel has the same value everywhere", "Check the recordings")
    return mean, np.sqrt(variance)


def normalize_features(
    features: npt.NDArray[np.floating],
    mean: npt.NDArray[np.floating] | None = None,
    std: npt.NDArray[np.floating] | None = None,
) -> tuple[Float32, Float64, Float64]:
    """Subtract each channel's mean and divide by its standard deviation.

    A model has the statistics of its training split, the same for every recording, so that differences of
    level between recordings remain. Without them they are taken of the features that are given.

    Args:
        features: Shape (..., C, n_mels, frames); or (n_mels, T), which is one channel.
        mean: Shape (C,), or any other that broadcasts with the features; None to measure both.
        std: The same, above 0; None to measure both.

    Returns:
        The features, of the shape given, float32; and the mean and the standard deviation that were used,
        float64, of shape (C,) where they were measured.

    Raises:
        ValueError: Only one of `mean` and `std` is given, or `std` is not above 0.
        HeimdallError: They are to be measured, and a channel has the same value everywhere.
    """
    if mean is None and std is None:
        channels = features.shape[-3] if features.ndim > 2 else 1
        found_mean, found_std = feature_statistics(features.reshape(-1, channels, *features.shape[-2:]))
    elif mean is not None and std is not None:
        found_mean, found_std = np.asarray(mean, np.float64), np.asarray(std, np.float64)
    else:
        raise ValueError("give both mean and std, or neither")
    if not (found_std > 0).all():
        raise ValueError(f"std must be above 0, not {found_std}")
    centred = features - _along_channels(found_mean)
    normalised = (centred / _along_channels(found_std)).reshape(features.shape)
    return np.asarray(normalised, np.float32), found_mean, found_std


def _along_channels(statistic: Float64) -> Float64:
    """A statistic of each channel (C,) beside (C, n_mels, frames); any other shape as it is."""
    return statistic[:, None, None] if statistic.ndim == 1 else statistic


def augment_features(
    features: npt.NDArray[np.floating],
    dropout_rate: float = 0.1,
    shift_max: int = 5,
    scale_min: float = 0.95,
    scale_max: float = 1.05,
    *,
    level_max_db: float = 0.0,
    seed: int | None = None,
    epoch: int = 0,
    index: int = 0,
) -> Float32:
    """A varied copy for training: scale, level, circular shift in time, and blocks lost to silence.

    All channels vary alike. A block of `DROPOUT_BLOCK` bands and frames is lost with probability
    `dropout_rate`; it takes the quietest value of its channel. A scale suits normalised features; of
    levels in dB the same is done by `level_max_db`. With a seed the result depends on the arguments alone,
    so it is made anew in each epoch and never cached. Without one, the calls of a process draw one after
    the other from one generator, which begins alike in every process.

    Args:
        features: Shape (..., n_mels, frames), normalised or in dB.
        dropout_rate: Probability of losing a block, 0 to 1.
        shift_max: Largest shift in frames, either way.
        scale_min: Smallest factor of the features.
        scale_max: Largest factor of the features.
        level_max_db: Largest change of level, either way: a number that is added to all features.
        seed: The user's seed.
        epoch: Number of the epoch.
        index: Number of the sample.

    Returns:
        A new array of the same shape, float32.

    Raises:
        ValueError: An argument is out of range.
    """
    if not (0 <= dropout_rate <= 1 and shift_max >= 0 and scale_min <= scale_max and level_max_db >= 0):
        raise ValueError(
            f"no augmentation: dropout_rate {dropout_rate}, shift_max {shift_max}, scale {scale_min} to "
            f"{scale_max}, level_max_db {level_max_db}"
        )
    random = _UNSEEDED if seed is None else generator(seed, "augmentation", epoch, index)
    gain_db = level_max_db * (2 * random.random() - 1)
    shift = int(random.integers(-shift_max, shift_max + 1))
    bands, frames = features.shape[-2:]
    high, wide = DROPOUT_BLOCK
    lost = random.random((-(-bands // high), -(-frames // wide))) < dropout_rate
    lost = lost.repeat(high, axis=0).repeat(wide, axis=1)[:bands, :frames]
    scale = scale_min + (scale_max - scale_min) * random.random()
    varied = np.roll(np.asarray(features, np.float32), shift, axis=-1) * np.float32(scale) + np.float32(
        gain_db
    )
    return np.where(lost, varied.min(axis=(-2, -1), keepdims=True), varied)


def cepstral_envelope(mel_db: npt.NDArray[np.floating], n_mfcc: int) -> Float32:
    """The log-mel that the first `n_mfcc` cepstral coefficients describe: its envelope along the bands.

    The coefficients of `compute_mfcc` and the inverse DCT of them, the others 0 (liftering): a one-to-one
    linear image of the MFCCs in the shape of the log-mel, so that the same networks take it.

    Args:
        mel_db: Levels in dB, shape (..., n_mels, T).
        n_mfcc: How many coefficients to keep.

    Returns:
        Levels in dB, of the shape given, float32.

    Raises:
        ValueError: n_mfcc is below 1 or above the number of bands, or the spectrogram has not two axes.
    """
    bands = mel_db.shape[-2]
    if not 1 <= n_mfcc <= bands:
        raise ValueError(f"n_mfcc must be between 1 and {bands}, not {n_mfcc}")
    cepstrum = scipy.fft.dct(mel_db.astype(np.float64), type=2, norm="ortho", axis=-2)
    cepstrum[..., n_mfcc:, :] = 0
    return np.asarray(scipy.fft.idct(cepstrum, type=2, norm="ortho", axis=-2), np.float32)
