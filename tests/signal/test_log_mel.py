"""Log-mel against torchaudio, and what a picture must keep."""

from __future__ import annotations

import inspect
import math
import subprocess
import sys
import warnings
from dataclasses import asdict

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torchaudio

from heimdall.core import params
from heimdall.core.errors import HeimdallError
from heimdall.core.randomness import generator
from heimdall.signal import log_mel
from heimdall.signal.log_mel import (
    augment_features,
    cepstral_envelope,
    compute_mfcc,
    feature_statistics,
    iq_to_mel_spectrogram,
    normalize_features,
    recording_features,
)

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


def oracle(
    iq: npt.NDArray[np.complexfloating],
    rate_hz: int,
    *,
    n_mels: int,
    n_fft: int,
    hop_length: int,
    frames: int,
) -> npt.NDArray[np.float64]:
    """Mean power of torchaudio's mel bands in float64, in dB of this package's scale."""
    channels = torch.from_numpy(np.stack([iq.real, iq.imag, np.abs(iq)])).double()
    transform = torchaudio.transforms.MelSpectrogram(
        rate_hz, n_fft, hop_length=hop_length, n_mels=n_mels, mel_scale="htk", norm=None, power=2.0
    ).double()
    pooled = torch.nn.functional.adaptive_avg_pool1d(transform(channels), frames).numpy()
    return 10 * np.log10(pooled) - 20 * math.log10(n_fft / 4)


@pytest.mark.parametrize(
    ("rate_hz", "samples", "shape"),
    [
        (192000, 192000, {"n_fft": 4096, "hop_length": 512, "n_mels": 128, "frames": 32}),
        (192000, 20001, {"n_fft": 4096, "hop_length": 1000, "n_mels": 128, "frames": 32}),  # 21 frames
        (12000, 12000, {"n_fft": 1024, "hop_length": 256, "n_mels": 64, "frames": 7}),
    ],
)
def test_agrees_with_torchaudio(rate_hz: int, samples: int, shape: dict[str, int]) -> None:
    iq = noise(samples) + (0.5 * tone(25_000, samples)).astype(np.complex64)
    ours = mel(iq, rate_hz, **shape)
    assert ours.dtype == np.float32
    assert ours.shape == (3, shape["n_mels"], shape["frames"])
    difference_db = np.abs(ours - oracle(iq, rate_hz, **shape))
    assert difference_db.max() < 0.005  # float32 FFT here; the largest is 0.002, far below a strong tone


@pytest.mark.parametrize("frequency_hz", [5_000.0, 20_000.0, 80_000.0])
def test_tone_lands_in_its_band_at_full_scale(frequency_hz: float) -> None:
    picture = mel(tone(frequency_hz))
    step = log_mel.hz_to_mel(RATE_HZ / 2) / 129
    for channel in (0, 1):
        band = int(picture[channel, :, 16].argmax())
        assert log_mel.mel_to_hz(band * step) < frequency_hz < log_mel.mel_to_hz((band + 2) * step)
        assert -3 < picture[channel, band, 16] < 2


def test_both_halves_of_the_spectrum_fold_together() -> None:
    assert mel(tone(30_000)) == pytest.approx(mel(tone(-30_000)), abs=1e-3)


