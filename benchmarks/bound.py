"""How near `heimdall locate` comes to the bound of Cramer and Rao, on simulated recordings and networks.

    python benchmarks/bound.py
    python benchmarks/bound.py --part signals --kinds morse ssb --rates 12000 --repetitions 50
    python benchmarks/bound.py --part quiet

Everything is simulated, without multipath, from seeds: repetition n of a line is always the same. The parts:

networks   arrival times with Gaussian errors in networks of other sizes, and with times that are wrong
signals    recordings of seven receivers, by kind of signal and sample rate, at high SNR
quiet      the same at ever lower SNR, down to where nothing is said any more
unknown    what cannot be located: noise, two transmitters at once, receivers at one place
cost       CPU time of the program itself, files in and answer out, start included

The bound is that of a waveform which nobody knows (tests/localize/bounds.py, which says the sources); clocks
are right, and the altitude of the transmitter is unknown but for 300 m. Columns:

bound      root of the trace of the smallest covariance, m: the median of the repetitions
error      median distance to the truth, m
ratio      error over the bound, by the median and by the mean square; 1 where the bound is reached, and a
           median of N repetitions scatters by some 0.8 / sqrt(N). The mean square is of the answers that do
           not warn (the column "sure" has their share).
sigma      claimed standard deviation over the bound
honesty    error over the claimed sigma, as the ratio
in 68, 95  percentage of the truths in the regions of 68 and 95 %
CPU        s of one answer, without the start of the program
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before NumPy: CPU times are of one core
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import numpy as np
from tqdm import tqdm

from heimdall.core.randomness import generator
from heimdall.core.table import markdown
from tests.localize import known_networks, trials, unlocatable
from tests.localize.networks import Network
from tests.localize.transmissions import BANDWIDTH_HZ, KINDS, Kind
from tests.localize.trials import Trial

PARTS = ("networks", "signals", "quiet", "unknown", "cost")
HEADINGS = ("", "bound", "error", "ratio", "sigma", "honesty", "sure", "in 68", "in 95", "CPU")
RATES_HZ = (12_000.0, 48_000.0, 192_000.0, 2_400_000.0)
HIGH_SNR_DB: dict[Kind, float] = {"morse": 50.0, "time signal": 40.0}
USUAL_SNR_DB = 30.0
NETWORKS: tuple[tuple[Callable[[int], Network], float], ...] = (
    (known_networks.short_wave, 1e-6),
    (known_networks.short_wave_of_known_rays, 1e-6),
    (known_networks.five, 1e-7),
    (known_networks.seven, 1e-7),
    (known_networks.metre_waves, 5e-8),
    (known_networks.city, 2e-8),
)
RECORDED: tuple[tuple[Callable[[int], Network], Kind, float], ...] = (
    (known_networks.short_wave, "ssb", USUAL_SNR_DB),
    (known_networks.short_wave_of_known_rays, "ssb", USUAL_SNR_DB),
    (known_networks.metre_waves, "gmsk9600", USUAL_SNR_DB),
    (known_networks.city, "nfm", USUAL_SNR_DB),
)
WRONG_S = (10e-6, 3e-3, 1.0)
ANSWERS = ("position", "flagged", "ambiguous", "region", "nothing")
COST_ROUNDS = 3
PROGRESS = {"disable": None, "leave": False, "file": sys.stderr}


def main() -> None:
    """Run the parts and print their tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", choices=PARTS, nargs="+", default=PARTS, help="which tables (default: all)")
    parser.add_argument("--repetitions", type=int, default=20, help="of each line (default: 20)")
    parser.add_argument("--kinds", choices=KINDS, nargs="+", default=KINDS, help="of signal (default: all)")
    parser.add_argument("--rates", type=float, nargs="+", default=RATES_HZ, help="Hz (default: all four)")
    options = parser.parse_args()
    if "networks" in options.part:
        networks(options.repetitions)
    if "signals" in options.part:
        signals(options.kinds, options.rates, options.repetitions)
    if "quiet" in options.part:
        quiet(options.kinds, min(options.rates), options.repetitions)
    if "unknown" in options.part:
        unknown(options.repetitions)
    if "cost" in options.part:
        cost(options.rates)


def networks(repetitions: int) -> None:
    """Arrival times alone."""
    lines = [
        row(f"{make(0).name}, {_time(sigma_s)}", of_times(make, sigma_s, repetitions, ()))
        for make, sigma_s in NETWORKS
    ]
    show("Arrival times with Gaussian errors (simulated)", lines)
    lines = [
        row(f"{make(0).name}, {kind}, {snr_db:g} dB", of_signals(make, kind, 48_000.0, snr_db, repetitions))
        for make, kind, snr_db in RECORDED
    ]
    show("Recordings at 48 kHz, SNR in the signal's bandwidth +- 6 dB (simulated)", lines)
    lines = [
        row(f"{make(0).name}, one off by {_time(wrong_s)}", of_times(make, 1e-7, repetitions, (wrong_s,)))
        for make in (known_networks.five, known_networks.seven)
        for wrong_s in (0.0, *WRONG_S)
    ]
    kind: Kind = "gmsk9600"
    for wrong_s in (0.0, *WRONG_S):
        found = of_signals(known_networks.five, kind, 12_000.0, USUAL_SNR_DB, repetitions, wrong_s=wrong_s)
        lines.append(row(f"{known_networks.five(0).name}, {kind}, one off by {_time(wrong_s)}", found))
    show("One time is wrong; the bound is of none (simulated)", lines)


