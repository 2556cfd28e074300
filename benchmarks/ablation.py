"""What each learned part of fusion is worth, and what becomes of its answers elsewhere and under faults.

    python benchmarks/ablation.py --sessions 4800 --rendered
    python benchmarks/ablation.py --kinds light --parts --worlds 141 142 --world-sessions 60
    python benchmarks/ablation.py --show

All of it is simulated. The network is pretrained once, on `--sessions` sessions of other worlds, of the kinds
of multipath and with the faults of the parameters. In each world of `--worlds` half of the transmitters are
held out, and it is fine-tuned and calibrated on the other half, as `dvc repro` does; clocks err by 50 ns. The
test sessions of all worlds are then located

- by the network as it is, and before it was fine-tuned; and with `--parts` of our own kinds of multipath also
  without each learned part, one at a time, and without all of them;
- by the best methods without learning;
- by both with all sessions of a transmitter together, said to be of one place;
- of our own kinds, by the network and the combined method when one arrival time is late, when receivers have
  delays of their own, and when one of them made no recording. With `--rendered` the worlds of light
  multipath are rendered again, `--other-sessions` each with a fault of clocks, filters, motion or altitude,
  and without a squelch. In the worlds of the kind `none` all receivers hear well.

Receivers' filters and delays are measured by the sessions of the other transmitters, also under those faults.
The rivals know the delays, too.

The columns: n sessions; mean and median error; the median of sessions with four arrival times or more; NLL
for densities per square metre; how many truths are in the regions of 68 and 95 %; and what MAE and NLL exceed
those of the network as it is by on the same sessions, with 95 % intervals by bootstrap over whole worlds. So
a part with numbers above 0 is worth something. Of a fault, the network's line is beside its own undisturbed
one, and the other lines are beside the network's under the same fault. A table of the errors over the bound
follows. Then come the acceptance's lines with their verdicts; the exit code is 1 if one is missed.

Of the kinds of standards, the pretraining of params.yaml has all but uma and cost207_bu.

The first command takes about two hours on 2 idle cores (estimated from its parts). Killed and typed again, it
goes on where it was: worlds, trainings and judgements that are done are reused. `--show` prints what the work
folder holds, and `--markdown` does so as docs/physics.md has it.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from heimdall.core import determinism

if __name__ == "__main__":
    determinism.ensure()

import accuracy
import numpy as np
import pandas as pd
import physics_tables
import torch
from ablation_bound import bound_table, informations
from ablation_criteria import COMBINED, FOREIGN_KINDS, OWN_KINDS, RIVALS, acceptance
from ablation_faults import RENDERED, SINGLE, UNLIKE, Condition, Twin, conditions, rendered, timed, unlike
from ablation_parts import (
    AS_IT_IS,
    BLIND,
    BLIND_UNTUNED,
    UNTUNED,
    blind_to_echoes,
    networks,
    untuned,
    with_filters,
)
from ablation_tables import TOGETHER, UNDISTURBED, faults_table, parts_table
from accuracy import CLEAN, CLOCK_SIGMA_NS, REPOSITORY, chosen, held_out, prepared, pretrained, print_figures
from accuracy_criteria import Line, clean_lines

from heimdall import simulate
from heimdall.baselines import baselines
from heimdall.baselines.fitted import Baselines
from heimdall.baselines.methods import Method
from heimdall.core import artifacts, rooms, table, workers
from heimdall.core.params import FeatureParams, Params
from heimdall.geometry import transmitters
from heimdall.geometry.area import Receivers
from heimdall.geometry.geo import TangentPlane
from heimdall.localize.together import SHARED, together
from heimdall.network import filters, model_file
from heimdall.network.dataset import DatasetConfig, Sessions, observations, read_network, read_receivers
from heimdall.network.filters import Filters
from heimdall.network.fusion_net import FusionNet
from heimdall.network.localize import localize
from heimdall.pipeline.evaluate.cases import case_table, described
from heimdall.pipeline.train import training
from heimdall.position.posterior import Posterior
from heimdall.signal.arrival import Observation

WORLDS = list(range(221, 231))
RENDERED_KIND: simulate.Multipath = "light"
# What else decides the answers.
CODE = sorted(Path(__file__).parent.glob("ablation*.py"))


@dataclass(frozen=True)
class Sizes:
    """How many sessions a world has, of our own kinds of multipath, and of a foreign kind or a fault."""

    own: int
    other: int


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
        filters: Of the receivers under each of these faults, measured on sessions of other transmitters.
    """

    seed: int
    train: Sessions
    test: Sessions
    receivers: Receivers
    plane: TangentPlane
    features: FeatureParams
    twins: Mapping[str, Mapping[str, Observation]]
    filters: Mapping[str, Filters]


