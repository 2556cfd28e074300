"""What fusion reaches in worlds that it has not seen, beside every baseline: the session model's acceptance.

    python benchmarks/accuracy.py
    python benchmarks/accuracy.py --sessions 400 --kinds light
    python benchmarks/accuracy.py --show

All of it is simulated. For each kind of multipath (light, strong; none in a clean world) the network is
pretrained on `--sessions` sessions of other worlds. Then in each world of `--worlds` half of the transmitters
are held out; the network is fine-tuned and calibrated on the other half, and evaluated on the held-out ones
together with the baselines, which are fitted on the same training sessions. Clocks err by 50 ns. The figures
are pooled over the worlds, intervals resample whole transmitters.

In the clean world every transmitter is as strong as it takes to be heard with 30 dB everywhere, and what
counts are test sessions in which all receivers have that and six know the arrival time. Keyed carriers are
left out there: their bound is hundreds of metres.

A full run takes about an hour on 2 idle cores (estimated from its parts), half of it for rendering. Killed
and typed again, it goes on where it was: worlds and trainings that are done are reused. `--show` prints what
the work folder holds.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from heimdall.core import determinism

if __name__ == "__main__":
    determinism.ensure()

import numpy as np
import pandas as pd
from accuracy_criteria import LEAST_DB, acceptance, clean_lines, words

from heimdall import simulate
from heimdall.core import artifacts, params, rooms
from heimdall.core.errors import HeimdallError
from heimdall.core.params import Params, SplitParams
from heimdall.metrics import metrics
from heimdall.network.dataset import DatasetConfig, observations
from heimdall.pipeline.evaluate import evaluation
from heimdall.pipeline.evaluate.cases import WITHOUT_GPS, errors_of
from heimdall.pipeline.evaluate.localizers import StoredLocalizer
from heimdall.pipeline.featurize import split, tables
from heimdall.pipeline.simulate import simulated
from heimdall.pipeline.train import training
from heimdall.pipeline.train.session_task import PRETRAINED
from heimdall.recordings import shards
from heimdall.recordings.shards import ShardStore
from heimdall.signal.correlation import NARROW_HZ
from heimdall.simulate.world import mean_snr_db

REPOSITORY = Path(__file__).resolve().parents[1]
KINDS: tuple[simulate.Multipath, ...] = ("light", "strong", "none")
CLEAN: simulate.Multipath = "none"
CLOCK_SIGMA_NS = 50.0
WORLDS = list(range(181, 191))
TEST_FRACTION = 0.5
MARGIN_DB = 6.0  # by which its weakest links exceed that: SNR is measured, and quantisation adds noise
LEAST_TIMED = 6  # all receivers but the one without GPS time


@dataclass(frozen=True)
class HeldOutWorld(simulated.WorldTask):
    """A world to be evaluated in.

    Attributes:
        clock_sigma_ns: Standard deviation of its GPS time stamps.
        least_snr_db: In-band SNR that every transmitter has at every receiver; None for what they have.
    """

    clock_sigma_ns: float
    least_snr_db: float | None

    def world(self) -> simulate.World:
        """The world: two sessions a transmitter."""
        count = max(self.sessions // 2, 1)
        made = simulate.make_world(
            self.seed,
            count,
            self.multipath,
            clock_sigma_ns=self.clock_sigma_ns,
            faults=self.faults,
            squelched=self.squelched,
        )
        return made if self.least_snr_db is None else louder(made, self.least_snr_db)


def louder(world: simulate.World, least_snr_db: float) -> simulate.World:
    """The same world with transmitters as strong as every receiver needs, and a receiver's noise as it is."""

    def missing_db(number: int) -> float:
        transmitter = world.transmitters[number]
        reached = [
            mean_snr_db(
                transmitter,
                site,
                float(np.sqrt(((transmitter.position_m - position_m) ** 2).sum())),
                link,
                edge_mhz * 1e6,
            )
            for site, position_m, link in zip(
                world.receivers, world.receiver_position_m, world.links[number], strict=True
            )
            for edge_mhz in transmitter.band_mhz
        ]
        return max(0.0, least_snr_db - min(reached))

    transmitters = [
        replace(transmitter, power_dbm=transmitter.power_dbm + missing_db(number))
        for number, transmitter in enumerate(world.transmitters)
    ]
    return replace(world, transmitters=tuple(transmitters))


