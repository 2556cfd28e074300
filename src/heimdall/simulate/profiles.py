"""Power-delay profiles of two standards, and the echoes that a link draws from them.

The scatter of a link is its own: neither the transmitter's other links nor the receiver's share it. Each tap
is the sum of rays with the same delay, normal amplitudes and uniform azimuths at the transmitter, so that it
fades by Rayleigh's law, and by Clarke's spectrum where the transmitter moves.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from heimdall.simulate.budget import Environment

Standard = Literal["rma", "uma", "cost207", "cost207_ra", "cost207_tu", "cost207_bu", "cost207_ht"]
STANDARDS: tuple[Standard, ...] = get_args(Standard)

RAYS = 8  # of each tap; the sum of eight has Clarke's spectrum well enough for a second


@dataclass(frozen=True)
class Profile:
    """A tapped delay line, as its standard prints it.

    Attributes:
        delay: Of each tap behind the first, in microseconds (COST 207) or in multiples of the rms delay
            spread (TR 38.901).
        power_db: Mean power of what is scattered in each tap, dB.
        direct_db: Power of the path that does not fade, at delay 0, dB; -inf where there is none.
    """

    delay: tuple[float, ...]
    power_db: tuple[float, ...]
    direct_db: float = -math.inf

    @property
    def rice_k(self) -> float:
        """Power of the path that does not fade over that of all the scatter, linear."""
        return 10 ** (self.direct_db / 10) / math.fsum(10 ** (db / 10) for db in self.power_db)

    def scattered(self, rice_k: float) -> list[float]:
        """Mean powers of the taps whose sum is 1 / (1 + rice_k): the direct path has the rest of 1."""
        power = [10 ** (db / 10) for db in self.power_db]
        total = math.fsum(power) * (1 + rice_k)
        return [value / total for value in power]

    def rms_delay(self, rice_k: float) -> float:
        """Root mean square delay spread with that Rice factor, in the unit of `delay`."""
        power = self.scattered(rice_k)
        mean = math.fsum(p * t for p, t in zip(power, self.delay, strict=True))
        square = math.fsum(p * t * t for p, t in zip(power, self.delay, strict=True))
        return math.sqrt(square - mean * mean)


# 3GPP TR 38.901 V16.1.0, tables 7.7.2-1, 7.7.2-3, 7.7.2-4 and 7.7.2-5.
TDL_A = Profile(
    (0.0, 0.3819, 0.4025, 0.5868, 0.4610, 0.5375, 0.6708, 0.5750, 0.7618, 1.5375, 1.8978, 2.2242,
     2.1718, 2.4942, 2.5119, 3.0582, 4.0810, 4.4579, 4.5695, 4.7966, 5.0066, 5.3043, 9.6586),
    (-13.4, 0.0, -2.2, -4.0, -6.0, -8.2, -9.9, -10.5, -7.5, -15.9, -6.6, -16.7,
     -12.4, -15.2, -10.8, -11.3, -12.7, -16.2, -18.3, -18.9, -16.6, -19.9, -29.7),
)  # fmt: skip
TDL_C = Profile(
    (0.0, 0.2099, 0.2219, 0.2329, 0.2176, 0.6366, 0.6448, 0.6560, 0.6584, 0.7935, 0.8213, 0.9336,
     1.2285, 1.3083, 2.1704, 2.7105, 4.2589, 4.6003, 5.4902, 5.6077, 6.3065, 6.6374, 7.0427, 8.6523),
    (-4.4, -1.2, -3.5, -5.2, -2.5, 0.0, -2.2, -3.9, -7.4, -7.1, -10.7, -11.1,
     -5.1, -6.8, -8.7, -13.2, -13.9, -13.9, -15.8, -17.1, -16.0, -15.7, -21.6, -22.8),
)  # fmt: skip
TDL_D = Profile(
    (0.0, 0.035, 0.612, 1.363, 1.405, 1.804, 2.596, 1.775, 4.042, 7.937, 9.424, 9.708, 12.525),
    (-13.5, -18.8, -21.0, -22.8, -17.9, -20.1, -21.9, -22.9, -27.8, -23.6, -24.8, -30.0, -27.7),
    direct_db=-0.2,
)
TDL_E = Profile(
    (0.0, 0.5133, 0.5440, 0.5630, 0.5440, 0.7112, 1.9092, 1.9293, 1.9589, 2.6426, 3.7136, 5.4524,
     12.0034, 20.6519),
    (-22.03, -15.8, -18.1, -19.8, -22.9, -22.4, -18.6, -20.8, -22.6, -22.3, -25.6, -20.2, -29.8, -29.2),
    direct_db=-0.03,
)  # fmt: skip

# 3GPP TS 45.005, annex C.3: rural area with 6 taps, of whose first 0.83 do not fade (Rice), hilly terrain and
# typical urban with 12 taps, the first of the two settings. They are those of COST 207.
RURAL_AREA = Profile(
    (0.0, 0.1, 0.2, 0.3, 0.4, 0.5),
    (10 * math.log10(0.17), -4.0, -8.0, -12.0, -16.0, -20.0),
    direct_db=10 * math.log10(0.83),
)
HILLY_TERRAIN = Profile(
    (0.0, 0.1, 0.3, 0.5, 0.7, 1.0, 1.3, 15.0, 15.2, 15.7, 17.2, 20.0),
    (-10.0, -8.0, -6.0, -4.0, 0.0, 0.0, -4.0, -8.0, -9.0, -10.0, -12.0, -14.0),
)
TYPICAL_URBAN = Profile(
    (0.0, 0.1, 0.3, 0.5, 0.8, 1.1, 1.3, 1.7, 2.3, 3.1, 3.2, 5.0),
    (-4.0, -3.0, 0.0, -2.6, -3.0, -5.0, -7.0, -5.0, -6.5, -8.6, -11.0, -10.0),
)
# COST 207, "Digital land mobile radio communications", final report, EUR 12160, 1989: bad urban, 12 taps.
BAD_URBAN = Profile(
    (0.0, 0.2, 0.4, 0.8, 1.6, 2.2, 3.2, 5.0, 6.0, 7.2, 8.2, 10.0),
    (-7.0, -3.0, -1.0, 0.0, -2.0, -6.0, -7.0, -1.0, -2.0, -7.0, -10.0, -15.0),
)

_COST_207: dict[Standard, Profile] = {
    "cost207_ra": RURAL_AREA,
    "cost207_tu": TYPICAL_URBAN,
    "cost207_bu": BAD_URBAN,
    "cost207_ht": HILLY_TERRAIN,
}
# What `cost207` takes where: the milder profile, the worse one, and how often it is the worse one (chosen).
_BY_ENVIRONMENT: dict[Environment, tuple[Profile, Profile, float]] = {
    "rural": (RURAL_AREA, TYPICAL_URBAN, 0.25),
    "urban": (TYPICAL_URBAN, BAD_URBAN, 0.25),
    "mountain": (RURAL_AREA, HILLY_TERRAIN, 0.5),
}


@dataclass(frozen=True)
class Scenario:
    """A scenario of TR 38.901, table 7.5-6: mean and standard deviation of what a link draws.

    Attributes:
        clear: Profile of a link with line of sight.
        blocked: Profile of one without.
        clear_lg_s: Common logarithm of the rms delay spread in seconds, with line of sight.
        blocked_lg_s: The same without.
        rice_k_db: Rice factor with line of sight, dB.
    """

    clear: Profile
    blocked: Profile
    clear_lg_s: tuple[float, float]
    blocked_lg_s: tuple[float, float]
    rice_k_db: tuple[float, float]


_LG_6_GHZ = math.log10(6.0)  # UMa: below 6 GHz the spread is that of 6 GHz
# Which of the profiles goes with which scenario is not in the standard: the choice is ours.
SCENARIOS: dict[Standard, Scenario] = {
    "rma": Scenario(TDL_D, TDL_A, (-7.49, 0.55), (-7.43, 0.48), (7.0, 4.0)),
    "uma": Scenario(
        TDL_E, TDL_C, (-6.955 - 0.0963 * _LG_6_GHZ, 0.66), (-6.28 - 0.204 * _LG_6_GHZ, 0.39), (9.0, 3.5)
    ),
}


@dataclass(frozen=True)
class Taps:
    """The echoes of one link, by rays; n of them.

    Attributes:
        direct: Amplitude of the path that does not fade; 0 where there is none.
        excess_s: Delay behind the direct path, seconds; n.
        gain: Amplitude at zero carrier phase; the mean power of all rays and of the direct path is 1; n.
        azimuth_rad: Where each ray leaves the transmitter, from north, clockwise; n.
    """

    direct: float
    excess_s: tuple[float, ...]
    gain: tuple[complex, ...]
    azimuth_rad: tuple[float, ...]


def taps(standard: Standard, environment: Environment, blocked: bool, random: np.random.Generator) -> Taps:
    """Draw the echoes of a link.

    Args:
        standard: Which profiles.
        environment: Around the link; `cost207` draws the profile by it.
        blocked: Whether there is no line of sight; the scenarios of TR 38.901 go by it.
        random: Where they come from.

    Returns:
        The rays of the taps. In TR 38.901 the delays have a log-normal spread and the Rice factor is drawn
        (7.7.3, 7.7.6); COST 207 has fixed delays.
    """
    share, spread, rice = float(random.random()), float(random.standard_normal()), random.standard_normal()
    if standard in SCENARIOS:
        scenario = SCENARIOS[standard]
        profile = scenario.blocked if blocked else scenario.clear
        mean_lg, sigma_lg = scenario.blocked_lg_s if blocked else scenario.clear_lg_s
        mean_db, sigma_db = scenario.rice_k_db
        rice_k = 0.0 if blocked else 10 ** ((mean_db + sigma_db * float(rice)) / 10)
        unit_s = 10 ** (mean_lg + sigma_lg * spread) / profile.rms_delay(rice_k)
    else:
        profile = _COST_207.get(standard) or _by_environment(environment, share)
        rice_k, unit_s = profile.rice_k, 1e-6
    excess_s = [delay * unit_s for delay in profile.delay for _ in range(RAYS)]
    sigma = [math.sqrt(power / (2 * RAYS)) for power in profile.scattered(rice_k) for _ in range(RAYS)]
    normal = random.standard_normal((len(sigma), 2)).tolist()
    azimuth_rad = random.uniform(-math.pi, math.pi, len(sigma)).tolist()
    return Taps(
        direct=math.sqrt(rice_k / (1 + rice_k)),
        excess_s=tuple(excess_s),
        gain=tuple(s * complex(real, imag) for s, (real, imag) in zip(sigma, normal, strict=True)),
        azimuth_rad=tuple(azimuth_rad),
    )


def _by_environment(environment: Environment, share: float) -> Profile:
    milder, worse, chance = _BY_ENVIRONMENT[environment]
    return worse if share < chance else milder
