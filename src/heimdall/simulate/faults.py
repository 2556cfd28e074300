"""What real receivers and transmitters have and the plain world has not: each by its size, default none."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from heimdall.core.randomness import generator
from heimdall.simulate.signals import rotation

# Largest sizes of `Faults.drawn`: somewhat beyond what receivers and transmitters in the field have.
_DRAWN = {
    "clock_drift": 1.5e-8,
    "chirp_hz_s": 2.0,
    "doppler_hz": 20.0,
    "ripple_db": 0.75,
    "filter_delay_s": 300e-9,
}
_DRAWN_ALTITUDE_M = (250.0, 2500.0)
_RIPPLE_PERIOD_HZ = (6_000.0, 24_000.0)  # from two periods in a channel of 12.5 kHz to half of one


@dataclass(frozen=True)
class Faults:
    """Sizes of what disturbs a world; all independent of each other, and of the plain world's numbers.

    Attributes:
        clock_drift: A receiver's oscillator makes both its carrier and its samples, and drifts within the
            second by up to this share of its frequency, either way: 1e-8 is 1.45 Hz at 145 MHz.
        chirp_hz_s: The apparent carrier at a receiver drifts by up to this, either way, and the samples do
            not: transmitter and tuner together, Hz/s.
        doppler_hz: Of a transmitter that moves straight towards a receiver, Hz. Each session has its
            direction along the ground; the speed is that of this shift at the session's carrier.
        ripple_db: Of each receiver's filter in its pass band, peak to peak, dB; phases stay linear.
        filter_delay_s: Each receiver's filter and cable delay its recordings by a constant up to this, either
            way, seconds.
        late_stamp_s: One receiver of each session, of those that know the time and hear it above the squelch,
            has a time stamp that is late by this, seconds; a negative one is early.
        altitude_m: Of every transmitter above sea level, metres, on the same places; None for antennas above
            the ground. Height above the plain counts in the path loss.

    Raises:
        ValueError: A size is no number, or negative where both ways are meant.
    """

    clock_drift: float = 0.0
    chirp_hz_s: float = 0.0
    doppler_hz: float = 0.0
    ripple_db: float = 0.0
    filter_delay_s: float = 0.0
    late_stamp_s: float = 0.0
    altitude_m: float | None = None

    def __post_init__(self) -> None:
        signed = ("late_stamp_s", "altitude_m")
        for name, value in ((field.name, getattr(self, field.name)) for field in fields(self)):
            if value is not None and not (math.isfinite(value) and (value >= 0 or name in signed)):
                raise ValueError(f"{name} must be a number, and from 0 unless signed: {value}")

    @classmethod
    def drawn(cls, seed: int) -> Faults:
        """What disturbs a world of pretraining: one to three faults of random size; no late stamp.

        Args:
            seed: Of the world.
        """
        random = generator(seed, "simulate.drawn faults")
        names = [*_DRAWN, "altitude_m"]
        size = dict(zip(_DRAWN, (random.random(len(_DRAWN)) * list(_DRAWN.values())).tolist(), strict=True))
        size["altitude_m"] = float(random.uniform(*_DRAWN_ALTITUDE_M))
        chosen = random.permutation(len(names))[: int(random.integers(1, 4))].tolist()
        return cls(**{names[number]: size[names[number]] for number in chosen})


NO_FAULTS = Faults()


@dataclass(frozen=True)
class Filter:
    """A receiver's own filter, beside the one that all have.

    Attributes:
        delay_s: Constant delay, seconds.
        ripple_db: Peak to peak, dB.
        period_hz: Of the ripple along frequency, Hz.
        phase_turns: Of the ripple at 0 Hz.
    """

    delay_s: float
    ripple_db: float
    period_hz: float
    phase_turns: float

    @classmethod
    def of(cls, faults: Faults, seed: int, websdr_id: int) -> Filter:
        """That of a receiver in the world of this seed, the same in all of its sessions."""
        random = generator(seed, "simulate.filter", websdr_id)
        return cls(
            delay_s=float(random.uniform(-faults.filter_delay_s, faults.filter_delay_s)),
            ripple_db=faults.ripple_db,
            period_hz=float(random.uniform(*_RIPPLE_PERIOD_HZ)),
            phase_turns=float(random.random()),
        )

    def response(self, frequency_hz: npt.NDArray[np.float64]) -> npt.NDArray[np.complex128]:
        """Complex gain at offsets from the tuned frequency, Hz, any shape.

        The cosine in amplitude is a pair of small echoes, one early and one late (H. A. Wheeler, "The
        interpretation of amplitude and phase distortion in terms of paired echoes", Proc. IRE 27, 1939).
        """
        ripple = rotation(frequency_hz / self.period_hz + self.phase_turns).real
        return 10 ** (self.ripple_db / 40 * ripple) * rotation(-frequency_hz * self.delay_s)
