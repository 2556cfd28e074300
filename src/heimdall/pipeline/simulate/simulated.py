"""Simulated sessions of other worlds -> data/simulated/, in the form of data/features/; no IQ is stored.

World k has the seed `pretrain.seed` + k: other transmitters and scatterers around the same receivers, or, in
a share of the worlds, around other receivers. Its clocks are exact, because a training draws the error of a
GPS time stamp anew in each epoch.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterable
from dataclasses import KW_ONLY, asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from heimdall import simulate
from heimdall.core import artifacts, paths, randomness
from heimdall.core.params import UNCALIBRATED, FeatureParams, PretrainParams
from heimdall.pipeline.featurize import tables
from heimdall.recordings import archive, shards
from heimdall.recordings.shards import ShardStore
from heimdall.signal import extraction, session_files
from heimdall.signal.correlation import Recording

SIMULATED = Path("data/simulated")
WORK = Path(".heimdall/work/simulate")
# Whose source decides a shard's bytes; together with the locked requirements, part of its key.
SHARD_ROOMS = (
    "core/randomness",
    "geometry",
    "pipeline/featurize",
    "pipeline/simulate",
    "recordings",
    "signal",
    "simulate",
)


@dataclass(frozen=True)
class WorldTask:
    """All that the shard of one world is computed from.

    Attributes:
        seed: Of the world.
        sessions: How many.
        multipath: How strong its echoes are.
        params: Feature parameters.
        faults: What disturbs it.
        squelched: Whether its receivers have a squelch.
        elsewhere: Whether its receivers are others than `simulate.RECEIVERS`, which follow from its seed.
    """

    seed: int
    sessions: int
    multipath: simulate.Multipath
    params: FeatureParams
    _: KW_ONLY
    faults: simulate.Faults = simulate.NO_FAULTS
    squelched: bool = True
    elsewhere: bool = False

    @property
    def name(self) -> str:
        """What the index calls the world until its shard has a name."""
        return f"world {self.seed}"

    @property
    def source(self) -> str:
        """What the names of its transmitters begin with."""
        return f"sim-{self.seed}"

    def world(self) -> simulate.World:
        """The world: two sessions a transmitter, exact clocks."""
        count = max(self.sessions // 2, 1)
        return simulate.make_world(
            self.seed,
            count,
            self.multipath,
            receivers=simulate.drawn_receivers(self.seed) if self.elsewhere else simulate.RECEIVERS,
            clock_sigma_ns=0.0,
            faults=self.faults,
            squelched=self.squelched,
        )


def run(params: PretrainParams, feature_params: FeatureParams, root: Path = Path()) -> dict[str, Any]:
    """Make data/simulated/.

    Worlds whose parameters and code are unchanged are reused; the others are rendered on all cores (the bytes
    do not depend on how many). All sessions are development; of W worlds number k has the validation rank
    k / W, so that whole worlds validate.

    Args:
        params: `sessions`, `sessions_per_world`, `multipath`, `faulty_share`, `elsewhere_share` and `seed`
            are used.
        feature_params: Feature parameters.
        root: The repository's root.

    Returns:
        Counts of worlds, sessions and recordings.

    Raises:
        HeimdallError: A feature parameter does not fit the recordings. The former output stays as it was.
    """
    store = ShardStore(root / SIMULATED / "shards", tables.SHARD_SUFFIX, root / WORK)
    code = shards.code(SHARD_ROOMS, root)
    tasks = world_tasks(params, feature_params)
    keyed = [(task, artifacts.fingerprint([asdict(task), code])) for task in tasks]
    names = shards.build(keyed, simulate_shard, store, "simulate")
    shard_of = {task.name: name for task, name in zip(tasks, names, strict=True)}

    rows = [measurements(task, number / len(tasks)) for number, task in enumerate(tasks)]
    fingerprint = _fingerprint(pd.concat(rows).drop(columns="shard"), names)
    networks = [network_of(task.world()) for task in tasks]
    index = pd.concat(
        [tables.measured(*of_world, store, shard_of) for of_world in zip(rows, networks, strict=True)],
        ignore_index=True,
    )
    del rows

    store.commit(names)
    described = {
        "data_fingerprint": fingerprint,
        "features": feature_params.record(),
        "split": {"by": "world", "seed": params.seed},
        "calibration": asdict(UNCALIBRATED),
    }
    elsewhere = [
        network.assign(world=task.source)
        for task, network in zip(tasks, networks, strict=True)
        if task.elsewhere
    ]
    table = pd.concat(elsewhere) if elsewhere else tables.ELSEWHERE_SCHEMA.empty_table().to_pandas()
    archive.write_table(root / SIMULATED / paths.ELSEWHERE, table, tables.ELSEWHERE_SCHEMA)
    home, origin = tables.placed(receivers_of(simulate.RECEIVERS))
    tables.write(root / SIMULATED, index, home, origin | described)
    store.prune(names)
    return {
        "worlds": len(tasks),
        "sessions": index["session_id"].nunique(),
        "recordings": len(index),
    }


def _fingerprint(rows: pd.DataFrame, names: list[str]) -> str:
    """`artifacts.fingerprint` of the rows and of the shards' names, without a text of all rows."""
    found = hashlib.sha256(b"[[")
    for first in range(0, len(rows), archive.ITERATED_ROWS):
        some = json.dumps(
            rows.iloc[first : first + archive.ITERATED_ROWS].to_numpy().tolist(), allow_nan=False
        )
        found.update((", " * (first > 0) + some[1:-1]).encode("utf-8"))
    found.update(f"], {json.dumps(names)}]".encode())
    return found.hexdigest()


