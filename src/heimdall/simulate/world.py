"""Who is in the simulated world, and where: receivers, transmitters, scatterers, ridges, links.

Positions are east, north, up in metres in the tangent plane at the receivers' mean position
(`heimdall.geometry.geo.enu_m`), so that delays are straight lines in space. Everything follows from the seed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from heimdall.core.randomness import generator
from heimdall.simulate import budget, profiles
from heimdall.simulate.faults import NO_FAULTS, Faults
from heimdall.simulate.signals import Modulation
from heimdall.simulate.terrain import MOUNTAIN_M, PASS_M, Terrain, local_m

Array = npt.NDArray[np.float64]
Multipath = Literal["none", "light", "strong"] | profiles.Standard

BANDS_MHZ = ((144.0, 146.0), (430.0, 440.0))
CLOCK_SIGMA_NS = 50.0  # time stamps of six real KiwiSDR recordings scatter by 12-113 ns
SQUELCH_DB = -3.0  # in-band SNR from which a receiver records
USEFUL_RECEIVERS = 3  # a transmitter that fewer can hear on average is not in the world: nobody would fix it

# Delay spreads of Greenstein et al. times this. Chosen so that the median bias of the group delay over
# heard links is 78 ns (light) and 376 ns (strong); `tests/test_simulate.py` holds them there.
DELAY_SPREAD_SCALE: dict[Multipath, float] = {"none": 0.0, "light": 0.5, "strong": 3.2}
MULTIPATHS: tuple[Multipath, ...] = (*DELAY_SPREAD_SCALE, *profiles.STANDARDS)

GROUND_M = 250.0  # median of the sites; 300 m more change the delay over 30 km by 5 ns only
URBAN_SHARE = 0.4


# Ten transmitters in turn: half of the world speaks, every kind is there from six transmitters on.
_MODULATIONS: tuple[Modulation, ...] = (
    "nfm", "dmr", "afsk1200", "gmsk9600", "nfm", "cw", "nfm", "dmr", "nfm", "afsk1200",
)  # fmt: skip


@dataclass(frozen=True)
class ReceiverSite:
    """A receiver of the network.

    Attributes:
        websdr_id: Its number in the database.
        name: Its name.
        latitude_deg: Latitude, degrees.
        longitude_deg: Longitude, degrees.
        altitude_m: Height of the site above sea level, metres.
        gps: Whether its clock is disciplined by GPS.
    """

    websdr_id: int
    name: str
    latitude_deg: float
    longitude_deg: float
    altitude_m: float
    gps: bool


# Coazze has no GPS time: 1.6 km from Aquila di Giaveno, it adds least to the geometry.
RECEIVERS = (
    ReceiverSite(1, "Aquila di Giaveno", 45.02, 7.29, 600.0, gps=True),
    ReceiverSite(2, "Montanaro", 45.234, 7.857, 300.0, gps=True),
    ReceiverSite(3, "Torino", 45.044, 7.672, 250.0, gps=True),
    ReceiverSite(4, "Coazze", 45.03, 7.27, 700.0, gps=False),
    ReceiverSite(5, "Passo dei Giovi", 44.561, 8.956, 480.0, gps=True),
    ReceiverSite(6, "Genova", 44.395, 8.956, 100.0, gps=True),
    ReceiverSite(7, "Milano-Baggio", 45.478, 9.123, 120.0, gps=True),
)


@dataclass(frozen=True)
class Scatterers:
    """Fixed hills and buildings around a place; n of them.

    Attributes:
        east_m: East of the world's origin, metres, shape (n,).
        north_m: North of it, metres, shape (n,).
        power: Relative reflected power, linear, shape (n,).
        sector_rad: Azimuth (from north, clockwise) in which it reflects, shape (n,).
        half_width_rad: Half of that sector's width, pi for all round, shape (n,).
    """

    east_m: Array
    north_m: Array
    power: Array
    sector_rad: Array
    half_width_rad: Array


@dataclass(frozen=True)
class Transmitter:
    """A transmitter at a fixed place.

    Attributes:
        index: Its number in the world.
        latitude_deg: Latitude, degrees.
        longitude_deg: Longitude, degrees.
        position_m: East, north, up of the antenna, metres, shape (3,).
        power_dbm: Radiated power over an isotropic antenna, dBm.
        height_m: Antenna above ground, metres.
        modulation: Kind of signal.
        band_mhz: Lower and upper edge of its band, MHz.
        environment: What surrounds it.
        scatterers: Its own scatterers.
    """

    index: int
    latitude_deg: float
    longitude_deg: float
    position_m: Array
    power_dbm: float
    height_m: float
    modulation: Modulation
    band_mhz: tuple[float, float]
    environment: budget.Environment
    scatterers: Scatterers


@dataclass(frozen=True)
class Link:
    """What stays the same between a transmitter and a receiver from session to session.

    Attributes:
        excess_loss_db: Shadowing and blocking, beyond the loss of the path itself, dB.
        rice_k: Power of the direct path over that of all scatterers, linear.
        delay_spread_s: RMS delay spread of the scatterers, seconds; 0 where they reflect nothing.
        taps: The echoes by a standard's profile, instead of the scatterers'; None where it has those.
    """

    excess_loss_db: float
    rice_k: float
    delay_spread_s: float
    taps: profiles.Taps | None = None


@dataclass(frozen=True)
class World:
    """The simulated world.

    Attributes:
        seed: What everything in it follows from.
        multipath: How strong the echoes are.
        clock_sigma_ns: Standard deviation of a GPS-disciplined receiver's time stamp, ns.
        receivers: The network.
        receiver_position_m: East, north, up of each receiver, metres, shape (receivers, 3).
        receiver_scatterers: Around each receiver, the same for every transmitter.
        transmitters: Who may transmit.
        links: `links[transmitter][receiver]`, by position in the two tuples above.
        faults: What disturbs it; their altitude is in the transmitters' positions already.
        squelched: Whether a receiver records only what is above its squelch; otherwise all record always.
    """

    seed: int
    multipath: Multipath
    clock_sigma_ns: float
    receivers: tuple[ReceiverSite, ...]
    receiver_position_m: Array
    receiver_scatterers: tuple[Scatterers, ...]
    transmitters: tuple[Transmitter, ...]
    links: tuple[tuple[Link, ...], ...]
    faults: Faults = NO_FAULTS
    squelched: bool = True


def make_world(
    seed: int,
    transmitters: int = 60,
    multipath: Multipath = "light",
    *,
    receivers: tuple[ReceiverSite, ...] = RECEIVERS,
    clock_sigma_ns: float = CLOCK_SIGMA_NS,
    bands_mhz: tuple[tuple[float, float], ...] = BANDS_MHZ,
    faults: Faults = NO_FAULTS,
    squelched: bool = True,
) -> World:
    """Make a world. More transmitters leave the first ones as they are.

    Args:
        seed: Any number from 0; another seed is another world in the same land.
        transmitters: How many.
        multipath: "none", "light" (median delay bias 78 ns), "strong" (376 ns), or the profiles of a standard
            (`profiles`). Transmitters and receivers are the same in all kinds, and so are the losses.
        receivers: The network, at least `USEFUL_RECEIVERS`. Whatever it is, transmitters are within the hull
            of `RECEIVERS` and the margin, and positions are around the mean of those.
        clock_sigma_ns: Standard deviation of a GPS time stamp, ns.
        bands_mhz: Carrier bands; each transmitter keeps to one of them.
        faults: What disturbs the world; places, losses and echoes stay as they are without.
        squelched: Whether receivers have a squelch, at `SQUELCH_DB`. Without one every receiver records every
            session, as most WebSDRs do. The sessions stay the same, and so does what is above the squelch.

    Returns:
        The world.

    Raises:
        ValueError: No transmitters, too few receivers, a negative clock error, no band, or an unknown
            `multipath`.
    """
    if transmitters < 1:
        raise ValueError(f"transmitters must be at least 1, not {transmitters}")
    if len(receivers) < USEFUL_RECEIVERS:
        raise ValueError(f"receivers must be at least {USEFUL_RECEIVERS}, not {len(receivers)}")
    if clock_sigma_ns < 0:
        raise ValueError(f"clock_sigma_ns must not be negative: {clock_sigma_ns}")
    if not bands_mhz:
        raise ValueError("bands_mhz must name at least one band")
    if multipath not in MULTIPATHS:
        raise ValueError(f"multipath must be one of {', '.join(MULTIPATHS)}, not {multipath}")
    terrain = Terrain.of([(site.latitude_deg, site.longitude_deg) for site in RECEIVERS])
    positions = np.stack(
        [terrain.position_m(r.latitude_deg, r.longitude_deg, r.altitude_m) for r in receivers]
    )
    around = tuple(
        _scatterers(generator(seed, "simulate.receiver", r.websdr_id), position, (30, 80), (300.0, 15_000.0))
        for r, position in zip(receivers, positions, strict=True)
    )
    network = tuple(zip(receivers, positions, strict=True))
    placed = [
        _place(seed, i, terrain, network, multipath=multipath, bands_mhz=bands_mhz)
        for i in range(transmitters)
    ]
    return World(
        seed=seed,
        multipath=multipath,
        clock_sigma_ns=clock_sigma_ns,
        receivers=receivers,
        receiver_position_m=positions,
        receiver_scatterers=around,
        transmitters=tuple(_lifted(transmitter, terrain, faults.altitude_m) for transmitter, _ in placed),
        links=tuple(links for _, links in placed),
        faults=faults,
        squelched=squelched,
    )


def mean_snr_db(
    transmitter: Transmitter, site: ReceiverSite, distance_m: float, link: Link, frequency_hz: float
) -> float:
    """In-band SNR of a link in dB, before the interference of its paths."""
    loss_db = budget.path_loss_db(
        frequency_hz, distance_m, budget.effective_height_m(site.altitude_m), transmitter.height_m
    )
    received_dbm = transmitter.power_dbm + budget.RECEIVER_GAIN_DBI - loss_db - link.excess_loss_db
    return received_dbm - budget.noise_dbm(frequency_hz)


def _place(
    seed: int,
    index: int,
    terrain: Terrain,
    network: tuple[tuple[ReceiverSite, Array], ...],
    *,
    multipath: Multipath,
    bands_mhz: tuple[tuple[float, float], ...],
) -> tuple[Transmitter, tuple[Link, ...]]:
    """Draw transmitters from one stream until enough receivers (with their positions) hear it on average."""
    random = generator(seed, "simulate.transmitter", index)
    while True:
        transmitter = _transmitter(random, index, terrain, bands_mhz)
        links = tuple(
            _link(random, transmitter, site, terrain, multipath=multipath, seed=seed) for site, _ in network
        )
        carrier_hz = (transmitter.band_mhz[0] + transmitter.band_mhz[1]) / 2 * 1e6
        heard = sum(
            mean_snr_db(transmitter, site, distance_m(transmitter.position_m, position), link, carrier_hz)
            > SQUELCH_DB
            for (site, position), link in zip(network, links, strict=True)
        )
        if heard >= USEFUL_RECEIVERS:
            return transmitter, links


def _transmitter(
    random: np.random.Generator, index: int, terrain: Terrain, bands_mhz: tuple[tuple[float, float], ...]
) -> Transmitter:
    """5-50 W, antenna -3 to 6 dBi, a car's (2.5 m) or a base's (10-20 m)."""
    point = terrain.random_point(random)
    latitude, longitude = (float(value) for value in terrain.frame.to_degrees(*point))
    height_m = 2.5 if random.random() < 0.5 else float(random.uniform(10.0, 20.0))
    power_dbm = float(random.uniform(10 * math.log10(5e3), 10 * math.log10(50e3)) + random.uniform(-3.0, 6.0))
    urban = random.random() < URBAN_SHARE
    environment: budget.Environment = "urban" if urban else "rural"
    if terrain.ridge_distance_m(point) < MOUNTAIN_M:
        environment = "mountain"
    position = terrain.position_m(latitude, longitude, GROUND_M + height_m)
    return Transmitter(
        index=index,
        latitude_deg=latitude,
        longitude_deg=longitude,
        position_m=position,
        power_dbm=power_dbm,
        height_m=height_m,
        modulation=_MODULATIONS[index % len(_MODULATIONS)],
        band_mhz=bands_mhz[int(random.integers(len(bands_mhz)))],
        environment=environment,
        scatterers=_scatterers(random, position, (10, 30), (100.0, 4_000.0)),
    )


def _lifted(transmitter: Transmitter, terrain: Terrain, altitude_m: float | None) -> Transmitter:
    """The same transmitter at that altitude above sea level."""
    if altitude_m is None:
        return transmitter
    return replace(
        transmitter,
        position_m=terrain.position_m(transmitter.latitude_deg, transmitter.longitude_deg, altitude_m),
        height_m=max(transmitter.height_m, altitude_m - GROUND_M),
    )


def _link(
    random: np.random.Generator,
    transmitter: Transmitter,
    site: ReceiverSite,
    terrain: Terrain,
    *,
    multipath: Multipath,
    seed: int,
) -> Link:
    """Shadowing 8 dB; blocked by 10-30 dB with probability 0.15, 0.75 across a ridge; Rice K by that."""
    here = local_m(terrain.frame, transmitter.latitude_deg, transmitter.longitude_deg)
    there = local_m(terrain.frame, site.latitude_deg, site.longitude_deg)
    across = terrain.ridge_distance_m(there) > PASS_M and terrain.crosses_ridge(here, there)
    blocked = random.random() < (0.75 if across else 0.15)
    loss_db = float(random.normal(0.0, 8.0)) + (float(random.uniform(10.0, 30.0)) if blocked else 0.0)
    k_db = float(random.normal(0.0, 3.0)) if blocked else float(random.normal(9.0, 4.0))
    environment = "mountain" if across else transmitter.environment
    spread_s = budget.delay_spread_s(math.dist(here, there), environment, float(random.normal()))
    rice_k = 10 ** (k_db / 10)
    if multipath in profiles.STANDARDS:
        own = generator(seed, "simulate.taps", transmitter.index, site.websdr_id)
        return Link(loss_db, rice_k, 0.0, profiles.taps(multipath, environment, blocked, own))
    return Link(loss_db, rice_k, DELAY_SPREAD_SCALE[multipath] * spread_s)


def _scatterers(
    random: np.random.Generator, centre_m: Array, count: tuple[int, int], radius_m: tuple[float, float]
) -> Scatterers:
    """Scatterers at log-uniform distances, 8 dB spread in strength, half of them facing one way only."""
    n = int(random.integers(count[0], count[1] + 1))
    distance = [math.exp(v) for v in random.uniform(math.log(radius_m[0]), math.log(radius_m[1]), n).tolist()]
    azimuth = random.uniform(-math.pi, math.pi, n).tolist()
    sectored = random.random(n) < 0.5
    half_width = random.uniform(math.radians(30.0), math.radians(90.0), n)
    return Scatterers(
        east_m=np.array(
            [float(centre_m[0]) + d * math.sin(a) for d, a in zip(distance, azimuth, strict=True)]
        ),
        north_m=np.array(
            [float(centre_m[1]) + d * math.cos(a) for d, a in zip(distance, azimuth, strict=True)]
        ),
        power=np.array([10 ** (v / 10) for v in random.normal(0.0, 8.0, n).tolist()]),
        sector_rad=random.uniform(-math.pi, math.pi, n),
        half_width_rad=np.where(sectored, half_width, math.pi),
    )


def distance_m(a: Array, b: Array) -> float:
    """Straight line between two positions (3,), metres."""
    return math.dist(a.tolist(), b.tolist())
