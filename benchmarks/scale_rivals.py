"""The snapshot beside obstore, and a training of `single` beside a plain loop over timm's network.

    python benchmarks/scale_rivals.py --part snapshot    # in a clone whose demo is built, servers up
    python benchmarks/scale_rivals.py --part training    # on recordings of noise, anywhere

The snapshot starts from nothing and verifies, hashes and packs what it reads. obstore, a client in Rust, only
reads the same objects, by as many threads, and forgets them. So its rate is what server and link give. The
rate of the snapshot over that of obstore should be 0.9. It is measured to a server on this machine without a
link, where both take the CPU from each other and from the server, and through a link of 125 MB/s (1 Gbit/s),
which a process of this benchmark imitates. The CPU seconds of a gigabyte say up to which link the rate holds.

timm's `train.py` is a script of its repository, which no package holds. The plain loop is what a specialist
writes: all recordings in one tensor in memory, normalised once; for each batch forward, loss, backward,
clipping and fused AdamW; then the validation recordings and a checkpoint. Backbone, recordings and batches
are the same, there is one thread, and neither augments. The stage has the recipe of reproducible bytes; the
loop has it only in the second line. Measured are CPU seconds, as `train_workers.py` does. Rounds alternate.
`benchmarks/features.py` measures featurize's log-mel beside torchaudio.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import link
import pandas as pd
import scale_services
import timm
import torch
import train_workers
from determinism import REPOSITORY, pairs, print_ratio, without_recipe, without_variables

from heimdall.core import determinism, params, paths
from heimdall.network.dataset import DatasetConfig, HeimdallDataset, Split
from heimdall.pipeline.snapshot import snapshot
from heimdall.recordings import archive
from heimdall.storage import endpoints
from heimdall.storage.endpoints import RAW_BUCKET, Endpoints
from heimdall.storage.identities import Identity
from heimdall.storage.objectstore import ObjectStore

RATE = 0.9
LINK_BYTES_S = 125e6
BATCHES = 30
NO_AUGMENTATION = {
    "dropout_rate": 0.0,
    "shift_max": 0,
    "scale_min": 1.0,
    "scale_max": 1.0,
    "level_max_db": 0.0,
}
PARTS = ("snapshot", "training")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", choices=(*PARTS, "plain"), required=True, metavar=" or ".join(PARTS))
    parser.add_argument("--rounds", type=int, default=3, help="pairs of runs")
    typed = parser.parse_args()
    if typed.part == "plain":
        plain_loop()
    elif typed.part == "snapshot":
        print_snapshot(typed.rounds)
    else:
        print_training(typed.rounds)


def print_snapshot(rounds: int) -> None:
    """Rates of the snapshot and of obstore, without a link and through one."""
    services = endpoints.resolve(identity=Identity.SNAPSHOT)
    print_rates("no link", services, rounds)
    with link.limited(services.s3.endpoint_url, LINK_BYTES_S) as address:
        through = replace(services, s3=replace(services.s3, endpoint_url=address))
        print_rates(f"{LINK_BYTES_S / 1e6:.0f} MB/s", through, rounds)


def print_rates(name: str, services: Endpoints, rounds: int) -> None:
    """Both rates, their ratio, and what the snapshot takes of the CPU."""
    given = params.load().snapshot
    store = ObjectStore(services.s3, RAW_BUCKET)
    with tempfile.TemporaryDirectory() as folder:
        snapshot.take(given, services, Path(folder))
        rows = pd.read_parquet(Path(folder) / archive.SNAPSHOT / archive.MEASUREMENTS_FILE)
        bad = pd.read_parquet(Path(folder) / paths.QUARANTINE)["object_key"].dropna()
    listed = store.head_many([*rows["object_key"], *bad])  # what the snapshot reads as well
    megabytes = sum(one.size for one in listed.values()) / 1e6
    cpu_s = []

    def ours() -> float:
        with tempfile.TemporaryDirectory() as folder:
            began_cpu_s = own_cpu_s()
            took_s = seconds(partial(snapshot.take, given, services, Path(folder)))
            cpu_s.append(own_cpu_s() - began_cpu_s)
        return took_s

    found = pairs(ours, lambda: seconds(partial(read, list(listed), services)), rounds, name)
    ratio = statistics.median(their_s / our_s for our_s, their_s in found)
    rate, rival = (megabytes / statistics.median(side) for side in zip(*found, strict=True))
    each_s = statistics.median(cpu_s) / megabytes * 1e3
    print(f"{name}: {len(listed)} objects, {megabytes:.0f} MB, {given.download_threads} threads, "
          f"{os.cpu_count()} cores: snapshot {rate:.0f} MB/s, obstore {rival:.0f} MB/s, ratio {ratio:.2f} "
          f"({'kept' if ratio >= RATE else 'MISSED'}, at least {RATE}); {each_s:.1f} s of CPU a gigabyte, "
          f"so a core keeps up with {1e3 / each_s:.0f} MB/s")  # fmt: skip


def read(keys: list[str], services: Endpoints) -> int:
    """Bytes of some objects, read by obstore."""
    store = scale_services.obstore_of(services.s3, RAW_BUCKET)
    with ThreadPoolExecutor(params.load().snapshot.download_threads) as pool:
        return sum(pool.map(lambda key: len(store.get(key).bytes()), keys))


def print_training(rounds: int) -> None:
    """CPU seconds of an epoch of stage train with `single` and of the plain loop."""
    threads = train_workers.THREADS
    stage = [sys.executable, str(REPOSITORY / "stages" / "train.py")]
    loop = [sys.executable, __file__, "--part", "plain"]
    plain, recipe = without_recipe(threads), without_variables(threads) | determinism.recipe(threads)
    print(f"{'median of each; median of ratios (quartiles; pairs)':<52}{'stage':>9}{'loop':>9}")
    for name, environment in (("loop", plain), ("loop with the recipe", recipe)):
        title = f"{BATCHES} batches an epoch, CPU: stage / {name}"
        found = pairs(
            lambda: epochs_cpu_s(stage, recipe),
            lambda environment=environment: epochs_cpu_s(loop, environment),
            rounds,
            title,
        )
        print_ratio(title, found, train_workers.EPOCHS - train_workers.UNMEASURED, "s")


def epochs_cpu_s(command: list[str], environment: dict[str, str]) -> float:
    """CPU seconds of the measured epochs of a command."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        train_workers.prepare(folder, REPOSITORY, BATCHES, augment=NO_AUGMENTATION)
        everything = environment | train_workers.importing(REPOSITORY)
        return train_workers.between_epochs(command, folder, everything)[1]


