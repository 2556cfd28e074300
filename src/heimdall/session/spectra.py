"""What each recording of a session holds: its spectrum, and its spectrum from moment to moment."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.fft
from matplotlib import image
from scipy.signal import get_window

from heimdall.recordings.iq import Samples
from heimdall.session import files
from heimdall.session.detail import Detail

Float64 = npt.NDArray[np.float64]

SHOWN_BANDS = 2.5  # half widths of the correlation's band: beyond there are other signals alone
RESOLUTION_HZ = 100.0
_ROWS = 160  # of a waterfall
_LEAST_DENSITY = 1e-30  # of a recording of zeros
_DARKEST, _BRIGHTEST = 20.0, 99.8  # percentiles of the levels: of noise, and of the signal without a click
_LEAST_RANGE_DB = 10.0


@dataclass(frozen=True, eq=False)
class Spectrum:
    """The spectrum of a recording around the tuned frequency.

    Attributes:
        offset_hz: From the tuned frequency, Hz, ascending, shape (F,).
        level_db: Mean power density, dB of full scale a hertz, shape (F,).
        waterfall_db: The same in `_ROWS` moments that follow each other, shape (rows, F).
        duration_s: Of the recording, seconds.
    """

    offset_hz: Float64
    level_db: Float64
    waterfall_db: Float64
    duration_s: float

    @property
    def range_db(self) -> tuple[float, float]:
        """Levels of the darkest and of the brightest colour of the picture, dB of full scale a hertz."""
        low, high = np.percentile(self.waterfall_db, [_DARKEST, _BRIGHTEST]).tolist()
        return low, max(high, low + _LEAST_RANGE_DB)

    def picture(self) -> bytes:
        """The waterfall as PNG: a column for each frequency, a row for each moment, the first at the top."""
        low_db, high_db = self.range_db
        stream = io.BytesIO()
        image.imsave(
            stream,
            np.round(self.waterfall_db),  # the file is half as large
            vmin=low_db,
            vmax=high_db,
            cmap="cividis",
            format="png",
            metadata={"Software": ""},  # which would name a version
        )
        return stream.getvalue()


def of_recordings(detail: Detail) -> dict[int, Spectrum]:
    """The spectra of a session, by the number of the receiver.

    Args:
        detail: The session; its recordings are read from the snapshot.

    Raises:
        HeimdallError: The snapshot is missing or damaged.
    """
    rows = detail.measurements.sort_values("websdr_id")
    rates_hz = dict(zip(rows["websdr_id"], rows["sample_rate_hz"], strict=True))
    shown_hz = SHOWN_BANDS * detail.params.correlation_band_hz
    return {
        number: _spectrum(samples, rates_hz[number], shown_hz)
        for number, samples in files.samples_of(rows).items()
    }


def _spectrum(samples: Samples, rate_hz: float, shown_hz: float) -> Spectrum:
    """By P. D. Welch's method (IEEE Transactions on Audio and Electroacoustics 15, 1967)."""
    size = min(round(rate_hz / RESOLUTION_HZ), len(samples))
    window = get_window("hann", size)
    starts = np.linspace(0, len(samples) - size, _ROWS).round().astype(int)
    pieces = np.stack([samples[start : start + size] for start in starts]).astype(np.complex128)
    power = np.abs(scipy.fft.fft(pieces * window, axis=1)) ** 2 / (rate_hz * float((window**2).sum()))
    offset_hz = scipy.fft.fftfreq(size, 1 / rate_hz)
    order = np.argsort(offset_hz)
    order = order[np.abs(offset_hz[order]) <= shown_hz]
    density = np.maximum(power[:, order], _LEAST_DENSITY)
    return Spectrum(
        offset_hz[order],
        10 * np.log10(density.mean(axis=0)),
        10 * np.log10(density),
        len(samples) / rate_hz,
    )
