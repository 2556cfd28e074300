"""Recordings of one transmission by anybody's receivers, simulated; nothing of the demo world is in them.

A waveform is periodic, a little longer than a recording, and given by its Fourier coefficients: a delay, a
receiver's filter and a carrier offset act on those exactly, and the samples at a receiver's own instants are
their sum, by a chirp transform.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import scipy.fft
import scipy.ndimage

from heimdall.core.randomness import generator
from heimdall.formats.gps_time import to_utc
from heimdall.signal.correlation import Recording
from heimdall.signal.transforms import chirp_transform
from heimdall.simulate import signals

Float64 = npt.NDArray[np.float64]
Complex128 = npt.NDArray[np.complex128]
Kind = Literal["morse", "ssb", "nfm", "am", "afsk1200", "gmsk9600", "qpsk2400", "qpsk300k", "time signal"]

PERIOD_S = signals.PERIOD_S
KINDS: tuple[Kind, ...] = get_args(Kind)
# What nearly all the power but a carrier's lies in, Hz: where its signal to noise ratio is counted.
BANDWIDTH_HZ: dict[Kind, float] = {
    "morse": 100.0,
    "ssb": 2_400.0,
    "nfm": 11_000.0,
    "am": 6_000.0,
    "afsk1200": 9_400.0,
    "gmsk9600": 11_000.0,
    "qpsk2400": 3_240.0,
    "qpsk300k": 405_000.0,
    "time signal": 1_300.0,
}
START_GPS_NS = 1_400_000_000 * 10**9
CLOCK_SIGMA_NS = 10.0  # of a receiver that GPS disciplines
_RATE_HZ = 96_000.0
_WIDE_RATE_HZ = 1_200_000.0
_DRAWS = 16
_SMOOTHING_BINS = 3.0
_BLOCK = 4_096

# ITU-R M.1677-1, the letters by which Morse code is counted and then some.
_MORSE = {
    "A": ".-", "C": "-.-.", "D": "-..", "E": ".", "I": "..", "K": "-.-", "N": "-.", "O": "---", "P": ".--.",
    "Q": "--.-", "R": ".-.", "S": "...", "T": "-", "U": "..-", "V": "...-", "5": ".....", "9": "----.",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Waveform:
    """A transmission: the sum of c_k exp(2j pi f_k t), f_k = (k - half) / PERIOD_S.

    Attributes:
        kind: Of which kind.
        coefficient: Shape (2 half,); the mean power is 1.
        power: Mean |c_k|^2 over transmissions of the kind, shape (2 half,).
    """

    kind: Kind
    coefficient: Complex128
    power: Float64

    @property
    def frequency_hz(self) -> Float64:
        """Of each coefficient."""
        half = len(self.coefficient) // 2
        return np.arange(-half, half) / PERIOD_S


@dataclass(frozen=True, eq=False)
class Sent:
    """A transmission on its way to R receivers.

    Attributes:
        waveform: What was sent.
        delay_s: To each receiver, shape (R,).
        level_db: Over the receivers' `snr_db`, shape (R,).
        offset_hz: How far the transmitter is from the tuned frequency.
    """

    waveform: Waveform
    delay_s: Float64
    level_db: Float64
    offset_hz: float = 0.0

    @classmethod
    def alone(cls, sent: Waveform, delay_s: Float64, offset_hz: float = 0.0) -> Sent:
        """At the receivers' `snr_db`."""
        return cls(sent, delay_s, np.zeros(len(delay_s)), offset_hz)


@dataclass(frozen=True)
class Front:
    """How a receiver samples.

    Attributes:
        rate_hz: Nominal sample rate.
        snr_db: Mean signal power over the noise within the kind's `BANDWIDTH_HZ`.
        start_s: When the first sample was taken, from `START_GPS_NS`; written to whole nanoseconds.
        clock_error: Relative error of the oscillator that makes the samples and tunes.
        spur_db: A spur at 0 Hz over the noise of the whole recording; None for none.
        bits: Of either component.
        stamp_error_s: By how much the written time of the first sample is late.
    """

    rate_hz: float
    snr_db: float
    start_s: float = 0.0
    clock_error: float = 0.0
    spur_db: float | None = None
    bits: int = 16
    stamp_error_s: float = 0.0