def world_tasks(params: PretrainParams, feature_params: FeatureParams) -> list[WorldTask]:
    """The worlds, in the order of their seeds, of the kinds of multipath in turn.

    The last one may have fewer sessions than the others. Which of them have faults depends on the share and
    on the seed of each, and so does, by other draws, which of them have other receivers.
    """

    def task(seed: int, sessions: int, multipath: simulate.Multipath) -> WorldTask:
        faulty = randomness.generator(seed, "pretrain.worlds").random() < params.faulty_share
        elsewhere = randomness.generator(seed, "pretrain.elsewhere").random() < params.elsewhere_share
        return WorldTask(
            seed,
            sessions,
            multipath,
            feature_params,
            faults=simulate.Faults.drawn(seed) if faulty else simulate.NO_FAULTS,
            elsewhere=elsewhere,
        )

    return [
        task(
            params.seed + number,
            min(params.sessions_per_world, params.sessions - first),
            params.multipath[number % len(params.multipath)],
        )
        for number, first in enumerate(range(0, params.sessions, params.sessions_per_world))
    ]


def simulate_shard(task: WorldTask) -> bytes:
    """The bytes of one world's shard of session features; pure.

    Raises:
        HeimdallError: The feature parameters do not fit the recordings.
    """
    world = task.world()
    network = network_of(world)
    enu = network[["east_m", "north_m", "up_m"]].to_numpy("float64")
    positions = dict(zip(network["websdr_id"].tolist(), enu, strict=True))
    found = []
    for plan in simulate.sessions(world, task.sessions):
        session = as_received(simulate.render(world, plan))
        found.append(extraction.session_features(session, positions, task.params))
    return session_files.pack(found, task.params)


def as_received(rendered: Iterable[simulate.RenderedRecording]) -> list[Recording]:
    """What a simulated session is to whoever makes features of it, a recording each."""
    return [
        Recording(
            item.reception.websdr_id,
            item.iq,
            item.sample_rate_hz,
            item.reception.start_gps_ns,
            item.reception.timing_sigma_ns,
        )
        for item in rendered
    ]


def receivers_of(sites: Iterable[simulate.ReceiverSite]) -> pd.DataFrame:
    """The receivers of a network, columns as in the snapshot's receivers.parquet."""
    names = [field.name for field in archive.RECEIVERS_SCHEMA]
    return pd.DataFrame([{name: getattr(site, name) for name in names} for site in sites])


def network_of(world: simulate.World) -> pd.DataFrame:
    """The receivers of a world, as of `tables.placed`, around the mean position of `simulate.RECEIVERS`."""
    _, origin = tables.placed(receivers_of(simulate.RECEIVERS))
    return tables.around(receivers_of(world.receivers), origin)


def measurements(task: WorldTask, validation_rank: float) -> pd.DataFrame:
    """What the index tells of a world's recordings before anything is measured on them.

    Args:
        task: The world.
        validation_rank: Of all its recordings.

    Returns:
        One row a recording, in the order of the shard; `shard` is the task's name.
    """
    world = task.world()
    rows = []
    for plan in simulate.sessions(world, task.sessions):
        transmitter = world.transmitters[plan.transmitter]
        random = randomness.generator(world.seed, "simulated.measurement", plan.index)
        rows += [
            {
                "measurement_id": str(uuid.UUID(bytes=random.bytes(16), version=4)),
                "session_id": plan.session_id,
                "websdr_id": reception.websdr_id,
                "source_id": f"{task.source}-{plan.transmitter:03d}",
                "latitude_deg": transmitter.latitude_deg,
                "longitude_deg": transmitter.longitude_deg,
                "frequency_mhz": plan.frequency_hz / 1e6,
                "modulation": transmitter.modulation,
                "simulated": True,
                "split": "development",
                "validation_rank": validation_rank,
                "shard": task.name,
            }
            for reception in plan.receptions
        ]
    return pd.DataFrame(rows)
