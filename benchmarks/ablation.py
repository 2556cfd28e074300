"""What each learned part of fusion is worth, and what becomes of its answers when a receiver is wrong.

    python benchmarks/ablation.py
    python benchmarks/ablation.py --kinds light cost207 --worlds 201 202 203 --world-sessions 60
    python benchmarks/ablation.py --sessions 3000 --work .heimdall/ablation-3000
    python benchmarks/ablation.py --show

All of it is simulated. For each kind of multipath the network is pretrained on `--sessions` sessions of other
worlds: of the same kind if that is light or strong, and of the kind of the parameters if it is a foreign one.
In each world of `--worlds` half of the transmitters are held out, and it is fine-tuned and calibrated on the
other half, as `dvc repro` does; clocks err by 50 ns. The test sessions of all worlds are then located

- by the network as it is, and without each learned part, one at a time, and without all of them;
- by the best methods without learning;
- by both with all sessions of a transmitter together, said to be of one place;
- by the network and the combined method when one arrival time is late, when receivers have delays that
  nobody knows, and when one of them made no recording. `--rendered` adds faults of clocks, filters, motion
  and altitude, and receivers without a squelch, for which each world is rendered eight times more; the
  network is trained without them.

The columns: n sessions; mean and median error; the median of sessions with four arrival times or more; NLL
for densities per square metre; how many truths are in the regions of 68 and 95 %; and what MAE and NLL exceed
those of the network as it is by on the same sessions, with 95 % intervals by bootstrap over whole worlds. So
a part with numbers above 0 is worth something. Of a fault, the network's line is beside its own undisturbed
one, and the other lines are beside the network's under the same fault. Then the errors stand beside the bound
that levels, arrival times and prior leave (`benchmarks/ablation_bound.py` says which), and the acceptance's
lines with their verdicts; the exit code is 1 if one is missed.

A kind takes about half an hour on 2 idle cores, with `--rendered` an hour and a half (estimated from their
parts). Killed and typed again, it goes on where it was: worlds, trainings and judgements that are done are
reused. `--show` prints what the work folder holds.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from heimdall.core import determinism

if __name__ == "__main__":
    determinism.ensure()

import pandas as pd
import torch
from ablation_bound import bound_table, informations
from ablation_criteria import COMBINED, OWN_KINDS, RIVALS, acceptance
from ablation_faults import RENDERED, SINGLE, UNLIKE, Condition, Twin, conditions, rendered, timed
from ablation_parts import AS_IT_IS, BLIND, UNSEEN, blind_to_echoes, networks
from ablation_tables import TOGETHER, UNDISTURBED, faults_table, parts_table
from accuracy import CLOCK_SIGMA_NS, REPOSITORY, chosen, held_out, prepared
from accuracy_criteria import Line

from heimdall import simulate
from heimdall.baselines import baselines
from heimdall.baselines.fitted import Baselines
from heimdall.baselines.methods import Method
from heimdall.core import artifacts, rooms, table
from heimdall.core.params import FeatureParams, Params
from heimdall.geometry import transmitters
from heimdall.geometry.area import Receivers
from heimdall.geometry.geo import TangentPlane
from heimdall.localize.together import SHARED, together
from heimdall.network import model_file
from heimdall.network.dataset import DatasetConfig, Sessions, observations, read_network, read_receivers
from heimdall.network.fusion_net import FusionNet
from heimdall.network.localize import localize
from heimdall.pipeline.evaluate.cases import case_table, described
from heimdall.pipeline.train import training
from heimdall.position.posterior import Posterior
from heimdall.signal.arrival import Observation

WORLDS = list(range(201, 211))
# What else decides the answers.
_CODE = ("ablation", "ablation_parts", "ablation_faults", "ablation_bound")
CODE = [Path(__file__).with_name(f"{name}.py") for name in _CODE]


@dataclass(frozen=True, eq=False)
class World:
    """A world to be judged in.

    Attributes:
        seed: Of the world.
        train: The sessions that its training and the baselines know.
        test: Those of the transmitters that were held out.
        receivers: All of them.
        plane: Of the positions.
        features: The parameters that the features were made with.
        twins: The test sessions under the faults that were rendered, as of `ablation_faults.rendered`.
    """

    seed: int
    train: Sessions
    test: Sessions
    receivers: Receivers
    plane: TangentPlane
    features: FeatureParams
    twins: Mapping[str, Mapping[str, Observation]]


def main() -> int:
    """Measure what is missing and print the tables (exit code 1 if a line is missed)."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sessions", type=int, help="of pretraining (default: of the parameters)")
    parser.add_argument("--world-sessions", type=int, default=220, help="in each world (default: 220)")
    parser.add_argument("--worlds", type=int, nargs="+", default=WORLDS, help="seeds (default: 201 to 210)")
    parser.add_argument(
        "--kinds",
        nargs="+",
        choices=simulate.MULTIPATHS,
        default=OWN_KINDS,
        metavar="KIND",
        help=f"of multipath: {', '.join(simulate.MULTIPATHS)} (default: {' '.join(OWN_KINDS)})",
    )
    parser.add_argument("--params", type=Path, default=REPOSITORY / "params.yaml", help="training parameters")
    parser.add_argument(
        "--work", type=Path, default=Path(".heimdall/ablation"), help="folder of what is made"
    )
    parser.add_argument("--rendered", action="store_true", help="render the worlds with faults, too")
    parser.add_argument("--show", action="store_true", help="print the tables of what was measured, no more")
    options = parser.parse_args()
    settings = chosen(parser, options, from_simulated=True)
    lines: list[Line] = []
    for kind in options.kinds:
        folder = (options.work / kind).resolve()
        if not options.show:
            twins = RENDERED if options.rendered else {}
            measure(kind, settings, options.worlds, options.world_sessions, folder, rendered_again=twins)
        cases = pd.read_parquet(folder / "cases.parquet")
        worlds = ", ".join(str(seed) for seed in sorted(cases["world"].unique()))
        print(f"Simulated, multipath {kind}, worlds {worlds}, clocks of {CLOCK_SIGMA_NS:g} ns:\n")
        print("\n".join(parts_table(cases, settings.evaluate)), end="\n\n")
        print("\n".join(faults_table(cases, settings.evaluate)), end="\n\n")
        print("\n".join(bound_table(cases, COMBINED)), end="\n\n")
        lines += acceptance(kind, cases, settings.evaluate)
    verdicts = [[line.kind, line.criterion, line.target, line.reached, line.verdict] for line in lines]
    print("\n".join(table.lines(("simulated", "criterion", "target", "reached", ""), verdicts, "llrrl")))
    return 0 if all(line.met for line in lines) else 1