def waveform(kind: Kind, random: np.random.Generator) -> Waveform:
    """One transmission of a kind."""
    return Waveform(kind, _coefficients(kind, random), _mean_power(kind))


def record(
    sent: Sequence[Sent],
    fronts: Sequence[Front],
    random: np.random.Generator,
    *,
    frequency_hz: float,
    duration_s: float = 1.0,
    clock_sigma_ns: float = CLOCK_SIGMA_NS,
) -> list[Recording]:
    """What R receivers record, each with its own carrier phases and independent white noise.

    Args:
        sent: All that is on the air; nothing for noise alone.
        fronts: Of the receivers.
        random: Where noise and phases come from.
        frequency_hz: Carrier to which all receivers are tuned, by their own oscillators.
        duration_s: Length of the recordings by the nominal rate, at most `PERIOD_S`.
        clock_sigma_ns: Standard deviation of the clocks' errors, which the recordings say.
    """
    found = []
    for row, front in enumerate(fronts):
        count = round(duration_s * front.rate_hz)
        samples = white(count, random)
        for one in sent:
            width = BANDWIDTH_HZ[one.waveform.kind]
            scale = 10 ** ((front.snr_db + one.level_db[row]) / 20) * math.sqrt(width / front.rate_hz)
            phase = np.exp(2j * np.pi * random.random())
            seen_hz = one.offset_hz - front.clock_error * frequency_hz
            samples += scale * phase * clean(one.waveform, float(one.delay_s[row]), front, count, seen_hz)
        if front.spur_db is not None:
            samples += 10 ** (front.spur_db / 20) * np.exp(2j * np.pi * random.random())
        clock_ns = clock_sigma_ns * random.standard_normal()
        start_ns = START_GPS_NS + round(front.start_s * 1e9) + round(front.stamp_error_s * 1e9 + clock_ns)
        iq = quantised(filtered(samples), front.bits)
        found.append(Recording(row + 1, iq, front.rate_hz, start_ns, clock_sigma_ns))
    return found


def clean(sent: Waveform, delay_s: float, front: Front, count: int, offset_hz: float) -> Complex128:
    """The delayed waveform at a receiver's sampling instants, before its filter, shape (count,).

    Sample n is taken at start + n (1 - clock_error) / rate: a clock that is fast samples early.
    """
    step_s = (1 - front.clock_error) / front.rate_hz
    start_s = round(front.start_s * 1e9) / 1e9  # what is written is what is meant
    middle = count // 2
    inside = np.abs(sent.frequency_hz + offset_hz) < front.rate_hz / 2
    frequency = sent.frequency_hz
    first_s = start_s + middle * step_s
    turned = np.where(inside, sent.coefficient, 0) * np.exp(2j * np.pi * frequency * (first_s - delay_s))
    # The sum of c_k exp(2j pi k n step): the transform's k are our samples, counted from the middle one.
    cycles = step_s / PERIOD_S
    n = np.arange(-(count - middle), count - middle + 1)
    series = chirp_transform(turned.conj(), count - middle, cycles).conj()
    half = len(frequency) // 2
    series *= np.exp(2j * np.pi * np.remainder(-half * cycles * n, 1.0))
    series *= np.exp(2j * np.pi * np.remainder(offset_hz * step_s * n, 1.0))
    return np.asarray(series[count - 2 * middle :][:count], np.complex128)


def white(count: int, random: np.random.Generator) -> Complex128:
    """Circular Gaussian noise of power 1, shape (count,)."""
    parts = random.standard_normal((2, count))
    return np.asarray((parts[0] + 1j * parts[1]) / math.sqrt(2), np.complex128)


def passed(cycles: Float64) -> Float64:
    """Response of a receiver's filter: flat to 0.42 of the sample rate, nothing from 0.49."""
    fall = np.clip((np.abs(cycles) - 0.42) / 0.07, 0.0, 1.0)
    return np.asarray(0.5 * (1 + np.cos(np.pi * fall)), np.float64)


def filtered(samples: Complex128) -> Complex128:
    """Samples behind that filter."""
    size = scipy.fft.next_fast_len(len(samples) + 256)
    spectrum = scipy.fft.fft(samples, size) * passed(scipy.fft.fftfreq(size))
    return np.asarray(scipy.fft.ifft(spectrum)[: len(samples)], np.complex128)


