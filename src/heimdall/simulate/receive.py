"""Sessions: who transmits when, who hears it, and what each receiver's recording is.

A plan is cheap and holds every number of a session but the waveform; `render` makes the recordings.
Session k is the same however many are asked for, and a session identifier names its transmitter: worlds of
different sizes share a session only where it is the same one.
"""

from __future__ import annotations

import itertools
import math
import uuid
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import fft

from heimdall.core.randomness import generator
from heimdall.simulate import budget, channel, signals
from heimdall.simulate.faults import NO_FAULTS, Filter
from heimdall.simulate.signals import HALF_BAND_BINS, PERIOD_S
from heimdall.simulate.world import SQUELCH_DB, World, distance_m, mean_snr_db

Samples = npt.NDArray[np.complex64]

SAMPLE_RATE_HZ = 192_000
SAMPLES = 192_000
MIN_HEARD = 2  # a transmission that fewer hear above the squelch becomes no session

AT_REST = (0.0, 0.0, 0.0)

_FIRST_UNIX_S = 1_756_684_800  # 2025-09-01T00:00:00Z
_SEASON_S = 170 * 86_400  # ends on 2026-02-18
_RASTER_HZ = 12_500
_GPS_MINUS_UNIX_S = 18 - 315_964_800  # leap seconds since the GPS epoch of 1980-01-06 (18 since 2017)
_START_SPREAD_S = 0.5e-3  # true start of a GPS-timed recording around the session's second
_UNDISCIPLINED_SPREAD_S = 5e-3  # the same without GPS time: a computer's clock kept by NTP
_FALSE_OPENING = 0.03  # share of receivers out of range that record nevertheless
_OFFSET_HZ = 200.0  # carrier offset, transmitter and receiver together
_REPORTED_SIGMA_DB = 1.0  # error of the SNR that an operator notes

_BASE_RATE_HZ = 32_000  # a recording is rendered at this rate and then zero-padded in frequency
_BASE_SAMPLES = round(PERIOD_S * _BASE_RATE_HZ)
_FULL_SAMPLES = round(PERIOD_S * SAMPLE_RATE_HZ)
_GUARD = (_FULL_SAMPLES - SAMPLES) // 2  # before and after a recording: starts differ, delays too
_NOISE_LSB = 32.0  # rms of the noise of _BASE_RATE_HZ at full gain, in steps of the converter
_FULL_SCALE = 2_048  # 12 bits


@dataclass(frozen=True)
class Reception:
    """One receiver in a session.

    Attributes:
        receiver: Its position in `world.receivers`.
        websdr_id: Its number in the database.
        has_signal: False where noise alone opened the squelch; without a squelch all have their signal,
            however weak.
        snr_db: Power over noise in 12.5 kHz, dB (a keyed signal: key down); -inf without a signal.
        reported_snr_db: What its operator noted, dB; about that of the squelch for anything weaker.
        delay_s: Of the direct path, seconds.
        start_offset_s: True time of the first sample after the session's second, seconds.
        start_gps_ns: The recording's own stamp of that, GPS time in ns, or None.
        timing_sigma_ns: Standard deviation of that stamp, or None.
        carrier_offset_hz: Apparent carrier minus nominal frequency at its first sample, Hz; a moving
            transmitter's shift is in it.
        doppler_hz: That shift, of the direct path, Hz.
        chirp_hz_s: Drift of the apparent carrier, Hz/s.
        clock_drift: By how much the rate of its samples grows, as a share of it, per second.
    """

    receiver: int
    websdr_id: int
    has_signal: bool
    snr_db: float
    reported_snr_db: float
    delay_s: float
    start_offset_s: float
    start_gps_ns: int | None
    timing_sigma_ns: float | None
    carrier_offset_hz: float
    doppler_hz: float = 0.0
    chirp_hz_s: float = 0.0
    clock_drift: float = 0.0