def main() -> int:
    """Measure what is missing and print the table (exit code 1 if a line is missed)."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sessions", type=int, default=3000, help="of pretraining, or 0 (default: 3000)")
    parser.add_argument("--world-sessions", type=int, default=220, help="in each world (default: 220)")
    parser.add_argument("--worlds", type=int, nargs="+", default=WORLDS, help="seeds of the worlds")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), help="default: all")
    parser.add_argument("--params", type=Path, default=REPOSITORY / "params.yaml", help="training parameters")
    parser.add_argument(
        "--work", type=Path, default=Path(".heimdall/accuracy"), help="folder of what is made"
    )
    parser.add_argument("--show", action="store_true", help="print the table of what was measured, no more")
    options = parser.parse_args()
    settings = chosen(parser, options, from_simulated=options.sessions > 0)
    lines = []
    for kind in options.kinds:
        folder = (options.work / kind).resolve()
        if not options.show:
            measure(kind, settings, options.worlds, options.world_sessions, folder)
        cases = pd.read_parquet(folder / "cases.parquet")
        print_figures(kind, cases, settings)
        lines += clean_lines(cases, settings) if kind == CLEAN else acceptance(kind, cases, settings)
    print(f"{'world':<8}{'criterion':<76}{'target':>10}{'reached':>52}")
    for line in lines:
        print(f"{line.kind:<8}{line.criterion:<76}{line.target:>10}{line.reached:>52}  {line.verdict}")
    return 0 if all(line.met for line in lines) else 1


def chosen(parser: argparse.ArgumentParser, options: argparse.Namespace, *, from_simulated: bool) -> Params:
    """The training parameters that the options ask for; worlds of pretraining are refused."""
    if min(options.worlds) < 0:
        parser.error(f"--worlds: a world has a seed from 0 on, not {min(options.worlds)}")
    if max(options.worlds) >= params.FIRST_OTHER_WORLD:
        parser.error(f"--worlds: those from {params.FIRST_OTHER_WORLD} on are those of pretraining")
    try:
        settings = params.load(options.params)
    except HeimdallError as error:
        parser.error(f"--params: {error}")
    return replace(
        settings,
        model=replace(settings.model, name="fusion", from_simulated=from_simulated),
        pretrain=replace(settings.pretrain, sessions=options.sessions or settings.pretrain.sessions),
    )


def measure(
    kind: simulate.Multipath, settings: Params, seeds: Sequence[int], sessions: int, folder: Path
) -> None:
    """Make `folder`/cases.parquet: the test cases of every world; `clean` where all receivers hear well."""
    settings = replace(settings, pretrain=replace(settings.pretrain, multipath=[kind]))
    weights = pretrained(settings, folder) if settings.model.from_simulated else None
    worlds = prepared(kind, settings, seeds, sessions, folder, weights=weights)
    parts = [
        judged(folder / f"world-{seed}", data, settings).assign(world=seed)
        for seed, data in zip(seeds, worlds, strict=True)
    ]
    pd.concat(parts, ignore_index=True).to_parquet(folder / "cases.parquet")


def pretrained(settings: Params, folder: Path) -> Path:
    """The weights that trainings start from, made in a folder as `dvc repro` does; what is done is reused."""
    _with_lock(folder)
    with contextlib.chdir(folder):
        simulated.run(settings.pretrain, settings.features)
        trained(training.pretraining(settings, simulated.SIMULATED, Path("work/pretrain")), folder)
    return folder / PRETRAINED


def prepared(
    kind: simulate.Multipath,
    settings: Params,
    seeds: Sequence[int],
    sessions: int,
    folder: Path,
    *,
    weights: Path | None,
) -> list[Path]:
    """Train in each world from some weights, as `dvc repro` does; what is done is reused. Their features."""
    _with_lock(folder)
    worlds = held_out(kind, settings, seeds, sessions, folder)
    if weights is not None:
        for file in (weights, weights.with_suffix(".json")):
            artifacts.copy(file, folder / PRETRAINED.with_name(file.name))
    with contextlib.chdir(folder):  # a training finds the weights that it starts from as `dvc repro` does
        for seed, data in zip(seeds, worlds, strict=True):
            out = folder / f"world-{seed}"
            trained(training.Training(settings, data, out / "work"), out)
    return worlds


def _with_lock(folder: Path) -> None:
    """Make a folder with the locked requirements, which the record of a training names."""
    (folder / "requirements").mkdir(parents=True, exist_ok=True)
    shutil.copy(REPOSITORY / determinism.LOCK_FILE, folder / determinism.LOCK_FILE)


def held_out(
    kind: simulate.Multipath,
    settings: Params,
    seeds: Sequence[int],
    sessions: int,
    folder: Path,
    *,
    faults: simulate.Faults = simulate.NO_FAULTS,
    squelched: bool = True,
) -> list[Path]:
    """The worlds' features, each in the form of data/features/; they share one folder of shards."""
    least_db = LEAST_DB + MARGIN_DB if kind == CLEAN else None
    tasks = [
        HeldOutWorld(
            seed,
            sessions,
            kind,
            settings.features,
            CLOCK_SIGMA_NS,
            least_db,
            faults=faults,
            squelched=squelched,
        )
        for seed in seeds
    ]
    benchmark = {"benchmark": artifacts.sha256_file(Path(__file__))}
    code = shards.code(simulated.SHARD_ROOMS, REPOSITORY) | benchmark
    store = ShardStore(folder / "shards", tables.SHARD_SUFFIX, folder / "work" / "worlds")
    keyed = [(task, artifacts.fingerprint([asdict(task), code])) for task in tasks]
    names = shards.build(keyed, simulated.simulate_shard, store, f"worlds, {kind}")
    store.commit(names)
    made = []
    for task, name in zip(tasks, names, strict=True):
        data = folder / f"world-{task.seed}" / "features"
        data.mkdir(parents=True, exist_ok=True)
        network, origin = tables.placed(simulated.receivers_of(task.world().receivers))
        index = tables.measured(simulated.measurements(task, 0.0), network, store, {task.name: name})
        chosen = SplitParams(by="transmitter", test_fraction=TEST_FRACTION, seed=settings.split.seed)
        index[["split", "validation_rank"]] = split.assign(index, chosen)
        described = {
            "data_fingerprint": name,
            "features": settings.features.record(),
            "split": asdict(chosen),
            "calibration": asdict(params.UNCALIBRATED),
        }
        tables.write(data, index, network, origin | described)
        if not (data / "shards").exists():
            (data / "shards").symlink_to(folder / "shards")
        made.append(data)
    return made


