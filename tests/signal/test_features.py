"""MFCC, normalisation and augmentation of spectrograms."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torchaudio

from heimdall.core.errors import HeimdallError
from heimdall.signal.features import (
    augment_features,
    cepstral_envelope,
    compute_mfcc,
    feature_statistics,
    normalize_features,
)
from tests.signal.recordings import RATE_HZ, mel, noise, tone


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
        "from heimdall.signal.features import augment_features\n"
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


def test_augmentation_without_a_seed_differs_in_every_worker_and_epoch() -> None:
    class Pictures(torch.utils.data.Dataset[torch.Tensor]):
        def __len__(self) -> int:
            return 4

        def __getitem__(self, position: int) -> torch.Tensor:
            return torch.from_numpy(augment_features(np.arange(4096, dtype=np.float32).reshape(128, 32)))

    loader = torch.utils.data.DataLoader(Pictures(), batch_size=None, num_workers=2)
    seen = [picture.numpy().tobytes() for _ in range(2) for picture in loader]
    assert len(set(seen)) == 8


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
