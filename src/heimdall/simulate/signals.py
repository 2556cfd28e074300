"""What is transmitted: five kinds of narrowband signal, as spectra of one period of complex baseband.

A signal has `PERIOD_S` seconds, a little more than a recording, and amplitude 1 while it is on. It is
given by its Fourier coefficients within `HALF_BAND_HZ` of the carrier: delays and echoes act on those.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from scipy import fft

Array = npt.NDArray[np.float64]
Spectrum = npt.NDArray[np.complex128]
Modulation = Literal["nfm", "afsk1200", "dmr", "gmsk9600", "cw"]

PERIOD_S = 1.024
HALF_BAND_BINS = 10_240
HALF_BAND_HZ = HALF_BAND_BINS / PERIOD_S  # 10 kHz: nothing of a 12.5 kHz channel is beyond it
MODULATIONS: tuple[Modulation, ...] = get_args(Modulation)

# What 99 % of the power fits in, Hz: Carson's rule for the first two, the standards for the others.
BANDWIDTH_HZ: dict[Modulation, float] = {
    "nfm": 11_000.0,
    "afsk1200": 9_400.0,
    "dmr": 7_600.0,
    "gmsk9600": 11_000.0,
    "cw": 500.0,
}

_RATE_HZ = 96_000  # a whole number of samples for every symbol below
_SAMPLES = 98_304  # PERIOD_S at that rate
_FREQUENCY_HZ = fft.rfftfreq(_SAMPLES, 1 / _RATE_HZ)
_FM_DEVIATION_HZ = 2_500.0  # peak, 12.5 kHz channel


def spectrum(modulation: Modulation, random: np.random.Generator) -> Spectrum:
    """One transmission.

    Args:
        modulation: Kind of signal.
        random: Where voice, data and text come from.

    Returns:
        Fourier coefficients of frequencies k / PERIOD_S for k = -HALF_BAND_BINS .. HALF_BAND_BINS - 1,
        shape (2 * HALF_BAND_BINS,): the signal is their sum times exp(2j pi k t / PERIOD_S).
    """
    match modulation:
        case "nfm":
            signal = _modulated(_FM_DEVIATION_HZ * _voice(random))
        case "afsk1200":
            signal = _modulated(_FM_DEVIATION_HZ * _afsk(random))
        case "dmr":
            signal = _modulated(_four_level(random))
        case "gmsk9600":
            signal = _modulated(_gaussian(random))
        case "cw":
            signal = _keyed(random).astype(np.complex128)
    coefficients = fft.fft(signal) / _SAMPLES
    return np.concatenate([coefficients[-HALF_BAND_BINS:], coefficients[:HALF_BAND_BINS]])


def rotation(turns: Array) -> Spectrum:
    """exp(2j pi turns), any shape."""
    angle = 2 * math.pi * turns
    result = np.empty(turns.shape, np.complex128)
    result.real, result.imag = np.cos(angle), np.sin(angle)
    return result


def _modulated(deviation_hz: Array) -> Spectrum:
    """Frequency modulation of a carrier of amplitude 1."""
    return rotation(np.cumsum(deviation_hz) / _RATE_HZ)


def _voice(random: np.random.Generator) -> Array:
    """Speech-like: noise of 300-3000 Hz in syllables and pauses, limited to +-1.

    Pre-emphasis undoes the fall of a voice's spectrum, so it is flat. In a pause the carrier stays.
    """
    noise = fft.rfft(random.standard_normal(_SAMPLES))
    noise[(_FREQUENCY_HZ < 300.0) | (_FREQUENCY_HZ > 3_000.0)] = 0
    flat = fft.irfft(noise, _SAMPLES)
    knots = 12  # 85 ms, half a syllable
    loudness = np.where(random.random(knots) < 0.25, 0.0, random.uniform(0.3, 1.0, knots))
    envelope = np.interp(np.arange(_SAMPLES), np.arange(knots) * (_SAMPLES / (knots - 1)), loudness)
    rms = math.sqrt(2_700.0 / (_RATE_HZ / 2))  # of `flat`: the share of the white noise that is kept
    return np.clip(0.4 * envelope * flat / rms, -1.0, 1.0)


def _afsk(random: np.random.Generator) -> Array:
    """Bell 202, 1200 bit/s: audio tones of 1200 and 2200 Hz with continuous phase."""
    tone_hz = np.where(_symbols(random, 2, 1_200) > 0, 1_200.0, 2_200.0)
    return np.sin(2 * math.pi / _RATE_HZ * np.cumsum(tone_hz))


def _four_level(random: np.random.Generator) -> Array:
    """DMR, 4800 symbols/s of +-1, +-3 times 648 Hz, root raised cosine 0.2 (ETSI TS 102 361-1, 10.2)."""
    samples = _RATE_HZ // 4_800
    levels = 648.0 * _symbols(random, 4, 4_800)
    impulses = np.zeros(_SAMPLES)
    impulses[::samples] = samples * levels[::samples]
    edge = np.abs(np.cos(math.pi * _FREQUENCY_HZ / 1_920.0))
    response = np.where(_FREQUENCY_HZ <= 1_920.0, 1.0, np.where(_FREQUENCY_HZ <= 2_880.0, edge, 0.0))
    return fft.irfft(fft.rfft(impulses) * response, _SAMPLES)


def _gaussian(random: np.random.Generator) -> Array:
    """GMSK, 9600 bit/s, BT 0.5, deviation 2400 Hz (Murota and Hirade, IEEE Trans. Commun. 29, 1981)."""
    corner_hz = 0.5 * 9_600
    response = np.exp(-math.log(2) / 2 * (_FREQUENCY_HZ / corner_hz) ** 2)
    return fft.irfft(fft.rfft(2_400.0 * _symbols(random, 2, 9_600)) * response, _SAMPLES)


def _symbols(random: np.random.Generator, levels: int, rate_hz: int) -> Array:
    """Random levels (+-1, or +-1 and +-3), each held for one symbol, shape (_SAMPLES,)."""
    samples = _RATE_HZ // rate_hz
    values = 2.0 * random.integers(0, levels, -(-_SAMPLES // samples)) - (levels - 1)
    return np.repeat(values, samples)[:_SAMPLES]


def _keyed(random: np.random.Generator) -> Array:
    """Morse code, 15-30 words a minute, keyed with edges of 5 ms (a Hann window's integral)."""
    dot = int(1.2 * _RATE_HZ / random.uniform(15.0, 30.0))
    lengths: list[int] = []
    while sum(lengths) < _SAMPLES:
        lengths += [dot * int(random.choice((1, 3))), dot * int(random.choice((1, 1, 1, 3)))]
    key = np.repeat(np.arange(len(lengths)) % 2 == 0, lengths)[:_SAMPLES].astype(np.float64)
    edge = int(0.005 * _RATE_HZ)
    window = np.zeros(_SAMPLES)
    window[:edge] = 1 - np.cos(2 * math.pi * np.arange(edge) / edge)
    return np.maximum(0.0, fft.irfft(fft.rfft(key) * fft.rfft(window), _SAMPLES) / edge)