@dataclass(frozen=True)
class SessionPlan:
    """One transmission and those who record it.

    Attributes:
        index: Its number.
        session_id: UUID, lower case.
        transmitter: Position in `world.transmitters`.
        frequency_hz: Nominal carrier, Hz.
        unix_s: The second, UTC, at which everybody was told to record.
        receptions: By receiver number.
        velocity_m_s: Of the transmitter, east, north, up, m/s. It is at its place in the middle of the
            recordings.
    """

    index: int
    session_id: str
    transmitter: int
    frequency_hz: float
    unix_s: int
    receptions: tuple[Reception, ...]
    velocity_m_s: tuple[float, float, float] = AT_REST


@dataclass(frozen=True)
class RenderedRecording:
    """What a receiver delivers, and the truth about it.

    Attributes:
        reception: Its part of the plan.
        iq: Multiples of 1/2048 below 1, shape (192000,).
        sample_rate_hz: Samples a second.
        gain_db: Of the receiver's automatic gain control, 0 or a multiple of -6.02 dB.
    """

    reception: Reception
    iq: Samples
    sample_rate_hz: float
    gain_db: float


def sessions(world: World, count: int) -> list[SessionPlan]:
    """Plan the first `count` sessions, in the order of their numbers (not of time).

    Each transmitter in turn has two, then each has one more, in random order, and so on.
    """
    return [_plan(world, index, who) for index, who in enumerate(itertools.islice(_turns(world), count))]


def render(world: World, plan: SessionPlan) -> list[RenderedRecording]:
    """Make the recordings of a session, in the order of its receptions.

    Delays are phase ramps of the spectrum in float64; 0.1 s for five receivers.
    """
    kind = world.transmitters[plan.transmitter].modulation
    sent = signals.spectrum(kind, generator(world.seed, "simulate.signal", plan.index))
    return [_record(world, plan, reception, sent) for reception in plan.receptions]


def _turns(world: World) -> itertools.chain[int]:
    """Who transmits, session by session."""
    count = len(world.transmitters)

    def extra(turn: int) -> list[int]:
        return [int(i) for i in generator(world.seed, "simulate.turn", turn).permutation(count)]

    twice = (i for i in range(count) for _ in range(2))
    return itertools.chain(twice, itertools.chain.from_iterable(map(extra, itertools.count())))


def _plan(world: World, index: int, who: int) -> SessionPlan:
    random = generator(world.seed, "simulate.session", index, who)
    session_id = str(uuid.UUID(bytes=random.bytes(16), version=4))
    unix_s = _FIRST_UNIX_S + int(random.integers(_SEASON_S))
    low_hz, high_hz = (edge * 1e6 for edge in world.transmitters[who].band_mhz)
    while True:
        frequency_hz = low_hz + _RASTER_HZ * int(random.integers(1, int((high_hz - low_hz) / _RASTER_HZ)))
        receptions = [
            _reception(random, world, who, i, frequency_hz=frequency_hz, unix_s=unix_s)
            for i in range(len(world.receivers))
        ]
        delivered = tuple(r for r in receptions if r is not None)
        if sum(r.snr_db >= SQUELCH_DB for r in delivered) >= MIN_HEARD:
            return _disturbed(world, SessionPlan(index, session_id, who, frequency_hz, unix_s, delivered))