def signals(kinds: Sequence[Kind], rates_hz: Sequence[float], repetitions: int) -> None:
    """Each kind of signal at each sample rate that holds it."""
    lines = []
    for kind in kinds:
        snr_db = HIGH_SNR_DB.get(kind, USUAL_SNR_DB)
        for rate_hz in rates_hz:
            if rate_hz > BANDWIDTH_HZ[kind]:
                found = of_signals(known_networks.seven, kind, rate_hz, snr_db, repetitions)
                lines.append(row(f"{kind}, {snr_db:g} dB, {rate_hz / 1e3:g} kHz", found))
    show("Recordings of seven receivers, SNR in the signal's bandwidth +- 6 dB (simulated)", lines)


def quiet(kinds: Sequence[Kind], rate_hz: float, repetitions: int) -> None:
    """Ever lower signal to noise ratios."""
    lines = []
    for kind in kinds:
        high_db = HIGH_SNR_DB.get(kind, USUAL_SNR_DB)
        if rate_hz <= BANDWIDTH_HZ[kind]:
            continue
        for snr_db in np.arange(high_db - 10, high_db - 51, -5.0).tolist():
            found = of_signals(known_networks.seven, kind, rate_hz, snr_db, repetitions)
            if not any(one.fix.places for one in found):
                break  # the gate is closed, and closed it stays
            lines.append(row(f"{kind}, {snr_db:g} dB", found))
    show(f"Recordings of seven receivers at {rate_hz / 1e3:g} kHz, by their SNR, +- 6 dB (simulated)", lines)


def unknown(repetitions: int) -> None:
    """What is said of what cannot be located."""
    lines = []
    for case in unlocatable.CASES:
        found = [case.answer(seed) for seed in tqdm(range(repetitions), desc=case.name, **PROGRESS)]
        kinds = Counter(
            "flagged" if one.fix.kind == "position" and one.fix.flagged else one.fix.kind for one in found
        )
        shares = [f"{100 * kinds[kind] / len(found):.0f}" for kind in ANSWERS]
        misled = f"{100 * sum(one.misleads for one in found) / len(found):.0f}"
        surest = max((place.probability for one in found for place in one.fix.places), default=0.0)
        said = Counter(one.fix.remarks[0] if one.fix.remarks else "" for one in found).most_common(1)[0][0]
        lines.append([case.name, *shares, misled, f"{surest:.4f}", said])
    print("\nWhat cannot be located, % of the answers (simulated)\n")
    heading = ("", *ANSWERS, "misleading", "surest", "most frequent first remark")
    print("\n".join(markdown(heading, lines, "l" + "r" * (len(ANSWERS) + 2) + "l")), flush=True)


def cost(rates_hz: Sequence[float]) -> None:
    """CPU time of `heimdall locate` with SigMF files of one second of seven, thirty and three receivers."""
    lines = []
    for make, rate_hz in [(known_networks.seven, rate_hz) for rate_hz in rates_hz] + [
        (known_networks.metre_waves, 48_000.0),
        (known_networks.city, 192_000.0),
    ]:
        with tempfile.TemporaryDirectory() as folder:
            found = [trials.program(make(0), "nfm", rate_hz, 25.0, Path(folder)) for _ in range(COST_ROUNDS)]
        seconds = statistics.median(one.cpu_s for one in found)
        lines.append([f"{make(0).name}, {rate_hz / 1e3:g} kHz", f"{seconds:.2f}", f"{found[0].error_m:.3g}"])
    print("\nCPU time of heimdall locate, its start included, SigMF of 16 bits, voice in FM (simulated)\n")
    print("\n".join(markdown(("", "CPU, s", "error, m"), lines, "lrr")), flush=True)


def of_signals(
    make: Callable[[int], Network],
    kind: Kind,
    rate_hz: float,
    snr_db: float,
    repetitions: int,
    *,
    wrong_s: float = 0.0,
) -> list[Trial]:
    """Repetitions of one line."""
    return [
        trials.of_signals(make(seed), kind, rate_hz, snr_db, generator(seed, "signals"), wrong_s=wrong_s)
        for seed in tqdm(range(repetitions), desc=f"{kind} {rate_hz:g} Hz {snr_db:g} dB", **PROGRESS)
    ]


def of_times(
    make: Callable[[int], Network], sigma_s: float, repetitions: int, wrong_s: Sequence[float]
) -> list[Trial]:
    """Repetitions of one line."""
    return [
        trials.of_times(make(seed), sigma_s, generator(seed, "times"), wrong_s)
        for seed in tqdm(range(repetitions), desc=make.__name__, **PROGRESS)
    ]


def row(name: str, found: Sequence[Trial]) -> list[str]:
    """One line of a table."""
    judged = trials.summary(found)
    return [
        name,
        f"{judged.bound_m:.3g}",
        f"{judged.error_m:.3g}",
        f"{judged.median_ratio:.2f} / {judged.rms_ratio:.2f}",
        f"{judged.claimed_ratio:.2f}",
        f"{judged.honesty:.2f} / {judged.honesty_rms:.2f}",
        f"{100 * judged.positions:.0f} %",
        f"{100 * judged.within_68:.0f}",
        f"{100 * judged.within_95:.0f}",
        f"{judged.cpu_s:.2f}",
    ]


def show(title: str, lines: Sequence[Sequence[str]]) -> None:
    """Print one table."""
    print(f"\n{title}\n")
    print("\n".join(markdown(HEADINGS, lines, "l" + "r" * (len(HEADINGS) - 1))), flush=True)


def _time(seconds: float) -> str:
    if not seconds:
        return "nothing"
    unit, size = next((unit, size) for unit, size in _UNITS if seconds >= size)
    return f"{seconds / size:g} {unit}"


_UNITS = (("s", 1.0), ("ms", 1e-3), ("us", 1e-6), ("ns", 1e-9))


if __name__ == "__main__":
    main()
