"""When one transmission came to each receiver, by its recordings alone: delays, and how well they are known.

Nothing is tuned to a kind of signal. The band is where the recordings show one, noise is what is not alike in
them, and the standard deviation says how good a time is. See `alignment` and `joint_delay` for how.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from heimdall.signal import alignment, fading, joint_delay
from heimdall.signal.band import Band, coherent, occupied, transformed
from heimdall.signal.correlation import FADE_SHARE, Recording, starts
from heimdall.signal.detection import CARRIER_SEARCH_HZ
from heimdall.signal.sample_clock import Correction, Growth, Oscillators, correction, expected
from heimdall.signal.transforms import squared_magnitude
from heimdall.signal.witnesses import copied, is_stuck

Float64 = npt.NDArray[np.float64]

EXCESS_S = 3e-3  # of a path over the straight one, or of one sky wave over another
_LIGHT_M_S = 299_792_458.0
_FALSE_ALARM_NATS = 13.0  # with 10, one alignment of noise in two thousand passed
_LEAST_OVERLAP = 0.5  # of the reference's recording
_CANDIDATES = 3  # for the reference
_NARROWER = 0.8
_LEAST_SAMPLES = 32
_MOST_DOUBT = 0.2  # that a delay is another one; the solver leaves out one that the others contradict
# Of what is alike in recordings. One signal has 0.02 and less, and two transmitters within 6 dB of each other
# have 0.07 to 0.6 (both simulated); 28 seconds of a recorded time signal have 0.006 and less.
_MOST_OTHER = 0.04
# An echo of one receiver is in all of its pairs, and in one of each other receiver's.
_APART = 2.0  # of the next most
_LEAST_ALIKE = 4  # receivers that are left: three have too few pairs to show a second transmission
_CLEAN = 1e-3  # of each that is left, of which two transmitters have more, and echoes elsewhere nothing
_LEAST_STEADY = 3  # receivers: of two, nothing shows a second transmission that fading does not
_LEAST_CYCLES = 4.0  # of the rms bandwidth in a piece of a gain, which of less takes the signal itself, too
_LEAST_PARTS = 4.0  # of the shared time, or delays that wander would not be seen
_STEADY_ROUNDS = 2
# Of delays within a second. Echoes of 30 simulated transmitters that move made 0.1 to 3 us, and once 5 us;
# two voices in turn, whose delays differ by up to 200 us, made 5 to 40 us.
_MOST_WANDER_S = 4e-6

NO_GPS_TIME = "its start is no GPS time"
STARTS_ELSEWHERE = "its recording starts at another time than the others"
NOT_HEARD = "it shows no signal that another receiver hears"
ALONE = "no other receiver hears the signal at a known time"
NO_TIME = "its signal says nothing of time"
SEVERAL = "it has more in common with the others than one signal, as of two transmitters"

UNLIKE = "its recording has more than the signal of the others, as of an echo or of another transmitter"
STUCK = "its samples repeat one value or a few, without noise: the receiver is stuck"
COPIED = "its samples are those of another recording"


@dataclass(frozen=True, eq=False)
class ArrivalTimes:
    """What R recordings of one transmission say together.

    Attributes:
        delay_s: When the signal came to each receiver, seconds after the reference, shape (R,); NaN where it
            is not known. Only differences mean something.
        sigma_s: Standard deviation of the delay by noise, echoes and whatever else makes the recordings
            unlike, seconds, shape (R,); NaN where there is no delay. Errors of the receivers' clocks are not
            in it, nor is what all parts of the signal's band have alike, such as a longer path.
        level_db: Power of the signal within the band, dBFS, shape (R,); of all there is where it is not
            heard; NaN of samples that are stuck or copied.
        snr_db: Power of what is alike in the recordings over that of what is not, where the delays come from,
            dB, shape (R,); NaN where the signal is not heard.
        heard: Whether the receiver hears the signal, shape (R,).
        offset_hz: Carrier less the tuned frequency in the middle of the time that the recordings share, Hz,
            shape (R,); NaN where there is no delay. What is common to all is only as good as the centre of
            the band.
        offset_sigma_hz: Standard deviation of the difference to the reference's, Hz, shape (R,); NaN as that.
        chirp_hz_s: Drift of the carrier less that of the reference's, Hz/s, shape (R,), which is taken off
            before all else; 0 where it is not evident, as of `signal.chirp`, and NaN where there is no delay.
        reason: Why a receiver has no delay, or "", R of them: sentences without a full stop.
        reference: Row of the receiver whose delay is 0; -1 if there are no delays.
        rms_bandwidth_hz: Rms bandwidth of what the delays rest on, Hz; 0 without delays.
        low_hz: Lower edge of the band in which the signal was looked for, Hz from the tuned frequency.
        high_hz: Upper edge.
    """

    delay_s: Float64
    sigma_s: Float64
    level_db: Float64
    snr_db: Float64
    heard: npt.NDArray[np.bool_]
    offset_hz: Float64
    offset_sigma_hz: Float64
    chirp_hz_s: Float64
    reason: tuple[str, ...]
    reference: int
    rms_bandwidth_hz: float
    low_hz: float
    high_hz: float


def measure(
    recordings: Sequence[Recording],
    position_m: Float64,
    excess_s: float = EXCESS_S,
    oscillators: Oscillators | None = None,
) -> ArrivalTimes:
    """Delays of one transmission between its receivers.

    Recordings that are stuck, or have the samples of another one, are witnesses of nothing and set aside.

    Args:
        recordings: R recordings of the same tuned frequency, of any sample rates.
        position_m: Where the receivers are, in any system of three right-angled axes, metres, shape (R, 3).
        excess_s: How much longer than the straight way between two receivers a delay may be.
        oscillators: What drives the receivers, in the order of the recordings; None if their samples are
            taken at the times that the stamps and sample rates say.

    Returns:
        What was found, in the order of the recordings.

    Raises:
        ValueError: There is no recording.
    """
    if not recordings:
        raise ValueError("a transmission needs at least one recording")
    reason = [STUCK if is_stuck(item.iq) else "" for item in recordings]
    rows = [row for row, why in enumerate(reason) if not why]
    for row, twice in zip(rows, copied([recordings[row].iq for row in rows]).tolist(), strict=True):
        reason[row] = COPIED if twice else ""
    rows = [row for row in rows if not reason[row]]
    if len(rows) == len(recordings):
        return _measured(recordings, position_m, excess_s, oscillators)
    found = None
    if rows:
        some = None if oscillators is None else oscillators.rows(rows)
        found = _measured([recordings[row] for row in rows], position_m[rows], excess_s, some)
    return _among(found, rows, reason)


def _among(found: ArrivalTimes | None, rows: list[int], reason: list[str]) -> ArrivalTimes:
    """What was found of some rows, among others that have nothing but a reason for that."""

    def spread(values: Float64 | None) -> Float64:
        every = np.full(len(reason), np.nan)
        if values is not None:
            every[rows] = values
        return every

    if found is None:
        none, unheard = spread(None), np.zeros(len(reason), np.bool_)
        return ArrivalTimes(
            none, none, none, none, unheard, none, none, none, tuple(reason), -1, 0.0, 0.0, 0.0
        )
    why = list(reason)
    for row, said in zip(rows, found.reason, strict=True):
        why[row] = said
    heard = np.zeros(len(reason), np.bool_)
    heard[rows] = found.heard
    return replace(
        found,
        delay_s=spread(found.delay_s),
        sigma_s=spread(found.sigma_s),
        level_db=spread(found.level_db),
        snr_db=spread(found.snr_db),
        heard=heard,
        offset_hz=spread(found.offset_hz),
        offset_sigma_hz=spread(found.offset_sigma_hz),
        chirp_hz_s=spread(found.chirp_hz_s),
        reason=tuple(why),
        reference=rows[found.reference] if found.reference >= 0 else -1,
    )


def _measured(
    recordings: Sequence[Recording],
    position_m: Float64,
    excess_s: float,
    oscillators: Oscillators | None,
) -> ArrivalTimes:
    """As `measure`, of recordings that are all of use."""
    start_s, timed = starts(recordings)
    whole = transformed(recordings, start_s, *occupied(recordings))
    band = whole.within(whole.low_hz, whole.high_hz)
    reference, aligned, carriers = _aligned(band, timed, position_m, excess_s)
    drift_hz_s = np.array([aligned[row].chirp_hz_s if row in aligned else 0.0 for row in range(len(timed))])
    band = band.without_drift(drift_hz_s)
    kept, interval = _common(recordings, start_s, reference, aligned, band)
    if len(kept) > 1:
        edges_hz = _coherent_hz(band, kept, reference, aligned, interval)
        if edges_hz[1] - edges_hz[0] < _NARROWER * (band.high_hz - band.low_hz):
            band = whole.within(*edges_hz).without_drift(drift_hz_s)
            kept, interval = _common(recordings, start_s, reference, aligned, band)
    found = _Solved(None, kept, reference, NO_TIME)
    if len(kept) > 1:
        found = _solved(band, aligned, kept, reference, interval, max_lag_s=_max_lag_s(position_m, excess_s))
    joint, reference, no_time = found.joint, found.reference, found.no_time
    unlike, kept = set(kept) - set(found.kept), found.kept
    if joint is not None:
        joint = replace(joint, sigma_s=np.hypot(joint.sigma_s, _by_other_s(joint, position_m[kept])))

    heard = np.zeros(len(recordings), np.bool_)
    heard[[*aligned, *carriers]] = True
    delay_s, sigma_s, snr_db, offset_hz, offset_sigma_hz, chirp_hz_s = np.full((6, len(recordings)), np.nan)
    level_db = _level_db(replace(band, spectrum=band.without_means), recordings)
    if joint is not None:
        known = _known(joint)
        rows = np.array(kept)[known]
        delay_s[rows], sigma_s[rows] = joint.delay_s[known], joint.sigma_s[known]
        middle_s = (interval.part.start + interval.part.stop) / 2 / band.rate_hz
        chirp_hz_s[rows] = drift_hz_s[rows] - drift_hz_s[reference]
        offset_hz[rows] = band.centre_hz + joint.offset_hz[known]
        offset_hz[rows] += drift_hz_s[rows] * (middle_s - band.middle_s)
        offset_sigma_hz[rows] = joint.offset_sigma_hz[known]
        growth = Growth(joint.growth.rate[known], joint.growth.sigma[known])
        clocked = _clocked(growth, oscillators, rows, offset_hz[rows], (middle_s - start_s + delay_s)[rows])
        delay_s[rows] += clocked.delay_s - (clocked.delay_s + delay_s[rows])[rows == reference]
        sigma_s[rows] = np.hypot(sigma_s[rows], clocked.sigma_s)
        signal = band.spectrum[kept] - joint.direct[:, None] * band.direct[kept]
        level_db[kept] = _level_db(replace(band, spectrum=signal), [recordings[row] for row in kept])
        snr_db[kept] = joint.snr_db
        level_db[kept] -= 10 * np.log10(1 + 10 ** (-joint.snr_db / 10))
    reason = [
        _why(
            item,
            unlike=row in unlike,
            elsewhere=not timed[row] or (row in aligned and row not in kept),
            otherwise=no_time if heard[row] else NOT_HEARD if aligned else ALONE,
        )
        for row, item in enumerate(recordings)
    ]
    return ArrivalTimes(
        delay_s,
        sigma_s,
        level_db,
        snr_db,
        heard,
        offset_hz,
        offset_sigma_hz,
        chirp_hz_s,
        tuple("" if math.isfinite(one) else why for one, why in zip(delay_s.tolist(), reason, strict=True)),
        reference if joint is not None else -1,
        joint.rms_bandwidth_hz if joint is not None else 0.0,
        band.low_hz,
        band.high_hz,
    )


def _why(item: Recording, *, unlike: bool, elsewhere: bool, otherwise: str) -> str:
    """Why a recording has no delay."""
    if item.start_gps_ns is None:
        return NO_GPS_TIME
    if unlike:
        return UNLIKE
    return STARTS_ELSEWHERE if elsewhere else otherwise


class _Solved(NamedTuple):
    """What the kept rows say together over the reference, or None and why they say nothing of time."""

    joint: joint_delay.JointDelays | None
    kept: list[int]
    reference: int
    no_time: str


def _solved(
    band: Band,
    aligned: dict[int, alignment.Alignment],
    kept: list[int],
    reference: int,
    interval: joint_delay.Interval,
    *,
    max_lag_s: Float64,
) -> _Solved:
    """Delays of the kept recordings; where one alone has more than the signal, those of the others.

    Where several have, it may be that they fade.
    """
    delay_s = np.array([aligned[row].lag_s for row in kept])
    offset_hz = np.array([aligned[row].offset_hz for row in kept])
    asked, rows = reference, list(kept)
    first: joint_delay.JointDelays | None = None
    while True:
        joint = joint_delay.solve(
            band.rows(rows),
            delay_s,
            offset_hz,
            reference=rows.index(reference),
            interval=interval,
            max_lag_s=max_lag_s[reference, rows] + abs(float(delay_s[rows.index(reference)])),
        )
        first = first or joint
        several = bool(np.median(joint.other_share) >= _MOST_OTHER)
        if len(rows) < len(kept):
            several = bool(joint.other_share.max() >= _CLEAN)
        worst, second = np.argsort(-joint.other_share, kind="stable")[:2].tolist()
        apart = joint.other_share[worst] > _APART * joint.other_share[second]
        if not several or not apart or len(rows) <= _LEAST_ALIKE:
            break
        others = np.arange(len(rows)) != worst
        delay_s, offset_hz = joint.delay_s[others], joint.offset_hz[others]
        strongest = int(np.argmax(joint.snr_db[others]))
        rows = [row for row, other in zip(rows, others.tolist(), strict=True) if other]
        reference = reference if reference in rows else rows[strongest]
    if several:
        own, most_s = kept.index(asked), max_lag_s[asked, kept]
        steadied = _steadied(band.rows(kept), first, interval, reference=own, max_lag_s=most_s)
        return _Solved(steadied, kept, asked, SEVERAL if steadied is None else NO_TIME)
    own = rows.index(reference)
    if not _is_known(joint, own):
        return _Solved(None, kept, reference, NO_TIME)
    if joint.other_share.max() >= _CLEAN:
        most_s = max_lag_s[reference, rows]
        steadied = _steadied(band.rows(rows), joint, interval, reference=own, max_lag_s=most_s)
        joint = joint if steadied is None else _as_far_as_moved(steadied, joint)
    return _Solved(joint, rows, reference, NO_TIME)


def _steadied(
    band: Band,
    first: joint_delay.JointDelays,
    interval: joint_delay.Interval,
    *,
    reference: int,
    max_lag_s: Float64,
) -> joint_delay.JointDelays | None:
    """What recordings say that seem to have several signals, if without their fading they have one alone.

    Which of the delays between which it wanders is the right one, nothing says: so that counts in full. Gains
    have taken what carriers differ by, which are as they were before.

    Args:
        band: Spectra of the recordings.
        first: What they say with their fading.
        interval: Where all of them have the signal.
        reference: Row whose delay stays.
        max_lag_s: Largest delay over that of the reference, shape (R,).
    """
    if len(first.delay_s) < _LEAST_STEADY or first.rms_bandwidth_hz * fading.KNOT_S < _LEAST_CYCLES:
        return None
    if len(interval.window) < _LEAST_PARTS * fading.PART_S * band.rate_hz:
        return None
    joint, still = first, band
    for _ in range(_STEADY_ROUNDS):  # what the first delays are off by is in the gains, too
        still = fading.steady(band, joint, interval)
        joint = joint_delay.solve(
            still,
            joint.delay_s,
            joint.offset_hz,
            reference=reference,
            interval=interval,
            max_lag_s=max_lag_s + abs(float(joint.delay_s[reference])),
        )
        joint = replace(joint, direct=first.direct)
    if joint.other_share.max() >= _CLEAN or not _is_known(joint, reference):
        return None
    wander = fading.wander(still, joint, interval)
    if wander.evident_s.max() > _MOST_WANDER_S:
        return None
    return replace(
        joint,
        sigma_s=np.hypot(joint.sigma_s, wander.rms_s),
        offset_hz=first.offset_hz,
        offset_sigma_hz=first.offset_sigma_hz,
    )


def _as_far_as_moved(
    steadied: joint_delay.JointDelays, first: joint_delay.JointDelays
) -> joint_delay.JointDelays:
    """With sigmas that have what taking off the fading moved the delays by.

    Two carriers a few hertz apart, and two transmitters in turns of 30 ms, pass for one that fades: then
    neither delay is right, and their difference says by how much.
    """
    moved_s = steadied.delay_s - first.delay_s
    moved_s = moved_s - np.average(moved_s, weights=steadied.sigma_s**-2)
    return replace(steadied, sigma_s=np.hypot(steadied.sigma_s, moved_s))


def _clocked(
    growth: Growth,
    oscillators: Oscillators | None,
    rows: npt.NDArray[np.intp],
    offset_hz: Float64,
    at_s: Float64,
) -> Correction:
    """What is to be added to the delays of K rows, measured `at_s` after their recordings begin."""
    if oscillators is None or not oscillators.frequency_hz > 0 or not oscillators.free[rows].any():
        return Correction(np.zeros(len(rows)), np.zeros(len(rows)))
    return correction(growth, expected(oscillators, rows, offset_hz), at_s + oscillators.stamp_s[rows])


def _aligned(
    band: Band, timed: npt.NDArray[np.bool_], position_m: Float64, excess_s: float
) -> tuple[int, dict[int, alignment.Alignment], list[int]]:
    """The reference, and by row the recordings in which its signal is evident, it among them.

    The reference is that with the most power over its quiet parts, or the next one if nobody else has the
    same signal. Without any it is -1. Third are rows in which a carrier is evident, but nothing else.
    """
    half_hz = (band.high_hz - band.low_hz) / 2
    inside = np.argsort(band.frequency_hz, kind="stable")
    inside = inside[np.abs(band.frequency_hz[inside]) <= half_hz]
    whitened = [
        alignment.whitened(one, inside, whole)
        for one, whole in zip(band.without_means, band.spectrum, strict=True)
    ]
    max_lag_s = _max_lag_s(position_m, excess_s)
    duration_s = band.spectrum.shape[1] / band.rate_hz
    cells = 4 * half_hz * float(max_lag_s.max()) * 2 * CARRIER_SEARCH_HZ * duration_s
    gate = math.log(max(cells, 1.0)) + _FALSE_ALARM_NATS
    strength = np.array([one.prominence for one in whitened])
    rows = [row for row in np.argsort(-strength, kind="stable").tolist() if timed[row]]
    carriers: list[int] = []
    for candidate in rows[:_CANDIDATES]:
        found = {candidate: alignment.Alignment(0.0, 0.0, math.inf, math.inf)}
        for row in rows:
            if row != candidate:
                lag_s = float(max_lag_s[candidate, row])
                found[row] = alignment.align(whitened[candidate], whitened[row], band.rate_hz, lag_s)
        evident = {row: one for row, one in sorted(found.items()) if one.evidence > gate}
        heard = [row for row, one in sorted(found.items()) if one.carrier_nats > gate and row not in evident]
        if len(evident) > 1:
            return candidate, evident, heard
        carriers = max(carriers, [*heard, *evident] if heard else [], key=len)
    return -1, {}, carriers


def _coherent_hz(
    band: Band,
    kept: list[int],
    reference: int,
    aligned: dict[int, alignment.Alignment],
    interval: joint_delay.Interval,
) -> tuple[float, float]:
    """Edges of the part of the band where the recordings are alike, Hz from the tuned frequency."""
    rows = [reference, *(row for row in kept if row != reference)]
    part = band.rows(rows)
    lag_s = np.array([aligned[row].lag_s for row in rows])
    offset_hz = np.array([aligned[row].offset_hz for row in rows])
    values = joint_delay.aligned(part, lag_s, offset_hz, interval)
    low_hz, high_hz = coherent(values, (band.high_hz - band.low_hz - band.soft_hz) / values.shape[1])
    return max(band.centre_hz + low_hz, band.low_hz), min(band.centre_hz + high_hz, band.high_hz)


def _max_lag_s(position_m: Float64, excess_s: float) -> Float64:
    """Largest delay between two receivers, shape (R, R)."""
    away_m = position_m[:, None] - position_m[None]
    return np.asarray(np.sqrt((away_m * away_m).sum(axis=-1)) / _LIGHT_M_S + excess_s, np.float64)


def _known(joint: joint_delay.JointDelays) -> npt.NDArray[np.bool_]:
    """Which delays are known; a receiver alone may have a wrong one."""
    return np.isfinite(joint.sigma_s) & (joint.doubt < _MOST_DOUBT)


def _is_known(joint: joint_delay.JointDelays, reference: int) -> bool:
    """Whether the delay of the reference is known, and another one."""
    known = _known(joint)
    return bool(known[reference] and np.count_nonzero(known) > 1)


def _by_other_s(joint: joint_delay.JointDelays, position_m: Float64) -> Float64:
    """What else is alike in recordings moves their delays by, seconds, shape (R,).

    Of a share q of the power it has a product with the signal of sqrt(q), which turns the phase by at most
    that: the slope of the phase by that over the bandwidth, or by what a network has of delays if they are
    less. Where its phases are those of the signal at all receivers, the mean over pairs has no less of it.
    """
    share = np.minimum(np.maximum(joint.other_share, joint.other_share.mean()), 1.0)
    apart_s = float(_max_lag_s(position_m, 0.0).max())
    reach_s = min(apart_s, 1 / (2 * math.pi * joint.rms_bandwidth_hz)) if joint.rms_bandwidth_hz else apart_s
    return np.asarray(reach_s * np.sqrt(share / 2), np.float64)


def _level_db(band: Band, recordings: Sequence[Recording]) -> Float64:
    """Power within the band, dBFS, shape (R,)."""
    size = band.spectrum.shape[1]
    energy = squared_magnitude(band.spectrum).sum(axis=1) / size
    duration_s = np.array([item.duration_s for item in recordings])
    return np.asarray(10 * np.log10(np.maximum(energy / (duration_s * band.rate_hz), 1e-30)), np.float64)


def _common(
    recordings: Sequence[Recording],
    start_s: Float64,
    reference: int,
    aligned: dict[int, alignment.Alignment],
    band: Band,
) -> tuple[list[int], joint_delay.Interval]:
    """Rows that overlap with the reference's recording, and the time that they share, as it has it."""
    first_s, last_s = {}, {}
    for row, one in aligned.items():
        edge_s = FADE_SHARE * recordings[row].duration_s + band.settled_s
        first_s[row] = float(start_s[row]) + edge_s - one.lag_s
        last_s[row] = float(start_s[row]) + recordings[row].duration_s - edge_s - one.lag_s
    kept = [
        row
        for row in aligned
        if min(last_s[row], last_s[reference]) - max(first_s[row], first_s[reference])
        >= _LEAST_OVERLAP * recordings[reference].duration_s
    ]
    if not kept:
        return [], joint_delay.Interval(0, _LEAST_SAMPLES)
    first = math.ceil(max(first_s[row] for row in kept) * band.rate_hz)
    length = math.floor(min(last_s[row] for row in kept) * band.rate_hz) - first
    if length < _LEAST_SAMPLES:
        return [], joint_delay.Interval(0, _LEAST_SAMPLES)
    return kept, joint_delay.Interval(first, length)
