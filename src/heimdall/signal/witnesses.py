"""Which recordings say something of a signal, and something that no other recording says already.

A receiver that is stuck has no noise, and two that are stuck have much in common. A recording under two names
would be its own witness.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.complexfloating]

_ROUNDING = 1e-13  # of the power, on which float32 has 6e-8 of the amplitude
_LONGEST_CYCLE = 8  # samples
_FIRST = 4096  # samples that are looked at before all of them are


def is_stuck(iq: Samples) -> bool:
    """Whether samples are one value, or repeat a cycle of a few without any noise.

    Args:
        iq: Shape (n,).
    """
    return _is_stuck(iq[:_FIRST]) and (len(iq) <= _FIRST or _is_stuck(iq))


def copied(recordings: Sequence[Samples]) -> npt.NDArray[np.bool_]:
    """Which recordings have the samples of another one, as far as both last, shape (R,).

    Args:
        recordings: R of them, shape (n,) each.
    """
    found = np.zeros(len(recordings), np.bool_)
    for a, one in enumerate(recordings):
        for b in range(a):
            found[[a, b]] |= _alike(one[:_FIRST], recordings[b][:_FIRST]) and _alike(one, recordings[b])
    return found


def _is_stuck(iq: Samples) -> bool:
    mean = complex(iq.mean(dtype=np.complex128))
    rest = np.abs(iq - mean).max(initial=0.0)
    if rest * rest <= _ROUNDING * abs(mean) ** 2:
        return True
    return any(np.array_equal(iq[cycle:], iq[:-cycle]) for cycle in range(1, _LONGEST_CYCLE + 1))


def _alike(a: Samples, b: Samples) -> bool:
    count = min(len(a), len(b))
    return np.array_equal(a[:count], b[:count])