def test_magnitude_sees_the_envelope() -> None:
    keyed = tone(60_000) * (1 + 0.5 * np.cos(2 * np.pi * 9_000 * np.arange(RATE_HZ // 4) / RATE_HZ))
    picture = mel(keyed, f_min=1000)
    step = (log_mel.hz_to_mel(RATE_HZ / 2) - log_mel.hz_to_mel(1000)) / 129
    expected = (log_mel.hz_to_mel(9_000) - log_mel.hz_to_mel(1000)) / step - 1
    assert abs(picture[2, :, 16].argmax() - expected) < 1.5


def test_power_is_pooled_before_the_logarithm() -> None:
    burst = noise(RATE_HZ)
    burst[: RATE_HZ // 2] *= np.float32(1e-3)
    column = mel(burst, frames=1)[0, 64:, 0].mean()
    full = mel(noise(RATE_HZ), frames=1)[0, 64:, 0].mean()
    assert full - column == pytest.approx(3.0, abs=0.2)  # half of the power; mean of logarithms: 30 dB


def test_level_is_kept() -> None:
    louder = mel(10 * noise(20000)) - mel(noise(20000))
    assert louder == pytest.approx(20, abs=1e-3)


def test_silence_is_the_floor() -> None:
    assert mel(np.zeros(20000, np.complex64)) == pytest.approx(-150)


def test_single_and_double_precision_input_give_the_same() -> None:
    iq = noise(20000)
    assert mel(iq).tobytes() == mel(iq.astype(np.complex128)).tobytes()


def test_empty_filters_are_counted_once() -> None:
    log_mel.mel_bank.cache_clear()
    with pytest.warns(UserWarning, match="^4 of 128 mel filters are empty with n_fft 2048 at 192 kHz"):
        mel(noise(20000), n_fft=2048)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mel(noise(20000), n_fft=2048)
        mel(noise(20000))


def test_bands_beyond_half_the_rate_are_refused() -> None:
    with pytest.raises(HeimdallError, match=r"features\.f_max: 96001 Hz is above half"):
        mel(noise(20000), f_max=96001)
    with pytest.raises(HeimdallError, match=r"features\.f_min: 6000 Hz is not below"):
        mel(noise(20000), 12000, f_min=6000)


def test_short_recording_and_real_samples_are_refused() -> None:
    with pytest.raises(HeimdallError, match="2048 samples are too few"):
        mel(noise(2048))
    assert mel(noise(2049)).shape == (3, 128, 32)
    with pytest.raises(ValueError, match="complex"):
        mel(noise(5000).real)


def test_mfcc_agrees_with_torchaudio() -> None:
    picture = mel(noise(20000))
    dct = torchaudio.functional.create_dct(40, 128, norm="ortho").double().numpy()  # (128, 40)
    expected = np.einsum("cmt,mk->ckt", picture.astype(np.float64), dct)
    ours = compute_mfcc(picture, 40)
    assert ours.shape == (3, 40, 32)
    assert ours.dtype == np.float32
    assert np.abs(ours - expected).max() < 1e-3  # of about 1000; the oracle's matrix is float32
    assert compute_mfcc(picture[2]).tobytes() == ours[2, :13].tobytes()
    with pytest.raises(ValueError, match="between 1 and 128"):
        compute_mfcc(picture, 129)


def test_the_specifications_spectrogram_has_a_column_a_frame() -> None:
    iq = noise(RATE_HZ)
    with pytest.warns(UserWarning, match="4 of 128 mel filters are empty"):
        log_mel.mel_bank.cache_clear()
        plain = iq_to_mel_spectrogram(iq)
    assert plain.shape == (128, 376)
    assert plain.dtype == np.float32
    # Of the magnitude, and pooled it is what the pipeline has: powers are, levels are not.
    ours = iq_to_mel_spectrogram(iq, 192000.0, n_fft=4096)
    power = torch.from_numpy(10 ** (ours.astype(np.float64) / 10))
    pooled = 10 * torch.log10(torch.nn.functional.adaptive_avg_pool1d(power, 32)).numpy()
    assert np.abs(pooled - mel(iq)[2]).max() < 1e-4


def test_statistics_do_not_depend_on_the_order() -> None:
    pictures = [mel(noise(20000, seed) * np.float32(seed + 1)) for seed in range(5)]
    mean, std = feature_statistics(pictures)
    stacked = np.array(pictures, np.float64)
    assert mean == pytest.approx(stacked.mean(axis=(0, 2, 3)))
    assert std == pytest.approx(stacked.std(axis=(0, 2, 3)))
    again = feature_statistics(reversed(pictures))
    assert (mean.tobytes(), std.tobytes()) == (again[0].tobytes(), again[1].tobytes())


def test_normalisation_keeps_differences_of_level() -> None:
    quiet, loud = mel(noise(20000)), mel(10 * noise(20000))
    mean, std = feature_statistics([quiet, loud])
    both, *used = normalize_features(np.stack([quiet, loud]), mean, std)
    assert (used[0] == mean).all() and (used[1] == std).all()
    assert both.dtype == np.float32
    assert both.mean(axis=(0, 2, 3)) == pytest.approx(0, abs=1e-5)
    assert both.std(axis=(0, 2, 3)) == pytest.approx(1, abs=1e-5)
    assert (both[1] - both[0]).mean(axis=(1, 2)) == pytest.approx(20 / std, rel=1e-3)


def test_statistics_that_are_not_given_are_measured() -> None:
    picture = mel(noise(20000))
    for features in (picture, picture[2], np.stack([picture, picture + 10])):
        normalised, mean, std = normalize_features(features)
        assert normalised.shape == features.shape
        assert normalised.mean() == pytest.approx(0, abs=1e-4)
        assert normalised.std() == pytest.approx(1, abs=1e-4)
        again, _, _ = normalize_features(features, mean, std)
        assert again.tobytes() == normalised.tobytes()
    with pytest.raises(ValueError, match="both mean and std"):
        normalize_features(picture, np.zeros(3))
    with pytest.raises(ValueError, match="std must be above 0"):
        normalize_features(picture, np.zeros(3), np.zeros(3))


def test_statistics_of_nothing_are_refused() -> None:
    with pytest.raises(HeimdallError, match="no recording"):
        feature_statistics([])
    with pytest.raises(HeimdallError, match="same value everywhere"):
        feature_statistics([np.full((3, 128, 32), -149.9, np.float32)] * 3)


def test_augmentation_depends_on_seed_epoch_and_sample_alone() -> None:
    picture = mel(noise(20000))
    before = picture.tobytes()

    def varied(seed: int, epoch: int, index: int) -> bytes:
        return augment_features(picture, seed=seed, epoch=epoch, index=index).tobytes()

    first = varied(1, 2, 3)
    assert first == varied(1, 2, 3)
    assert len({first, varied(9, 2, 3), varied(1, 9, 3), varied(1, 2, 9)}) == 4
    assert picture.tobytes() == before


def test_augmentation_does_what_it_says() -> None:
    picture = mel(noise(20000))

    def varied(
        index: int, dropout: float = 0, shift: int = 0, scale: float = 0, level_db: float = 0
    ) -> npt.NDArray[np.float32]:
        return augment_features(
            picture, dropout, shift, 1 - scale, 1 + scale, level_max_db=level_db, seed=0, index=index
        )

    assert varied(0).dtype == np.float32
    assert varied(0).tobytes() == picture.tobytes()
    gains = [float((varied(k, level_db=3) - picture).mean()) for k in range(50)]
    assert -3 <= min(gains) < -2
    assert 2 < max(gains) <= 3
    shifts = {
        next(s for s in range(-4, 5) if (varied(k, shift=4) == np.roll(picture, s, axis=2)).all())
        for k in range(60)
    }
    assert shifts == set(range(-4, 5))
    factors = [float((varied(k, scale=0.05) / picture).mean()) for k in range(50)]
    assert 0.95 <= min(factors) < 0.96
    assert 1.04 < max(factors) <= 1.05
    lost = np.array([varied(k, dropout=0.1) != picture for k in range(50)])
    assert lost.mean() == pytest.approx(0.1, abs=0.03)
    silent = varied(0, dropout=1)
    assert (silent == picture.min(axis=(1, 2), keepdims=True)).all()


def test_augmentation_without_a_seed_begins_alike_in_every_process() -> None:
    script = (
        "import numpy as np, hashlib\n"
        "from heimdall.signal.log_mel import augment_features\n"
        "plain = np.arange(128 * 32, dtype=np.float32).reshape(128, 32)\n"
        "print(*(hashlib.md5(augment_features(plain).tobytes()).hexdigest() for _ in range(2)))"
    )
    runs = [
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]
    assert runs[0] == runs[1]
    first, second = runs[0].split()
    assert first != second


def test_impossible_augmentation_is_refused() -> None:
    for wrong in ({"dropout_rate": 1.5}, {"shift_max": -1}, {"scale_min": 1.1}, {"level_max_db": -1.0}):
        with pytest.raises(ValueError, match="no augmentation"):
            augment_features(np.zeros((3, 128, 32)), **wrong)  # type: ignore[arg-type]


def test_the_cepstral_envelope_is_the_image_of_the_kept_mfccs() -> None:
    picture = mel(noise(RATE_HZ // 4) + tone(20_000).astype(np.complex64))
    np.testing.assert_allclose(cepstral_envelope(picture, 128), picture, atol=1e-4)
    envelope = cepstral_envelope(picture, 13)
    assert (envelope.shape, envelope.dtype) == (picture.shape, np.float32)
    coefficients = compute_mfcc(envelope, 128)
    np.testing.assert_allclose(coefficients[:, :13], compute_mfcc(picture, 13), atol=1e-3)
    np.testing.assert_allclose(coefficients[:, 13:], 0, atol=1e-3)
    with pytest.raises(ValueError, match="n_mfcc must be between 1 and 128, not 129"):
        cepstral_envelope(picture, 129)


def test_features_of_n_mfcc_are_the_envelope_and_without_it_the_log_mel() -> None:
    given = {"n_mels": 64, "n_fft": 4096, "hop_length": 512, "f_min": 0.0, "f_max": None}
    iq = noise(RATE_HZ // 4)
    plain = log_mel.recording_features(iq, RATE_HZ, **given)  # type: ignore[arg-type]
    assert (log_mel.recording_features(iq, RATE_HZ, **given, n_mfcc=None) == plain).all()  # type: ignore[arg-type]
    kept = log_mel.recording_features(iq, RATE_HZ, **given, n_mfcc=13)  # type: ignore[arg-type]
    assert (kept == cepstral_envelope(plain, 13)).all()


def test_what_is_no_recording_and_no_spectrogram_is_said() -> None:
    with pytest.raises(ValueError, match=r"complex array of shape \(n,\), as np\.load reads it, not str"):
        iq_to_mel_spectrogram("websdr_1.npy")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"the shape \(\.\.\., n_mels, T\), not \(20000,\)"):
        compute_mfcc(np.zeros(20000))


def test_recording_features_are_by_default_those_of_params_yaml() -> None:
    committed = asdict(params.load().features)
    given = inspect.signature(recording_features).parameters
    defaults = {name: one.default for name, one in given.items() if name in committed}
    assert defaults == {
        name: value for name, value in committed.items() if not name.startswith("correlation")
    }
