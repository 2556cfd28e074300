"""Training on a GPU: the same bytes twice and after kill -9, in each precision; its time beside the CPU's.

    python benchmarks/cuda.py              # in a repository whose pipeline was run, on a machine with a GPU
    python benchmarks/cuda.py --jobs 1     # trainings one after the other
    python benchmarks/cuda.py --workers 2 --jobs 1     # on a machine with two GPUs

Promise: on one GPU and one software stack, each kind of training (fusion, single, pretrain) in each precision
gives the same bytes on every run, and also if it is killed after an epoch and typed again. Each run
is the stage's own process in an empty folder. The control is the same training on the CPU, whose weights must
differ: the comparison can fail. With --workers N all trainings have N virtual shards, and the first run and
the killed one have N workers, with a GPU each; the second run, and what goes on after the kill, have one.
Validation errors stand side by side, so that a GPU that computes something else is seen.

Below it a training step of single on recordings of noise, GPU and CPU in turn in one run (the CPU with
`threads` of params.yaml): the backbone that is committed and the specification's.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from determinism import REPOSITORY, Work, Worker, link, pairs, print_ratio
from tqdm import tqdm

from heimdall.core import artifacts
from heimdall.core import determinism as recipe

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
LINKED = (
    "requirements",
    "data/features",
    "data/simulated",
    "models/pretrained.safetensors",
    "models/pretrained.json",
)
BACKBONES = ("atto", "large")
SHORT = {"epochs": 3, "warmup_epochs": 1, "num_workers": 0}
SHORT_PRETRAINING = {"epochs": 3, "warmup_epochs": 1}
KILLED_AT = "epoch 2/3"  # the checkpoint of epoch 1 is there
GOES_ON = "going on after epoch"


@dataclass(frozen=True)
class Training:
    """One training, as a stage runs it.

    Attributes:
        kind: fusion, single or pretrain.
        accelerator: As in params.yaml.
        precision: As in params.yaml.
        shards: virtual_shards of params.yaml, and the most workers.
    """

    kind: str
    accelerator: str
    precision: str
    shards: int

    def parameters(self, given: dict[str, Any]) -> dict[str, Any]:
        """params.yaml with this training's choices."""
        model = given["model"] | {"name": "single" if self.kind == "single" else "fusion"}
        chosen = {"accelerator": self.accelerator, "precision": self.precision, "model": model}
        chosen["virtual_shards"] = self.shards
        return given | SHORT | chosen | {"pretrain": given["pretrain"] | SHORT_PRETRAINING}

    def run(self, root: Path, *, workers: int = 1, killed: bool = False) -> tuple[dict[str, str], float]:
        """Train in an empty folder.

        Args:
            root: The repository that was built.
            workers: How many train together.
            killed: After an epoch, by SIGKILL, and typed again for one worker.

        Returns:
            SHA-256 of each output by its path, and the validation error of the best epoch, metres.
        """
        stage = "pretrain" if self.kind == "pretrain" else "train"
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            link(root, folder, [name for name in LINKED if stage == "train" or not name.startswith("models")])
            given = yaml.safe_load((REPOSITORY / "params.yaml").read_text(encoding="utf-8"))
            (folder / "params.yaml").write_text(yaml.safe_dump(self.parameters(given)), encoding="utf-8")
            if killed:
                self._process(stage, folder, workers, until=KILLED_AT)
            said = self._process(stage, folder, 1 if killed else workers)
            if (GOES_ON in said) != killed:
                cause = "did not go on after the kill" if killed else "went on in an empty folder"
                raise SystemExit(f"cuda: {self}: it {cause}")
            found = {
                str(path.relative_to(folder)): artifacts.sha256_file(path)
                for place in ("models", "metrics", "plots")
                for path in sorted((folder / place).glob("*"))
                if not path.is_symlink()
            }
            return found, artifacts.read_json(folder / "metrics" / f"{stage}.json")["val_mae_m"]

    def _process(self, stage: str, folder: Path, workers: int, until: str | None = None) -> str:
        """Run the stage, killed at the first line that begins with `until`; what it said on stderr."""
        process = subprocess.Popen(
            [sys.executable, str(REPOSITORY / "stages" / f"{stage}.py"), "--workers", str(workers)],
            cwd=folder,
            env=os.environ | {"HEIMDALL_TRACKING": "off"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None  # noqa: S101 - it is a pipe
        said = []
        for line in process.stderr:
            said.append(line)
            if until is not None and line.startswith(until):
                process.send_signal(signal.SIGKILL)
        code = process.wait()
        if code != (0 if until is None else -signal.SIGKILL):
            raise SystemExit(f"cuda: {self}: exit code {code}: {''.join(said)}")
        return "".join(said)


def check(training: Training, root: Path) -> tuple[bool, float, dict[str, str]]:
    """Train twice, and once with a kill: whether all bytes are equal, validation error, and the hashes."""
    first, error_m = training.run(root, workers=training.shards)
    second, _ = training.run(root)
    interrupted, _ = training.run(root, workers=training.shards, killed=True)
    differing = sorted(name for name in first if not first[name] == second[name] == interrupted[name])
    for name in differing:
        hashes = [found[name][:12] for found in (first, second, interrupted)]
        tqdm.write(f"{training}: {name} differs: {' '.join(hashes)} (first, second, killed)", file=sys.stderr)
    return not differing, error_m, first


def same_bytes(root: Path, jobs: int, shards: int) -> bool:
    """Print a row for each kind and precision; whether the promise holds."""
    kinds = ("fusion", "single", "pretrain")
    trainings = [Training(kind, "cuda", precision, shards) for kind in kinds for precision in PRECISIONS]
    on_cpu = [Training(kind, "cpu", PRECISIONS[0], shards) for kind in kinds]
    with ThreadPoolExecutor(jobs) as pool:
        controls = pool.map(lambda training: training.run(root), on_cpu)
        checked = pool.map(lambda training: check(training, root), trainings)
        found = dict(
            zip(trainings, tqdm(checked, total=len(trainings), desc="trainings", disable=None), strict=True)
        )
        control = dict(zip(kinds, controls, strict=True))
    kept = True
    titles = f"{'training':<10}{'precision':<12}{'weights':<14}{'same bytes':<24}"
    print(f"{titles}{'validation MAE':>16}{'on the CPU':>12}")
    for training, (equal, error_m, hashes) in found.items():
        cpu_hashes, cpu_error_m = control[training.kind]
        (weights,) = (name for name in hashes if name.endswith(".safetensors"))
        moved = hashes[weights] != cpu_hashes[weights]
        kept = kept and equal and moved
        verdict = ("twice and after a kill" if equal else "NO") if moved else "NO: equal to the CPU's"
        errors = f"{error_m / 1000:13.3f} km{cpu_error_m / 1000:9.3f} km"
        which = f"{training.kind:<10}{training.precision:<12}{hashes[weights][:12]:<14}"
        print(f"{which}{verdict:<24}{errors}", flush=True)
    return kept


def step_ratios(rounds: int) -> None:
    """Print a row for each backbone."""
    environment = os.environ | recipe.recipe(recipe.read_threads(REPOSITORY / "params.yaml"))
    print(f"{'median of each; median of ratios (quartiles; pairs)':<52}{'GPU':>9}{'CPU':>9}")
    for backbone in BACKBONES:
        on_gpu, on_cpu = Work(backbone, accelerator="cuda"), Work(backbone)
        with Worker(environment, on_gpu) as gpu, Worker(environment, on_cpu) as cpu:
            print_ratio(
                f"training step, {backbone}", pairs(gpu.seconds, cpu.seconds, rounds, backbone), 1e-3, "ms"
            )


def main() -> int:
    """Check, measure, print, and say whether the promise holds (exit code 1 if not)."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path, default=Path(), help="the repository that was built")
    parser.add_argument("--jobs", type=int, default=4, help="trainings at the same time (default: 4)")
    parser.add_argument("--workers", type=int, default=1, help="workers, a GPU each (default: 1)")
    parser.add_argument("--rounds", type=int, default=5, help="pairs of step blocks (default: 5)")
    typed = parser.parse_args()
    root = typed.root.resolve()
    missing = [name for name in LINKED if not (root / name).exists()]
    if missing:
        parser.error(f"{missing[0]} is missing: run `dvc repro` first, or name a repository with --root")
    if not torch.cuda.is_available():
        parser.error("torch sees no CUDA device here: run it on a machine with one")

    print(f"Training on {torch.cuda.get_device_name()}, torch {torch.__version__}; simulated data")
    kept = same_bytes(root, typed.jobs, typed.workers)
    print(f"promise: the same bytes on one GPU: {'kept' if kept else 'BROKEN'}", flush=True)
    step_ratios(typed.rounds)
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
