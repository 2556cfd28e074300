"""Transmitters that move, with echoes: they fade, and are no two transmissions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from heimdall.core.randomness import generator
from heimdall.signal import arrival_times
from heimdall.signal.arrival_times import SEVERAL, measure
from heimdall.signal.correlation import Recording
from tests.signal.test_arrival_times import POSITION_M, heard, noise_like

Float64 = npt.NDArray[np.float64]
Complex128 = npt.NDArray[np.complex128]
TIME_S = np.arange(15000) / 12e3


def moving(random: np.random.Generator, sent: Complex128, delay_s: Float64, noise: float) -> list[Recording]:
    """Each receiver has an echo of its own, 0.2 to 1 us late and 4 dB weaker, which turns by up to 15 Hz.

    At two of them it turns alike, as by one hill.
    """
    found = heard(sent, 12e3, delay_s, noise, random)
    shift_hz = random.uniform(5.0, 15.0) * np.array([1.0, 1.0, -1.0, 0.6])
    for row, direct in enumerate(found):
        late_s = delay_s[row : row + 1] + random.uniform(0.2e-6, 1e-6)
        echo = heard(sent, 12e3, late_s, 0.0, random)[0].iq
        turn = np.exp(2j * np.pi * shift_hz[row] * np.arange(len(echo)) / 12e3)
        found[row] = replace(direct, iq=(direct.iq + 0.63 * turn * echo).astype(np.complex64))
    return found


def test_a_moving_transmitter_with_echoes_has_its_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """At three receivers, where their coherences are those of two; times are as good as they say."""
    random = generator(1, "test.fading")
    scatter, sigma_s, refused = [], [], 0
    for _ in range(8):
        delay_s = random.uniform(0.0, 200e-6, 3)
        given = moving(random, noise_like(random, 12e3, 3000.0), delay_s, 0.1)
        found = measure(given, POSITION_M[:3])
        assert found.reason == ("", "", "")
        weight = found.sigma_s**-2
        error_s = found.delay_s - delay_s
        error_s -= (error_s * weight).sum() / weight.sum()
        scatter.append((error_s * error_s * weight).sum() / 2)
        sigma_s.extend(found.sigma_s)
        with monkeypatch.context() as patched:
            patched.setattr(arrival_times, "_LEAST_STEADY", 4)
            refused += SEVERAL in measure(given, POSITION_M[:3]).reason
    assert refused == 8
    assert np.sqrt(np.mean(scatter)) < 1.5
    assert np.max(sigma_s) < 2e-6


def test_fading_does_not_widen_the_times_of_four(monkeypatch: pytest.MonkeyPatch) -> None:
    """There it may look like a weak second transmission, whose share of the power makes times uncertain."""
    random = generator(4, "test.fading")
    scatter, narrower = [], []
    for _ in range(8):
        delay_s = random.uniform(0.0, 200e-6, 4)
        given = moving(random, noise_like(random, 12e3, 3000.0), delay_s, 0.1)
        found = measure(given, POSITION_M)
        weight = found.sigma_s**-2
        error_s = found.delay_s - delay_s
        error_s -= (error_s * weight).sum() / weight.sum()
        scatter.append((error_s * error_s * weight).sum() / 3)
        with monkeypatch.context() as patched:
            patched.setattr(arrival_times, "_LEAST_STEADY", 5)
            before = measure(given, POSITION_M)
        narrower.append(np.median(found.sigma_s / before.sigma_s) if np.isfinite(before.sigma_s).all() else 0)
    assert np.sqrt(np.mean(scatter)) < 1.5
    assert np.median(narrower) < 0.5


def test_a_weak_second_transmission_still_widens_them(monkeypatch: pytest.MonkeyPatch) -> None:
    random = generator(5, "test.fading")
    for _ in range(4):
        one, other = (
            heard(noise_like(random, 12e3, 3000.0), 12e3, random.uniform(0.0, 200e-6, 4), noise, random)
            for noise in (0.1, 0.0)
        )
        given = [replace(a, iq=a.iq + np.float32(0.4) * b.iq) for a, b in zip(one, other, strict=True)]
        found = measure(given, POSITION_M)
        with monkeypatch.context() as patched:
            patched.setattr(arrival_times, "_LEAST_STEADY", 5)
            before = measure(given, POSITION_M)
        np.testing.assert_array_equal(found.sigma_s, before.sigma_s)
        assert np.max(found.sigma_s) > 2e-6


def test_two_that_alternate_as_fast_as_fading_do_not_claim_too_much() -> None:
    """The second, 10 dB weaker, passes for fading."""
    random = generator(8, "test.fading")
    first = np.cos(np.pi * 16.7 * TIME_S) ** 2
    scatter = []
    for _ in range(8):
        delays_s = random.uniform(0.0, 200e-6, (2, 4))
        one, other = (
            heard(breath(random) * envelope, 12e3, delay_s, noise, random)
            for envelope, delay_s, noise in zip((first, 1 - first), delays_s, (0.03, 0.0), strict=True)
        )
        given = [replace(a, iq=a.iq + np.float32(0.3) * b.iq) for a, b in zip(one, other, strict=True)]
        found = measure(given, POSITION_M)
        weight = found.sigma_s**-2
        error_s = found.delay_s - delays_s[0]
        error_s -= (error_s * weight).sum() / weight.sum()
        scatter.append((error_s * error_s * weight).sum() / 3)
    assert np.sqrt(np.max(scatter)) < 1.5


def test_of_too_short_a_time_nothing_shows_that_it_is_one_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    random = generator(6, "test.fading")
    for _ in range(3):
        delay_s = random.uniform(0.0, 200e-6, 4)
        whole = moving(random, noise_like(random, 12e3, 3000.0), delay_s, 0.1)
        given = [replace(item, iq=item.iq[:1600]) for item in whole]
        found = measure(given, POSITION_M)
        with monkeypatch.context() as patched:
            patched.setattr(arrival_times, "_LEAST_STEADY", 5)
            np.testing.assert_array_equal(found.sigma_s, measure(given, POSITION_M).sigma_s)


def turns(random: np.random.Generator) -> tuple[Float64, Float64]:
    """Envelopes of two who speak in turn, 3 to 8 times a second."""
    phase = 2 * np.pi * (random.uniform(3.0, 8.0) * TIME_S + random.random())
    first = 0.5 + 0.5 * np.tanh(8 * np.sin(phase))
    return first, 1 - first


def syllables(random: np.random.Generator) -> tuple[Float64, Float64]:
    """Envelopes of two who speak at once, of a syllable each 0.1 to 0.3 s, whose pauses are 30 dB lower."""
    first, second = (
        10 ** (1.5 * (np.sin(2 * np.pi * (random.uniform(3.0, 8.0) * TIME_S + random.random())) - 1) / 2)
        for _ in range(2)
    )
    return first, second


def breath(random: np.random.Generator) -> Complex128:
    """Voice without pitch, in single side band."""
    return noise_like(random, 12e3, 1200.0) * np.exp(2j * np.pi * 1500 * TIME_S)


def voiced(random: np.random.Generator) -> Complex128:
    """Overtones of a pitch that glides, in single side band."""
    pitch_hz = random.uniform(90.0, 220.0) * (1 + 0.1 * np.sin(2 * np.pi * (2 * TIME_S + random.random())))
    phase = 2 * np.pi * np.cumsum(pitch_hz) / 12e3
    formant = random.uniform(4.0, 10.0)
    levels = ((number, np.exp(-abs(number - formant) / 6)) for number in range(3, 13))
    made = sum(level * np.exp(1j * (number * phase + 7 * random.random())) for number, level in levels)
    return np.asarray(made / np.sqrt(np.mean(np.abs(made) ** 2)))


def keyed(random: np.random.Generator) -> tuple[Float64, Float64]:
    """Envelopes of two that are keyed, of 48 ms a dot; one pauses where the other has a mark."""
    edge = np.hanning(61)
    marks = np.convolve(np.repeat(random.integers(0, 2, 26), 577)[:15000], edge / edge.sum(), mode="same")
    return marks, 1 - marks


@pytest.mark.parametrize("second_db", [-10.0, 0.0])
@pytest.mark.parametrize(
    ("voice", "envelopes"), [(breath, turns), (voiced, turns), (voiced, syllables), (breath, keyed)]
)
def test_two_voices_in_turn_are_still_two(
    monkeypatch: pytest.MonkeyPatch,
    voice: Callable[[np.random.Generator], Complex128],
    envelopes: Callable[[np.random.Generator], tuple[Float64, Float64]],
    second_db: float,
) -> None:
    random = generator(2, f"test.fading.{voice.__name__}.{envelopes.__name__}", int(second_db + 10))
    refused, before = 0, 0
    for _ in range(6):
        delays_s = random.uniform(0.0, 200e-6, (2, 3))
        one, other = (
            heard(voice(random) * envelope, 12e3, delay_s, noise, random)
            for envelope, delay_s, noise in zip(envelopes(random), delays_s, (0.1, 0.0), strict=True)
        )
        level = np.float32(10 ** (second_db / 20))
        given = [replace(a, iq=a.iq + level * b.iq) for a, b in zip(one, other, strict=True)]
        refused += SEVERAL in measure(given, POSITION_M[:3]).reason
        with monkeypatch.context() as patched:
            patched.setattr(arrival_times, "_LEAST_STEADY", 4)
            before += SEVERAL in measure(given, POSITION_M[:3]).reason
    assert refused == before >= 3


def test_two_transmitters_that_move_are_still_two() -> None:
    random = generator(3, "test.fading")
    for _ in range(4):
        one, other = (
            moving(random, noise_like(random, 12e3, 3000.0), random.uniform(0.0, 200e-6, 3), noise)
            for noise in (0.1, 0.0)
        )
        given = [replace(a, iq=a.iq + np.float32(0.5) * b.iq) for a, b in zip(one, other, strict=True)]
        assert set(measure(given, POSITION_M[:3]).reason) == {SEVERAL}
