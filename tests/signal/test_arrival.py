"""Arrival times of simulated signals whose delays are known."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import numpy.typing as npt
import pytest
import scipy.fft

from heimdall.core import params
from heimdall.core.randomness import generator
from heimdall.signal import arrival_times
from heimdall.signal.arrival import (
    SHAPE_LAGS,
    SHAPE_LIMIT,
    Arrivals,
    Observation,
    arrivals,
    stamped_late,
    without_receiver,
)
from heimdall.signal.correlation import Recording, correlate
from heimdall.signal.sessions import SessionFeatures
from heimdall.simulate import signals

PARAMS = params.FeatureParams(
    n_mels=128,
    n_fft=4096,
    hop_length=512,
    f_min=0.0,
    f_max=None,
    frames=32,
    correlation_band_hz=8000.0,
    correlation_rate_hz=32000.0,
    correlation_max_lag_s=1e-3,
)
RATE_HZ, BAND_HZ = 32000, 8000.0
SAMPLES, PERIOD = 32000, 40000
GPS_NS = 1_400_000_000_000_000_000
CYCLES = np.linspace(-0.15, 0.15, 601)  # a sample
DELAYS_S = np.array([101.3e-6, 233.33e-6, 17.05e-6, 390.9e-6])
POSITION_M = np.array([[0.0, 0.0, 0.0], [80e3, 0.0, 0.0], [0.0, 60e3, 0.0], [-50e3, -50e3, 0.0]])
Float64 = npt.NDArray[np.float64]


def spectrum(random: np.random.Generator, half_width_hz: float) -> tuple[Float64, npt.NDArray[np.complex128]]:
    """Frequencies of one period and a noise-like signal of mean power 1 that fills part of them."""
    frequency_hz = scipy.fft.fftfreq(PERIOD, 1 / RATE_HZ)
    filled = np.abs(frequency_hz) < half_width_hz
    values = np.where(filled, random.standard_normal(PERIOD) + 1j * random.standard_normal(PERIOD), 0)
    return frequency_hz, values * PERIOD / np.sqrt(2 * np.count_nonzero(filled))


def record(seed: int, delay_s: Float64, snr_db: Float64, half_width_hz: float = 5000.0) -> list[Recording]:
    """One second at each receiver: a noise-like signal, delayed exactly, in noise."""
    random = generator(seed, "test.arrival")
    frequency_hz, sent = spectrum(random, half_width_hz)
    found = []
    for number, (delay, level_db) in enumerate(zip(delay_s, snr_db, strict=True)):
        signal = scipy.fft.ifft(sent * np.exp(-2j * np.pi * frequency_hz * delay))[4000 : 4000 + SAMPLES]
        noise = random.standard_normal(SAMPLES) + 1j * random.standard_normal(SAMPLES)
        iq = signal + noise * np.sqrt(0.5 * RATE_HZ / (2 * BAND_HZ)) * 10 ** (-level_db / 20)
        turned = iq * np.exp(2j * np.pi * random.random())
        found.append(Recording(number, (0.01 * turned).astype(np.complex64), float(RATE_HZ), GPS_NS, 50.0))
    return found


def features(recordings: list[Recording]) -> SessionFeatures:
    found = correlate(recordings, BAND_HZ, RATE_HZ, 1e-3)
    times = arrival_times.measure(recordings, POSITION_M[: len(recordings)])
    count = len(recordings)
    return SessionFeatures(
        mel=np.zeros((count, 3, 1, 1), np.float16),
        websdr_id=np.arange(count, dtype=np.int32),
        energy_db=found.energy_db.astype(np.float32),
        snr_db=found.snr_db.astype(np.float32),
        gate=found.gate.astype(np.float32),
        cfo_hz=found.cfo_hz,
        timing_sigma_s=np.where(found.timed, 50e-9, np.inf),
        delay_s=times.delay_s,
        delay_sigma_s=times.sigma_s,
        rms_bandwidth_hz=np.full(count, times.rms_bandwidth_hz),
        position_enu_m=POSITION_M[:count],
        detected=found.detected.astype(np.uint8),
        pair=found.pair,
        xcorr=found.xcorr.astype(np.complex64),
    )


def session(seed: int, delay_s: Float64, snr_db: Float64, half_width_hz: float = 5000.0) -> SessionFeatures:
    return features(record(seed, delay_s, snr_db, half_width_hz))


def made_of(xcorr: npt.NDArray[np.complex128], delay_s: Float64) -> SessionFeatures:
    """A session of detected, timed receivers at 30 dB with these delays and correlations (pairs, lags)."""
    receivers = len(delay_s)
    pair = np.array([(a, b) for a in range(receivers) for b in range(a + 1, receivers)], np.int32)
    level_db = np.arange(receivers, dtype=np.float32)
    return SessionFeatures(
        mel=np.zeros((receivers, 3, 1, 1), np.float16),
        websdr_id=np.arange(receivers, dtype=np.int32),
        energy_db=level_db - 40,
        snr_db=30 - level_db,
        gate=np.full(receivers, 1000, np.float32),
        cfo_hz=np.zeros(receivers),
        timing_sigma_s=np.full(receivers, 50e-9),
        delay_s=delay_s,
        delay_sigma_s=np.full(receivers, 20e-9),
        rms_bandwidth_hz=np.full(receivers, 2e3),
        position_enu_m=np.zeros((receivers, 3)),
        detected=np.ones(receivers, np.uint8),
        pair=pair.reshape(-1, 2),
        xcorr=xcorr.astype(np.complex64),
    )


def permuted(features: SessionFeatures, order: list[int]) -> SessionFeatures:
    """The same session with its recordings in another order."""
    rows = {tuple(pair): row for row, pair in enumerate(features.pair.tolist())}
    series = []
    for a, b in features.pair.tolist():
        p, q = order[a], order[b]
        series.append(features.xcorr[rows[p, q]] if p < q else features.xcorr[rows[q, p]][::-1].conj())
    kept = ("pair", "xcorr")
    per_recording = [field.name for field in fields(features) if field.name not in kept]
    changed = {name: getattr(features, name)[order] for name in per_recording}
    return replace(features, **changed, xcorr=np.array(series))


def assert_finite(found: Arrivals, receivers: int) -> None:
    assert found.delay_s.shape == found.information_s2.shape == (receivers,)
    assert found.shape.shape == (receivers, 2 * SHAPE_LAGS)
    assert found.tilt_s.shape == (receivers,)
    for values in (found.delay_s, found.information_s2, found.shape, found.tilt_s):
        assert np.isfinite(values).all()
    assert np.isfinite(found.rms_bandwidth_hz)
    silent = found.information_s2 == 0
    assert not found.delay_s[silent].any()
    assert not found.shape[silent].any()
    assert not found.tilt_s[silent].any()
    assert not found.spread_s2[silent].any()


def exact_series(
    random: np.random.Generator, delay_samples: float, lags: Float64
) -> npt.NDArray[np.complex128]:
    """Discrete Fourier sum of a random spectrum within +-8 kHz, with its peak at `delay_samples`."""
    cycles = np.linspace(-0.25, 0.25, 801)  # a sample
    power = random.uniform(0, 1, cycles.size)
    return (power * np.exp(2j * np.pi * cycles * (lags[:, None] - delay_samples))).sum(axis=1)


def test_bias_is_below_a_nanosecond_at_high_snr() -> None:
    error_s = []
    for seed in range(10):
        random = generator(seed, "test.arrival.delays")
        delay_s = random.uniform(0, 400e-6, 4)
        found = arrivals(session(seed, delay_s, np.full(4, 45.0)), PARAMS)
        difference_s = found.delay_s - delay_s
        error_s.append((difference_s - difference_s.mean()) * np.sign(delay_s - delay_s.mean()))
    # Towards later or towards earlier peaks: a bias of sign would cancel in a plain mean.
    assert abs(np.mean(error_s)) < 1e-9
    assert np.sqrt(np.mean(np.square(error_s))) < 4e-9


def test_scatter_is_what_the_information_says() -> None:
    deviation = []
    snr_db = np.array([12.0, 3.0, -2.0, 0.0])
    for seed in range(14):
        found = arrivals(session(100 + seed, DELAYS_S, snr_db), PARAMS)
        error_s = (found.delay_s - found.delay_s[0]) - (DELAYS_S - DELAYS_S[0])
        variance = 1 / found.information_s2[1:] + 1 / found.information_s2[0]
        deviation.extend(error_s[1:] / np.sqrt(variance))
    assert 1 / 1.3 < np.sqrt(np.mean(np.square(deviation))) < 1.3


def test_information_is_nearly_energy_times_bandwidth_squared() -> None:
    """What the band and the noise within it are is not told, so that some of it is lost."""
    found = arrivals(session(7, DELAYS_S, np.array([20.0, 10.0, 10.0, 0.0])), PARAMS)
    assert found.rms_bandwidth_hz == pytest.approx(5000 / np.sqrt(3), rel=0.05)  # of a flat +-5 kHz
    most = 2 * (2 * np.pi * 5000) ** 2 / 3 * 16000 * 10 ** np.array([2.0, 1.0, 1.0, 0.0])
    variance, least = (1 / of[1:] + 1 / of[0] for of in (found.information_s2, most))
    assert (variance > 0.8 * least).all()
    assert (variance < 1.6 * least).all()


def test_order_of_the_receivers_does_not_matter() -> None:
    heard = session(9, DELAYS_S, np.array([12.0, 20.0, 5.0, 0.0]))
    order = [2, 0, 3, 1]
    one, other = arrivals(heard, PARAMS), arrivals(permuted(heard, order), PARAMS)
    assert one.delay_s[1] == 0  # the strongest is the reference
    np.testing.assert_allclose(other.delay_s, one.delay_s[order], rtol=0, atol=1e-15)
    np.testing.assert_allclose(other.information_s2, one.information_s2[order], rtol=1e-9)
    np.testing.assert_allclose(other.shape, one.shape[order], rtol=0, atol=1e-9)


def test_shape_is_one_at_the_peak_and_broad_for_a_narrow_signal() -> None:
    wide = arrivals(session(10, DELAYS_S, np.full(4, 30.0), 7000.0), PARAMS).shape
    narrow = arrivals(session(10, DELAYS_S, np.full(4, 30.0), 1500.0), PARAMS).shape
    middle = SHAPE_LAGS // 2
    for shape in (wide, narrow):
        np.testing.assert_allclose(shape[:, middle], 1)
        np.testing.assert_allclose(shape[:, SHAPE_LAGS + middle], 0, atol=1e-12)
        assert np.abs(shape).max() <= SHAPE_LIMIT
    assert narrow[:, middle + 1].min() > 0.9
    assert wide[:, middle + 1].max() < 0.3  # sinc(2 * 7 kHz * 62.5 us)


def test_an_echo_shows_in_the_shape_of_its_receiver() -> None:
    lags = np.arange(-32.0, 33.0)
    direct = exact_series(generator(3, "test.arrival"), 0.0, lags)
    echo = direct + 0.4j * exact_series(generator(3, "test.arrival"), 4.0, lags)
    # Receivers 0 and 1 hear the signal alone, 2 hears an echo 4 samples later.
    late = echo[::-1].conj()
    found = arrivals(made_of(1e6 * np.array([direct, late, late]), np.zeros(3)), PARAMS)
    after, before = SHAPE_LAGS + SHAPE_LAGS // 2 + 2, SHAPE_LAGS + SHAPE_LAGS // 2 - 2
    assert np.abs(found.shape[2, after]) > 0.2
    assert np.abs(found.shape[2, before]) < 0.1


def noise(receivers: int, seed: int) -> npt.NDArray[np.complex128]:
    pairs = receivers * (receivers - 1) // 2
    random = generator(seed, "test.arrival.noise")
    return 100 * (random.standard_normal((pairs, 65)) + 1j * random.standard_normal((pairs, 65)))


def test_one_receiver_has_no_arrival_time() -> None:
    found = arrivals(made_of(np.zeros((0, 65), np.complex128), np.zeros(1)), PARAMS)
    assert_finite(found, 1)
    assert not found.information_s2.any()
    assert found.rms_bandwidth_hz == 0


@pytest.mark.parametrize("without", ["detection", "gps"])
def test_a_recording_without_a_time_has_no_information(without: str) -> None:
    heard = session(11, DELAYS_S, np.full(4, 20.0))
    if without == "detection":
        poor = replace(heard, detected=np.array([1, 0, 1, 1], np.uint8))
    else:
        poor = replace(heard, timing_sigma_s=np.array([50e-9, np.inf, 50e-9, 50e-9]))
    found = arrivals(poor, PARAMS)
    assert_finite(found, 4)
    assert (found.information_s2 > 0).tolist() == [True, False, True, True]
    known = found.delay_s[[0, 2, 3]] - DELAYS_S[[0, 2, 3]]
    np.testing.assert_allclose(known - known[0], 0, atol=100e-9)


def test_two_without_time_leave_the_third_without_a_partner() -> None:
    heard = session(12, DELAYS_S[:3], np.full(3, 20.0))
    found = arrivals(replace(heard, timing_sigma_s=np.array([np.inf, 50e-9, np.inf])), PARAMS)
    assert_finite(found, 3)
    assert not found.information_s2.any()


@pytest.mark.parametrize("snr_db", [-4.0, 0.0, 15.0, 50.0])
def test_a_silent_carrier_has_no_arrival_time(snr_db: float) -> None:
    for seed in range(8):
        found = arrivals(session(300 + seed, DELAYS_S[:3], np.full(3, snr_db), 1.0), PARAMS)
        assert_finite(found, 3)
        assert not found.information_s2.any()


def test_a_slowly_modulated_carrier_has_a_time_though_it_is_no_morse_code() -> None:
    found = arrivals(session(305, DELAYS_S[:3], np.full(3, 40.0), 200.0), PARAMS)
    assert_finite(found, 3)
    assert found.rms_bandwidth_hz == pytest.approx(200 / np.sqrt(3), rel=0.2)
    error_s = (found.delay_s - DELAYS_S[:3])[1:] - (found.delay_s - DELAYS_S[:3])[0]
    assert (np.abs(error_s) < 4 * np.sqrt(1 / found.information_s2[1:] + 1 / found.information_s2[0])).all()


def keyed(seed: int, delay_s: Float64, start_s: Float64, snr_db: float, carrier_hz: float) -> SessionFeatures:
    """One second of Morse code at each receiver, which starts to record when it likes and says when."""
    random = generator(seed, "test.arrival.keyed")
    half = signals.HALF_BAND_BINS
    bins = np.arange(-half, half)
    sent = signals.spectrum("cw", random)
    period = round(signals.PERIOD_S * RATE_HZ)
    recordings = []
    for number, (delay, start) in enumerate(zip(delay_s, start_s, strict=True)):
        spectrum = np.zeros(period, np.complex128)
        spectrum[bins] = sent * np.exp(-2j * np.pi * bins / signals.PERIOD_S * (delay - start))
        signal = scipy.fft.ifft(spectrum, norm="forward")[200 : 200 + SAMPLES]
        signal *= np.exp(2j * np.pi * carrier_hz * np.arange(SAMPLES) / RATE_HZ)
        noise = random.standard_normal(SAMPLES) + 1j * random.standard_normal(SAMPLES)
        iq = signal + noise * np.sqrt(0.5 * RATE_HZ / (2 * BAND_HZ)) * 10 ** (-snr_db / 20)
        stamp = GPS_NS + round(start * 1e9)
        recordings.append(Recording(number, (0.1 * iq).astype(np.complex64), float(RATE_HZ), stamp, 50.0))
    return features(recordings)


@pytest.mark.parametrize(
    ("snr_db", "carrier_hz", "rms_s"),
    [(10.0, 0.0, 100e-6), (30.0, 0.0, 10e-6), (60.0, 0.0, 0.5e-6), (60.0, 110.0, 0.5e-6)],
)
def test_a_keyed_carrier_is_as_good_as_its_information_says(
    snr_db: float, carrier_hz: float, rms_s: float
) -> None:
    """Wherever the recordings cut it: they start half a millisecond apart, and the key may be down there."""
    error_s, deviation = [], []
    for seed in range(12):
        random = generator(seed, "test.arrival.starts")
        delay_s, start_s = random.uniform(0, 400e-6, 3), random.uniform(-500e-6, 500e-6, 3).round(9)
        found = arrivals(keyed(seed, delay_s, start_s, snr_db, carrier_hz), PARAMS)
        assert (found.information_s2 > 0).all()
        assert not found.tilt_s.any()
        off_s = found.delay_s - delay_s
        error_s.extend(off_s - off_s.mean())
        deviation.extend((off_s - off_s.mean()) * np.sqrt(found.information_s2 * 3 / 2))
    assert np.sqrt(np.mean(np.square(error_s))) < rms_s
    assert np.sqrt(np.mean(np.square(deviation))) < 1.4


def through(channels: npt.NDArray[np.complex128], delay_s: Float64) -> SessionFeatures:
    """What R receivers correlate of one signal; responses (R, bins) at bins within 0.15 cycles a sample."""
    sent = generator(4, "test.arrival").uniform(0, 1, CYCLES.size)
    turn = np.exp(2j * np.pi * CYCLES * np.arange(-32.0, 33.0)[:, None])
    count = len(channels)
    pairs = [(a, b) for a in range(count) for b in range(a + 1, count)]
    xcorr = [(sent * channels[a] * channels[b].conj() * turn).sum(axis=1) for a, b in pairs]
    return made_of(1e6 * np.array(xcorr), delay_s)


def test_a_tilted_channel_shows_as_its_tilt() -> None:
    """A channel exp(-2 pi i f (delay + i tilt)), its tilt as large as that of a strong echo."""
    tilt_s, delay_s = np.array([0.0, 3e-6, -1e-6, 0.0, 0.0]), 2e-5 * np.arange(5)
    channels = np.exp(2 * np.pi * CYCLES * RATE_HZ * (tilt_s - 1j * delay_s)[:, None])
    found = arrivals(through(channels, delay_s), PARAMS)
    np.testing.assert_allclose(found.tilt_s, tilt_s, atol=0.1e-6)
    np.testing.assert_allclose(np.abs(found.spread_s2), 0, atol=0.1e-12)
    two = arrivals(through(channels[:2], delay_s[:2]), PARAMS)
    assert not two.tilt_s.any()
    assert not two.spread_s2.any()


def test_the_spread_of_a_channel_says_how_its_echo_moves_the_arrival_time() -> None:
    """Echoes of 6 us: in phase with the direct path, against it, and across."""
    gain, late_s = np.array([0.0, 0.4, -0.3, 0.3j, 0.0]), 6e-6
    delay_s = 2e-5 * np.arange(5)
    echo = 1 + gain[:, None] * np.exp(-2j * np.pi * CYCLES * RATE_HZ * late_s)
    share = gain / (1 + gain)  # of the echo, in the sum
    mean_s, spread_s2 = share * late_s, share * (1 - share) * late_s**2
    channels = echo * np.exp(-2j * np.pi * CYCLES * RATE_HZ * delay_s[:, None])
    found = arrivals(through(channels, delay_s + mean_s.real), PARAMS)
    np.testing.assert_allclose(found.tilt_s, mean_s.imag, atol=0.2e-6)
    np.testing.assert_allclose(found.spread_s2, spread_s2, atol=1e-12)
    assert np.sign(found.spread_s2.real[1:4]).tolist() == [1, -1, 1]


def test_a_weak_voice_has_an_arrival_time() -> None:
    found = arrivals(session(310, DELAYS_S[:3], np.full(3, -2.0), 1200.0), PARAMS)
    assert found.rms_bandwidth_hz == pytest.approx(1200 / np.sqrt(3), rel=0.2)
    assert (found.information_s2 > 0).all()


def test_spread_scatters_as_its_standard_deviation_says() -> None:
    """Beside a receiver with next to no noise, through channels that only delay."""
    deviation = []
    for seed in range(20):
        found = arrivals(session(seed, DELAYS_S, np.array([60.0, 30.0, 35.0, 40.0])), PARAMS)
        for part in (found.spread_s2.real, found.spread_s2.imag):
            deviation.extend(part[1:] / found.spread_sigma_s2[1:])
    assert 0.8 < np.sqrt(np.mean(np.square(deviation))) < 1.25


@pytest.mark.parametrize("snr_db", [(40.0, -18.0, -18.0), (25.0, 8.0, -4.0), (30.0, 20.0, 10.0, 5.0)])
def test_noise_between_weak_receivers_is_no_tilt(snr_db: tuple[float, ...]) -> None:
    """None of them hears an echo; an echo's tilt is of the order of a microsecond."""
    for seed in range(3):
        found = arrivals(session(seed, DELAYS_S[: len(snr_db)], np.array(snr_db)), PARAMS)
        assert abs(found.tilt_s[0]) < 0.1e-6
        assert np.abs(found.tilt_s).max() < 0.6e-6