def measure(
    kind: simulate.Multipath,
    settings: Params,
    seeds: Sequence[int],
    sessions: int,
    folder: Path,
    *,
    rendered_again: Mapping[str, Twin],
) -> None:
    """Make `folder`/cases.parquet: the cases of every world's test sessions, also of those rendered again."""
    if kind in OWN_KINDS:
        settings = replace(settings, pretrain=replace(settings.pretrain, multipath=[kind]))
    worlds = prepared(kind, settings, seeds, sessions, folder)
    twins = {
        name: held_out(
            kind,
            settings,
            seeds,
            sessions,
            folder / f"twin-{number}",
            faults=twin.faults,
            squelched=twin.squelched,
        )
        for number, (name, twin) in enumerate(rendered_again.items())
    }
    torch.set_num_threads(settings.threads)
    parts = []
    for number, (seed, data) in enumerate(zip(seeds, worlds, strict=True)):
        out = folder / f"world-{seed}"
        networks_of = out / training.LOCALIZER.weights, folder / training.PRETRAINED.weights
        faulty = {name: folders[number] for name, folders in twins.items()}
        indices = [folder / "index.parquet" for folder in (data, *faulty.values())]
        made_of = [artifacts.sha256_file(file) for file in (*networks_of, *indices, *CODE)]
        key = artifacts.fingerprint([made_of, rooms.hashes(*rooms.of_stage("evaluate"))])
        file = out / f"cases-{key[:16]}.parquet"
        if not file.is_file():
            began = time.monotonic()
            tuned, pretrained = (loaded(weights) for weights in networks_of)
            cases = judged(read(data, faulty, settings, seed), tuned, pretrained)
            with artifacts.atomic(file) as partial:
                cases.to_parquet(partial)
            took = f"{len(cases)} answers in {time.monotonic() - began:.0f} s"
            print(f"{kind}, world {seed}: {took}", file=sys.stderr, flush=True)
        parts.append(pd.read_parquet(file))
    pd.concat(parts, ignore_index=True).to_parquet(folder / "cases.parquet")


