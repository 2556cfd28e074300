"""One named random generator for each purpose; never the global one."""

from __future__ import annotations

import hashlib

import numpy as np


def generator(seed: int, purpose: str, *indices: int) -> np.random.Generator:
    """A generator that depends on its arguments alone.

    Args:
        seed: The user's seed.
        purpose: What the numbers are for, such as "split" or "augmentation".
        indices: Which item of that purpose, such as epoch and sample.

    Returns:
        A PCG64 generator; different purposes or indices give independent streams.
    """
    name = int.from_bytes(hashlib.sha256(purpose.encode()).digest()[:8], "little")
    return np.random.Generator(np.random.PCG64([seed, name, *indices]))