@dataclass(frozen=True)
class Judgement:
    """All that the cases of one world follow from.

    Attributes:
        seed: Of the world.
        settings: Training parameters.
        data: Its features.
        faulty: Those under each fault that was rendered.
        networks: Weights after its training, and those that this started from.
        parts_too: As of `judged`.
        faults_too: As of `judged`.
    """

    seed: int
    settings: Params
    data: Path
    faulty: Mapping[str, Path]
    networks: tuple[Path, Path]
    _: KW_ONLY
    parts_too: bool
    faults_too: bool


def main() -> int:
    """Measure what is missing and print the tables (exit code 1 if a line is missed)."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sessions", type=at_least_two, help="of pretraining (default: of the parameters)")
    parser.add_argument(
        "--world-sessions",
        type=at_least_two,
        default=220,
        help="in each world of our own kinds (default: 220)",
    )
    parser.add_argument(
        "--other-sessions",
        type=at_least_two,
        default=60,
        help="in each world of another kind or of a fault (default: 60)",
    )
    parser.add_argument("--worlds", type=int, nargs="+", default=WORLDS, help="seeds (default: 221 to 230)")
    parser.add_argument(
        "--kinds",
        nargs="+",
        choices=simulate.MULTIPATHS,
        default=(*OWN_KINDS, CLEAN, *FOREIGN_KINDS),
        metavar="KIND",
        help=f"of multipath (default: light and strong, ours; none; of standards {', '.join(FOREIGN_KINDS)})",
    )
    parser.add_argument("--params", type=Path, default=REPOSITORY / "params.yaml", help="training parameters")
    parser.add_argument(
        "--work", type=Path, default=Path(".heimdall/ablation"), help="folder of what is made"
    )
    parser.add_argument("--parts", action="store_true", help="also without each learned part of the network")
    parser.add_argument("--rendered", action="store_true", help="render light worlds with faults, too")
    parser.add_argument("--show", action="store_true", help="print the tables of what was measured, no more")
    parser.add_argument(
        "--markdown", action="store_true", help="as --show, but the tables as docs/physics.md has them"
    )
    options = parser.parse_args()
    options.show |= options.markdown
    settings = chosen(parser, options, from_simulated=True)
    lines: list[Line] = []
    measured: dict[simulate.Multipath, pd.DataFrame] = {}
    weights = None if options.show else pretrained(settings, (options.work / "pretrained").resolve())
    sizes = Sizes(options.world_sessions, options.other_sessions)
    for kind in options.kinds:
        folder = (options.work / kind).resolve()
        if options.show and not (folder / "cases.parquet").is_file():
            parser.error(
                f"nothing was measured in {folder}: name another --work or --kinds, or measure it first"
            )
        if kind == CLEAN:
            if weights is not None:
                measure_clean(settings, options.worlds, folder, weights, sizes.other)
            cases = pd.read_parquet(folder / "cases.parquet")
            if not options.markdown:
                print_figures(CLEAN, cases, settings)
            lines += clean_lines(cases, settings)
            continue
        if weights is not None:
            twins = RENDERED if options.rendered and kind == RENDERED_KIND else {}
            measure(
                kind,
                settings,
                options.worlds,
                folder,
                weights,
                sizes=sizes,
                parts_too=options.parts,
                rendered_again=twins,
            )
        measured[kind] = cases = pd.read_parquet(folder / "cases.parquet")
        lines += acceptance(kind, cases, settings.evaluate)
        if options.markdown:
            continue
        worlds = ", ".join(str(seed) for seed in sorted(cases["world"].unique()))
        print(f"Simulated, multipath {kind}, worlds {worlds}, clocks of {CLOCK_SIGMA_NS:g} ns:\n")
        print("\n".join(parts_table(cases, settings.evaluate)), end="\n\n")
        print("\n".join(faults_table(cases, settings.evaluate)), end="\n\n")
        print("\n".join(bound_table(cases, COMBINED)), end="\n\n")
    if options.markdown:
        made = physics_tables.tables(measured, lines, settings.evaluate, settings.pretrain.multipath)
        print("\n".join(made))
        return 0 if all(line.met for line in lines) else 1
    verdicts = [[line.kind, line.criterion, line.target, line.reached, line.verdict] for line in lines]
    print("\n".join(table.lines(("simulated", "criterion", "target", "reached", ""), verdicts, "llrrl")))
    return 0 if all(line.met for line in lines) else 1


def at_least_two(text: str) -> int:
    """A number of sessions, as an option has it.

    Raises:
        argparse.ArgumentTypeError: It is none.
    """
    if not text.isdecimal() or int(text) < 2:
        raise argparse.ArgumentTypeError(f"a number of sessions from 2 on, not {text}")
    return int(text)


def measure(
    kind: simulate.Multipath,
    settings: Params,
    seeds: Sequence[int],
    folder: Path,
    weights: Path,
    *,
    sizes: Sizes,
    parts_too: bool,
    rendered_again: Mapping[str, Twin],
) -> None:
    """Make `folder`/cases.parquet: the cases of every world's test sessions, also of those rendered again."""
    own = kind in OWN_KINDS
    worlds = prepared(kind, settings, seeds, sizes.own if own else sizes.other, folder, weights=weights)
    twins = {
        name: held_out(
            kind,
            settings,
            seeds,
            sizes.other,
            folder / f"twin-{number}",
            faults=twin.faults,
            squelched=twin.squelched,
        )
        for number, (name, twin) in enumerate(rendered_again.items())
    }
    judgements = [
        Judgement(
            seed,
            settings,
            data,
            {name: folders[number] for name, folders in twins.items()},
            (folder / f"world-{seed}" / training.LOCALIZER.weights, weights),
            parts_too=parts_too and own,
            faults_too=own,
        )
        for number, (seed, data) in enumerate(zip(seeds, worlds, strict=True))
    ]
    files = []
    for file, said in workers.mapped(judgement_file, judgements):
        if said:
            print(f"{kind}, {said}", file=sys.stderr, flush=True)
        files.append(file)
    cases = pd.concat([pd.read_parquet(file) for file in files], ignore_index=True)
    cases.to_parquet(folder / "cases.parquet")


