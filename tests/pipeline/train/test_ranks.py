"""Several workers train one network: the same bytes for any number of them, whoever is killed."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml

from heimdall.core import child
from heimdall.core.errors import HeimdallError
from heimdall.pipeline.simulate import simulated
from heimdall.pipeline.train import exchange, ranks, sharded_module
from heimdall.pipeline.train.ranks import Ranks
from heimdall.pipeline.train.training import Training
from tests import REPOSITORY
from tests.conftest import as_clone
from tests.pipeline.train import test_session_task
from tests.pipeline.train.test_session_task import pretrained, root  # noqa: F401 - fixtures
from tests.single_training import every_digest, killed_at_call, settings, values

SHARDS = {"virtual_shards": 4}
TRAIN, PRETRAIN = (str(REPOSITORY / "stages" / f"{name}.py") for name in ("train", "pretrain"))
TYPED = ("--epochs", "3", "--output_dir", "out")


@pytest.fixture(scope="module")
def by_one(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What one worker wrote, its ONNX file as well."""
    folder = repository(tmp_path_factory.mktemp("one"), data_dir)
    assert ended(start(folder, TRAIN, *TYPED)) == ""
    return every_digest(folder / "out")


def repository(folder: Path, data_dir: Path) -> Path:
    """A folder that the stage can run in."""
    (folder / "data").mkdir()
    (folder / "data" / "features").symlink_to(data_dir)
    (folder / "params.yaml").write_text(yaml.safe_dump(values(epochs=9, **SHARDS)))
    return folder


def start(folder: Path, *typed: str, **variables: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *typed],
        cwd=folder,
        env=os.environ | {"HEIMDALL_TRACKING": "off", "PYTHONPATH": str(REPOSITORY / "src")} | variables,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> str:
    """What a command complained of when it failed; "" where it succeeded."""
    _, said = process.communicate(timeout=300)
    return said if process.returncode else ""


def workers_of(launcher: int) -> list[int]:
    children = Path(f"/proc/{launcher}/task/{launcher}/children").read_text(encoding="utf-8")
    return [int(word) for word in children.split()]


