"""The price of determinism: the same code with the recipe's environment and without it, side by side.

    python benchmarks/determinism.py                      # in a repository whose pipeline was run
    python benchmarks/determinism.py --stage-rounds 0     # the training step alone, needs no data

Promise: a training step of the committed backbone costs at most 1.2x the same step without the recipe, at
the same number of threads. Two processes are alive, imported and warm, and make their steps in turn; a
ratio is that of two neighbours, so both meet the same load. GOMP_SPINCOUNT, on which no bit depends, is
the same on both sides: on a busy machine threads that spin while they wait are several times slower, which
would flatter the recipe. On a quiet one they are a little faster; so the step is measured against them,
too, and the higher price counts. Below it, what the recipe does in code instead of in the environment:
fused AdamW, convolutional MLPs (which `atto` to `nano` have by themselves).

A stage is a whole process, imports included, as `dvc repro` starts it: on the repository's own data, linked
into an empty folder, so that no finished shard or checkpoint is found. Training has two epochs there.
HEIMDALL_RECIPE=off is the side without the recipe, and the stage must say so itself.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Literal, TypeVar

import yaml
from tqdm import tqdm

from heimdall.core import determinism

Measured = TypeVar("Measured")

PROMISE = 1.2
REPOSITORY = Path(__file__).resolve().parents[1]
WAITING = "GOMP_SPINCOUNT"
BLOCK = 3  # repetitions at a time
WARM_UP = 3
STAGES = ("featurize", "train", "evaluate", "export")
SHORT_TRAINING = {"epochs": 2, "warmup_epochs": 1}
# What the stages find; none of it keeps one from computing.
LINKED = (
    "requirements",
    "data/snapshot",
    "data/features",
    "metrics/eval_full.json",
    "models/pretrained.safetensors",
    "models/pretrained.json",
)
MODEL_FILES = ("models/localizer.safetensors", "models/localizer.json")
OFF_SAYS = "the outputs need not be the bytes of dvc.lock"


@dataclass(frozen=True)
class Work:
    """What a worker process repeats.

    Attributes:
        backbone: A name of params.yaml.
        mlp: Form of the backbone's MLPs.
        adamw: Form of the optimizer.
        measured: All of a training step, or the optimizer's part of it.
        accelerator: Where.
    """

    backbone: str
    mlp: Literal["convolutional", "linear"] = "convolutional"
    adamw: Literal["fused", "unfused"] = "fused"
    measured: Literal["step", "optimizer"] = "step"
    accelerator: Literal["cpu", "cuda"] = "cpu"


@dataclass(frozen=True)
class Comparison:
    """Two kinds of work side by side.

    Attributes:
        title: For the table.
        ours: With the recipe.
        other: What it is compared with.
        environment: Of the other.
        rounds: Pairs.
    """

    title: str
    ours: Work
    other: Work
    environment: dict[str, str]
    rounds: int


def without_variables(threads: int) -> dict[str, str]:
    """This process's environment without the variables of the recipe: that of somebody who set nothing."""
    names = {setting.name for setting in determinism.settings(threads)} | {determinism.SWITCH}
    return {name: value for name, value in os.environ.items() if name not in names}


def without_recipe(threads: int, *, spins: bool = False) -> dict[str, str]:
    """An environment in which a stage runs as the machine would by itself, with as many threads.

    Args:
        threads: Compute threads.
        spins: Whether threads that wait spin, as they do by default.
    """
    waits = {} if spins else {WAITING: determinism.recipe(threads)[WAITING]}
    return without_variables(threads) | {"OMP_NUM_THREADS": str(threads), determinism.SWITCH: "off"} | waits