def plain_loop() -> None:
    """Train timm's network on the features of the working directory; a line on stderr after each epoch."""
    given = params.load()
    torch.set_num_threads(given.threads)
    recordings, places = tensors("train", given.validation_split)
    unseen, unseen_places = tensors("val", given.validation_split)
    mean, std = recordings.mean((0, 2, 3), keepdim=True), recordings.std((0, 2, 3), keepdim=True)
    recordings, unseen = (recordings - mean) / std, (unseen - mean) / std
    network = timm.create_model(f"convnext_{given.backbone}", num_classes=4, drop_rate=given.dropout_rate)
    optimizer = torch.optim.AdamW(network.parameters(), given.lr, weight_decay=given.weight_decay, fused=True)
    for number in range(given.epochs):
        network.train()
        for batch in torch.randperm(len(recordings)).split(given.batch_size):
            loss = nll(network(recordings[batch]), places[batch])
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 10.0)
            optimizer.step()
        network.eval()
        with torch.inference_mode():
            judged = torch.cat([network(part) for part in unseen.split(given.batch_size)])
        torch.save({"network": network.state_dict(), "optimizer": optimizer.state_dict()}, "last.pt")
        print(f"epoch {number}: {float(nll(judged, unseen_places)):.3f}", file=sys.stderr, flush=True)


def tensors(split: Split, validation_split: float) -> tuple[torch.Tensor, torch.Tensor]:
    """All recordings of a split (n, 3, n_mels, frames), and places (n, 2) of the size of 1."""
    data = HeimdallDataset(DatasetConfig(), split, validation_split=validation_split)
    recordings, labels_deg = zip(*data, strict=True)
    return torch.stack(recordings), (torch.stack(labels_deg) - torch.tensor([45.0, 8.0])).float()


def nll(found: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
    """Gaussian likelihood of places, of (n, 4): two coordinates and two numbers that tell their variance."""
    variance = torch.nn.functional.softplus(found[:, 2:]) + 1e-3
    return torch.nn.functional.gaussian_nll_loss(found[:, :2], place, variance)


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