def in_the_second_epoch(process: subprocess.Popen[str], folder: Path) -> list[int]:
    """Wait until the checkpoint of the first is whole; the process ids of the workers in their order."""
    deadline = time.monotonic() + 120
    while not list(work(folder).glob("*/last.ckpt")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return workers_of(process.pid)


def work(folder: Path) -> Path:
    return folder / ".heimdall" / "work" / "train"


@pytest.mark.parametrize(
    "workers",
    [2, pytest.param(3, marks=pytest.mark.series), pytest.param(4, marks=pytest.mark.series)],
)
def test_any_number_of_workers_writes_the_same_bytes(
    data_dir: Path, by_one: dict[str, str], tmp_path: Path, workers: int
) -> None:
    """Weights, losses, checkpoints and ONNX; typed as the command, in a folder of the clone, and quiet."""
    folder = repository(tmp_path, data_dir)
    as_clone(folder)
    (folder / "stages").symlink_to(REPOSITORY / "stages")
    typed = ("-q", "--epochs", "3", "--output_dir", "../out", "--workers", str(workers))
    process = start(folder / "data", "-m", "heimdall", "train", *typed)
    _, said = process.communicate(timeout=300)
    assert (process.returncode, said) == (0, "")
    assert every_digest(folder / "out") == by_one
    assert not list(work(folder).iterdir())


def test_a_killed_worker_ends_the_others_and_one_alone_goes_on(
    data_dir: Path, by_one: dict[str, str], tmp_path: Path
) -> None:
    folder = repository(tmp_path, data_dir)
    killed = start(folder, TRAIN, *TYPED, HEIMDALL_TRAIN_WORKERS="2")
    first, second = in_the_second_epoch(killed, folder)
    os.kill(second, signal.SIGKILL)
    began = time.monotonic()
    assert "worker 1 of 2: it was killed by signal 9. Start the same command again" in ended(killed)
    assert time.monotonic() - began < 30
    assert not Path(f"/proc/{first}").exists()
    assert not (folder / "out").exists()
    (last,) = work(folder).glob("*/last.ckpt")

    again = start(folder, TRAIN, *TYPED)
    _, said = again.communicate(timeout=300)
    assert again.returncode == 0, said
    assert "going on after epoch" in said
    assert every_digest(folder / "out") == by_one
    assert not last.exists()


@pytest.mark.series
def test_workers_end_with_the_process_that_started_them(data_dir: Path, tmp_path: Path) -> None:
    """However it ends: a worker that goes on by itself would hold the lock, and write."""
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
        folder = tmp_path / number.name
        folder.mkdir()
        repository(folder, data_dir)
        killed = start(folder, TRAIN, *TYPED, "--workers", "2")
        workers = in_the_second_epoch(killed, folder)
        killed.send_signal(number)
        said = ended(killed)
        deadline = time.monotonic() + 10
        while any(Path(f"/proc/{worker}").exists() for worker in workers):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert said.count("interrupted") == (number == signal.SIGINT)
        assert not (folder / "out").exists()


@pytest.mark.series
def test_two_go_on_where_one_alone_was_killed_in_an_epoch(
    data_dir: Path, by_one: dict[str, str], tmp_path: Path
) -> None:
    folder = repository(tmp_path, data_dir)
    pipeline = Training(settings(epochs=3, **SHARDS), data_dir, work(folder))
    with killed_at_call(4, sharded_module.ShardedLightningModule, "training_step"):  # of 2 an epoch
        pipeline.run(tmp_path / "never")
    again = start(folder, TRAIN, *TYPED, "--workers", "2")
    _, said = again.communicate(timeout=300)
    assert again.returncode == 0, said
    assert "going on after epoch 1" in said
    assert every_digest(folder / "out") == by_one


@pytest.mark.series
def test_torchrun_starts_workers_that_share_no_folder(
    data_dir: Path, by_one: dict[str, str], tmp_path: Path
) -> None:
    """As on two machines: the second has its data alone, and writes nothing."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    machines = []
    for number in ("0", "1"):
        folder = tmp_path / number
        folder.mkdir()
        torchrun = ("-m", "torch.distributed.run", "--nnodes", "2", "--node-rank", number)
        meeting = ("--master-addr", "127.0.0.1", "--master-port", port)
        # Processes replace themselves to have the recipe, and stay the workers that they are.
        typed = (*torchrun, *meeting, TRAIN, *TYPED)
        machines.append(start(repository(folder, data_dir), *typed, OMP_NUM_THREADS="7"))
    assert [ended(machine) for machine in machines] == ["", ""]
    assert every_digest(tmp_path / "0" / "out") == by_one
    assert sorted(path.name for path in (tmp_path / "1").iterdir()) == ["data", "params.yaml"]


def of_fusion(folder: Path, root: Path, shards: int) -> Path:  # noqa: F811
    """A folder in which both stages of fusion can run, on the same sessions."""
    (folder / "data").mkdir(parents=True)
    for name in ("simulated", "features"):
        (folder / "data" / name).symlink_to(root / simulated.SIMULATED)
    chosen = asdict(test_session_task.settings(virtual_shards=shards, batch_size=4))
    chosen["pretrain"]["batch_size"] = 4
    chosen["snapshot"]["as_of"] = str(chosen["snapshot"]["as_of"])
    (folder / "params.yaml").write_text(yaml.safe_dump(chosen))
    return folder


def outputs(folder: Path) -> dict[str, dict[str, str]]:
    return {name: every_digest(folder / name) for name in ("models", "plots", "metrics")}


@pytest.mark.series
def test_pretraining_is_the_same_bytes_as_well(root: Path, tmp_path: Path) -> None:  # noqa: F811
    """Validation has one batch, so that most workers have none."""
    found = []
    for workers in range(1, 5):
        folder = of_fusion(tmp_path / str(workers), root, shards=4)
        assert ended(start(folder, PRETRAIN, "--workers", str(workers))) == ""
        found.append(outputs(folder))
    assert found[0]["models"]
    assert found[1:] == found[:1] * 3


@pytest.mark.series
def test_fusion_goes_on_from_simulated_weights_to_the_same_bytes(
    root: Path,  # noqa: F811
    pretrained: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    found = []
    for workers in (1, 2):
        folder = of_fusion(tmp_path / str(workers), root, shards=2)
        shutil.copytree(pretrained / "models", folder / "models")
        assert ended(start(folder, TRAIN, "--workers", str(workers))) == ""
        found.append(outputs(folder))
    assert "localizer.safetensors" in found[0]["models"]
    assert found[0] == found[1]


TOGETHER = """
import os, signal, time
from datetime import timedelta
from heimdall.pipeline.train import exchange, ranks
exchange._TIMEOUT = timedelta(seconds=3)
part = ranks.started()
if part is None:
    ranks.together(2)
else:
    with exchange.joined(part, "cpu"):
        {done}
"""


@pytest.mark.series
@pytest.mark.parametrize(
    ("told", "message"),
    [
        ("require_same(part, dict(seed=1, lr=part.number))", "it differs from worker 0 in: lr (1, not 0)"),
        ("require_same_weights(part, str(part.number), 3)", "other weights than worker 0 after epoch 3"),
    ],
)
def test_workers_that_differ_are_stopped(tmp_path: Path, told: str, message: str) -> None:
    """In what they were given, or in what their machine made of it; all of them say which."""
    said = ended(start(tmp_path, "-c", TOGETHER.format(done=f"exchange.{told}")))
    assert said.count(f"HeimdallError: worker 1: {message}") == 2


def test_what_differs_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With both values where they tell a person something."""
    first: dict[str, Any] = {"params": {"lr": 1e-3, "model": {"name": "single"}}, "index": "a" * 64, "n": 1}
    other = {"params": {"lr": 1e-3, "model": {"name": "fusion"}, "seed": 2}, "index": "b" * 64, "n": 1}
    monkeypatch.setattr(exchange, "values", lambda *_: [first, first, other])
    with pytest.raises(HeimdallError) as caught:
        exchange.require_same(Ranks(0, 3), first)
    named = "params.model.name (fusion, not single), params.seed (2, not absent), index"
    assert caught.value.subject == "worker 2"
    assert caught.value.cause == f"it differs from worker 0 in: {named}"


@pytest.mark.series
def test_who_takes_long_is_waited_for(tmp_path: Path) -> None:
    """Longer than for an answer: worker 0 alone makes the network and writes the outputs."""
    done = "with exchange.in_its_time(part): time.sleep(6 * part.is_first)"
    assert ended(start(tmp_path, "-c", TOGETHER.format(done=done))) == ""


def test_who_fails_while_the_others_wait_is_lost_to_them(tmp_path: Path) -> None:
    """They must not take it for one that has done its work."""
    done = "with exchange.in_its_time(part): 1 / part.number"
    assert f"HeimdallError: worker 1: {ranks.LOST}" in ended(
        start(tmp_path, "-c", TOGETHER.format(done=done))
    )


@pytest.mark.series
def test_outputs_that_cannot_be_written_cost_no_epoch(
    data_dir: Path, by_one: dict[str, str], tmp_path: Path
) -> None:
    """Two machines share a folder, and a disk is full after the last epoch."""
    folder = repository(tmp_path, data_dir)
    (folder / "out" / "plots" / "training.csv" / "in the way").mkdir(parents=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(probe.getsockname()[1])}
    both = {"WORLD_SIZE": "2", "LOCAL_RANK": "0", "TORCHELASTIC_RUN_ID": "two"} | meeting
    machines = [start(folder, TRAIN, *TYPED, RANK=number, **both) for number in ("0", "1")]
    assert [bool(ended(machine)) for machine in machines] == [True, True]
    assert len(list(work(folder).glob("*/last.ckpt"))) == 1
    shutil.rmtree(folder / "out" / "plots" / "training.csv")
    again = start(folder, TRAIN, *TYPED)
    _, said = again.communicate(timeout=300)
    assert (again.returncode, "epoch 3/" in said) == (0, False)
    assert every_digest(folder / "out") == by_one


@pytest.mark.series
def test_a_worker_that_is_gone_is_not_waited_for_while_another_takes_long(tmp_path: Path) -> None:
    """As on a machine without power: no connection is closed."""
    done = "with exchange.in_its_time(part): os.kill(os.getpid(), part.number and signal.SIGSTOP)"
    began = time.monotonic()
    assert f"HeimdallError: worker 0: {ranks.LOST}" in ended(
        start(tmp_path, "-c", TOGETHER.format(done=done))
    )
    assert time.monotonic() - began < 60


def test_a_quiet_training_says_errors(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values()))
    said = ended(start(tmp_path, TRAIN, "-q"))
    assert said.startswith("train.py: data/features/network.json: the file is missing.")
    assert said.count("\n") == 1