def training_step(work: Work) -> tuple[Callable[[], object], Callable[[], object]]:
    """One step of a training, and its optimizer's part, on recordings at random."""
    import timm  # noqa: PLC0415 - the parent must not compute
    import torch  # noqa: PLC0415

    from heimdall.core import params  # noqa: PLC0415
    from heimdall.geometry.geo import LocalFrame  # noqa: PLC0415
    from heimdall.network import localization_net  # noqa: PLC0415
    from heimdall.pipeline.train import recording_task  # noqa: PLC0415
    from heimdall.pipeline.train.lightning_module import LocalizationLightningModule  # noqa: PLC0415

    settings = params.load(REPOSITORY / "params.yaml")
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    network = localization_net.LocalizationNet(
        pretrained=False,
        freeze_backbone=False,
        uncertainty_min=10.0,
        uncertainty_max=200_000.0,
        backbone_size=work.backbone,
        frame=LocalFrame(45.0, 8.0),
        scale_m=30_000.0,
        feature_mean=[-70.0] * 3,
        feature_std=[6.0] * 3,
    )
    if work.mlp == "linear":
        network.backbone = timm.create_model(
            localization_net.BACKBONES[work.backbone], num_classes=0, conv_mlp=False
        )
    task = SimpleNamespace(
        network=network,
        clip_norm=recording_task.CLIP_NORM,
        loss=lambda batch: (
            recording_task.recording_loss(network, network.forward_local(batch[0]), batch[1]),
            1,
        ),
    )
    module = LocalizationLightningModule(task, settings, {}).to(work.accelerator).train()
    optimizer = module.configure_optimizers()[0][0]
    if work.adamw == "unfused":
        groups = [
            {name: group[name] for name in ("params", "weight_decay")} for group in optimizer.param_groups
        ]
        optimizer = torch.optim.AdamW(groups, lr=settings.lr)
    recordings = (-70 + 6 * torch.randn(settings.batch_size, 3, 128, 32)).to(work.accelerator)
    degrees = torch.tensor([45.0, 8.0], dtype=torch.float64) + 0.3 * torch.randn(settings.batch_size, 2)
    degrees = degrees.to(work.accelerator)

    def step() -> None:
        optimizer.zero_grad()
        module.training_step((recordings, degrees), 0).backward()
        module.on_before_optimizer_step(optimizer)
        optimizer.step()

    return step, optimizer.step


