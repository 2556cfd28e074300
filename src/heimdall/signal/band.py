"""The part of the spectrum that a transmission fills, and the recordings' spectra there on one grid.

A receiver's own direct current is a line at exactly 0 Hz, alike in all recordings. What one of unit amplitude
looks like is kept beside the spectra, so that it can be told from a carrier that is there, too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import scipy.fft
import scipy.ndimage

from heimdall.signal import chirp
from heimdall.signal.correlation import FADE_SHARE, Recording, fade
from heimdall.signal.transforms import chirp_transform, phase_ramp, squared_magnitude

Float64 = npt.NDArray[np.float64]
Complex128 = npt.NDArray[np.complex128]

REACH = 0.45  # of the sample rate on either side: beyond it receivers' filters fall off
_RESOLUTION_HZ = 50.0
_MOST_SEGMENTS = 60
_SIGMAS = 6.0  # of a cell of the mean spectrum above the floor
_FLOOR_QUANTILE = 0.2
_GAP_HZ = 1000.0  # between two signals, at least; the tones of frequency shift keying are nearer
_MARGIN_HZ = 150.0
_OVERSAMPLED = 1.25
_SOFT_SHARE, _SOFT_HZ = 0.1, 120.0  # of the band on either side, and no less
_SETTLED = 2.0  # over the width of the edges


@dataclass(frozen=True, eq=False)
class Band:
    """R recordings' spectra on one grid.

    Attributes:
        low_hz: Lower edge, Hz from the tuned frequency.
        high_hz: Upper edge.
        rate_hz: Rate of the time series that the spectra belong to.
        centre_hz: Frequency of their bin 0.
        soft_hz: Width of the band's edges, over which the spectra rise and fall.
        spectrum: In FFT order, zero outside the band, shape (R, n); time 0 is the earliest start.
        direct: Those of direct current of amplitude 1, alike; zeros where 0 Hz is outside the band.
        direct_level: Amplitude of that away from the ends of the recordings, shape (R,).
    """

    low_hz: float
    high_hz: float
    rate_hz: float
    centre_hz: float
    soft_hz: float
    spectrum: Complex128
    direct: Complex128
    direct_level: Float64

    @property
    def settled_s(self) -> float:
        """For how long after a recording begins, and before it ends, that may be seen."""
        return _SETTLED / self.soft_hz

    @property
    def without_means(self) -> Complex128:
        """The spectra, all that is at 0 Hz in each recording taken off, shape (R, n)."""
        if not self.direct_level.any():
            return self.spectrum
        along = (self.spectrum * self.direct.conj()).sum(axis=1, keepdims=True)
        energy = squared_magnitude(self.direct).sum(axis=1, keepdims=True)
        return np.asarray(self.spectrum - along / energy * self.direct, np.complex128)

    def rows(self, kept: Sequence[int]) -> Band:
        """The band of some of the recordings."""
        rows = list(kept)
        return replace(
            self,
            spectrum=self.spectrum[rows],
            direct=self.direct[rows],
            direct_level=self.direct_level[rows],
        )

    @property
    def middle_s(self) -> float:
        """The middle of the time series, about which drifts are taken off."""
        return float((self.spectrum.shape[1] - 1) / 2 / self.rate_hz)

    def without_drift(self, chirp_hz_s: Float64) -> Band:
        """The band without a drift of each recording's carrier; direct current then has the opposite one.

        Args:
            chirp_hz_s: The drifts, Hz/s, shape (R,); a recording with 0 is left as it is.
        """
        rows = np.flatnonzero(chirp_hz_s).tolist()
        if not rows:
            return self
        spectrum, direct = self.spectrum.copy(), self.direct.copy()
        for row in rows:
            still = chirp.ramp(-float(chirp_hz_s[row]), self.rate_hz, spectrum.shape[1])
            spectrum[row] = scipy.fft.fft(scipy.fft.ifft(spectrum[row]) * still)
            if direct[row].any():
                direct[row] = scipy.fft.fft(scipy.fft.ifft(direct[row]) * still)
        return replace(self, spectrum=spectrum, direct=direct)

    @property
    def frequency_hz(self) -> Float64:
        """Of each bin, from `centre_hz`, shape (n,)."""
        return scipy.fft.fftfreq(self.spectrum.shape[1], 1 / self.rate_hz)


def occupied(recordings: Sequence[Recording]) -> tuple[float, float]:
    """Edges of the strongest signal, Hz from the tuned frequency, with a margin.

    Cells of the recordings' mean spectra that stand out of the floor of one of them belong to one signal if
    the gap between them is below `_GAP_HZ` or half of its width. Where none stands out it is the whole band.
    """
    reach_hz = REACH * min(item.sample_rate_hz for item in recordings)
    count = max(math.floor(reach_hz / _RESOLUTION_HZ), 1)
    axis_hz: Float64 = _RESOLUTION_HZ * np.arange(-count, count + 1.0)
    energy = np.zeros(len(axis_hz))
    out = np.zeros(len(axis_hz), np.bool_)
    for item in recordings:
        excess, sigma = _excess(item, axis_hz)
        loud = excess > _SIGMAS * sigma
        out |= loud
        energy += np.where(loud, excess, 0.0)
    if not out.any():
        return -reach_hz, reach_hz
    places = np.flatnonzero(out)
    groups = [[int(places[0])]]
    for place in places[1:].tolist():
        width = (groups[-1][-1] - groups[-1][0]) / 2
        if (place - groups[-1][-1]) <= max(_GAP_HZ / _RESOLUTION_HZ, width):
            groups[-1].append(place)
        else:
            groups.append([place])
    best = max(groups, key=lambda group: float(energy[group].sum()))
    margin_hz = _MARGIN_HZ + 0.05 * _RESOLUTION_HZ * (best[-1] - best[0])
    return (
        max(float(axis_hz[best[0]]) - margin_hz, -reach_hz),
        min(float(axis_hz[best[-1]]) + margin_hz, reach_hz),
    )


def coherent(spectra_by_rise: Complex128, bin_hz: float) -> tuple[float, float]:
    """Edges of the part of the band in which aligned spectra are alike, Hz from its centre, with a margin.

    In a cell of n bins of noise, n times the coherence squared of two spectra is distributed as Exp(1) (G. C.
    Carter, "Coherence and time delay estimation", Proc. IEEE 75 (1987), 236-255). The part is that in which
    the sum of what exceeds this, and a standard deviation of it, is largest.

    Args:
        spectra_by_rise: The reference's, then others', by rising frequency about the centre, shape (R, F).
        bin_hz: Distance of two bins.
    """
    bins = spectra_by_rise.shape[1]
    count = max(round(bins * bin_hz / _RESOLUTION_HZ), 1)
    edges = np.linspace(0, bins, count + 1).astype(np.int64)
    power = np.add.reduceat(squared_magnitude(spectra_by_rise), edges[:-1], axis=1)
    product = spectra_by_rise[1:] * spectra_by_rise[0].conj()
    alike = squared_magnitude(np.add.reduceat(product, edges[:-1], axis=1))
    alike = np.diff(edges) * alike / np.maximum(power[1:] * power[0], np.finfo(np.float64).tiny)
    others = len(product)
    gain = np.concatenate([[0.0], np.cumsum(alike.sum(axis=0) - others - math.sqrt(others))])
    before = np.minimum.accumulate(gain)
    last = int(np.argmax(gain - before))
    first = int(np.argmin(gain[: last + 1]))
    margin_hz = _MARGIN_HZ + 0.05 * _RESOLUTION_HZ * (last - first)
    half_hz = bins * bin_hz / 2
    return (
        max(float(edges[first]) * bin_hz - half_hz - margin_hz, -half_hz),
        min(float(edges[last]) * bin_hz - half_hz + margin_hz, half_hz),
    )


def _excess(recording: Recording, axis_hz: Float64) -> tuple[Float64, float]:
    """Power over that of the floor, less 1, at each frequency, and its standard deviation in noise."""
    width = max(min(round(recording.sample_rate_hz / _RESOLUTION_HZ), len(recording.iq)), 2)
    window = np.hanning(width + 1)[:width]
    step = max(width // 2, math.ceil((len(recording.iq) - width + 1) / _MOST_SEGMENTS))
    segments = np.lib.stride_tricks.sliding_window_view(recording.iq, width)[::step]
    mean = recording.iq.mean(dtype=np.complex128)
    windowed = ((segments - mean) * window).astype(np.complex64)
    density = squared_magnitude(scipy.fft.fft(windowed, axis=1)).mean(axis=0)
    cell = np.rint(axis_hz * width / recording.sample_rate_hz).astype(np.int64)
    power = density[cell].astype(np.float64)
    floor = max(float(np.quantile(power, _FLOOR_QUANTILE)), np.finfo(np.float64).tiny)
    sigma = 1 / math.sqrt(len(segments))
    return power / floor - 1 - sigma, sigma  # the quantile of averages lies below their mean


@dataclass(frozen=True, eq=False)
class Transformed:
    """R recordings' spectra before a band of them is taken.

    Attributes:
        low_hz: Lower edge of what there is, Hz from the tuned frequency.
        high_hz: Upper edge.
        values: By rising frequency, about the bin `middle`, shape (R, F); time 0 is the earliest start.
        middle: The middle bin, in cycles over `span_s`.
        span_s: Time that all recordings are in, with zeros, seconds.
        start_s: Their starts after the earliest, seconds, shape (R,).
        duration_s: How long they last, shape (R,).
    """

    low_hz: float
    high_hz: float
    values: Complex128
    middle: int
    span_s: float
    start_s: Float64
    duration_s: Float64

    def within(self, low_hz: float, high_hz: float) -> Band:
        """The spectra within a band, which is inside of what there is."""
        span_s, reach = self.span_s, self.values.shape[1] // 2
        middle, half = _places(low_hz, high_hz, span_s)
        half = min(half, reach - abs(middle - self.middle))
        size = scipy.fft.next_fast_len(math.ceil(_OVERSAMPLED * (2 * half + 1)))
        bins = np.arange(-half, half + 1)
        # Soft edges: what a recording has where it begins and ends is not to ring on in it.
        soft_hz = min(max(_SOFT_SHARE * half / span_s, _SOFT_HZ), half / 2 / span_s)
        soft = np.sin(np.pi / 2 * np.minimum((half + 1 - np.abs(bins)) / (soft_hz * span_s + 1), 1.0)) ** 2
        spectrum = np.zeros((len(self.values), size), np.complex128)
        first = reach + middle - self.middle - half
        spectrum[:, bins] = self.values[:, first : first + 2 * half + 1] * (soft * size)
        direct = np.zeros_like(spectrum)
        direct_level = np.zeros(len(self.values))
        if abs(middle) <= half:
            time_s = np.arange(size) * (span_s / size)
            spans = list(zip(self.start_s.tolist(), self.duration_s.tolist(), strict=True))
            for row, span in enumerate(spans):
                first = spans.index(span)  # mostly all are alike
                if first < row:
                    direct[row], direct_level[row] = direct[first], direct_level[first]
                    continue
                window = _fade(time_s - span[0], span[1])
                direct[row, bins] = soft * scipy.fft.fft(window)[(middle + bins) % size]
                direct_level[row] = soft[half - middle] * window.max()
        return Band(low_hz, high_hz, size / span_s, middle / span_s, soft_hz, spectrum, direct, direct_level)


def transformed(
    recordings: Sequence[Recording], start_s: Float64, low_hz: float, high_hz: float
) -> Transformed:
    """Spectra of the recordings between two frequencies.

    Args:
        recordings: R recordings.
        start_s: Their starts after the earliest, seconds, shape (R,).
        low_hz: The lower one, Hz from the tuned frequency.
        high_hz: The higher one.
    """
    duration_s = np.array([item.duration_s for item in recordings], np.float64)
    fastest = max(item.sample_rate_hz for item in recordings)
    span_s = (
        scipy.fft.next_fast_len(math.ceil(1.02 * float((start_s + duration_s).max()) * fastest)) / fastest
    )
    middle, half = _places(low_hz, high_hz, span_s)
    values = np.empty((len(recordings), 2 * half + 1), np.complex128)
    cycles = middle + np.arange(-half, half + 1)
    for row, (item, start) in enumerate(zip(recordings, start_s.tolist(), strict=True)):
        values[row] = _bins(item, middle, half, span_s) / (span_s * item.sample_rate_hz)
        if start:
            values[row] *= np.exp(-2j * np.pi * np.remainder(cycles * (start / span_s), 1.0))
    return Transformed(low_hz, high_hz, values, middle, span_s, start_s, duration_s)


def _places(low_hz: float, high_hz: float, span_s: float) -> tuple[int, int]:
    """The middle bin of a band, and how many there are on either side."""
    return round((low_hz + high_hz) / 2 * span_s), max(math.floor((high_hz - low_hz) / 2 * span_s), 1)


def _fade(time_s: Float64, duration_s: float) -> Float64:
    """The window of `correlation.fade` for a recording of some length, at times after its start, (n,)."""
    edge_s = FADE_SHARE * duration_s
    inside = np.clip(np.minimum(time_s, duration_s - time_s) / edge_s, 0.0, 1.0)
    # Mean square of half a cosine, squared: 3 / 8.
    level = 0.5 / math.sqrt(1 - 2 * FADE_SHARE * (1 - 3 / 8))
    return np.asarray(level * (1 - np.exp(1j * np.pi * inside).real), np.float64)


def _bins(recording: Recording, middle: int, half: int, span_s: float) -> Complex128:
    """The spectrum at frequencies (middle - half .. middle + half) / span_s, shape (2 half + 1,)."""
    samples = recording.iq * fade(len(recording.iq))
    length = round(span_s * recording.sample_rate_hz)
    if abs(length - span_s * recording.sample_rate_hz) < 1e-9 * length:
        full = scipy.fft.fft(samples, length)
        return np.asarray(full[np.arange(middle - half, middle + half + 1) % length], np.complex128)
    step = 1 / (span_s * recording.sample_rate_hz)
    return chirp_transform(samples * phase_ramp(-middle * step, len(samples)), half, step)
