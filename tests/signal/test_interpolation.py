"""Correlations between their lags: what a Fourier sum gives, and flat where the correlation is flat."""

from __future__ import annotations

import numpy as np

from heimdall.core.randomness import generator
from heimdall.signal.interpolation import interpolate
from tests.signal.test_arrival import exact_series


def test_interpolation_is_the_fourier_sum_between_the_lags() -> None:
    random = generator(1, "test.arrival")
    lags = np.arange(-32.0, 33.0)
    between = np.sort(random.uniform(-16, 16, 200))
    for delay in (0.0, 3.37, -9.81):
        state = random.bit_generator.state
        series = exact_series(random, delay, lags)
        random.bit_generator.state = state
        exact = exact_series(random, delay, between)
        error = interpolate(series[None], between[None])[0] - exact
        assert np.abs(error).max() < 3e-5 * np.abs(exact).max()


def test_interpolation_has_no_ripple_at_the_ends_of_the_lags() -> None:
    lag = np.linspace(-32, 32, 1001)
    flat = interpolate(np.full((1, 65), 2 - 1j), lag[None])[0]
    np.testing.assert_allclose(flat, 2 - 1j, rtol=1e-12)
