"""Training on two workers beside one, and the plain training beside an earlier revision: seconds of an epoch.

    python benchmarks/train_workers.py
    python benchmarks/train_workers.py --revision 57ccc10 --rounds 7

Each training is the stage's own process, on recordings of noise, with one thread a worker. Both of a pair run
in turn. What is measured begins at the end of the second epoch: before it fall the imports for the first
checkpoint and the last full garbage collection (0.3 s), on either side of any earlier line.

Promises: two workers are faster than one (backbone tiny, two virtual shards, on two idle cores), and one
worker with one virtual shard takes 0.95 to 1.05 of the seconds that it took at the revision, in epochs of 3
and of 30 batches. Both are of an idle machine; the CPU seconds beside them, which do not see what is waited
for, say on a busy one whether more is computed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import yaml
from determinism import REPOSITORY, pairs, print_ratio, without_variables

BATCH_SESSIONS = 80 / 3  # three in five train, with two recordings each: a batch of 32
EPOCHS = 5
UNMEASURED = 2  # epochs
WRITE = "import sys; from pathlib import Path; from tests import tiny_features; "
THREADS = 1
SAME = (0.95, 1.05)


@dataclass(frozen=True)
class Training:
    """A training of the model single.

    Attributes:
        tree: The files of a revision.
        backbone: As in params.yaml.
        shards: virtual_shards; 0 for a revision that does not have the parameter.
        workers: How many train together; 0 for a revision that does not have the option.
        batches: Of an epoch.
    """

    tree: Path
    backbone: str
    shards: int
    workers: int
    batches: int = 3

    def seconds(self) -> float:
        """Seconds of the measured epochs, in an empty folder."""
        return self.measured()[0]

    def measured(self) -> tuple[float, float]:
        """Seconds and CPU seconds of the measured epochs; the latter of a process that trains alone."""
        environment = without_variables(THREADS) | importing(self.tree)
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            shards = {"virtual_shards": self.shards} if self.shards else {}
            prepare(folder, self.tree, self.batches, backbone=self.backbone, **shards)
            command = [sys.executable, str(self.tree / "stages" / "train.py")]
            if self.workers:
                command += ["--workers", str(self.workers)]
            return between_epochs(command, folder, environment)


def importing(tree: Path) -> dict[str, str]:
    """The variables of a process that runs the code of a revision."""
    return {"PYTHONPATH": os.pathsep.join((str(tree / "src"), str(tree))), "HEIMDALL_TRACKING": "off"}


def prepare(folder: Path, tree: Path, batches: int, **chosen: object) -> None:
    """Write features of noise and params.yaml, for a training of `single`.

    Args:
        folder: An empty one.
        tree: The files of the revision that trains.
        batches: Of an epoch.
        chosen: Parameters that are not as in the revision.
    """
    make = f"{WRITE}tiny_features.write(Path('data/features'), {round(batches * BATCH_SESSIONS)})"
    subprocess.run([sys.executable, "-c", make], cwd=folder, env=os.environ | importing(tree), check=True)
    given = yaml.safe_load((tree / "params.yaml").read_text(encoding="utf-8"))
    given |= {"epochs": EPOCHS, "threads": THREADS, "model": given["model"] | {"name": "single"}} | chosen
    (folder / "params.yaml").write_text(yaml.safe_dump(given), encoding="utf-8")


def between_epochs(command: list[str], folder: Path, environment: dict[str, str]) -> tuple[float, float]:
    """Seconds and CPU seconds from the line of the last unmeasured epoch to that of the last."""
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None  # noqa: S101 - it is a pipe
    ended, said = [], []
    for line in process.stderr:
        said.append(line)
        if line.startswith("epoch "):
            used = psutil.Process(process.pid).cpu_times()
            ended.append((time.perf_counter(), used.user + used.system))
    if process.wait() or len(ended) != EPOCHS:
        raise SystemExit(f"train_workers: exit code {process.returncode}: {''.join(said)}")
    (began, cpu_began), (end, cpu_end) = ended[UNMEASURED - 1], ended[-1]
    return end - began, cpu_end - cpu_began


def main() -> int:
    """Measure, print, and say whether the promises hold (exit code 1 if not)."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--revision", default="57ccc10", help="the earlier one (default: 57ccc10)")
    parser.add_argument("--rounds", type=int, default=5, help="pairs (default: 5)")
    typed = parser.parse_args()
    load = os.getloadavg()[0]
    print(f"{len(os.sched_getaffinity(0))} cores, load {load:.1f} before; one thread a worker; noise")
    print(f"{'median of each; median of ratios (quartiles; pairs)':<52}{'first':>9}{'second':>9}")
    with tempfile.TemporaryDirectory() as temporary:
        earlier = Path(temporary)
        packed = subprocess.run(
            ["git", "archive", typed.revision], cwd=REPOSITORY, check=True, capture_output=True
        ).stdout
        subprocess.run(["tar", "-x", "-C", temporary], input=packed, check=True)
        title = "tiny, 2 virtual shards: two workers / one"
        two, one = (Training(REPOSITORY, "tiny", 2, workers) for workers in (2, 1))
        faster = print_ratio(title, pairs(two.seconds, one.seconds, typed.rounds, title), 1.0, "s")
        same = []
        for batches in (3, 30):
            title = f"atto, {batches} batches: now / {typed.revision}"
            now, then = Training(REPOSITORY, "atto", 1, 1, batches), Training(earlier, "atto", 0, 0, batches)
            found = pairs(now.measured, then.measured, typed.rounds, title)
            same.append(print_ratio(title, [(ours[0], theirs[0]) for ours, theirs in found], 1.0, "s"))
            print_ratio(f"{title}, CPU", [(ours[1], theirs[1]) for ours, theirs in found], 1.0, "s")
    kept = faster < 1 and all(SAME[0] <= ratio <= SAME[1] for ratio in same)
    print(f"promises: {'kept' if kept else 'BROKEN'}; load {os.getloadavg()[0]:.1f} after", flush=True)
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
