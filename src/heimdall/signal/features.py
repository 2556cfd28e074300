"""What becomes of log-mel spectrograms as features: MFCC, normalisation, augmentation.

Sums over recordings are exact and everything else is element-wise or pocketfft, so the bytes depend neither
on the CPU nor on an order.
"""

from __future__ import annotations

import math
import multiprocessing
from collections.abc import Iterable
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import scipy.fft

from heimdall.core.errors import HeimdallError
from heimdall.core.randomness import generator

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

DROPOUT_BLOCK = (8, 4)  # bands and frames that are dropped together


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
        raise HeimdallError(
            "features",
            "no recording to take statistics of",
            "Give at least one recording; of a split, choose one that has members",
        )
    mean = np.array([math.fsum(column) / count for column in zip(*sums, strict=True)])
    mean_square = np.array([math.fsum(column) / count for column in zip(*squares, strict=True)])
    variance = mean_square - mean * mean
    # What is left of two equal numbers after rounding is no variation.
    if (variance <= 1e-12 * mean_square).any():
        raise HeimdallError(
            "features",
            "a channel has the same value everywhere",
            "Leave out recordings that hold nothing, such as zeros",
        )
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
        mean: Shape (C,), or one of two or more axes that broadcasts with the features; None to measure both.
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
    so it is made anew in each epoch and never cached. Without one, the calls of a process draw one after the
    other from a generator of that process's name: the workers of a data loader vary differently, those of
    the next epoch, too, and a program that is run again draws the same.

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
    random = (
        _unseeded(multiprocessing.current_process().name)
        if seed is None
        else generator(seed, "augmentation", epoch, index)
    )
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


@lru_cache(maxsize=1)
def _unseeded(process: str) -> np.random.Generator:
    """The generator of a process, by its name: a worker that was forked has its own."""
    return generator(0, f"augmentation without a seed, {process}")


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
