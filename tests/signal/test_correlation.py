"""Delay, carrier offset and detection, on signals whose truth is known."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from heimdall.core.randomness import generator
from heimdall.signal.correlation import DETECTION_GATE, MIN_SNR_DB, Correlation, Recording, correlate

GPS_NS = 1_400_000_000_000_000_000
BAND_HZ, RATE_HZ, MAX_LAG_S = 8000.0, 32000.0, 1e-3


class Voice:
    """Frequency modulation by tones, with pauses, within about +-6 kHz; defined at any time."""

    def __init__(self, seed: int) -> None:
        random = generator(seed, "test.voice")
        self.tone_hz = random.uniform(100, 2500, 40)
        self.phase = random.uniform(0, 2 * np.pi, 40)

    def at(self, time_s: npt.NDArray[np.float64]) -> npt.NDArray[np.complex128]:
        angle = 2 * np.pi * np.outer(self.tone_hz, time_s) + self.phase[:, None]
        speaking = 1 + np.tanh(20 * np.sin(2 * np.pi * 2.3 * time_s))
        return np.exp(1j * speaking * (np.sin(angle) * (120 / self.tone_hz[:, None])).sum(axis=0))


def receive(
    voice: Voice | None,
    number: int,
    *,
    delay_s: float = 0.0,
    cfo_hz: float = 0.0,
    snr_db: float = 30.0,
    start_ns: int | None = 0,
    true_start_ns: int | None = None,
    rate_hz: float = 32000.0,
    samples: int | None = None,
) -> Recording:
    """A recording at -40 dBFS of signal, with noise of `snr_db` below it within +-8 kHz."""
    count = round(rate_hz) if samples is None else samples
    random = generator(number, "test.noise")
    offset_ns = true_start_ns if true_start_ns is not None else (start_ns or 0)
    time_s = offset_ns * 1e-9 + np.arange(count) / rate_hz
    noise = random.standard_normal(count) + 1j * random.standard_normal(count)
    iq = noise * np.sqrt(0.5 * rate_hz / 16000) * 10 ** (-snr_db / 20)
    if voice is not None:
        iq = iq + voice.at(time_s - delay_s) * np.exp(2j * np.pi * cfo_hz * time_s)
    start_gps_ns = None if start_ns is None else GPS_NS + start_ns
    return Recording(number, (0.01 * iq).astype(np.complex64), rate_hz, start_gps_ns, 50.0)


def noise_only(number: int, samples: int = 32000) -> Recording:
    return receive(None, number, snr_db=0.0, samples=samples)


def run(*recordings: Recording) -> Correlation:
    return correlate(recordings, BAND_HZ, RATE_HZ, MAX_LAG_S)


def peak_s(found: Correlation, a: int, b: int) -> float:
    """Lag of the largest magnitude of one pair, by a Kaiser-windowed sinc every 0.1 us and a parabola."""
    row = found.pair.tolist().index([a, b])
    lag = np.arange(found.xcorr.shape[1]) - found.xcorr.shape[1] // 2
    near = np.argmax(np.abs(found.xcorr[row])) - found.xcorr.shape[1] // 2
    fine = near + np.arange(-320, 321) / 320
    distance = fine[:, None] - lag
    window = np.i0(10 * np.sqrt(np.clip(1 - (distance / 16) ** 2, 0, None))) * (np.abs(distance) < 16)
    power = np.abs((np.sinc(distance) * window / np.i0(10)) @ found.xcorr[row]) ** 2
    place = int(np.argmax(power))
    before, at, after = power[place - 1 : place + 2]
    between = 0.5 * (before - after) / (before - 2 * at + after)
    return float((fine[place] + between / 320) / RATE_HZ)


@pytest.mark.parametrize(("rate_hz", "other_rate_hz"), [(32000.0, 32000.0), (192000.0, 48000.0)])
def test_peak_is_at_delay_of_a_minus_delay_of_b(rate_hz: float, other_rate_hz: float) -> None:
    voice = Voice(1)
    found = run(
        receive(voice, 1, delay_s=233.3e-6, rate_hz=rate_hz),
        receive(voice, 2, delay_s=101.0e-6, rate_hz=other_rate_hz),
    )
    assert found.lag_s.shape == (65,)
    assert found.lag_s[[0, 32, 64]] == pytest.approx([-1e-3, 0, 1e-3])
    assert peak_s(found, 0, 1) == pytest.approx(132.3e-6, abs=0.3e-6)


def test_gps_start_is_compensated_to_a_fraction_of_a_sample() -> None:
    voice = Voice(2)
    found = run(
        receive(voice, 1, delay_s=50e-6, start_ns=7),
        receive(voice, 2, delay_s=10e-6, start_ns=123_456),
        receive(voice, 3, delay_s=75e-6, start_ns=-40_000_003),
    )
    assert found.timed.all()
    assert peak_s(found, 0, 1) == pytest.approx(40e-6, abs=0.3e-6)
    assert peak_s(found, 0, 2) == pytest.approx(-25e-6, abs=0.3e-6)
    assert peak_s(found, 1, 2) == pytest.approx(-65e-6, abs=0.3e-6)


def test_edges_do_not_pull_at_the_peak() -> None:
    error_ns = []
    for number in range(8):
        voice, random = Voice(100 + number), generator(number, "test.edges")
        start_ns, delay_s = random.integers(-500_000, 500_000, 2).tolist(), random.uniform(0, 3e-4, 2)
        pair = [
            receive(voice, 10 * number + k, delay_s=float(delay_s[k]), start_ns=start_ns[k], snr_db=70)
            for k in (0, 1)
        ]
        error_ns.append(1e9 * (peak_s(run(*pair), 0, 1) - delay_s[0] + delay_s[1]))
    assert np.sqrt(np.mean(np.square(error_ns))) < 12  # with hard edges 37


def test_rates_that_are_no_integers_and_lengths_that_differ() -> None:
    voice = Voice(3)
    found = run(
        receive(voice, 1, delay_s=80e-6, rate_hz=12001.3, samples=11900, start_ns=61_234),
        receive(voice, 2, delay_s=300e-6, rate_hz=12000.9, samples=12100),
    )
    assert found.detected.all()
    assert peak_s(found, 0, 1) == pytest.approx(-220e-6, abs=0.5e-6)


def test_carrier_offsets_are_found_and_removed() -> None:
    voice = Voice(4)
    truth_hz = np.array([-190.0, 12.3456, 200.0])
    found = run(
        *(receive(voice, k, cfo_hz=float(hz), delay_s=k * 1e-4, snr_db=40) for k, hz in enumerate(truth_hz))
    )
    difference = found.cfo_hz - found.cfo_hz[found.reference]
    assert difference == pytest.approx(truth_hz - truth_hz[found.reference], abs=5e-4)
    assert found.cfo_hz == pytest.approx(truth_hz, abs=60)  # the common part is the spectrum's centre
    assert peak_s(found, 1, 2) == pytest.approx(-1e-4, abs=0.3e-6)


def test_weak_signal_passes_and_noise_does_not() -> None:
    voice = Voice(5)
    found = run(receive(voice, 1, snr_db=30), receive(voice, 2, snr_db=-20, delay_s=2e-4), noise_only(3))
    assert found.reference == 0
    assert found.detected.tolist() == [True, True, False]
    assert found.gate[1] > 5 * DETECTION_GATE
    assert found.cfo_hz[2] == 0


def test_gate_seldom_opens_for_noise() -> None:
    gates = []
    for trial in range(30):
        found = run(*(noise_only(10 * trial + k, 16000) for k in range(5)))
        gates.extend(np.delete(found.gate, found.reference).tolist())
        assert found.snr_db.max() < -10
    # About 40,000 cells of Exp(1): half of the maxima below log(40,000 / log 2) = 11.
    assert 9 < np.median(gates) < 13
    assert np.mean(np.array(gates) > DETECTION_GATE) < 0.05


def test_whitened_noise_has_unit_power_in_each_bin() -> None:
    found = run(*(noise_only(k) for k in range(6)))
    power = (np.abs(found.xcorr) ** 2).mean()
    assert power == pytest.approx(16000, rel=0.1)  # of +-8 kHz over one second


def test_energy_and_snr_are_absolute() -> None:
    voice = Voice(6)
    time_s = np.arange(32000) / 32000
    tone = Recording(1, np.exp(2j * np.pi * 1000 * time_s).astype(np.complex64), 32000.0, GPS_NS, 50.0)
    assert run(tone).energy_db[0] == pytest.approx(0, abs=0.05)
    found = run(*(receive(voice, k, snr_db=snr_db) for k, snr_db in enumerate((0.0, 10.0, 25.0))))
    assert found.snr_db == pytest.approx([0, 10, 25], abs=0.5)
    assert found.energy_db == pytest.approx([-37, -39.6, -40], abs=0.2)
    assert MIN_SNR_DB <= run(noise_only(7)).snr_db[0] < -10


def test_level_and_rate_do_not_change_what_is_measured() -> None:
    voice = Voice(7)
    found = run(receive(voice, 1, rate_hz=32000.0), receive(voice, 2, rate_hz=192000.0, snr_db=30))
    assert found.snr_db[0] == pytest.approx(found.snr_db[1], abs=0.3)
    assert found.energy_db[0] == pytest.approx(found.energy_db[1], abs=0.1)


def test_receiver_without_gps_time_is_placed_at_the_mean_and_heard_by_its_energy() -> None:
    voice = Voice(8)
    others = [receive(voice, k, start_ns=k * 100_000) for k in range(2)]
    found = run(*others, receive(voice, 2, start_ns=None, true_start_ns=50_000, cfo_hz=5.0))
    assert found.timed.tolist() == [True, True, False]
    assert peak_s(found, 0, 2) == pytest.approx(0, abs=0.3e-6)
    late = run(*others, receive(voice, 2, start_ns=None, true_start_ns=9_000_000))
    assert late.detected.tolist() == [True, True, True]


def test_reference_has_gps_time() -> None:
    voice = Voice(12)
    found = run(
        receive(voice, 1, snr_db=40, start_ns=None, true_start_ns=5_000_000),
        receive(voice, 2, snr_db=10, cfo_hz=100.0),
        receive(voice, 3, snr_db=5, cfo_hz=-100.0, delay_s=1e-4),
    )
    assert found.reference == 1
    assert found.detected.all()
    assert found.cfo_hz[1] - found.cfo_hz[2] == pytest.approx(200, abs=0.01)
    assert found.cfo_hz[0] == pytest.approx(0, abs=60)
    assert peak_s(found, 1, 2) == pytest.approx(-1e-4, abs=3e-6)


def test_side_bands_of_a_strong_signal_are_no_noise() -> None:
    time_s = np.arange(32000) / 32000
    quiet = receive(None, 1, snr_db=50).iq
    wide = 0.01 * np.exp(1j * 5 * np.sin(2 * np.pi * 1200 * time_s)) + quiet  # fills +-8 kHz, Carson: 7.2 kHz
    found = run(Recording(1, wide.astype(np.complex64), 32000.0, GPS_NS, 50.0))
    assert found.snr_db[0] == pytest.approx(50, abs=1)


def test_start_that_is_seconds_off_is_no_time() -> None:
    voice = Voice(9)
    found = run(*(receive(voice, k) for k in range(3)), receive(voice, 3, start_ns=86_400_000_000_000))
    assert found.timed.tolist() == [True, True, True, False]
    assert peak_s(found, 0, 1) == pytest.approx(0, abs=0.3e-6)


def test_one_recording_is_a_session() -> None:
    found = run(receive(Voice(10), 1))
    assert found.detected.tolist() == [True]
    assert found.pair.shape == (0, 2)
    assert found.xcorr.shape == (0, 65)
    assert not run(noise_only(1)).detected.any()


def test_silence_is_not_detected() -> None:
    silent = Recording(2, np.zeros(32000, np.complex64), 32000.0, GPS_NS, 50.0)
    found = run(receive(Voice(11), 1), silent)
    assert found.detected.tolist() == [True, False]
    assert np.isfinite(found.xcorr).all()


def test_strong_carrier_does_not_hide_the_noise() -> None:
    time_s = np.arange(32000) / 32000
    carrier = receive(None, 1, snr_db=0)
    iq = carrier.iq + 3 * np.exp(2j * np.pi * 1000.37 * time_s)  # 49.5 dB above the noise of the band
    found = run(Recording(1, iq.astype(np.complex64), 32000.0, GPS_NS, 50.0))
    assert found.snr_db[0] == pytest.approx(49.5, abs=0.5)


def test_empty_session_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        run()
