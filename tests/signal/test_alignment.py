"""Spectra of recordings over the noise around each bin."""

from __future__ import annotations

import numpy as np

from heimdall.core.randomness import generator
from heimdall.signal.alignment import whitened


def test_noise_behind_a_filter_is_not_what_rounding_leaves_of_a_strong_signal() -> None:
    level = np.full(36_577, 1e-10)
    level[2_000:34_577] = 16.0
    level[17_000:19_577] = 1e8
    power = level * generator(1, "test.alignment").exponential(size=len(level))
    spectrum = np.sqrt(power).astype(np.complex128)
    found = whitened(spectrum, np.arange(len(power)), spectrum)
    assert 1 <= found.prominence < 1e20
    assert np.all(np.isfinite(found.by_noise))