def quantised(samples: Complex128, bits: int) -> npt.NDArray[np.complex64]:
    """Samples as integers of so many bits, the largest at half of full scale, which is 1."""
    full = 2.0 ** (bits - 1)
    gain = full / 2 / np.abs(samples).max()
    return np.asarray(
        (np.round(samples.real * gain) + 1j * np.round(samples.imag * gain)) / full, np.complex64
    )


def usual_fronts(
    count: int, rate_hz: float, snr_db: float, random: np.random.Generator, *, spread_db: float = 6.0
) -> list[Front]:
    """Receivers whose clocks GPS disciplines: each its own level, start and small carrier offset."""
    return [
        Front(
            rate_hz,
            snr_db + spread_db * random.uniform(-1, 1),
            start_s=random.uniform(0, 3e-3),
            clock_error=1e-9 * random.standard_normal(),
            spur_db=-20.0 if random.random() < 0.5 else None,
        )
        for _ in range(count)
    ]


def late(front: Front, error_s: float) -> Front:
    """The same receiver with a wrong time stamp."""
    return replace(front, stamp_error_s=error_s)


def _coefficients(kind: Kind, random: np.random.Generator) -> Complex128:
    match kind:
        case "nfm" | "afsk1200" | "gmsk9600":
            found = signals.spectrum(kind, random)
        case "morse":
            found = _spectrum(_morse(random), 2_000.0)
        case "ssb":
            found = _spectrum(_analytic(_speech(random)), 3_000.0)
        case "am":
            found = _spectrum(1 + 0.8 * _speech(random), 4_000.0)
        case "qpsk2400":
            found = _spectrum(_qpsk(2_400, _RATE_HZ, random), 2_400.0)
        case "qpsk300k":
            found = _spectrum(_qpsk(300_000, _WIDE_RATE_HZ, random), 300_000.0)
        case "time signal":
            found = _spectrum(_time_signal(random), 20_000.0)
    return np.asarray(found / math.sqrt(float((np.abs(found) ** 2).sum())), np.complex128)


@lru_cache(maxsize=len(KINDS))
def _mean_power(kind: Kind) -> Float64:
    drawn = [
        np.abs(_coefficients(kind, generator(n, "power", KINDS.index(kind)))) ** 2 for n in range(_DRAWS)
    ]
    return np.asarray(scipy.ndimage.gaussian_filter1d(np.mean(drawn, axis=0), _SMOOTHING_BINS, mode="wrap"))


def _spectrum(signal: npt.NDArray[np.number], half_band_hz: float) -> Complex128:
    """Fourier coefficients of one period within +-`half_band_hz`."""
    half = round(half_band_hz * PERIOD_S)
    full = scipy.fft.fft(np.asarray(signal, np.complex128)) / len(signal)
    return np.concatenate([full[-half:], full[:half]])


def _count(rate_hz: float) -> int:
    return round(PERIOD_S * rate_hz)