def trained(pipeline: training.Training, out: Path) -> None:
    """Run a training unless its outputs are there, made of the same."""
    weights = out / pipeline.outputs.weights
    others = ("snapshot", "evaluate", "export", "verify")  # no training reads them
    inputs = [
        {name: value for name, value in asdict(pipeline.parameters).items() if name not in others},
        artifacts.sha256_file(pipeline.data_dir / "index.parquet"),
        artifacts.sha256_file(PRETRAINED) if pipeline.parameters.model.from_simulated else None,
        rooms.hashes(*rooms.of_stage("train")),
    ]
    done, key = weights.with_suffix(".done"), artifacts.fingerprint(inputs)
    if done.is_file() and done.read_text(encoding="ascii") == key:
        return
    pipeline.run(out)
    artifacts.write_bytes(done, key.encode("ascii"))


def judged(out: Path, data: Path, settings: Params) -> pd.DataFrame:
    """The test cases of one world."""
    config = DatasetConfig(data)
    localize = StoredLocalizer.of(out / training.LOCALIZER.weights, config)
    found = evaluation.evaluate(localize, config, settings.validation_split, settings.evaluate)
    test = observations(config, "test", settings.validation_split)
    clean = {
        session_id: bool((item.session.snr_db >= LEAST_DB).all())
        and np.count_nonzero(item.arrivals.information_s2) >= LEAST_TIMED
        and item.arrivals.rms_bandwidth_hz >= NARROW_HZ
        for session_id, item in zip(test.table["session_id"], test.observations, strict=True)
    }
    cases = found.cases[found.cases["split"] != "val"]
    return cases.assign(clean=cases["session_id"].map(clean))


def print_figures(kind: str, cases: pd.DataFrame, settings: Params) -> None:
    """The figures of every method, and of those of the localizer before its calibration."""
    chosen = cases[cases["clean"]] if kind == CLEAN else cases
    worlds = ", ".join(str(seed) for seed in sorted(cases["world"].unique()))
    print(f"Simulated, multipath {kind}, worlds {worlds}, {CLOCK_SIGMA_NS:g} ns:")
    print(
        f"  {'':<22}{'n':>5}{'MAE, m':>9}{'median':>8}{'p90':>9}{'<30 m':>8}{'NLL':>8}{'68 %':>7}{'95 %':>7}"
    )
    for (part, name), rows in chosen.groupby(["split", "predictor"], sort=False):
        own = metrics.summary(errors_of(rows), None)
        label = words(str(name)) + (", no GPS" if part == WITHOUT_GPS else "")
        print(
            f"  {label:<22}{own['n']:>5}{own['mae_m']:>9.0f}{own['median_m']:>8.0f}{own['p90_m']:>9.0f}"
            f"{own['accuracy_30m']:>8.1%}{own['nll_nats']:>8.2f}{own['coverage_68']:>7.0%}"
            f"{own['coverage_95']:>7.0%}"
        )
    print()


if __name__ == "__main__":
    raise SystemExit(main())
