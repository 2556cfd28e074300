"""Networks of other receivers: what is drawn, and that a world is heard by the receivers it was given."""

from __future__ import annotations

import numpy as np
import pytest

from heimdall import simulate
from heimdall.core import params
from heimdall.simulate.elsewhere import LEAST_TIMED, MOST_RECEIVERS
from heimdall.simulate.terrain import Terrain, local_m
from heimdall.simulate.world import RECEIVERS, USEFUL_RECEIVERS

SEEDS = range(params.FIRST_OTHER_WORLD, params.FIRST_OTHER_WORLD + 300)


def test_three_to_twelve_anywhere_in_the_land_of_which_three_know_the_time() -> None:
    networks = [simulate.drawn_receivers(seed) for seed in SEEDS]
    assert {len(sites) for sites in networks} == set(range(USEFUL_RECEIVERS, MOST_RECEIVERS + 1))
    assert min(sum(site.gps for site in sites) for sites in networks) == LEAST_TIMED
    everyone = [site for sites in networks for site in sites]
    assert 0.8 < np.mean([site.gps for site in everyone]) < 0.92
    assert 100 < min(site.altitude_m for site in everyone) < max(s.altitude_m for s in everyone) < 1000
    terrain = Terrain.of([(site.latitude_deg, site.longitude_deg) for site in RECEIVERS])
    place_m = np.array([local_m(terrain.frame, site.latitude_deg, site.longitude_deg) for site in everyone])
    assert all(terrain.inside(tuple(place)) for place in place_m.tolist())
    assert (np.ptp(place_m, axis=0) > [140e3, 110e3]).all()


def test_numbers_and_places_are_of_one_world_alone() -> None:
    everyone = [site for seed in SEEDS for site in simulate.drawn_receivers(seed)] + list(RECEIVERS)
    assert len({site.websdr_id for site in everyone}) == len(everyone)
    assert len({site.latitude_deg for site in everyone}) == len(everyone)
    assert simulate.drawn_receivers(SEEDS[0]) == simulate.drawn_receivers(SEEDS[0])
    last = simulate.drawn_receivers(params.LAST_OTHER_WORLD)[-1]
    assert last.websdr_id < 2**31


@pytest.mark.parametrize("seed", [1008, 1012])  # four receivers, three of which know the time; twelve
def test_a_world_is_heard_by_its_own_receivers(seed: int) -> None:
    sites = simulate.drawn_receivers(seed)
    world = simulate.make_world(seed, 6, receivers=sites)
    home = simulate.make_world(seed, 6)
    assert world.receivers == sites
    terrain = Terrain.of([(site.latitude_deg, site.longitude_deg) for site in RECEIVERS])
    for site, position_m in zip(sites, world.receiver_position_m, strict=True):
        np.testing.assert_array_equal(
            position_m, terrain.position_m(site.latitude_deg, site.longitude_deg, site.altitude_m)
        )
    assert {len(links) for links in world.links} == {len(sites)}
    for sender in home.transmitters + world.transmitters:
        assert terrain.inside(local_m(terrain.frame, sender.latitude_deg, sender.longitude_deg))
    timed = {site.websdr_id for site in sites if site.gps}
    for plan in simulate.sessions(world, 12):
        assert len(plan.receptions) >= 2
        for reception in plan.receptions:
            assert reception.websdr_id == sites[reception.receiver].websdr_id
            assert (reception.start_gps_ns is not None) == (reception.websdr_id in timed)


def test_two_receivers_are_refused() -> None:
    with pytest.raises(ValueError, match="receivers must be at least 3, not 2"):
        simulate.make_world(1, 1, receivers=RECEIVERS[:2])