def judged(world: World, tuned: FusionNet, pretrained: FusionNet) -> pd.DataFrame:
    """The cases of one world.

    Args:
        world: Its sessions.
        tuned: The network that was trained in it.
        pretrained: What that training started from.

    Returns:
        Columns as of `evaluation.Evaluation`, the condition as `split` and the row of the tables as
        `predictor`; `world`, and `timed`, how many arrival times the undisturbed session has; and what is
        known of its position, as of `ablation_bound.informations`.
    """
    plane, receivers, test = world.plane, world.receivers, world.test
    truth_m = world.train.truth_m(plane)
    rate_hz = world.features.correlation_rate_hz
    rivals = baselines.fit(world.train.observations, truth_m, receivers, plane, rate_hz)
    calm = Condition.of(list(enumerate(test.observations)))
    answers = {(UNDISTURBED, AS_IT_IS): (calm, localize(tuned, calm.observations, receivers))}
    for name, unseen in UNSEEN.items():
        seen = replace(calm, observations=unseen(calm.observations))
        answers[UNDISTURBED, name] = calm, localize(tuned, seen.observations, receivers)
    for name, network in networks(tuned, pretrained).items():
        answers[UNDISTURBED, name] = calm, localize(network, calm.observations, receivers)
    for method in RIVALS:
        answers[UNDISTURBED, method] = calm, located_by(method, calm, rivals)
    named = list(zip(test.table["session_id"], test.observations, strict=True))
    faults = conditions(test.observations, receivers, world.features, world.seed)
    faults |= rendered(named, world.twins)
    for split, faulty in faults.items():
        if not len(faulty.row):
            continue
        answers[split, AS_IT_IS] = faulty, localize(tuned, faulty.observations, receivers)
        answers[split, COMBINED] = faulty, located_by(COMBINED, faulty, rivals)
        if split == UNLIKE or split in SINGLE:
            blind = replace(faulty, observations=blind_to_echoes(faulty.observations))
            answers[split, BLIND] = faulty, localize(tuned, blind.observations, receivers)
    several = [rows for rows in test.table.groupby("source_id", sort=False).indices.values() if len(rows) > 1]
    if several:
        first = Condition.of([(int(rows[0]), test.observations[rows[0]]) for rows in several])
        for name, area in ((AS_IT_IS, tuned.area), (COMBINED, rivals.area)):
            _, each = answers[UNDISTURBED, name]
            whole = [together(each.of_sessions(rows), area, SHARED) for rows in several]
            answers[TOGETHER, name] = first, Posterior.concatenate(whole)
    rows = described(test, list(transmitters.by_place(test.table)), plane)
    rows = rows.assign(timed=[len(timed(item)) for item in test.observations], world=world.seed)
    rows = rows.assign(**informations(test.observations, test.truth_m(plane), rivals))
    tables = [
        case_table(split, name, rows.iloc[seen.row], answer, plane)
        for (split, name), (seen, answer) in answers.items()
    ]
    return pd.concat(tables, ignore_index=True)


def read(data: Path, faulty: Mapping[str, Path], settings: Params, seed: int) -> World:
    """The sessions of a world whose features are in a folder, and under each fault in another."""
    config = DatasetConfig(data)
    network = read_network(config)
    train, test = (observations(config, split, settings.validation_split) for split in ("train", "test"))
    features = FeatureParams(**network.features)
    twins = {}
    for name, folder in faulty.items():
        twin = observations(DatasetConfig(folder), "all", settings.validation_split)
        twins[name] = dict(zip(twin.table["session_id"], twin.observations, strict=True))
    return World(seed, train, test, read_receivers(config), network.plane, features, twins)


def loaded(weights: Path) -> FusionNet:
    """A network of fusion."""
    network, _ = model_file.load(weights, weights.with_suffix(".json"))
    if not isinstance(network, FusionNet):
        raise TypeError(f"{weights} are no weights of fusion")
    return network


def located_by(method: Method, seen: Condition, rivals: Baselines) -> Posterior:
    """A baseline's answers to the sessions of a condition."""
    return Posterior.concatenate([baselines.locate(method, item, rivals) for item in seen.observations])


if __name__ == "__main__":
    raise SystemExit(main())
