"""Log-mel against torchaudio, and what a picture must keep."""

from __future__ import annotations

import inspect
import math
import warnings
from dataclasses import asdict

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torchaudio

from heimdall.core import params
from heimdall.core.errors import HeimdallError
from heimdall.signal import log_mel
from heimdall.signal.features import (
    cepstral_envelope,
    compute_mfcc,
)
from heimdall.signal.log_mel import iq_to_mel_spectrogram, recording_features
from tests.signal.recordings import RATE_HZ, mel, noise, tone


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
