"""Checkpoint files: whole or absent, equal bytes for equal values, told by what is in them.

A checkpoint is Lightning's, with an entry of ours: `inputs` (all that decides the training's bytes),
`history` (a row an epoch), `best_epoch` (number of the best so far, whose weights are in a file of their
own) and `network` (its configuration). Of a training's checkpoints the last and the best few are kept
side by side; they hold no path, so that they go on wherever they lie.
"""

from __future__ import annotations

import pickle
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from heimdall.core import artifacts
from heimdall.core.errors import HeimdallError, unreadable

State = dict[str, Any]

OURS = "heimdall"  # our entry
LAST = "last.ckpt"


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes and reads checkpoints for Lightning."""

    def save_checkpoint(self, checkpoint: State, path: str | Path, storage_options: object = None) -> None:
        """Write a checkpoint beside its place, then move it there."""
        with artifacts.atomic(Path(path)) as partial, partial.open("wb") as stream:
            torch.save(_unshared(checkpoint), stream)  # given a path, torch would store the temporary name

    def load_checkpoint(
        self, path: str | Path, map_location: object = None, weights_only: bool | None = None
    ) -> State:
        """As `read`, whatever is asked for."""
        return read(Path(path))


class ReceivedCheckpoint(AtomicCheckpointIO):
    """For a rank that writes nothing: the checkpoint to go on from is the one that the first rank sent.

    Args:
        state: What is in it; None where a training starts.
    """

    def __init__(self, state: State | None) -> None:
        self._state = state

    def load_checkpoint(
        self, path: str | Path, map_location: object = None, weights_only: bool | None = None
    ) -> State:
        """What was sent, whatever is asked for."""
        assert self._state is not None  # noqa: S101 - Lightning loads where `fit` names a checkpoint
        return self._state


class MovableCheckpoints(ModelCheckpoint):
    """Keeps the best few and the last, which name each other without their folder."""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the last one in every epoch: Lightning does it only where the epoch is among the best few."""
        super().on_train_epoch_end(trainer, pl_module)
        if self._last_global_step_saved != trainer.global_step and not trainer.sanity_checking:
            self._save_last_checkpoint(trainer, self._monitor_candidates(trainer))

    def state_dict(self) -> State:
        """Lightning's state, with names for paths."""
        return _renamed(super().state_dict(), lambda path: Path(path).name) | {"dirpath": None}

    def load_state_dict(self, state_dict: State) -> None:
        """Take the state back, into today's folder."""
        folder = Path(str(self.dirpath))
        state = _renamed(state_dict, lambda name: str(folder / name))
        super().load_state_dict(state | {"dirpath": self.dirpath})


def read(path: Path) -> State:
    """Read a checkpoint, tensors and plain values only: no code that it might hold is run.

    Args:
        path: The file.

    Returns:
        The checkpoint on the CPU.

    Raises:
        HeimdallError: The file is missing, damaged, or of something else.
    """
    remedy = "Name a .ckpt file that a training kept"
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()  # torch does not look at the sums that it stores
        state: State = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise HeimdallError(str(path), "the file is missing", remedy) from None
    except (PermissionError, IsADirectoryError) as error:
        raise unreadable(path, error) from None
    except (RuntimeError, OSError, EOFError, ValueError, pickle.UnpicklingError, zipfile.BadZipFile):
        raise HeimdallError(str(path), "the checkpoint cannot be read", remedy) from None
    if damaged is not None:
        raise HeimdallError(str(path), f"the checkpoint is damaged ({damaged})", remedy)
    if not isinstance(state, dict) or "record" not in state.get(OURS, {}).get("inputs", {}):
        raise HeimdallError(str(path), "not a checkpoint of the pipeline's training", remedy)
    return state