def test_the_worker_that_failed_by_itself_is_named() -> None:
    lost, own = [f"train.py: worker 1: {ranks.LOST}. Start"], ["train.py: shard: damaged"]
    assert ranks._cause([1, 1, None], [None, own, []]) == 1  # the first one lost it
    assert ranks._cause([1, 1, 1], [None, lost, own]) == 2
    assert ranks._cause([1, 1], [None, lost]) == 0
    assert ranks._cause([1, -9], [None, []]) == 1


def test_a_stray_variable_starts_no_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job of a cluster sets RANK; a stage that DVC runs is not what torchrun started."""
    job = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_ADDR": "node1", "MASTER_PORT": "1"}
    for name, value in job.items():
        monkeypatch.setenv(name, value)
    assert ranks.here(None, settings()) == Ranks()
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    assert ranks.here(None, settings()) == Ranks(1, 2, 1)
    monkeypatch.setenv("DVC_STAGE", "train")
    assert ranks.here(None, settings()) == Ranks()


def test_how_many_workers_are_started(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert ranks.wanted(None, 1, 1) == 1
    assert ranks.wanted(None, 4, 8) == 4  # a worker for each GPU
    assert ranks.wanted(2, 4, 8) == 2
    with pytest.raises(HeimdallError, match=r"3 workers: each batch is cut into 2 parts .* another result"):
        ranks.wanted(3, 1, 2)
    with pytest.raises(HeimdallError, match="0 workers"):
        ranks.wanted(0, 1, 2)
    monkeypatch.setenv("HEIMDALL_TRAIN_WORKERS", "3")
    assert ranks.wanted(2, 1, 4) == 2
    assert ranks.wanted(None, 1, 4) == 3
    assert capfd.readouterr().err == ""
    assert ranks.wanted(None, 1, 2) == 2  # a machine's setting stops no training
    assert "2 train, one for each virtual shard" in capfd.readouterr().err
    monkeypatch.setenv("HEIMDALL_TRAIN_WORKERS", "two")
    with pytest.raises(HeimdallError, match="HEIMDALL_TRAIN_WORKERS=two: no number of workers"):
        ranks.wanted(None, 1, 2)


def test_more_workers_than_shards_are_refused_by_a_training(data_dir: Path, tmp_path: Path) -> None:
    """Such as those that torchrun has started."""
    pipeline = Training(settings(), data_dir, tmp_path / "work", ranks=Ranks(0, 2))
    with pytest.raises(HeimdallError, match="2 workers: each batch is cut into 1 parts"):
        pipeline.run(tmp_path / "out")


def test_the_number_of_workers_reaches_stages_of_other_revisions(monkeypatch: pytest.MonkeyPatch) -> None:
    """`heimdall verify` and queued experiments run them."""
    monkeypatch.setenv("HEIMDALL_TRAIN_WORKERS", "2")
    assert child.environment_of_code()["HEIMDALL_TRAIN_WORKERS"] == "2"
    assert child.environment()["HEIMDALL_TRAIN_WORKERS"] == "2"