def test_a_delay_beyond_the_lags_is_a_time_of_which_the_channel_is_not_known() -> None:
    lags = np.arange(-32.0, 33.0)
    near, beyond = (np.exp(-0.5 * ((lags - delay) / 8) ** 2) for delay in (3.0, -40.0))
    series = 1e6 * np.array([near, beyond, beyond])
    found = arrivals(made_of(series, np.array([0.0, -3.0, 40.0]) / RATE_HZ), PARAMS)
    assert_finite(found, 3)
    assert (found.information_s2 > 0).all()
    assert found.delay_s == pytest.approx(np.array([0.0, -3.0, 40.0]) / RATE_HZ)
    assert not found.shape[2].any()


def test_a_recording_without_a_delay_has_no_information() -> None:
    heard = session(11, DELAYS_S, np.full(4, 20.0))
    unknown = np.array([False, True, False, False])
    poor = replace(heard, delay_s=np.where(unknown, np.nan, heard.delay_s))
    found = arrivals(poor, PARAMS)
    assert_finite(found, 4)
    assert (found.information_s2 > 0).tolist() == [True, False, True, True]


def test_a_session_without_a_receiver_has_what_the_others_have() -> None:
    recorded = session(7, DELAYS_S, np.full(4, 30.0))
    seen = Observation(recorded, arrivals(recorded, PARAMS), 145e6)
    left = without_receiver(seen, 1, PARAMS)
    kept, found = [0, 2, 3], left.session
    assert left.absent == (1,)
    for field in fields(recorded):
        if field.name not in ("pair", "xcorr"):
            np.testing.assert_array_equal(getattr(found, field.name), getattr(recorded, field.name)[kept])
    assert found.websdr_id[found.pair].tolist() == [[0, 2], [0, 3], [2, 3]]
    of_pair = dict(zip(map(tuple, recorded.pair.tolist()), recorded.xcorr, strict=True))
    for (first, second), series in zip(found.websdr_id[found.pair].tolist(), found.xcorr, strict=True):
        np.testing.assert_array_equal(series, of_pair[first, second])
    for name, value in vars(arrivals(found, PARAMS)).items():
        np.testing.assert_array_equal(getattr(left.arrivals, name), value)
    two = without_receiver(left, 0, PARAMS)
    assert two.absent == (1, 0)
    assert not two.arrivals.tilt_s.any()  # two times tell of no channel
    one = without_receiver(two, 0, PARAMS)
    assert not one.arrivals.information_s2.any()  # and one says nothing
    assert seen.absent == ()


def test_a_late_stamp_moves_the_arrival_time_of_its_receiver_alone() -> None:
    recorded = session(7, DELAYS_S, np.full(4, 30.0))
    seen = Observation(recorded, arrivals(recorded, PARAMS), 145e6)
    late = stamped_late(seen, 2, 1e-5)
    np.testing.assert_allclose(late.arrivals.delay_s - seen.arrivals.delay_s, [0, 0, 1e-5, 0], atol=1e-18)
    assert late.session is seen.session
    for name, value in vars(seen.arrivals).items():
        if name != "delay_s":
            np.testing.assert_array_equal(getattr(late.arrivals, name), value)