def judgement_file(task: Judgement) -> tuple[Path, str]:
    """Where the cases of one world are, made unless they are there, and what is to be said of that."""
    indices = [folder / "index.parquet" for folder in (task.data, *task.faulty.values())]
    asked = {"parts_too": task.parts_too, "faults_too": task.faults_too}
    made_of = [asked] + [artifacts.sha256_file(file) for file in (*task.networks, *indices, *CODE)]
    key = artifacts.fingerprint([made_of, rooms.hashes(*rooms.of_stage("evaluate"))])
    file = task.data.parent / f"cases-{key[:16]}.parquet"
    if file.is_file():
        return file, ""
    began = time.monotonic()
    torch.set_num_threads(task.settings.threads)
    world = read(task.data, task.faulty, task.settings, task.seed)
    cases = judged(world, *map(loaded, task.networks), **asked)
    with artifacts.atomic(file) as partial:
        cases.to_parquet(partial)
    return file, f"world {task.seed}: {len(cases)} answers in {time.monotonic() - began:.0f} s"


def measure_clean(settings: Params, seeds: Sequence[int], folder: Path, weights: Path, sessions: int) -> None:
    """Make `folder`/cases.parquet of worlds without echoes in which all receivers hear well."""
    worlds = prepared(CLEAN, settings, seeds, sessions, folder, weights=weights)
    tables = [
        accuracy.judged(folder / f"world-{seed}", data, settings).assign(world=seed)
        for seed, data in zip(seeds, worlds, strict=True)
    ]
    pd.concat(tables, ignore_index=True).to_parquet(folder / "cases.parquet")