def _disturbed(world: World, plan: SessionPlan) -> SessionPlan:
    """The same session with what is drawn of the world's faults for each."""
    faults = world.faults
    if faults == NO_FAULTS:
        return plan
    random = generator(world.seed, "simulate.faults", plan.index)
    azimuth, latest = float(random.uniform(-math.pi, math.pi)), float(random.random())
    speed_m_s = faults.doppler_hz * channel.SPEED_OF_LIGHT_M_S / plan.frequency_hz
    velocity_m_s = (speed_m_s * math.sin(azimuth), speed_m_s * math.cos(azimuth), 0.0)
    timed = [r.receiver for r in plan.receptions if r.snr_db >= SQUELCH_DB and r.start_gps_ns is not None]
    late = timed[int(latest * len(timed))] if timed else None

    def disturbed(reception: Reception) -> Reception:
        own = generator(world.seed, "simulate.oscillator", plan.index, reception.receiver)
        drift = float(own.uniform(-faults.clock_drift, faults.clock_drift))
        chirp_hz_s = float(own.uniform(-faults.chirp_hz_s, faults.chirp_hz_s))
        link = channel.paths(world, plan.transmitter, reception.receiver, plan.frequency_hz)
        doppler_hz = float(link.doppler_hz(velocity_m_s, plan.frequency_hz)[0])
        stamp_ns, late_ns = reception.start_gps_ns, round(faults.late_stamp_s * 1e9)
        return replace(
            reception,
            start_gps_ns=None if stamp_ns is None else stamp_ns + late_ns * (reception.receiver == late),
            carrier_offset_hz=reception.carrier_offset_hz + doppler_hz,
            doppler_hz=doppler_hz,
            # An oscillator that becomes faster makes a carrier seem to become lower.
            chirp_hz_s=chirp_hz_s - drift * plan.frequency_hz,
            clock_drift=drift,
        )

    return replace(plan, receptions=tuple(map(disturbed, plan.receptions)), velocity_m_s=velocity_m_s)


def _reception(
    random: np.random.Generator, world: World, who: int, receiver: int, *, frequency_hz: float, unix_s: int
) -> Reception | None:
    """What a receiver makes of the transmission; None where the squelch stays closed."""
    site, transmitter = world.receivers[receiver], world.transmitters[who]
    distance = distance_m(transmitter.position_m, world.receiver_position_m[receiver])
    snr_db = mean_snr_db(transmitter, site, distance, world.links[who][receiver], frequency_hz)
    snr_db += 20 * math.log10(abs(channel.paths(world, who, receiver, frequency_hz).carrier_gain))
    # Everything is drawn for every receiver, heard or not, so that one does not shift the others' numbers.
    false_opening = random.random() < _FALSE_OPENING
    spread_s = _START_SPREAD_S if site.gps else _UNDISCIPLINED_SPREAD_S
    start_offset_s = float(random.uniform(-spread_s, spread_s))
    clock_error_ns = world.clock_sigma_ns * float(random.standard_normal())
    reported_error_db = _REPORTED_SIGMA_DB * float(random.standard_normal())
    carrier_offset_hz = float(random.uniform(-_OFFSET_HZ, _OFFSET_HZ))
    has_signal = snr_db >= SQUELCH_DB or not world.squelched
    if not has_signal and not false_opening:
        return None
    stamp_ns = (unix_s + _GPS_MINUS_UNIX_S) * 1_000_000_000 + round(start_offset_s * 1e9 + clock_error_ns)
    return Reception(
        receiver=receiver,
        websdr_id=site.websdr_id,
        has_signal=has_signal,
        snr_db=snr_db if has_signal else -math.inf,
        reported_snr_db=round(max(snr_db, SQUELCH_DB) + reported_error_db, 1),
        delay_s=distance / channel.SPEED_OF_LIGHT_M_S,
        start_offset_s=start_offset_s,
        start_gps_ns=stamp_ns if site.gps else None,
        timing_sigma_ns=world.clock_sigma_ns if site.gps else None,
        carrier_offset_hz=carrier_offset_hz,
    )


def _record(
    world: World, plan: SessionPlan, reception: Reception, sent: signals.Spectrum
) -> RenderedRecording:
    random = generator(world.seed, "simulate.noise", plan.index, reception.receiver)
    noise = _NOISE_LSB / math.sqrt(2) * random.standard_normal((2, _BASE_SAMPLES))
    base = noise[0] + 1j * noise[1]
    first_phase = float(random.random())
    if reception.has_signal:
        base += _heard(world, plan, reception, sent, first_phase)
    wide = np.zeros(_FULL_SAMPLES, np.complex128)
    half = _BASE_SAMPLES // 2
    narrow = fft.fft(base)
    if world.faults.ripple_db or world.faults.filter_delay_s:
        own = Filter.of(world.faults, world.seed, reception.websdr_id)
        narrow *= own.response(fft.fftfreq(_BASE_SAMPLES, 1 / _BASE_RATE_HZ))
    wide[:half], wide[-half:] = narrow[:half], narrow[half:]
    full = fft.ifft(wide)[_GUARD : _GUARD + SAMPLES] * (_FULL_SAMPLES / _BASE_SAMPLES)
    return _converted(reception, full)