def worker(work: Work) -> None:
    """Repeat the work, a block for each line on stdin, and print the seconds of one."""
    import torch  # noqa: PLC0415 - the parent must not compute

    step, optimizer_step = training_step(work)
    for _ in range(WARM_UP):
        step()
    repeated = step if work.measured == "step" else optimizer_step
    print(torch.backends.cpu.get_cpu_capability(), flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        for _ in range(BLOCK):
            repeated()
        print((time.perf_counter() - began) / BLOCK, flush=True)


class Worker:
    """A process that repeats its work when it is asked to.

    Args:
        env: Its whole environment.
        work: What it repeats.
    """

    def __init__(self, env: dict[str, str], work: Work) -> None:
        process = subprocess.Popen(
            [sys.executable, __file__, "--worker", *astuple(work)],
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdin is not None and process.stdout is not None  # noqa: S101 - they are pipes
        self.process, self.questions, self.answers = process, process.stdin, process.stdout
        self.kernels = self._line()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate()

    def seconds(self) -> float:
        """Seconds of one repetition."""
        print("go", file=self.questions, flush=True)
        return float(self._line())

    def _line(self) -> str:
        line = self.answers.readline().strip()
        if not line:
            raise SystemExit(f"determinism: a worker ended early, with exit code {self.process.wait()}")
        return line


def pairs(
    first: Callable[[], Measured], second: Callable[[], Measured], rounds: int, title: str
) -> list[tuple[Measured, Measured]]:
    """Measure both in turn, each of them first in every other round."""
    found = []
    for number in tqdm(range(rounds), desc=title, leave=False, disable=None, file=sys.stderr):
        if number % 2:
            other = second()
            found.append((first(), other))
        else:
            found.append((first(), second()))
    return found


def print_ratio(title: str, found: Sequence[tuple[float, float]], unit_s: float, unit: str) -> float:
    """Print a line; return the median ratio."""
    ratios = sorted(one / other for one, other in found)
    ours, plain = (statistics.median(column) / unit_s for column in zip(*found, strict=True))
    middle = statistics.median(ratios)
    low, _, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else (middle,) * 3
    spread = f"({low:.2f} to {high:.2f}; {len(found)})"
    print(f"{title:<52}{ours:9.2f}{plain:9.2f} {unit:<2} {middle:6.2f}  {spread}", flush=True)
    return middle


def step_prices(backbone: str, threads: int, rounds: int) -> float:
    """Print the price of a training step and of its parts; return the higher one of the step."""
    recipe = without_variables(threads) | determinism.recipe(threads)
    none = without_recipe(threads)
    step, part, tiny = Work(backbone), Work(backbone, measured="optimizer"), Work("tiny")
    few = max(3, rounds // 4)
    comparisons = (
        Comparison(f"training step, {backbone}", step, step, none, rounds),
        Comparison(
            "the same, threads that wait spin without it",
            step,
            step,
            without_recipe(threads, spins=True),
            rounds,
        ),
        Comparison(
            "its optimizer's part: fused / unfused AdamW",
            part,
            replace(part, adamw="unfused"),
            recipe,
            rounds,
        ),
        Comparison("step, tiny: convolutional / linear MLPs", tiny, replace(tiny, mlp="linear"), recipe, few),
        Comparison("step, tiny: all of this / none", tiny, Work("tiny", "linear", "unfused"), none, few),
    )
    prices: list[float] = []
    for one in comparisons:
        with Worker(recipe, one.ours) as ours, Worker(one.environment, one.other) as other:
            if not prices:
                print(f"PyTorch's kernels: {ours.kernels} with the recipe, {other.kernels} without it")
                print(f"{'median of each; median of ratios (quartiles; pairs)':<52}{'with':>9}{'without':>9}")
            found = pairs(ours.seconds, other.seconds, one.rounds, one.title)
            prices.append(print_ratio(one.title, found, 1e-3, "ms"))
    return max(prices[:2])


def link(root: Path, folder: Path, names: Sequence[str]) -> None:
    """Let a folder have files and folders of a repository, as links."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(root / name)


def stage_seconds(name: str, root: Path, threads: int, *, recipe: bool) -> float:
    """Seconds of one stage's whole process in a folder that holds its inputs only."""
    # With the recipe it starts as somebody starts it who has set nothing, and replaces itself.
    env = without_variables(threads) if recipe else without_recipe(threads)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        found = (*LINKED, *(MODEL_FILES if name != "train" else ()))
        link(root, folder, [one for one in found if (name, one) != ("featurize", "data/features")])
        parameters = yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8")) | SHORT_TRAINING
        (folder / "params.yaml").write_text(yaml.safe_dump(parameters), encoding="utf-8")
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, str(REPOSITORY / "stages" / f"{name}.py")],
            cwd=folder,
            env=env | {"HEIMDALL_TRACKING": "off"},
            capture_output=True,
            text=True,
            check=False,
        )
        took_s = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(f"determinism: stage {name} failed: {done.stderr.strip()}")
    if (OFF_SAYS in done.stderr) == recipe:
        raise SystemExit(f"determinism: stage {name} was to run {'with' if recipe else 'without'} the recipe")
    return took_s


def main() -> int:
    """Measure, print, and say whether the promise holds (exit code 1 if not)."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=40, help="pairs of step blocks (default: 40)")
    parser.add_argument("--stage-rounds", type=int, default=5, help="pairs of each stage (default: 5)")
    parser.add_argument("--root", type=Path, default=Path(), help="the repository that was built")
    parser.add_argument("--worker", nargs=5, help=argparse.SUPPRESS)
    typed = parser.parse_args()
    if typed.worker:
        worker(Work(*typed.worker))
        return 0
    root = typed.root.resolve()
    missing = [name for name in (*LINKED, *MODEL_FILES) if not (root / name).exists()]
    if typed.stage_rounds and missing:
        parser.error(f"{missing[0]} is missing: run `dvc repro` first, or give --stage-rounds 0")

    values = yaml.safe_load((REPOSITORY / "params.yaml").read_text(encoding="utf-8"))
    backbone, threads = values["backbone"], determinism.read_threads(REPOSITORY / "params.yaml")
    print(f"The price of determinism, {threads} threads, batch {values['batch_size']}; simulated data")
    price = step_prices(backbone, threads, typed.rounds)
    verdict = "kept" if price <= PROMISE else "BROKEN"
    print(f"promise: a training step of {backbone} costs at most {PROMISE}x: {verdict}", flush=True)
    if typed.stage_rounds:
        for name in STAGES:
            found = pairs(
                lambda name=name: stage_seconds(name, root, threads, recipe=True),
                lambda name=name: stage_seconds(name, root, threads, recipe=False),
                typed.stage_rounds,
                name,
            )
            print_ratio(f"stage {name}, whole process", found, 1.0, "s")
    return 0 if price <= PROMISE else 1


if __name__ == "__main__":
    sys.exit(main())