def weights(state: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """The network's part of a checkpoint."""
    prefix = "network."
    return {
        name.removeprefix(prefix): value
        for name, value in state["state_dict"].items()
        if name.startswith(prefix)
    }


def epochs_done(state: Mapping[str, Any]) -> int:
    """How many epochs the checkpoint has behind it."""
    return len(state[OURS]["history"])


def file_of(epoch: int) -> str:
    """Name of an epoch's checkpoint; `epoch` counts from 1, Lightning's from 0."""
    return f"epoch-{epoch - 1:04d}.ckpt"


def same(inputs: Mapping[str, Any], others: Mapping[str, Any]) -> bool:
    """Whether two trainings give the same bytes, by their inputs."""
    return artifacts.fingerprint(inputs) == artifacts.fingerprint(others)


def resumable(work: Path, inputs: Mapping[str, Any]) -> State | None:
    """The last checkpoint of the training with these inputs, if it and the best one are there and whole.

    Args:
        work: Folder of the checkpoints.
        inputs: Of the training that wants to go on.
    """
    try:
        state = read(work / LAST)
    except HeimdallError:
        return None
    best = state[OURS]["best_epoch"]
    whole = same(state[OURS]["inputs"], inputs) and _is_of(work / file_of(best), inputs, best)
    return state if whole else None


def bring(state: Mapping[str, Any], path: Path, work: Path) -> None:
    """Make a checkpoint the last one of its training, and bring along those beside it.

    Args:
        state: What is in the checkpoint.
        path: The checkpoint, anywhere, also in `work`.
        work: Where that training keeps its checkpoints.

    Raises:
        HeimdallError: The best epoch's is not beside it, and the outputs would be made of that.
    """
    inputs, best, done = state[OURS]["inputs"], state[OURS]["best_epoch"], epochs_done(state)
    beside = {epoch: path.with_name(file_of(epoch)) for epoch in range(1, done + 1)}
    found = {epoch: file for epoch, file in beside.items() if _is_of(file, inputs, epoch)}
    if best == done:
        found[best] = path
    if best not in found:
        cause = f"the best epoch so far is {best}, and {file_of(best)} of this training is not beside it"
        remedy = f"Put {file_of(best)} of that training beside it, or train anew without --resume_training"
        raise HeimdallError(str(path), cause, remedy)
    for epoch, file in found.items():
        artifacts.copy(file, work / file_of(epoch))
    artifacts.copy(path, work / LAST)


def only(state: Mapping[str, Any], epoch: int) -> State:
    """The state of the callback that keeps checkpoints, had it kept that of this epoch alone.

    Args:
        state: What is in a checkpoint.
        epoch: One of its history, which counts from 1.
    """
    name, loss = file_of(epoch), torch.tensor(state[OURS]["history"][epoch - 1]["val_loss"])
    scores = dict.fromkeys(("best_model_score", "kth_value", "current_score"), loss)
    paths = dict.fromkeys(("best_model_path", "kth_best_model_path"), name)
    kept = {"best_k_models": {name: loss}, "last_model_path": LAST} | scores | paths
    return {
        key: former | kept
        for key, former in state["callbacks"].items()
        if key.startswith(MovableCheckpoints.__name__)
    }


def keep(work: Path, kept: Path) -> Path:
    """Copy all checkpoints to where the user finds them, in place of former ones; each is whole at any time.

    Returns:
        `kept`.
    """
    for path in sorted(work.glob("*.ckpt")):
        artifacts.copy(path, kept / path.name)
    for path in kept.glob("*.ckpt"):
        if not (work / path.name).exists():
            path.unlink()
    return kept


def clear(work: Path) -> None:
    """Remove all checkpoints, the last one first: without it nothing goes on from what a kill leaves here."""
    for path in (work / LAST, *work.glob("*.ckpt")):
        path.unlink(missing_ok=True)


def _is_of(path: Path, inputs: Mapping[str, Any], epoch: int) -> bool:
    """Whether the file is the whole checkpoint after this epoch of the training with these inputs."""
    try:
        state = read(path)
    except HeimdallError:
        return False
    return same(state[OURS]["inputs"], inputs) and epochs_done(state) == epoch


def _unshared(value: Any) -> Any:  # noqa: ANN401 - any part of a checkpoint
    """The same value in objects of its own, but equal texts in one: pickle's bytes tell who shares what."""
    if isinstance(value, dict):
        return {_unshared(key): _unshared(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_unshared(part) for part in value)
    return sys.intern(value) if isinstance(value, str) else value


def _renamed(state: Mapping[str, Any], rename: Callable[[str], str]) -> State:
    """A state of ModelCheckpoint, with every file renamed."""
    paths = ("best_model_path", "kth_best_model_path", "last_model_path")
    scores = {rename(path): score for path, score in state["best_k_models"].items()}
    return {**state, "best_k_models": scores} | {name: state[name] and rename(state[name]) for name in paths}
