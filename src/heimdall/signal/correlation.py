"""What the recordings of one session say together: who hears the signal, how it is offset, and when it came.

All spectra are brought to one grid: M frequencies spaced `rate / M` around the tuned frequency, with M /
`rate` long enough for every recording and `rate` that of the lags. The time axis starts with the earliest
recording; a recording that starts d seconds later is multiplied by exp(-2 pi i f d), so that a lag is a
difference of propagation delay and nothing else. Starts are subtracted as integer nanoseconds. Lengths,
sample rates (also 12,001.3 Hz) and starts may differ from one recording to the next: where a recording's
samples do not fall on the grid its spectrum is evaluated there by a chirp transform, which is exact, and
where it is silent it adds nothing.

Each recording fades in and out over `FADE_SHARE` of its length. With hard edges, the lag at which the edges
of two recordings meet pulls at the peak: starts differ, and so do delays, so that no common cut mends it.
The peak of a narrow signal (a keyed carrier) is so flat that the soft edges pull, too, by tens of
microseconds; its correlations are normalised lag by lag, which mends it.

Spectra are divided by the root of the noise density, so that noise has unit power in each bin; r(a, b), the
correlation at one lag, is then a sum over bins, and |r|^2 divided by the energy of a is distributed as
Exp(1) if b holds only noise.

Everything is float64 in a fixed order: pocketfft, element-wise operations, sums; exp() of complex numbers
goes through the C library and not through NumPy's vector kernels. No BLAS.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import scipy.fft
import scipy.ndimage

from heimdall.signal import chirp
from heimdall.signal.detection import match, match_anywhere, peak
from heimdall.signal.noise import centre_hz, noise_density, signal_share, spread_hz
from heimdall.signal.transforms import chirp_transform, delay_ramp, lag_window, phase_ramp, squared_magnitude

Float64 = npt.NDArray[np.float64]
Complex128 = npt.NDArray[np.complex128]

DETECTION_GATE = 16.0  # noise passes in 1-2 % of cases: exp(-16) in each of some 10^5 cells of the search
USABLE_SHARE = 0.4  # of the sample rate, on either side: beyond it receivers' filters fall off
# Of two recordings of a wide signal: 1 but for echoes, also strong ones, and interference. Its own side lobes
# stay below, and all that is below is looked at again.
COHERENT = 0.9
FAR_BETTER = 1.15
EVIDENT = 40.0  # of T: noise that passes the gate has a delay, too, and no wrong clock
FAR_NATS = 25.0  # of noise alone, the best of some 10^7 cells has 16, and 25 in one case of ten thousand
MIN_ENERGY_DB = -300.0  # of a recording of zeros
MIN_SNR_DB = -30.0  # an estimate of no signal scatters around zero power, whose logarithm says nothing
FADE_SHARE = 0.01  # 10 ms of 1 s: far longer than starts and delays differ, at a cost of 0.05 dB
_NOISE_REACH = 1.5  # in half widths of the band: a strong signal's side bands reach beyond it
NARROW_HZ = 200.0  # rms bandwidth; that of a keyed or silent carrier is less
_SPREAD_S = 0.02  # what is left beyond it of the response of a filter with so much detail is small
_RISE_S = 0.05  # of the window for narrow signals; short beside 1 s, long beside an edge of 5 ms
_LEAST_ENERGY = 1e-3  # of that at lag 0


@dataclass(frozen=True)
class Recording:
    """One receiver's recording of a session.

    Attributes:
        websdr_id: The receiver.
        iq: Samples, shape (n,), complex64, full scale 1.
        sample_rate_hz: Sample rate in Hz.
        start_gps_ns: GPS time of the first sample in nanoseconds; None where it is not known.
        timing_sigma_ns: Standard deviation of that time in nanoseconds; None where it is not known.
    """

    websdr_id: int
    iq: npt.NDArray[np.complex64]
    sample_rate_hz: float
    start_gps_ns: int | None
    timing_sigma_ns: float | None

    @property
    def duration_s(self) -> float:
        """Its length."""
        return len(self.iq) / self.sample_rate_hz


@dataclass(frozen=True, eq=False)
class Correlation:
    """What `correlate` finds in R recordings and their P = R (R - 1) / 2 pairs.

    Attributes:
        energy_db: Mean power within the band, dBFS, shape (R,).
        snr_db: Signal to noise within the band, dB, shape (R,), at least `MIN_SNR_DB`.
        gate: Detection statistic T, shape (R,).
        detected: T above `DETECTION_GATE`, bool, shape (R,).
        cfo_hz: Carrier offset from the tuned frequency, shape (R,). The reference's is the centre of its
            spectrum, which modulation moves by tens of hertz; the difference to it is good to millihertz
            for those with GPS time whose correlation with it passes the gate. For any other it is the centre
            of its own spectrum, or 0 where that shows no signal. Where carriers drift against each other it
            holds in the middle of the reference's recording.
        chirp_hz_s: Drift of the carrier less that of the reference's, Hz/s, shape (R,), which is taken off
            before pairs are correlated; 0 where it is not evident, as of `signal.chirp`, and where `cfo_hz`
            is not that of the reference and a difference.
        timed: The recording took part at its GPS time, bool, shape (R,).
        reference: Row of the reference receiver.
        spread_hz: Rms bandwidth of the signal there, Hz; infinite if there is none.
        pair: Rows (a, b), a < b, int32, shape (P, 2).
        lag_s: Lags, shape (lags,).
        xcorr: r(a, b) at each lag, complex128, shape (P, lags). Its peak is at delay of a - delay of b. Of a
            signal narrower than `NARROW_HZ` it is that of `normalised_lags`.
    """

    energy_db: Float64
    snr_db: Float64
    gate: Float64
    detected: npt.NDArray[np.bool_]
    cfo_hz: Float64
    chirp_hz_s: Float64
    timed: npt.NDArray[np.bool_]
    reference: int
    spread_hz: float
    pair: npt.NDArray[np.int32]
    lag_s: Float64
    xcorr: Complex128


def correlate(
    recordings: Sequence[Recording], band_hz: float, rate_hz: float, max_lag_s: float
) -> Correlation:
    """Find who hears the session's signal, at which carrier offset, and correlate every pair.

    The reference is the recording with the highest SNR, of those with GPS time if there are any. The
    statistic of any other is T = max |r(ref, k)|^2 / E_ref, the maximum over lags of +-`max_lag_s` and
    relative carrier offsets of +-`CARRIER_SEARCH_HZ`, with E_ref the energy of the whitened reference.

    The reference has nobody to be compared with but the others, and a receiver without GPS time may lie
    outside the lags. For these T is the larger of that (for the reference: of the others' T) and z^2 / 2,
    with z the energy above noise in standard deviations: a Gaussian tail has a probability of about
    exp(-z^2 / 2), as T > t has exp(-t).

    Noise is measured within 1.5 times the band and must be flat there. A recording that was filtered more
    narrowly (a voice channel of +-3 kHz in a file of 12 kHz) shows quantisation noise outside its filter,
    which is no measure of the noise inside: choose `band_hz` no wider than two thirds of such a filter, or
    SNR and T come out far too high.

    A recording without GPS time, or more than the longest duration away from the median start, is placed at
    the mean start of the others.

    Args:
        recordings: At least one, each of at least one sample.
        band_hz: Half width of the band in Hz; no more than 0.4 of a recording's sample rate or half of
            `rate_hz` is used.
        rate_hz: Rate of the lags in Hz.
        max_lag_s: Largest lag in seconds.

    Returns:
        What was found, in the order of `recordings`.

    Raises:
        ValueError: There is no recording.
    """
    if not recordings:
        raise ValueError("a session needs at least one recording")
    lags = math.floor(max_lag_s * rate_hz + 1e-9)
    start_s, timed = starts(recordings)
    prepared, size = _on_one_grid(recordings, start_s, band_hz, rate_hz, lags)
    candidates = timed if timed.any() else ~timed
    snr_db = np.array([item.snr_db for item in prepared])
    reference = int(np.argmax(np.where(candidates, snr_db, -np.inf)))
    gate, cfo_hz, chirp_hz_s = _gated(prepared, reference, timed, band_hz=band_hz, rate_hz=rate_hz, lags=lags)
    tuned = []
    for item, own_hz, drift_hz_s in zip(prepared, cfo_hz, chirp_hz_s.tolist(), strict=True):
        still = item.signal * phase_ramp((prepared[reference].centre_hz - own_hz) / rate_hz, size)
        if drift_hz_s:
            still *= chirp.ramp(-drift_hz_s, rate_hz, size)
        tuned.append(scipy.fft.fft(still))
    middle_s = float(start_s[reference]) + recordings[reference].duration_s / 2
    cfo_hz = np.round(cfo_hz + chirp_hz_s * (middle_s - (size - 1) / 2 / rate_hz), 6)
    pair = [(a, b) for a in range(len(tuned)) for b in range(a + 1, len(tuned))]
    ends_s = [_ends_s(item, float(start)) for item, start in zip(recordings, start_s, strict=True)]
    spread = spread_hz(tuned[reference], rate_hz)
    if spread < NARROW_HZ:
        share = np.sqrt(signal_share(tuned[reference]))
        series = _narrow(
            [scipy.fft.ifft(spectrum * share) for spectrum in tuned], pair, ends_s, rate_hz, lags
        )
    else:
        series = [lag_window(tuned[a] * tuned[b].conj(), lags) for a, b in pair]
    return Correlation(
        energy_db=np.array([item.energy_db for item in prepared]),
        snr_db=snr_db,
        gate=gate,
        detected=gate > DETECTION_GATE,
        cfo_hz=cfo_hz,
        chirp_hz_s=chirp_hz_s,
        timed=timed,
        reference=reference,
        spread_hz=spread,
        pair=np.array(pair, np.int32).reshape(-1, 2),
        lag_s=np.arange(-lags, lags + 1) / rate_hz,
        xcorr=np.array(series, np.complex128).reshape(-1, 2 * lags + 1),
    )


def claimed_delays(
    recordings: Sequence[Recording], found: Correlation, band_hz: float, rate_hz: float, max_lag_s: float
) -> Float64:
    """When the signal came to each recording by its claimed start, wherever that is.

    `correlate` looks at lags of +-`max_lag_s`. A recording whose start is wrong by more has its peak beyond
    them, and what is largest within them is a side lobe of the signal, which looks like an arrival. It is
    told by the coherence |r|^2 / (S_ref S_k), S being the signals' energies: two copies of one signal have
    nearly 1 there. Where it is below `COHERENT` the delay is looked for at all lags, and taken from there if
    the signals fit far better: by the ratio `FAR_BETTER` of |r|^2, because a signal is like itself at other
    lags, too, and by `FAR_NATS` of the likelihood, because noise is at many lags. Interference or echoes also
    make two copies unlike, but no other lag fits better then.

    Args:
        recordings: As given to `correlate`.
        found: What it found in them.
        band_hz: As given to it.
        rate_hz: As given to it.
        max_lag_s: As given to it.

    Returns:
        Delays less that of the reference, seconds, good to a tenth of a lag, (R,). NaN where the recording
        has no GPS time, or its T is not above `EVIDENT`; and everywhere where the signal is narrower than
        `NARROW_HZ`, whose correlation is as large at many lags.
    """
    delay_s = np.full(len(recordings), np.nan)
    reference = found.reference
    if found.spread_hz < NARROW_HZ or not found.timed[reference]:
        return delay_s
    cells = np.array([2 * _half_band_hz(item, band_hz, rate_hz) * item.duration_s for item in recordings])
    energy = cells * np.array([10 ** (level_db / 10) for level_db in found.snr_db.tolist()])
    # A recording whose start is wrong may not pass the gate against the reference, loud as it is.
    loud = found.timed & (found.detected | (energy * energy / cells / 2 > DETECTION_GATE))
    power = squared_magnitude(found.xcorr)
    doubtful = []
    for number, (a, b) in enumerate(found.pair.tolist()):
        row = a + b - reference
        if reference not in (a, b) or not loud[row]:
            continue
        if found.gate[row] > EVIDENT:
            lag_s = (peak(power[number]) - len(found.lag_s) // 2) / rate_hz
            delay_s[row] = lag_s if row < reference else -lag_s
        if power[number].max() < COHERENT * energy[row] * energy[reference]:
            doubtful.append(row)
    delay_s[reference] = 0.0
    if not doubtful:
        return delay_s
    start_s, _ = starts(recordings)
    prepared, _ = _on_one_grid(recordings, start_s, band_hz, rate_hz, len(found.lag_s) // 2)
    for row in doubtful:
        lag, gate = match_anywhere(prepared[reference].signal, prepared[row].signal, band_hz, rate_hz)
        within = float(found.gate[row])
        if gate > max(FAR_BETTER * within, within + FAR_NATS, EVIDENT):
            delay_s[row] = -lag / rate_hz
    return delay_s


def _gated(
    prepared: Sequence[_Prepared],
    reference: int,
    timed: npt.NDArray[np.bool_],
    *,
    band_hz: float,
    rate_hz: float,
    lags: int,
) -> tuple[Float64, Float64, Float64]:
    """Detection statistic T, carrier offset and drift of the recordings, as of `correlate`, (R,) each.

    Where carriers drift, the offset is that in the middle of the grid.
    """
    centre = np.array([item.centre_hz for item in prepared])
    excess = np.array([item.excess for item in prepared])
    gate, chirp_hz_s = np.zeros((2, len(prepared)))
    cfo_hz = centre.copy()
    for row, item in enumerate(prepared):
        if row == reference:
            continue
        found = match(prepared[reference].signal, item.signal, band_hz, rate_hz, lags)
        gate[row] = found.gate
        if found.gate > DETECTION_GATE and timed[row]:
            cfo_hz[row] = centre[reference] + found.offset_hz
            chirp_hz_s[row] = found.chirp_hz_s
    alone = ~timed
    alone[reference] = True
    gate[reference] = gate.max()
    gate[alone] = np.maximum(gate, excess * excess / 2)[alone]
    # A microhertz: far below what is measurable, far above rounding.
    return gate, np.round(cfo_hz, 6), np.round(chirp_hz_s, 6)


def near_each_other(start_gps_ns: Sequence[int | None], longest_s: float) -> list[bool]:
    """Which starts are known and no farther than the longest recording from the median of those known."""
    known = sorted(start for start in start_gps_ns if start is not None)
    if not known:
        return [False] * len(start_gps_ns)
    median_ns = known[(len(known) - 1) // 2]
    longest_ns = math.ceil(1e9 * longest_s)
    return [start is not None and abs(start - median_ns) <= longest_ns for start in start_gps_ns]


def starts(recordings: Sequence[Recording]) -> tuple[Float64, npt.NDArray[np.bool_]]:
    """Seconds from the earliest start, shape (R,), and which of them are GPS times."""
    said = [item.start_gps_ns for item in recordings]
    timed = near_each_other(said, max(item.duration_s for item in recordings))
    near = [start for start, kept in zip(said, timed, strict=True) if kept and start is not None]
    if not near:
        return np.zeros(len(recordings)), np.zeros(len(recordings), np.bool_)
    mean_ns = sum(near) // len(near)
    placed = [
        start if kept and start is not None else mean_ns for start, kept in zip(said, timed, strict=True)
    ]
    return np.array([(start - min(near)) * 1e-9 for start in placed]), np.array(timed)


def _half_band_hz(recording: Recording, band_hz: float, rate_hz: float) -> float:
    return min(band_hz, USABLE_SHARE * recording.sample_rate_hz, rate_hz / 2)


def _on_one_grid(
    recordings: Sequence[Recording], start_s: Float64, band_hz: float, rate_hz: float, lags: int
) -> tuple[list[_Prepared], int]:
    """The recordings on the session's grid, and its size."""
    span_s = max(float(start) + item.duration_s for start, item in zip(start_s, recordings, strict=True))
    # Long enough that no lag wraps around. The lengths for real data have factors of 2, 3 and 5 only; those
    # for complex data go up to 11, which makes the long transforms at 192 kHz half as fast.
    length = math.ceil(span_s * rate_hz - 1e-9)
    size = scipy.fft.next_fast_len(max(length, lags + 1) + lags, real=True)
    prepared = [
        _prepare(item, float(start), size, band_hz, rate_hz)
        for item, start in zip(recordings, start_s, strict=True)
    ]
    return prepared, size


@dataclass(frozen=True, eq=False)
class _Prepared:
    """One recording on the session's grid.

    Attributes:
        signal: Within the band, whitened: noise has unit power in each bin of its FFT; shape (size,).
        energy_db: Power within the band, dBFS.
        snr_db: Signal to noise within the band.
        excess: Energy above noise, in standard deviations of the energy of noise.
        centre_hz: Centre of the spectrum.
    """

    signal: Complex128
    energy_db: float
    snr_db: float
    excess: float
    centre_hz: float


def _prepare(recording: Recording, start_s: float, size: int, band_hz: float, rate_hz: float) -> _Prepared:
    """Bring a recording to the grid, measure its noise and divide by it."""
    usable_hz = USABLE_SHARE * recording.sample_rate_hz
    half_band_hz = _half_band_hz(recording, band_hz, rate_hz)
    around_hz = min(_NOISE_REACH * band_hz, usable_hz, 0.45 * rate_hz)
    spectrum = _spectrum(recording, size, rate_hz, max(half_band_hz, around_hz))
    spectrum *= delay_ramp(start_s * rate_hz, size)
    duration_s = recording.duration_s
    first, last = math.ceil(start_s * rate_hz), math.floor((start_s + duration_s) * rate_hz)
    heard = scipy.fft.ifft(spectrum)[first : max(last, first + 1)]
    noise = noise_density(heard, around_hz / rate_hz) * duration_s * rate_hz  # of a bin

    half = _half_bins(half_band_hz, size, rate_hz)
    spectrum[half + 1 : size - half] = 0
    power = float(squared_magnitude(spectrum).sum())
    surplus = power / ((2 * half + 1) * noise) - 1
    whitened = spectrum / math.sqrt(noise)
    return _Prepared(
        signal=scipy.fft.ifft(whitened),
        energy_db=_decibel(power / (size * duration_s * rate_hz), MIN_ENERGY_DB),
        snr_db=_decibel(surplus, MIN_SNR_DB),
        # Zeros were appended: the degrees of freedom are the recording's, not the grid's.
        excess=max(surplus, 0.0) * math.sqrt(2 * half_band_hz * duration_s),
        centre_hz=centre_hz(whitened, rate_hz),
    )


def _spectrum(recording: Recording, size: int, rate_hz: float, half_band_hz: float) -> Complex128:
    """Spectrum of the faded samples at the `size` frequencies of the grid, FFT order, zero outside the band.

    Scaled so that its inverse FFT is the signal at `rate_hz`.
    """
    ratio = recording.sample_rate_hz / rate_hz
    length = round(size * ratio)
    half = _half_bins(half_band_hz, size, rate_hz)
    spectrum = np.zeros(size, np.complex128)
    samples = np.asarray(recording.iq * fade(len(recording.iq)), np.complex128)
    if abs(length - size * ratio) < 1e-9 * length:  # the samples fall on the grid, as 192 kHz on 32 kHz
        padded = np.zeros(length, np.complex128)
        padded[: len(samples)] = samples
        full = scipy.fft.fft(padded, overwrite_x=True)  # in place: half of the time is fetching memory
        positive, negative = full[: half + 1], full[length - half :]
    else:
        full = chirp_transform(samples, half, 1 / (size * ratio))
        positive, negative = full[half:], full[:half]
    spectrum[: half + 1], spectrum[size - half :] = positive, negative
    return spectrum / ratio


@lru_cache(maxsize=8)
def fade(count: int) -> Float64:
    """Rise and fall of a recording's level by half a cosine, shape (count,), of mean square 1."""
    edge = math.floor(FADE_SHARE * count)
    rise = [math.sin(math.pi / 2 * (k + 0.5) / edge) ** 2 for k in range(edge)]
    window = np.array(rise + [1.0] * (count - 2 * edge) + rise[::-1])
    return window / math.sqrt(math.fsum((window * window).tolist()) / count)


def _half_bins(half_band_hz: float, size: int, rate_hz: float) -> int:
    """Number of the last bin within the band."""
    return min(math.floor(half_band_hz / rate_hz * size), (size - 1) // 2)


def _decibel(power: float, lowest_db: float) -> float:
    """10 log10, not below `lowest_db`, also for powers of zero and less."""
    return 10 * math.log10(max(power, 10 ** (lowest_db / 10)))


def _ends_s(recording: Recording, start_s: float) -> tuple[float, float]:
    """First and last time of a recording that its fading, spread by a filter, leaves as it was."""
    duration_s = recording.duration_s
    away_s = FADE_SHARE * duration_s + _SPREAD_S
    return start_s + away_s, start_s + duration_s - away_s


def _window(
    a_s: tuple[float, float], b_s: tuple[float, float], size: int, rate_hz: float, lags: int
) -> Float64:
    """A window that rises and falls within what two recordings have at every lag, shape (size,).

    It is 0 everywhere if that is nothing.
    """
    time_s = np.arange(size) / rate_hz
    first_s, last_s = max(a_s[0], b_s[0]) + lags / rate_hz, min(a_s[1], b_s[1]) - lags / rate_hz
    height = np.clip(np.minimum(time_s - first_s, last_s - time_s) / _RISE_S, 0.0, 1.0)
    return np.asarray(height * height * (3 - 2 * height), np.float64)


def _narrow(
    narrow: Sequence[Complex128],
    pair: Sequence[tuple[int, int]],
    ends_s: Sequence[tuple[float, float]],
    rate_hz: float,
    lags: int,
) -> list[Complex128]:
    """Correlations (2 lags + 1,) of pairs of a narrow signal's time series, each (size,)."""
    size = len(narrow[0])
    return [
        normalised_lags(narrow[a], narrow[b], _window(ends_s[a], ends_s[b], size, rate_hz, lags), lags)
        for a, b in pair
    ]


def normalised_lags(a: Complex128, b: Complex128, window: Float64, lags: int) -> Complex128:
    """r(a, b) of what b has within a window, each lag over the relative amplitude of what a has there.

    So normalised, the magnitude for two copies of a signal is largest at their delay wherever the window cuts
    it (by the inequality of Cauchy and Schwarz). Where the window cuts a carrier that is on, the plain
    correlation is largest elsewhere: less of the carrier is lost there.

    Args:
        a: Time series, shape (size,).
        b: Another, alike.
        window: Shape (size,).
        lags: Largest lag in samples.

    Returns:
        Shape (2 lags + 1,); zeros if the window or the signal is nothing.
    """
    return normalised_product(a, scipy.fft.fft(a), scipy.fft.fft(window * b), scipy.fft.fft(window), lags)


def normalised_product(
    a: Complex128, a_spectrum: Complex128, b_spectrum: Complex128, window_spectrum: Complex128, lags: int
) -> Complex128:
    """As `normalised_lags`, of a, its spectrum, that of b within the window, and the window's own."""
    series = lag_window(a_spectrum * b_spectrum.conj(), lags)
    energy = lag_window(scipy.fft.fft(squared_magnitude(a)) * window_spectrum.conj(), lags).real
    least = max(_LEAST_ENERGY * float(energy[lags]), np.finfo(np.float64).tiny)
    return np.asarray(series * np.sqrt(max(float(energy[lags]), 0.0) / np.maximum(energy, least)))
