"""The snapshot beside obstore, and a training of `single` beside a plain loop over timm's network.

    python benchmarks/scale_rivals.py --part snapshot    # in a clone whose demo is built, servers up
    python benchmarks/scale_rivals.py --part training    # the same

The snapshot starts from nothing and verifies, hashes and packs what it reads. obstore, a client in Rust, only
reads the same objects, by as many threads, and forgets them. So its rate is what server and link give. The
rate of the snapshot over that of obstore should be 0.9: it is where the link is slower than the packing.
The CPU seconds of a gigabyte say up to which link that holds.

timm's `train.py` is a script of its repository, which no package holds. The plain loop does what it does for
each batch: forward, loss, backward, clipping, AdamW; of the same backbone, on the same recordings, without
augmentation. `benchmarks/features.py` measures featurize's log-mel beside torchaudio. Rounds alternate.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import pandas as pd
import timm
import torch
import yaml
from obstore.store import S3Store
from torch.utils.data import DataLoader

from heimdall.core import params
from heimdall.network.dataset import DatasetConfig, HeimdallDataset
from heimdall.pipeline.snapshot import snapshot
from heimdall.recordings import archive
from heimdall.storage import endpoints
from heimdall.storage.endpoints import RAW_BUCKET
from heimdall.storage.identities import Identity

RATE = 0.9
EPOCHS = 2


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", choices=("snapshot", "training"), required=True, help="what to measure")
    parser.add_argument("--rounds", type=int, default=3, help="pairs of runs")
    typed = parser.parse_args()
    if typed.part == "snapshot":
        print_snapshot(typed.rounds)
    else:
        print_training(typed.rounds)


def print_snapshot(rounds: int) -> None:
    """Rates of the snapshot and of obstore."""
    given, services = params.load().snapshot, endpoints.resolve(identity=Identity.SNAPSHOT)
    ours, theirs, cpu_s = [], [], []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as name:
            began_cpu_s = own_cpu_s()
            ours.append(seconds(partial(snapshot.take, given, services, Path(name))))
            cpu_s.append(own_cpu_s() - began_cpu_s)
            rows = pd.read_parquet(Path(name) / archive.SNAPSHOT / archive.MEASUREMENTS_FILE)
        theirs.append(seconds(partial(read, rows["object_key"].tolist(), services)))
    megabytes = float(rows["object_bytes"].sum()) / 1e6
    ratio = statistics.median(their / our for our, their in zip(ours, theirs, strict=True))
    print(
        f"{len(rows)} objects, {megabytes:.0f} MB, {given.download_threads} threads, {os.cpu_count()} cores"
    )
    print(f"snapshot {megabytes / statistics.median(ours):.0f} MB/s, obstore "
          f"{megabytes / statistics.median(theirs):.0f} MB/s: ratio {ratio:.2f} "
          f"({'kept' if ratio >= RATE else 'MISSED'}, at least {RATE})")  # fmt: skip
    each_s = statistics.median(cpu_s) / megabytes * 1e3
    print(f"CPU of the snapshot: {each_s:.1f} s a gigabyte, so a core keeps up with {1e3 / each_s:.0f} MB/s")


def read(keys: list[str], services: endpoints.Endpoints) -> int:
    """Bytes of some objects, read by obstore."""
    access = services.s3
    if access.keys is None:
        raise SystemExit("the embedded server, or two keys in the environment, are needed")
    store = S3Store(
        RAW_BUCKET,
        endpoint=access.endpoint_url,
        access_key_id=access.keys.access_key,
        secret_access_key=access.keys.secret_key,
        region=access.region or "us-east-1",
        virtual_hosted_style_request=False,
        client_options={"allow_http": True},
    )
    with ThreadPoolExecutor(params.load().snapshot.download_threads) as pool:
        return sum(pool.map(lambda key: len(store.get(key).bytes()), keys))


def print_training(rounds: int) -> None:
    """Seconds an epoch of stage train with `single` and of the plain loop."""
    ours, theirs = [], []
    for _ in range(rounds):
        ours.append(stage_s(1 + EPOCHS) - stage_s(1))
        theirs.append(seconds(lambda: plain_loop(EPOCHS)))
    ratio = statistics.median(our / their for our, their in zip(ours, theirs, strict=True))
    print(f"an epoch of single: {statistics.median(ours) / EPOCHS:.1f} s, of the plain loop: "
          f"{statistics.median(theirs) / EPOCHS:.1f} s: ratio {ratio:.2f}")  # fmt: skip


def stage_s(epochs: int) -> float:
    """Seconds of the stage."""
    settings = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
    settings |= {"epochs": epochs, "warmup_epochs": 0, "early_stop_patience": epochs}
    settings["model"]["name"] = "single"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "params.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
        (folder / "data").symlink_to(Path("data").resolve())
        (folder / "requirements").symlink_to(Path("requirements").resolve())
        command = [sys.executable, str(Path("stages/train.py").resolve())]
        environment = os.environ | {"HEIMDALL_TRACKING": "off"}
        return seconds(
            lambda: subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
        )


def plain_loop(epochs: int) -> None:
    """What timm's script does with a batch."""
    given = params.load()
    torch.set_num_threads(given.threads)
    data = HeimdallDataset(DatasetConfig(), "train", validation_split=given.validation_split)
    network = timm.create_model(f"convnext_{given.backbone}", num_classes=4)
    optimizer = torch.optim.AdamW(network.parameters(), given.lr, weight_decay=given.weight_decay, fused=True)
    for _ in range(epochs):
        for features, label in DataLoader(data, given.batch_size, shuffle=True):
            found = network((features + 70) / 20)
            variance = torch.nn.functional.softplus(found[:, 2:]) + 1e-3
            loss = torch.nn.functional.gaussian_nll_loss(found[:, :2], label.float() % 1, variance)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 10.0)
            optimizer.step()


def own_cpu_s() -> float:
    """CPU seconds of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