def judged(
    world: World, tuned: FusionNet, start: FusionNet, *, parts_too: bool, faults_too: bool
) -> pd.DataFrame:
    """The cases of one world.

    Args:
        world: Its sessions.
        tuned: The network that was trained in it.
        start: What that training started from.
        parts_too: Whether also without each learned part.
        faults_too: Whether also under the faults of features.

    Returns:
        Columns as of `evaluation.Evaluation`, the condition as `split` and the row of the tables as
        `predictor`; `world`, and `timed`, how many arrival times the undisturbed session has; and what is
        known of its position, as of `ablation_bound.informations`.
    """
    plane, receivers, test = world.plane, world.receivers, world.test
    truth_m = world.train.truth_m(plane)
    rate_hz = world.features.correlation_rate_hz
    senders = list(transmitters.by_place(world.train.table))
    rivals = baselines.fit(world.train.observations, truth_m, receivers, plane, rate_hz, transmitter=senders)
    calm = Condition.of(list(enumerate(test.observations)))
    answers = {(UNDISTURBED, AS_IT_IS): (calm, localize(tuned, calm.observations, receivers))}
    blind_to, before = blind_to_echoes(calm.observations), untuned(tuned, start)
    answers[UNDISTURBED, BLIND] = calm, localize(tuned, blind_to, receivers)
    answers[UNDISTURBED, UNTUNED] = calm, localize(before, calm.observations, receivers)
    answers[UNDISTURBED, BLIND_UNTUNED] = calm, localize(before, blind_to, receivers)
    for name, network in (networks(tuned) if parts_too else {}).items():
        answers[UNDISTURBED, name] = calm, localize(network, calm.observations, receivers)
    for method in RIVALS:
        answers[UNDISTURBED, method] = calm, located_by(method, calm, rivals)
    named = list(zip(test.table["session_id"], test.observations, strict=True))
    faults = rendered(named, world.twins)
    measured = dict(world.filters)
    if faults_too:
        made_with = receivers, world.features, world.seed
        faults |= conditions(test.observations, *made_with)
        known = unlike(world.train.observations, *made_with)
        measured[UNLIKE] = filters.fit(
            known, truth_m, plane, world.features, transmitter=senders, websdr_id=receivers.websdr_id
        )
    for split, faulty in faults.items():
        if not len(faulty.row):
            continue
        network, rival = tuned, rivals
        if split in measured:
            network = with_filters(tuned, measured[split])
            rival = replace(rivals, tuned=replace(rivals.tuned, delays=measured[split].delays))
        answers[split, AS_IT_IS] = faulty, localize(network, faulty.observations, receivers)
        answers[split, COMBINED] = faulty, located_by(COMBINED, faulty, rival)
        if split == UNLIKE or split in SINGLE:
            blind = replace(faulty, observations=blind_to_echoes(faulty.observations))
            answers[split, BLIND] = faulty, localize(network, blind.observations, receivers)
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
    test = observations(config, "test", settings.validation_split)
    everything = observations(config, "all", settings.validation_split)
    # The baselines are tuned on all that the network's training and calibration know.
    train = everything.rows(np.flatnonzero(everything.table["split"] != "test"))
    features = FeatureParams(**network.features)
    receivers, twins, measured = read_receivers(config), {}, {}
    for name, folder in faulty.items():
        twin = observations(DatasetConfig(folder), "all", settings.validation_split)
        twins[name] = dict(zip(twin.table["session_id"], twin.observations, strict=True))
        known = np.flatnonzero(~twin.table["source_id"].isin(test.table["source_id"]))
        others = twin.rows(known)
        senders = list(transmitters.by_place(others.table))
        measured[name] = filters.fit(
            others.observations,
            others.truth_m(network.plane),
            network.plane,
            features,
            transmitter=senders,
            websdr_id=receivers.websdr_id,
        )
    return World(seed, train, test, receivers, network.plane, features, twins, measured)


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
