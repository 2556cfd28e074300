"""A session as a picture: spectra and correlations of its receivers, and where they stand."""

from __future__ import annotations

import io
import math

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar
from scipy.signal import welch

from heimdall.core.provenance import provenance
from heimdall.session import files
from heimdall.session.detail import Detail
from heimdall.session.session_text import moment

# Okabe and Ito, 2008, and two greys; more receivers begin again.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#888888")
SEGMENT = 4096  # samples of a spectrum's segment: 47 Hz at 192 kHz
SHOWN_US = 400.0  # of the lags, at least
WORLD_M = 40_000_000


def draw(detail: Detail) -> bytes:
    """The picture of a session.

    Args:
        detail: The session; its recordings are read from the snapshot.

    Returns:
        PNG bytes that depend on the session alone.

    Raises:
        HeimdallError: The snapshot is missing or damaged.
    """
    with mpl.rc_context():
        mpl.rcdefaults()  # nobody's matplotlibrc
        mpl.rc("font", family="DejaVu Sans", size=9)
        mpl.rc("axes", grid=True)
        mpl.rc("grid", color="#dddddd")
        figure = Figure(figsize=(15, 8), dpi=100, layout="constrained")
        session = detail.session
        figure.suptitle(
            f"Session {session.session_id}: {session.modulation} at {session.frequency_mhz:.4f} MHz, "
            f"{moment(session.time)} UTC ({provenance([session.simulated])} data)",
            fontsize=13,
        )
        grid = figure.add_gridspec(2, 5)
        _draw_spectra(figure.add_subplot(grid[0, :3]), detail)
        _draw_correlations(figure.add_subplot(grid[1, :3]), detail)
        _draw_map(figure.add_subplot(grid[:, 3:]), detail)
        stream = io.BytesIO()
        figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


def _colours(detail: Detail) -> dict[int, str]:
    """The colour of each receiver, by its number."""
    return {one.websdr_id: COLOURS[k % len(COLOURS)] for k, one in enumerate(detail.receivers)}


def _draw_spectra(axes: Axes, detail: Detail) -> None:
    colours, names = _colours(detail), {one.websdr_id: one.name for one in detail.receivers}
    half_hz = 0.0
    rates_hz = dict(zip(detail.measurements["websdr_id"], detail.measurements["sample_rate_hz"], strict=True))
    for number, samples in files.samples_of(detail.measurements.sort_values("websdr_id")).items():
        frequency_hz, density = welch(
            samples.astype(np.complex128),
            rates_hz[number],
            nperseg=min(SEGMENT, len(samples)),
            return_onesided=False,
            detrend=False,
        )
        order = np.argsort(frequency_hz)
        level_db = 10 * np.log10(np.maximum(density[order], 1e-300))
        label = f"{number} {names[number]}"
        axes.plot(frequency_hz[order] / 1e3, level_db, color=colours[number], linewidth=0.8, label=label)
        half_hz = max(half_hz, float(frequency_hz.max()))
    # Beyond the band of the correlation there is nothing of the session but other signals.
    shown_hz = min(half_hz, 2.5 * detail.params.correlation_band_hz)
    axes.set(
        xlim=(-shown_hz / 1e3, shown_hz / 1e3),
        xlabel=f"frequency less {detail.session.frequency_mhz:.4f} MHz, kHz",
        ylabel="power density, dBFS/Hz",
        title="Spectrum of each recording",
    )
    axes.legend(loc="upper right", fontsize=8)


def _draw_correlations(axes: Axes, detail: Detail) -> None:
    """Of each receiver with the one that hears the signal best, or that has the best arrival time."""
    features, information_s2 = detail.observation.session, detail.observation.arrivals.information_s2
    usable = information_s2 > 0
    colours, names = _colours(detail), {one.websdr_id: one.name for one in detail.receivers}
    best = int(np.argmax(information_s2 if usable.any() else features.snr_db))
    half = features.xcorr.shape[1] // 2
    lag_us = (np.arange(features.xcorr.shape[1]) - half) / detail.params.correlation_rate_hz * 1e6
    reach_us = SHOWN_US
    for (a, b), values in zip(features.pair.tolist(), features.xcorr, strict=True):
        if best not in (a, b):
            continue
        other = b if a == best else a
        # The peak is at the delay of the other less that of the best.
        magnitude = np.abs(values if a == other else values[::-1])
        number = int(features.websdr_id[other])
        axes.plot(
            lag_us,
            magnitude / max(float(magnitude.max()), 1e-300),
            "-" if usable[other] else ":",
            color=colours[number],
            linewidth=0.9,
            label=f"{number} {names[number]}",
        )
        if usable[other]:
            reach_us = max(reach_us, 1.5 * abs(float(lag_us[int(np.argmax(magnitude))])))
    number = int(features.websdr_id[best])
    axes.set(
        xlim=(-min(reach_us, lag_us[-1]), min(reach_us, lag_us[-1])),
        xlabel=f"later than at receiver {number} {names[number]} by, us",
        ylabel="correlation, of its largest",
        title=f"Correlation with receiver {number} {names[number]} (dotted: not used for times)",
    )
    if len(features.websdr_id) > 1:
        axes.legend(loc="upper right", fontsize=8)


def _draw_map(axes: Axes, detail: Detail) -> None:
    colours = _colours(detail)
    transmitter = detail.longitude_deg, detail.latitude_deg
    for one in detail.receivers:
        colour, at = colours[one.websdr_id], (one.longitude_deg, one.latitude_deg)
        axes.scatter(
            *at,
            s=70,
            marker="^",
            color=colour if one.detected else "white",
            edgecolors=colour,
            label=f"{one.websdr_id} {one.name}{'' if one.recorded else ' (no recording)'}",
            zorder=3,
        )
        axes.annotate(str(one.websdr_id), at, xytext=(6, 5), textcoords="offset points")
        if one.detected:
            axes.plot(*zip(at, transmitter, strict=True), color=colour, linewidth=0.7, alpha=0.6)
    axes.scatter(
        *transmitter, s=160, marker="*", color="#D55E00", edgecolors="black", label="transmitter", zorder=4
    )
    metres_a_degree = WORLD_M / 360 * math.cos(math.radians(detail.latitude_deg))
    axes.set_aspect(1 / math.cos(math.radians(detail.latitude_deg)), adjustable="datalim")
    axes.set(
        xlabel="longitude, degrees",
        ylabel="latitude, degrees",
        title="Map (a filled triangle is a receiver that hears the signal)",
    )
    axes.margins(0.15)
    axes.legend(loc="upper left", fontsize=8)
    low, high = axes.get_xlim()
    length_m = _round_m((high - low) * metres_a_degree / 4)
    axes.add_artist(
        AnchoredSizeBar(
            axes.transData, length_m / metres_a_degree, f"{length_m / 1000:g} km", "lower left", frameon=False
        )
    )


def _round_m(most_m: float) -> float:
    """The longest length of 1, 2 or 5 times a power of ten that is no longer than this, metres."""
    power = 10.0 ** math.floor(math.log10(most_m))
    return max(step * power for step in (1, 2, 5) if step * power <= most_m)