def _analytic(signal: Float64) -> Complex128:
    """The upper side band."""
    spectrum = scipy.fft.fft(signal)
    spectrum[len(signal) // 2 :] = 0
    return np.asarray(scipy.fft.ifft(spectrum), np.complex128)


def _speech(random: np.random.Generator) -> Float64:
    """Noise of 300-2700 Hz, falling by 6 dB an octave above 500 Hz, in syllables of 0.2 s; |x| <= 1."""
    size = _count(_RATE_HZ)
    frequency = scipy.fft.rfftfreq(size, 1 / _RATE_HZ)
    shape = np.where((frequency > 300) & (frequency < 2_700), 1 / np.hypot(1, frequency / 500), 0.0)
    noise = scipy.fft.irfft(scipy.fft.rfft(random.standard_normal(size)) * shape, size)
    time_s = np.arange(size) / _RATE_HZ
    envelope = np.zeros(size)
    at_s = random.uniform(0, 0.05)
    while at_s < PERIOD_S - 0.1:
        length_s = random.uniform(0.1, 0.25)
        inside = np.clip((time_s - at_s) / length_s, 0.0, 1.0)
        envelope += random.uniform(0.4, 1.0) * np.sin(np.pi * inside) ** 2
        at_s += length_s + random.uniform(0.0, 0.12)
    return np.asarray(np.clip(noise / noise.std() / 3 * envelope, -1, 1), np.float64)


def _morse(random: np.random.Generator) -> Float64:
    """20 words a minute (a dot of 60 ms), rising and falling within 5 ms."""
    dot = round(0.060 * _RATE_HZ)
    key: list[int] = []
    while len(key) * dot < _count(_RATE_HZ) + 20 * dot:
        for mark in _MORSE[random.choice(sorted(_MORSE))]:
            key += [1] * (1 if mark == "." else 3) + [0]
        key += [0] * (2 if random.random() < 0.8 else 6)
    begin = int(random.integers(0, 10 * dot))
    keyed = np.repeat(np.array(key, np.float64), dot)[begin : begin + _count(_RATE_HZ)]
    edge = round(0.005 * _RATE_HZ)
    rise = np.hanning(edge + 2)[1:-1]
    return np.asarray(scipy.ndimage.convolve1d(keyed, rise / rise.sum(), mode="wrap"), np.float64)


def _qpsk(baud: int, rate_hz: float, random: np.random.Generator) -> Complex128:
    """QPSK, root raised cosine of 0.35."""
    size = _count(rate_hz)
    period = round(rate_hz / baud)
    symbols = random.integers(0, 4, -(-size // period))
    impulses = np.zeros(size, np.complex128)
    impulses[::period] = np.exp(2j * np.pi * (symbols / 4 + 1 / 8))
    off = (np.abs(scipy.fft.fftfreq(size, 1 / rate_hz)) / baud - 0.5 * (1 - 0.35)) / 0.35
    response = np.cos(np.pi / 2 * np.clip(off, 0.0, 1.0))
    return np.asarray(scipy.fft.ifft(scipy.fft.fft(impulses) * response), np.complex128)


def _time_signal(random: np.random.Generator) -> Complex128:
    """DCF77: each second the carrier falls to 15 % for 100 or 200 ms, then a phase noise of 512 chips.

    A chip has 120 cycles of 77.5 kHz and +-13 degrees; the generator is x^9 + x^5 + 1 (PTB, "DCF77 phase
    modulation"). One second mark lies anywhere in the period.
    """
    register, chips = 0, []
    for _ in range(512):
        chips.append(register & 1)
        bit = (register & 1) ^ ((register >> 4) & 1)
        bit = 1 if register == 0 else bit
        register = (register >> 1) | (bit << 8)
    size = _count(_RATE_HZ)
    time_s = np.arange(size) / _RATE_HZ
    dip_s = 0.1 if random.random() < 0.5 else 0.2
    sign = 1 if dip_s < 0.15 else -1  # the bit inverts the sequence
    number = np.floor((time_s - 0.2) * 77_500 / 120).astype(np.int64)
    within = (number >= 0) & (number < 512)
    chip = np.array(chips)[np.clip(number, 0, 511)]
    phase = np.where(within, sign * np.radians(13.0) * (1 - 2 * chip), 0.0)
    level = np.where(time_s < dip_s, 0.15, 1.0)
    return np.roll(level * np.exp(1j * phase), int(random.integers(size)))


def write_sigmf(
    folder: Path, recordings: Sequence[Recording], names: Sequence[str], frequency_hz: float
) -> list[Path]:
    """Write recordings as SigMF, and return the metadata files in their order."""
    files = []
    for name, one in zip(names, recordings, strict=True):
        file = folder / f"{name}.sigmf-meta"
        parts = np.stack([one.iq.real, one.iq.imag], axis=1)
        file.with_suffix(".sigmf-data").write_bytes((parts * 32768).astype("<i2").tobytes())
        second_ns, rest_ns = divmod(one.start_gps_ns or 0, 10**9)
        moment = f"{to_utc(second_ns * 10**9):%Y-%m-%dT%H:%M:%S}.{rest_ns:09d}Z"
        capture = {"core:sample_start": 0, "core:frequency": frequency_hz, "core:datetime": moment}
        whole = {
            "core:datatype": "ci16_le",
            "core:sample_rate": one.sample_rate_hz,
            "core:version": "1.0.0",
            "core:description": "simulated",
        }
        file.write_text(json.dumps({"global": whole, "captures": [capture], "annotations": []}))
        files.append(file)
    return files