def _heard(
    world: World, plan: SessionPlan, reception: Reception, sent: signals.Spectrum, first_phase: float
) -> signals.Spectrum:
    """The signal at the receiver in its own time, in steps of the converter, shape (_BASE_SAMPLES,)."""
    paths = channel.paths(world, plan.transmitter, reception.receiver, plan.frequency_hz)
    # The recording starts `_GUARD` after the period does, and `start_offset_s` after the session's second.
    delay_s = paths.delay_s - reception.start_offset_s
    noise_band = _BASE_RATE_HZ / budget.BANDWIDTH_HZ
    amplitude = _NOISE_LSB * math.sqrt(10 ** (reception.snr_db / 10) / noise_band) / abs(paths.carrier_gain)
    gain = amplitude * paths.gain
    time_s = np.arange(_BASE_SAMPLES, dtype=np.float64) / _BASE_RATE_HZ
    since_s = time_s - _GUARD / SAMPLE_RATE_HZ
    from_middle_s = since_s - SAMPLES / SAMPLE_RATE_HZ / 2
    # Echoes of a moving transmitter turn beside the direct path, whose own shift is in the carrier's offset.
    beside_hz = paths.doppler_hz(plan.velocity_m_s, plan.frequency_hz) - reception.doppler_hz
    if beside_hz.any():
        signal = np.zeros(_BASE_SAMPLES, np.complex128)
        for i, hz in enumerate(beside_hz.tolist()):
            one = sent * channel.response(delay_s[i : i + 1], gain[i : i + 1])
            signal += signals.rotation(hz * from_middle_s) * _waveform(one)
    else:
        signal = _waveform(sent * channel.response(delay_s, gain))
    ahead_s = reception.doppler_hz / plan.frequency_hz * from_middle_s
    ahead_s -= reception.clock_drift / 2 * since_s**2
    turns = first_phase + reception.carrier_offset_hz * time_s + reception.chirp_hz_s / 2 * since_s**2
    return signals.rotation(turns) * (_ahead(signal, ahead_s) if ahead_s.any() else signal)


def _waveform(coefficients: signals.Spectrum) -> signals.Spectrum:
    """The signal of coefficients (2 * HALF_BAND_BINS,) as `signals.spectrum` has them, (_BASE_SAMPLES,)."""
    spectrum = np.zeros(_BASE_SAMPLES, np.complex128)
    spectrum[:HALF_BAND_BINS] = coefficients[HALF_BAND_BINS:]
    spectrum[-HALF_BAND_BINS:] = coefficients[:HALF_BAND_BINS]
    return fft.ifft(spectrum, norm="forward")


def _ahead(signal: signals.Spectrum, ahead_s: npt.NDArray[np.float64]) -> signals.Spectrum:
    """The signal at times that run ahead, by the first term of Taylor's series.

    Wrong by (2 pi f ahead)^2 / 2 of it: 94 dB below it for 0.1 us at 10 kHz.
    """
    turn = 2j * math.pi * fft.fftfreq(_BASE_SAMPLES, 1 / _BASE_RATE_HZ)
    return signal + ahead_s * fft.ifft(turn * fft.fft(signal))


def _converted(reception: Reception, signal: signals.Spectrum) -> RenderedRecording:
    """Gain in steps of two, as little as keeps the peak in range, then rounding to 12 bits."""
    peak = float(max(np.abs(signal.real).max(), np.abs(signal.imag).max()))
    halvings = max(0, math.frexp(peak / (_FULL_SCALE - 1))[1])
    steps = 0.5**halvings
    iq = np.empty(SAMPLES, np.complex64)
    iq.real = np.rint(signal.real * steps) / _FULL_SCALE
    iq.imag = np.rint(signal.imag * steps) / _FULL_SCALE
    return RenderedRecording(reception, iq, float(SAMPLE_RATE_HZ), -20 * math.log10(2) * halvings)
