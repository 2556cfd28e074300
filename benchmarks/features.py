"""Milliseconds a recording: this package's log-mel against torchaudio's, side by side on one core.

    python benchmarks/features.py
    python benchmarks/features.py --rounds 21 --n-fft 2048

Both make the spectrogram of (3, 128, 32) that a model sees, from one second at 192 kHz of simulated noise,
with the same window, hop, mel scale and pooling: torchaudio by `MelSpectrogram` in float32, adaptive average
pooling and log10. Rounds alternate, so that both meet the same load; the figures are medians. The ratio
counts; the milliseconds are of this machine in this hour.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is loaded: one core for either
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import numpy as np
import torch
import torchaudio
from tqdm import tqdm

from heimdall.core.randomness import generator
from heimdall.signal.log_mel import hann_window, recording_features

RATE_HZ = 192_000
N_MELS, FRAMES = 128, 32
PROMISE = 2.0


def milliseconds(work: Callable[[], object]) -> float:
    """Time of one call."""
    started = time.perf_counter()
    work()
    return 1e3 * (time.perf_counter() - started)


def main() -> int:
    """Measure, print, and say whether the promise holds (exit code 1 if not)."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=15, help="alternating rounds (default: 15)")
    parser.add_argument("--n-fft", type=int, default=4096, help="window length (default: 4096)")
    parser.add_argument("--hop-length", type=int, default=512, help="hop (default: 512)")
    options = parser.parse_args()

    torch.set_num_threads(1)
    random = generator(0, "benchmark")
    iq = (random.standard_normal(RATE_HZ) + 1j * random.standard_normal(RATE_HZ)).astype(np.complex64)
    transform = torchaudio.transforms.MelSpectrogram(
        RATE_HZ, options.n_fft, hop_length=options.hop_length, n_mels=N_MELS
    )
    scale_db = 20 * np.log10(hann_window(options.n_fft).sum() / 2)

    def ours() -> np.ndarray:
        return recording_features(
            iq,
            RATE_HZ,
            n_mels=N_MELS,
            n_fft=options.n_fft,
            hop_length=options.hop_length,
            f_min=0.0,
            f_max=None,
            frames=FRAMES,
        )

    def theirs() -> np.ndarray:
        channels = torch.from_numpy(np.stack([iq.real, iq.imag, np.abs(iq)]))
        pooled = torch.nn.functional.adaptive_avg_pool1d(transform(channels), FRAMES)
        return (10 * torch.log10(pooled) - scale_db).numpy()

    with np.errstate(divide="ignore", invalid="ignore"):
        first, second = ours(), theirs()  # also fills caches of windows and banks
        filled = np.isfinite(second)
        difference_db = float(np.abs(first - second)[filled].max())
    ours_ms, theirs_ms = [], []
    for _ in tqdm(range(options.rounds), desc="rounds", disable=None, file=sys.stderr):
        ours_ms.append(milliseconds(ours))
        theirs_ms.append(milliseconds(theirs))
    ratio = statistics.median(theirs_ms) / statistics.median(ours_ms)
    print(
        f"log-mel of one recording, 1 s at 192 kHz, n_fft {options.n_fft}, hop {options.hop_length}, one core"
    )
    print(f"heimdall    {statistics.median(ours_ms):6.1f} ms")
    print(f"torchaudio  {statistics.median(theirs_ms):6.1f} ms")
    print(f"ratio       {ratio:6.2f}  (promised: at least {PROMISE:g})")
    print(f"largest difference between the two spectrograms: {difference_db:.1e} dB")
    return 0 if ratio >= PROMISE else 1


if __name__ == "__main__":
    sys.exit(main())
